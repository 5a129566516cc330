//! What one person does and everybody who follows the campaign may hear of: to them, in their order, and never whose it was.

use serde_json::{Value, json};

use crate::harness::{Answer, Dial, Relay, Sse, WebSocket, event, token, token_with};

/// Shows what happened and how much it was worth, and of the payload the team.
const RULE: &str =
    "[[sources.broadcast]]\ntypes = [\"user_activity\", \"user_reward\"]\nshow = [\"name\", \"points\"]\nfields = [\"/team\"]\n";

/// A token of `acme:<user>`, who follows these campaigns.
fn follower(user: &str, campaigns: &[&str]) -> String {
    token_with(&json!({"sub": user, "campaigns": campaigns}))
}

/// A payload with everything in it that tells who somebody is.
fn payload(user: &str, campaign: &str, n: usize) -> Value {
    let mut body = event(user, n);
    let more = json!({
        "pid": campaign, "campaign_name": "Summer", "team": "red", "claimr_id": format!("canary-id-{user}"), "email": format!("canary-{user}@example.com"),
        "wallet": format!("canary-wallet-{user}"), "user": {"logins": [{"account": format!("canary-login-{user}"), "platform": "discord"}]},
        "referrer": {"id": "canary-referrer"}, "ref_id": "canary-code", "reward": {"code": "canary-gift"}, "total_xp": 777_001, "rank": 777_002,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

impl Relay {
    /// An event of `acme:<user>` in a campaign; panics unless it was accepted.
    async fn event_in(&self, campaign: &str, user: &str, n: usize) -> Answer {
        let answer = self.deliver(&payload(user, campaign, n)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    async fn follow(&self, user: &str, campaigns: &[&str]) -> WebSocket {
        WebSocket::open(self, Dial::token(&follower(user, campaigns))).await.0
    }
}

#[tokio::test]
async fn a_broadcast_reaches_whoever_follows_and_nobody_else() {
    let relay = Relay::with(RULE).await;
    let (mut person, mut friend) = (relay.follow("42", &["C"]).await, relay.follow("77", &["D", "C"]).await);
    let (mut stream, _) = Sse::open(&relay, Dial::token(&follower("78", &["C"]))).await;
    let mut elsewhere = relay.follow("79", &["D", "c", "campaign::C", "C*", "*"]).await;
    let (mut nowhere, _) = WebSocket::open(&relay, Dial::token(&token("80"))).await;
    let key = token_with(&json!({"sub": "campaign:C", "keys": ["campaign:*", "C"]}));
    let (mut namesake, _) = WebSocket::open(&relay, Dial::token(&key)).await;

    let answer = relay.event_in("C", "42", 1).await;
    assert_eq!((&answer.body["recipients"], &answer.body["connections"]), (&json!(1), &json!(3)));
    let own = person.json().await;
    assert_eq!((&own["broadcast"], &own["data"]), (&Value::Null, &payload("42", "C", 1)));
    let frame = friend.json().await;
    let expected = json!({"id": answer.id(), "type": "user_activity", "at": own["at"], "broadcast": true, "name": "task_completed",
        "points": 1, "campaign": {"id": "C"}, "data": {"team": "red"}});
    assert_eq!((&frame, &stream.event().await.data), (&expected, &expected));
    let text = frame.to_string();
    assert!(!text.contains("canary") && !text.contains("777") && !text.contains("42\""), "{text}");

    // Whoever heard anything of it would hear it before what comes next.
    for (n, user) in ["42", "77", "78", "79", "80"].into_iter().enumerate() {
        relay.event(user, 10 + n).await;
    }
    relay.deliver(&json!({"account": "C", "platform": "campaign", "event_xp": 15})).await;
    for (n, socket) in [(10, &mut person), (11, &mut friend), (13, &mut elsewhere), (14, &mut nowhere), (15, &mut namesake)] {
        assert_eq!(socket.json().await["points"], n);
    }
    assert_eq!(stream.event().await.data["points"], 12);
}

#[tokio::test]
async fn a_follower_who_comes_back_gets_what_was_broadcast_meanwhile() {
    for engine in ["memory", "disk"] {
        let relay = Relay::with(&format!("store.engine = \"{engine}\"\n{RULE}")).await;
        let (socket, hello) = WebSocket::open(&relay, Dial::token(&follower("77", &["C"]))).await;
        drop(socket);
        let cursor = hello["id"].as_str().unwrap();
        for n in 0..60 {
            match n % 4 {
                0 => relay.event_in("C", "42", n).await,
                1 => relay.event_in("D", "42", n).await,
                2 => relay.event_in("C", "77", n).await,
                _ => relay.event("77", n).await,
            };
        }
        let expected: Vec<u64> = (0..60).filter(|n| n % 4 != 1).collect();
        let dial = || Dial::token(&follower("77", &["C"])).after(cursor);
        let (mut socket, hello) = WebSocket::open(&relay, dial()).await;
        assert_eq!((&hello["resume"], &hello["replayed"]), (&json!("resumed"), &json!(45)));
        for n in &expected {
            let frame = socket.json().await;
            assert_eq!((&frame["points"], frame["broadcast"] == true), (&json!(n), n % 4 == 0), "{frame}");
        }
        let ticket = relay.ticket(&follower("77", &["C"])).await.body["ticket"].as_str().unwrap().to_owned();
        let (mut stream, _) = Sse::open(&relay, Dial::default().query(&format!("ticket={ticket}")).after(cursor)).await;
        assert_eq!(stream.points(45).await, expected);
        // The same cursor with another token shows what that token proves.
        let (mut stranger, _) = WebSocket::open(&relay, Dial::token(&follower("80", &["D"])).after(cursor)).await;
        assert_eq!(stranger.points(15).await, (0..60).filter(|n| n % 4 == 1).collect::<Vec<u64>>());
        if engine == "disk" {
            let relay = relay.stop().await.start().await;
            let (mut socket, _) = WebSocket::open(&relay, dial()).await;
            assert_eq!(socket.points(45).await, expected);
            relay.event_in("C", "42", 60).await;
            assert_eq!(socket.points(1).await, [60]);
        }
    }
}

#[tokio::test]
async fn types_and_retention_count_for_broadcasts_too() {
    let relay = Relay::with(&format!("store.max_events_per_user = 2\n{RULE}")).await;
    let rewards = Dial::token(&follower("77", &["C"])).query("types=user_reward");
    let (mut socket, hello) = WebSocket::open(&relay, rewards).await;
    for n in 1..=3 {
        relay.event_in("C", &format!("{n}"), n).await;
    }
    relay.deliver_to("/hooks/claimr/user_reward", &payload("42", "C", 4).to_string()).await;
    // No rule names this type.
    relay.deliver_to("/hooks/claimr/user_login", &payload("42", "C", 5).to_string()).await;
    relay.deliver_to("/hooks/claimr/user_reward", &payload("42", "C", 6).to_string()).await;
    assert_eq!(socket.points(2).await, [4, 6]);
    let after = |user: &str, campaigns: &[&str]| Dial::token(&follower(user, campaigns)).after(hello["id"].as_str().unwrap());
    let (mut late, hello) = WebSocket::open(&relay, after("77", &["C"])).await;
    assert_eq!((&hello["resume"], &late.json().await["reason"]), (&json!("gap"), &json!("evicted")));
    // The people concerned keep their own.
    let (mut person, hello) = WebSocket::open(&relay, after("1", &[])).await;
    assert_eq!((&hello["resume"], person.points(1).await), (&json!("resumed"), vec![1]));
}

#[tokio::test]
async fn a_token_of_other_campaigns_begins_another_session() {
    let relay = Relay::start().await;
    for (campaigns, expected) in
        [(vec!["D", "C"], None), (vec!["C"], Some(4003)), (vec![], Some(4003)), (vec!["C", "D", "E"], Some(4003))]
    {
        let mut socket = relay.follow("42", &["C", "D"]).await;
        socket.send(json!({"type": "$auth", "token": follower("42", &campaigns)}).to_string()).await;
        match expected {
            None => assert_eq!(socket.json().await["ok"], true),
            Some(code) => assert_eq!(socket.closed().await.0, code, "{campaigns:?}"),
        }
    }
    for bad in [json!(["a b"]), json!("C"), json!(["é"]), json!(vec!["C"; 33])] {
        let token = token_with(&json!({"sub": "42", "campaigns": bad}));
        let mut socket = WebSocket::dial(relay.address, Dial::token(&token)).await.unwrap();
        assert_eq!(socket.closed().await.0, 4101, "{bad}");
        assert_eq!(Sse::dial(&relay, Dial::token(&token)).await.err().unwrap().0, 401, "{bad}");
    }
}

#[tokio::test]
async fn rules_are_taken_up_while_followers_are_connected() {
    let relay = Relay::start().await;
    let mut socket = relay.follow("77", &["C"]).await;
    relay.event_in("C", "42", 1).await;
    relay.reload(RULE).unwrap();
    relay.event_in("C", "42", 2).await;
    relay.reload(&RULE.replace("show = [\"name\", \"points\"]", "")).unwrap();
    relay.event_in("C", "42", 3).await;
    relay.reload("").unwrap();
    relay.event_in("C", "42", 4).await;
    relay.event("77", 5).await;
    assert_eq!(socket.json().await["points"], 2);
    let bare = socket.json().await;
    assert_eq!((&bare["points"], &bare["data"]), (&Value::Null, &json!({"team": "red"})));
    assert_eq!(socket.json().await["points"], 5);
}

#[tokio::test]
async fn a_backend_tells_a_campaign_something() {
    let relay = Relay::start().await;
    let tell = async |body: Value| relay.ask_admin("POST", "/admin/v1/publish", &body).await;
    let (mut person, mut other) = (relay.follow("42", &["C"]).await, relay.follow("77", &["C", "D"]).await);
    let notice = json!({"campaigns": ["C", "D", "C"], "type": "app_notice", "data": {"n": 1}, "id": "n1"});
    let answer = tell(notice.clone()).await;
    assert_eq!((&answer.body["recipients"], &answer.body["connections"]), (&json!(0), &json!(2)), "{answer:?}");
    for socket in [&mut person, &mut other] {
        let frame = socket.json().await;
        assert_eq!((&frame["broadcast"], &frame["data"], &frame["id"]), (&json!(true), &json!({"n": 1}), &json!(answer.id())));
    }
    assert_eq!(tell(notice).await.body["duplicate"], true);
    tell(json!({"campaigns": ["C"], "keys": ["acme:42"], "type": "app_notice"})).await;
    assert_eq!((&person.json().await["broadcast"], &other.json().await["broadcast"]), (&Value::Null, &json!(true)));
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    for bad in [
        json!({"campaigns": [], "type": "a"}),
        json!({"campaigns": [""], "type": "a"}),
        json!({"campaigns": ["a b"], "type": "a"}),
        json!({"campaigns": many, "type": "a"}),
        json!({"campaigns": "C", "type": "a"}),
        json!({"keys": ["campaign::C"], "type": "a"}),
        json!({"keys": [":C"], "campaigns": ["C"], "type": "a"}),
    ] {
        assert_eq!(tell(bad.clone()).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn to_an_operator_a_campaign_is_no_user() {
    let relay = Relay::with(RULE).await;
    let _socket = relay.follow("77", &["C", "D"]).await;
    relay.event_in("C", "42", 1).await;
    let ask = async |method: &str, path: &str, body: Value| relay.ask_admin(method, &format!("/admin/v1/{path}"), &body).await;
    let session = ask("GET", "connections", Value::Null).await.body["sessions"][0].clone();
    assert_eq!((&session["keys"], &session["campaigns"]), (&json!(["acme:77"]), &json!(["C", "D"])));
    let step = ask("GET", "deliveries", Value::Null).await.body["deliveries"][0]["steps"][2].clone();
    assert_eq!(step["events"][0]["campaign"], "C");
    let people = step["events"][0]["people"].as_array().unwrap();
    assert!(people.len() == 1 && !people[0].to_string().contains("campaign::"), "{step}");
    // A follower's own page shows what is the follower's own.
    assert_eq!(ask("GET", "users/acme:77", Value::Null).await.body["events"], json!([]));
    assert_eq!(ask("GET", "users/acme:42", Value::Null).await.body["events"][0]["broadcast"], Value::Null);
    for (method, path, body) in [
        ("GET", "users/campaign::C", Value::Null),
        ("DELETE", "users/campaign::C/sessions", Value::Null),
        ("GET", "deliveries?user=campaign::C", Value::Null),
        ("POST", "revocations", json!({"user": "campaign::C"})),
    ] {
        assert_eq!(ask(method, path, body).await.status, 400, "{method} {path}");
    }
    let metrics = relay.http.get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("campaign::"));
}
