//! What an operator asks, and does, through the admin API.

mod description;
mod learn;

use std::{
    io,
    sync::{Arc, Mutex},
};

use claimr_relay::{
    config::{Log, LogFormat},
    telemetry,
};
use reqwest::Method;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::{Answer, Dial, HOOK_SECRET, JWT_SECRET, Relay, Sse, WebSocket, event, sign, token};

const TOKEN: &str = "admin-token-of-the-tests-0123456789";

/// A log that a test reads.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Relay {
    /// A request to the admin API, with a bearer token if `token` is not empty.
    async fn admin(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method.clone(), format!("http://{}{path}", self.admin));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None if method == Method::GET => request,
            None => request.header("x-claimr-relay", "1"),
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.headers().get("cache-control").map(|v| v.to_str().unwrap()), Some("no-store"), "{path}");
        assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control")), "{path}");
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = self.admin(Method::GET, &format!("/admin/v1/{path}"), "", None).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    async fn tell(&self, path: &str, body: Value) -> Answer {
        self.admin(Method::POST, &format!("/admin/v1/{path}"), "", Some(&body)).await
    }
}

#[tokio::test]
async fn whoever_has_the_token_may_ask() {
    let relay = Relay::with(&format!("admin.token = {{ value = \"{TOKEN}\" }}")).await;
    for (method, path) in [
        (Method::GET, "deliveries"),
        (Method::GET, "connections"),
        (Method::GET, "users/acme:42"),
        (Method::DELETE, "users/acme:42/sessions"),
        (Method::GET, "dead-letters"),
        (Method::GET, "learn"),
        (Method::POST, "dead-letters/replay"),
        (Method::POST, "events/0:1/replay"),
        (Method::POST, "publish"),
        (Method::GET, "nothing"),
    ] {
        let path = format!("/admin/v1/{path}");
        for wrong in ["", "wrong", &TOKEN[1..]] {
            let answer = relay.admin(method.clone(), &path, wrong, None).await;
            assert_eq!((answer.status, answer.code()), (401, "admin_token"), "{path}");
        }
        assert_ne!(relay.admin(method, &path, TOKEN, None).await.status, 401, "{path}");
    }
    assert_eq!(relay.admin(Method::POST, "/admin/v1/deliveries", TOKEN, None).await.status, 405);
    assert_eq!(relay.admin(Method::GET, "/admin/v1/nothing", TOKEN, None).await.status, 404);
}

#[tokio::test]
async fn a_strangers_page_is_kept_out_of_an_operators_machine() {
    let relay = Relay::start().await;
    let url = format!("http://{}/admin/v1/publish", relay.admin);
    let body = json!({"keys": ["acme:42"], "type": "x", "data": {}}).to_string();
    let simple = relay.http.post(&url).header("content-type", "text/plain").body(body.clone()).send().await.unwrap();
    assert_eq!(simple.status(), 403);
    let preflight = relay.http.request(Method::OPTIONS, &url).header("origin", "https://evil.example").send().await.unwrap();
    assert!(!preflight.status().is_success() && !preflight.headers().contains_key("access-control-allow-origin"));
    let rebound = relay.http.post(&url).header("host", "evil.example").header("content-type", "application/json").body(body);
    assert_eq!(rebound.send().await.unwrap().status(), 403);
    let rebound = relay.http.get(format!("http://{}/admin/v1/deliveries", relay.admin)).header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_delivery_is_told_step_by_step() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let id = relay.event("42", 7).await.id();
    assert_eq!(socket.points(1).await, [7]);
    let told = relay.ask("deliveries").await;
    let delivery = &told["deliveries"][0];
    let expected = [
        ("n", json!(1)),
        ("source", json!("claimr")),
        ("scope", json!("user_activity")),
        ("status", json!(200)),
        ("outcome", json!("accepted")),
        ("remote", json!("127.0.0.1")),
        ("content_type", json!("application/json")),
        ("body", json!(event("42", 7).to_string())),
        ("body_bytes", json!(event("42", 7).to_string().len())),
    ];
    for (name, value) in expected {
        assert_eq!(delivery[name], value, "{name}");
    }
    assert!(delivery["at"].as_u64() > Some(0) && delivery["took_us"].as_u64() > Some(0), "{delivery}");
    let steps = delivery["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["received", "verified", "addressed", "stored", "delivered"]);
    assert!(steps.is_sorted_by_key(|step| step["us"].as_u64().unwrap()), "{delivery}");
    let without_time = |i: usize| {
        let mut step = steps[i].clone();
        step.as_object_mut().unwrap().remove("us");
        step
    };
    assert_eq!(
        without_time(1),
        json!({"step": "verified", "ok": true, "scheme": "hmac", "header": "x-signature", "secret": 0, "why": null})
    );
    let people = json!([{"keys": ["acme:42"], "from": ["account+platform"]}]);
    let events = json!([{"type": "user_activity", "people": people, "campaign": null}]);
    assert_eq!(without_time(2), json!({"step": "addressed", "events": events, "dead_letters": 0, "why": null}));
    assert_eq!(without_time(3), json!({"step": "stored", "ids": [id], "repetition": [null]}));
    assert_eq!(without_time(4), json!({"step": "delivered", "connections": 1}));
}

#[tokio::test]
async fn what_went_wrong_is_told_in_words() {
    let relay = Relay::with("limits.captured_body_bytes_max = 300").await;
    let body = event("42", 1).to_string();
    relay.deliver_to("/hooks/claimr", &body).await;
    relay.deliver_to("/hooks/claimr", &body).await;
    relay.deliver(&json!({"nobody": true})).await;
    relay.deliver_to("/hooks/claimr", "{").await;
    relay.post("/hooks/claimr", &[("x-signature", &sign(b"{}"))], body.as_bytes()).await;
    relay.post("/hooks/claimr", &[], body.as_bytes()).await;
    relay.post("/hooks/claimr", &[("content-type", "text/plain")], b"").await;
    let long = json!({"account": "77", "platform": "acme", "note": "x".repeat(300)}).to_string();
    relay.deliver_to("/hooks/claimr", &long).await;
    relay.post("/hooks/claimr", &[], long.as_bytes()).await;

    let told = relay.ask("deliveries").await["deliveries"].clone();
    let seen: Vec<_> =
        told.as_array().unwrap().iter().map(|d| (d["status"].as_u64().unwrap(), d["outcome"].as_str().unwrap())).collect();
    let expected = [
        (401, "signature_missing"),
        (200, "accepted"),
        (415, "content_unsupported"),
        (401, "signature_missing"),
        (401, "signature_invalid"),
        (400, "payload_invalid"),
        (200, "dead_letter"),
        (200, "duplicate"),
        (200, "accepted"),
    ];
    assert_eq!(seen, expected);
    let last = |i: usize| told[i]["steps"].as_array().unwrap().last().unwrap().clone();
    assert!(last(0)["why"].as_str().unwrap().contains("captured_body_bytes_max"), "{}", last(0));
    assert_eq!((&told[1]["body_bytes"], told[1]["body"].as_str().unwrap().len()), (&json!(long.len()), 300));
    assert_eq!(told[1]["steps"][2]["events"][0]["people"][0]["keys"], json!(["acme:77"]));
    assert_eq!(last(2), json!({"step": "received", "us": 0}));
    assert!(last(3)["why"].as_str().unwrap().starts_with("No header looks like a signature."), "{}", last(3));
    assert!(last(4)["why"].as_str().unwrap().contains("no given secret made it"), "{}", last(4));
    assert_eq!(told[5]["steps"][2]["why"], "not JSON at byte 0");
    assert_eq!((&told[6]["steps"][2]["dead_letters"], &told[6]["steps"][3]["ids"]), (&json!(1), &json!([])));
    assert_eq!(told[7]["steps"][3]["repetition"], json!(["same"]));

    for (filter, count) in [
        ("limit=2", 2),
        ("outcome=accepted", 2),
        ("source=claimr&limit=3", 3),
        ("source=other", 0),
        ("user=acme:42", 2),
        ("user=42", 2),
        ("user=acme:77", 1),
        ("user=acme:1", 0),
    ] {
        assert_eq!(relay.ask(&format!("deliveries?{filter}")).await["deliveries"].as_array().unwrap().len(), count, "{filter}");
    }
    for wrong in ["deliveries?limit=x", "deliveries?limt=3", "deliveries?user=:", "connections?limit=-1"] {
        let answer = relay.admin(Method::GET, &format!("/admin/v1/{wrong}"), "", None).await;
        assert_eq!((answer.status, answer.code()), (400, "request_invalid"), "{wrong}");
    }
}

#[tokio::test]
async fn sessions_are_seen_and_ended() {
    let relay = Relay::start().await;
    let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("42")).query("types=user_activity")).await;
    let (_stream, _) = Sse::open(&relay, Dial::token(&token("77"))).await;
    let id = relay.event("42", 1).await.id();
    socket.points(1).await;
    let told = relay.ask("connections").await;
    assert_eq!(told["total"], 2);
    let [first, second] = told["sessions"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert!(first["since"].as_u64() <= second["since"].as_u64());
    assert_eq!((&first["session"], &first["user"], &first["keys"]), (&hello["session"], &json!("acme:42"), &json!(["acme:42"])));
    assert_eq!(
        (&first["carrier"], &first["types"], &first["newest"]),
        (&json!("websocket"), &json!(["user_activity"]), &json!(id))
    );
    assert_eq!((&first["queued_events"], &first["queued_bytes"]), (&json!(0), &json!(0)));
    assert_eq!((&second["carrier"], &second["types"], &second["newest"]), (&json!("sse"), &json!([]), &Value::Null));
    assert_eq!(relay.ask("connections?limit=1").await["sessions"].as_array().unwrap().len(), 1);

    let ended = relay.admin(Method::DELETE, "/admin/v1/users/acme:42/sessions", "", None).await;
    assert_eq!((ended.status, ended.body), (200, json!({"closed": 1})));
    let (code, bye) = socket.closed().await;
    assert_eq!((code, &bye["reason"]), (4102, &json!("token_revoked")));
    let again = relay.admin(Method::DELETE, "/admin/v1/users/acme:1/sessions", "", None).await;
    assert_eq!(again.body, json!({"closed": 0}));
}

#[tokio::test]
async fn did_this_user_get_that_reward() {
    let relay = Relay::start().await;
    let reward = json!({"account": "42", "platform": "acme", "reward": {"id": "rw_1", "type": "Badge"}});
    let id = relay.deliver_to("/hooks/claimr/user_reward", &reward.to_string()).await.id();
    relay.event("77", 1).await;
    let newer = relay.event("42", 2).await.id();
    let (_socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    for key in ["acme:42", "42", "acme%3A42"] {
        let user = relay.ask(&format!("users/{key}")).await;
        assert_eq!((&user["user"], user["sessions"].as_array().unwrap().len()), (&json!("acme:42"), 1));
        let events = user["events"].as_array().unwrap();
        assert_eq!((&events[0]["id"], &events[1]["id"], events.len()), (&json!(newer), &json!(id), 2));
        assert_eq!((&events[1]["type"], &events[1]["reward"]["id"]), (&json!("user_reward"), &json!("rw_1")));
        assert!(events[1]["at"].as_u64() > Some(0));
        assert_eq!(user["deliveries"].as_array().unwrap().len(), 2);
    }
    assert_eq!(relay.ask("users/acme:1").await["events"], json!([]));
    assert_eq!(relay.admin(Method::GET, "/admin/v1/users/%3A", "", None).await.status, 400);
}

#[tokio::test]
async fn a_backend_publishes_an_event_of_its_own() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let notice = json!({"keys": ["acme:42", "acme:77"], "type": "app_notice", "name": "Hi", "points": 2.5, "id": "n1",
        "data": {"text": "line\nbreak", "n": 1}});
    let answer = relay.tell("publish", notice.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (&answer.body["duplicate"], &answer.body["recipients"], &answer.body["connections"]),
        (&json!(false), &json!(2), &json!(1))
    );
    let frame = socket.json().await;
    assert_eq!((&frame["id"], &frame["type"], &frame["name"]), (&json!(answer.id()), &json!("app_notice"), &json!("Hi")));
    assert_eq!((&frame["points"], &frame["data"]), (&json!(2.5), &notice["data"]));
    let again = relay.tell("publish", notice).await;
    assert_eq!((&again.body["duplicate"], again.id()), (&json!(true), answer.id()));
    let (mut later, hello) = WebSocket::open(&relay, Dial::token(&token("77")).query("since=1h")).await;
    assert_eq!(hello["replayed"], 1);
    assert_eq!(later.json().await["id"], answer.id());

    let long = "x".repeat(262_144);
    for (bad, status) in [
        (json!({"keys": [], "type": "a", "data": {}}), 400),
        (json!({"keys": [":"], "type": "a", "data": {}}), 400),
        (json!({"keys": ["acme:1"], "type": "$hello", "data": {}}), 400),
        (json!({"keys": ["acme:1"], "type": "a", "data": []}), 400),
        (json!({"keys": ["acme:1"], "type": "a", "dta": {}}), 400),
        (json!({"keys": ["acme:1"], "type": "a", "data": {}, "id": ""}), 400),
        (json!({"keys": ["acme:1"], "type": "a", "data": {"x": long}}), 413),
    ] {
        let answer = relay.tell("publish", bad.clone()).await;
        assert_eq!(answer.status, status, "{bad:.80} {answer:?}");
    }
}

#[tokio::test]
async fn a_stored_event_is_sent_once_more_under_its_id() {
    let relay = Relay::start().await;
    let id = relay.event("42", 1).await.id();
    relay.event("42", 2).await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let (mut stranger, _) = WebSocket::open(&relay, Dial::token(&token("77"))).await;
    let answer = relay.tell(&format!("events/{id}/replay"), json!({})).await;
    assert_eq!((answer.status, &answer.body), (200, &json!({"id": id, "connections": 1})));
    relay.event("42", 3).await;
    relay.event("77", 4).await;
    let frame = socket.json().await;
    assert_eq!((&frame["id"], &frame["points"]), (&json!(id), &json!(1)));
    assert_eq!((socket.points(1).await, stranger.points(1).await), (vec![3], vec![4]));
    assert_eq!(relay.ask("users/acme:42").await["events"].as_array().unwrap().len(), 3, "nothing was stored by that");

    let (epoch, _) = id.split_once(':').unwrap();
    for (unknown, status) in [(format!("{epoch}:99"), 404), ("0000000000:1".to_owned(), 404), ("nonsense".to_owned(), 400)] {
        assert_eq!(relay.tell(&format!("events/{unknown}/replay"), json!({})).await.status, status, "{unknown}");
    }
}

#[tokio::test]
async fn a_dead_letter_is_mended_by_a_new_mapping_and_replayed_once() {
    let relay = Relay::start().await;
    let unknown = json!({"player": {"nick": "42"}, "event_xp": 5});
    relay.deliver(&unknown).await;
    relay.deliver(&json!({"truly": "nobody"})).await;
    let letters = relay.ask("dead-letters").await["dead_letters"].clone();
    assert_eq!((letters.as_array().unwrap().len(), &letters[1]["reason"]), (2, &json!("no_user")));
    assert_eq!((&letters[1]["body"], &letters[1]["scope"]), (&json!(unknown.to_string()), &json!("user_activity")));
    let id = letters[1]["id"].as_str().unwrap().to_owned();
    let still = relay.tell("dead-letters/replay", json!({"ids": [id]})).await;
    assert_eq!(still.body["results"], json!([{"id": id, "status": "still_dead", "ids": [], "connections": 0}]));

    let accounts = "sources.mapping.accounts = [{ account = \"player.nick\", default_platform = \"acme\" }]";
    let relay = relay.stop().await.start_with(accounts).await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let results = relay.tell("dead-letters/replay", json!({"all": true})).await.body["results"].clone();
    assert_eq!((&results[0]["status"], &results[0]["connections"]), (&json!("delivered"), &json!(1)), "{results}");
    assert_eq!(results[1]["status"], "still_dead");
    assert_eq!(socket.points(1).await, [5]);
    let again = relay.tell("dead-letters/replay", json!({"ids": [id]})).await;
    assert_eq!(again.body["results"][0]["status"], "unknown", "it has left the lane");

    // The same comes again, without a mapping, and is replayed again: it is known by what it is.
    let relay = relay.stop().await.start_with("sources.mapping.accounts = []").await;
    relay.deliver(&unknown).await;
    let relay = relay.stop().await.start_with(accounts).await;
    assert_eq!(relay.ask("dead-letters").await["dead_letters"].as_array().unwrap().len(), 2);
    let second = relay.tell("dead-letters/replay", json!({"ids": [id]})).await.body["results"][0].clone();
    assert_eq!((&second["status"], &second["ids"]), (&json!("duplicate"), &results[0]["ids"]), "{second}");

    for wrong in [json!({}), json!({"ids": [id], "all": true}), json!({"ids": ["x"]}), json!({"al": true}), json!([])] {
        assert_eq!(relay.tell("dead-letters/replay", wrong.clone()).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn what_is_forced_is_new() {
    let relay = Relay::start().await;
    relay.deliver(&json!({"player": "42", "delivery_id": "d1", "event_xp": 5})).await;
    let accounts = "sources.mapping.accounts = [{ account = \"player\", default_platform = \"acme\" }]";
    let relay = relay.stop().await.start_with(accounts).await;
    let first = relay.deliver(&json!({"player": "42", "delivery_id": "d1", "event_xp": 5})).await;
    let forced = relay.tell("dead-letters/replay", json!({"all": true, "force": true})).await.body["results"][0].clone();
    assert_eq!(forced["status"], "delivered");
    assert_ne!(forced["ids"][0], first.id());
}

#[tokio::test]
async fn no_secret_is_in_any_answer_or_log() {
    let shared = "shared-secret-of-another-source";
    let log = Written::default();
    let settings = Log { filter: "claimr_relay=trace".to_owned(), format: LogFormat::Text, refusals_per_s_max: 10 };
    let _logging = tracing::subscriber::set_default(telemetry::subscriber(&settings, log.clone()).unwrap());
    let relay = Relay::with(&format!(
        "sources.secrets = [{{ value = \"{HOOK_SECRET}\" }}, {{ value = \"{shared}\" }}]\nadmin.token = {{ value = \"{TOKEN}\" }}"
    ))
    .await;
    let jwt = token("42");
    let body = json!({"account": "42", "platform": "acme", "secret": HOOK_SECRET, "note": format!("a{shared}b")}).to_string();
    let right = sign(body.as_bytes());
    let bearer = format!("Bearer {jwt}");
    let dead = json!({"nobody": HOOK_SECRET}).to_string();
    let (right_dead, wrong) = (sign(dead.as_bytes()), sign(b"something else"));
    for (headers, body) in [
        (vec![("x-signature", right.as_str()), ("authorization", &bearer), ("x-jwt", &jwt)], &body),
        (vec![("x-signature", &right_dead), ("cookie", &jwt)], &dead),
        (vec![("x-signature", &wrong), ("x-custom", shared)], &body),
        (vec![("x-signature", HOOK_SECRET)], &body),
        (vec![("x-webhook-secret", shared)], &body),
        (vec![("x-anything", &bearer), ("x-list", &format!("k={HOOK_SECRET};v=2"))], &body),
    ] {
        relay.post("/hooks/claimr", &headers, body.as_bytes()).await;
    }
    let (_socket, _) = WebSocket::open(&relay, Dial::token(&jwt)).await;
    let mut shown = String::new();
    for path in ["deliveries", "connections", "dead-letters", "users/acme:42", "learn", "nothing"] {
        shown += &relay.admin(Method::GET, &format!("/admin/v1/{path}"), TOKEN, None).await.body.to_string();
    }
    assert!(shown.contains("(masked)") && shown.contains("(64 hex digits)") && shown.contains("***"), "{shown}");
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("webhook refused") && logged.contains("session begun"), "{logged}");
    for canary in [HOOK_SECRET, shared, JWT_SECRET, TOKEN, &jwt, &right, &wrong, &right_dead] {
        assert!(!shown.contains(canary), "{canary} in {shown}");
        assert!(!logged.contains(canary), "{canary} in {logged}");
    }
}
