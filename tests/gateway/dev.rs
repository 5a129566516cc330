//! `claimr-relay dev` and its pages: what is served, under which policy, to whom; and that `serve` has none of it.

use std::{net::SocketAddr, process::Stdio};

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HOST, ORIGIN},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::harness::{Dial, PATIENCE, Relay, WebSocket, until};

/// The program in `dev` mode on free ports. Dropping it kills it.
struct Dev {
    address: SocketAddr,
    admin: SocketAddr,
    printed: String,
    http: reqwest::Client,
    _process: Child,
}

impl Dev {
    async fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_claimr-relay"))
            .args(["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut printed = String::new();
        while !printed.contains("/metrics") {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("dev says where it is").unwrap();
            printed += &(line.expect("dev goes on") + "\n");
        }
        let address = |before: &str| {
            let (_, rest) = printed.split_once(before).unwrap();
            rest.trim_start().strip_prefix("http://").unwrap().split('/').next().unwrap().parse().unwrap()
        };
        let (address, admin) = (address("Open"), address("Metrics"));
        Self { address, admin, printed, http: reqwest::Client::builder().no_proxy().build().unwrap(), _process: process }
    }

    async fn ask(&self, what: &str, body: Value) -> Value {
        let url = format!("http://{}/dev/api/{what}", self.address);
        let response = self.http.post(url).json(&body).send().await.unwrap();
        assert!(response.status().is_success(), "{what} {body}: {}", response.status());
        response.json().await.unwrap()
    }

    async fn token(&self, user: &str) -> String {
        self.ask("token", json!({"user": user, "ttl_s": 60})).await["token"].as_str().unwrap().to_owned()
    }

    /// Waits until a session begins. (One that is drained tells newcomers to go elsewhere, until it is gone.)
    async fn serves(&self, token: &str) {
        until("it serves again", async || match WebSocket::try_dial(self.address, Dial::token(token)).await {
            Some(mut socket) => socket.next().await.is_ok_and(|frame| frame["type"] == "$hello"),
            None => false,
        })
        .await;
    }

    async fn stream(&self, dial: Dial) -> (WebSocket, Value) {
        let mut socket = WebSocket::dial(self.address, dial).await.unwrap();
        let hello = socket.json().await;
        assert_eq!(hello["type"], "$hello", "{hello}");
        (socket, hello)
    }
}

/// Every file that `text` refers to, as a browser would.
fn references(text: &str) -> Vec<String> {
    let quoted = |before: &'static str, end: char| {
        let found = text.split(before).skip(1).filter_map(move |rest| rest.split_once(end));
        found.map(|(path, _)| path.to_owned()).collect::<Vec<_>>()
    };
    let all = [quoted("src=\"", '"'), quoted("href=\"", '"'), quoted(" from '", '\'')].concat();
    all.into_iter().filter(|path| !path.starts_with('#') && !path.starts_with("data:")).collect()
}

#[tokio::test]
async fn both_pages_come_with_all_their_files_and_run_nothing_else() {
    let dev = Dev::start(&[]).await;
    for (base, page, files_min) in [(dev.address, "/dev", 10), (dev.admin, "/", 9)] {
        let mut files = vec![page.to_owned()];
        let mut next = 0;
        while let Some(path) = files.get(next).cloned() {
            next += 1;
            let response = dev.http.get(format!("http://{base}{path}")).send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            let kind = header("content-type");
            let expected = match path.rsplit_once('.') {
                Some((_, "js")) => "text/javascript; charset=utf-8",
                Some((_, "css")) => "text/css; charset=utf-8",
                _ => "text/html; charset=utf-8",
            };
            assert_eq!(kind, expected, "{path}");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("cache-control"), "no-store");
            let policy = header("content-security-policy");
            assert!(policy.starts_with(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
            ));
            assert!(policy.ends_with("base-uri 'none'; frame-ancestors 'none'; form-action 'none'"), "{policy}");
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            let text = response.text().await.unwrap();
            if expected.starts_with("text/html") {
                for inline in ["<style", " style=", " onclick=", " onload=", "<script>"] {
                    assert!(!text.contains(inline), "{path} has no {inline}");
                }
            }
            // The snippets of the demo are code to be read, and the bundle refers to nothing.
            if path.ends_with("snippets.js") || path.ends_with("claimr-relay.js") {
                continue;
            }
            for reference in references(&text) {
                let absolute = reference.strip_prefix("./").map(|name| format!("{}/{name}", path.rsplit_once('/').unwrap().0));
                let absolute = absolute.unwrap_or(reference);
                if !files.contains(&absolute) {
                    files.push(absolute);
                }
            }
        }
        assert!(files.len() >= files_min, "{files:?}");
    }
}

#[tokio::test]
async fn only_the_demos_own_page_may_ask() {
    /// Method, path, Host, further headers, body, status.
    type Case<'a> = (Method, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);
    let dev = Dev::start(&[]).await;
    let port = dev.address.port();
    let (own, local, evil) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("evil.example:{port}"));
    let (own_origin, local_origin) = (format!("http://{own}"), format!("http://{local}"));
    let json = ("content-type", "application/json");
    let good = r#"{"user":"alice","ttl_s":60}"#;
    let cases: &[Case] = &[
        (Method::POST, "/dev/api/token", &own, &[json], good, 200),
        (
            Method::POST,
            "/dev/api/token",
            &local,
            &[json, ("origin", &local_origin), ("sec-fetch-site", "same-origin")],
            good,
            200,
        ),
        (Method::POST, "/dev/api/token", &own, &[("content-type", "application/json; charset=utf-8")], good, 200),
        (Method::GET, "/dev", &local, &[], "", 200),
        (Method::GET, "/dev", &evil, &[], "", 403),
        (Method::GET, "/dev/api/config", &evil, &[], "", 403),
        (Method::GET, "/dev/api/config", &own, &[], "", 200),
        (Method::POST, "/dev/api/token", &evil, &[json], good, 403),
        (Method::POST, "/dev/api/token", "127.0.0.1", &[json], good, 403),
        (Method::POST, "/dev/api/token", &own, &[json, ("origin", "http://evil.example")], good, 403),
        (Method::POST, "/dev/api/token", &own, &[json, ("origin", "null")], good, 403),
        (Method::POST, "/dev/api/token", &own, &[json, ("origin", "http://127.0.0.1:1")], good, 403),
        (Method::POST, "/dev/api/token", &own, &[json, ("origin", &own_origin), ("sec-fetch-site", "same-site")], good, 403),
        (Method::POST, "/dev/api/token", &own, &[json, ("sec-fetch-site", "cross-site")], good, 403),
        (Method::POST, "/dev/api/token", &own, &[("content-type", "text/plain")], good, 415),
        (Method::POST, "/dev/api/token", &own, &[("content-type", "application/x-www-form-urlencoded")], "user=alice", 415),
        (Method::POST, "/dev/api/token", &own, &[], good, 415),
        (Method::GET, "/dev/api/token", &own, &[], "", 405),
        (Method::POST, "/dev/api/token", &own, &[json], "{}", 400),
        (Method::POST, "/dev/api/token", &own, &[json], r#"{"user":"","ttl_s":60}"#, 400),
        (Method::POST, "/dev/api/token", &own, &[json], r#"{"user":"alice","ttl_s":90000}"#, 400),
        (Method::POST, "/dev/api/token", &own, &[json], r#"{"user":"alice","ttl_s":60,"campaigns":["a b"]}"#, 400),
        (Method::POST, "/dev/api/trigger", &own, &[json], r#"{"user":"alice","scope":"nonsense"}"#, 400),
    ];
    for (method, path, host, headers, body, status) in cases {
        let url = format!("http://{}{path}", dev.address);
        let mut request = dev.http.request(method.clone(), url).header(HOST, *host).body((*body).to_owned());
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), *status, "{method} {path} {host} {headers:?} {body}");
        assert!(!response.headers().contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_press_of_a_button_is_a_real_webhook() {
    let dev = Dev::start(&[]).await;
    let (mut alice, _) = dev.stream(Dial::token(&dev.token("alice").await)).await;
    let (mut bob, _) = dev.stream(Dial::token(&dev.token("bob").await)).await;
    for (scope, recipients) in [("user_activity", 1), ("user_reward", 1), ("user_login", 1), ("referral", 2)] {
        let told = dev.ask("trigger", json!({"scope": scope, "user": "alice"})).await;
        let answer = &told["answer"];
        assert_eq!(
            (&told["status"], &answer["duplicate"], &answer["recipients"]),
            (&json!(200), &json!(false), &json!(recipients))
        );
        let frame = alice.json().await;
        assert_eq!((&frame["type"], &frame["id"]), (&json!(scope), &answer["ids"][0]));
    }
    let follows = dev.ask("token", json!({"user": "carol", "ttl_s": 60, "campaigns": ["AbCd_123"]})).await;
    let (mut carol, _) = dev.stream(Dial::token(follows["token"].as_str().unwrap())).await;
    let told = dev.ask("trigger", json!({"scope": "user_activity", "user": "alice"})).await;
    let heard = carol.json().await;
    assert_eq!((&heard["id"], &heard["broadcast"], &heard["data"]), (&told["answer"]["ids"][0], &json!(true), &json!({})));
    let heard = bob.json().await;
    assert_eq!((&heard["type"], &heard["referral"]["role"]), (&json!("referral"), &json!("referred")));
    let made = dev.ask("trigger", json!({"scope": "user_reward", "user": "bob", "send": false})).await;
    assert!(made["curl"].as_str().unwrap().contains("X-Signature") && made["answer"].is_null());
}

#[tokio::test]
async fn trouble_ends_sessions_with_its_own_code_and_nothing_is_lost() {
    let dev = Dev::start(&[]).await;
    let token = dev.token("alice").await;
    let (mut socket, mut hello) = dev.stream(Dial::token(&token)).await;
    let alice = json!({"user": "alice"});
    for (what, body, code) in
        [("drop", alice.clone(), 4002), ("burst", alice.clone(), 4001), ("restart", json!({"keep_log": true}), 4000)]
    {
        let cursor = hello["id"].as_str().unwrap().to_owned();
        dev.ask(what, body).await;
        assert_eq!(socket.closed().await.0, code, "{what}");
        dev.serves(&token).await;
        let missed = dev.ask("trigger", json!({"scope": "user_login", "user": "alice"})).await["answer"]["ids"][0].clone();
        (socket, hello) = dev.stream(Dial::token(&token).after(&cursor)).await;
        assert_eq!(hello["resume"], "resumed", "{what}");
        loop {
            let frame = socket.json().await;
            hello["id"] = frame["id"].clone();
            if frame["id"] == missed {
                break;
            }
        }
    }
    let cursor = hello["id"].as_str().unwrap().to_owned();
    dev.ask("restart", json!({"keep_log": false})).await;
    assert_eq!(socket.closed().await.0, 4000);
    dev.serves(&token).await;
    let (mut socket, hello) = dev.stream(Dial::token(&token).after(&cursor)).await;
    assert_eq!((&hello["resume"], &socket.json().await["reason"]), (&json!("gap"), &json!("other_epoch")));
}

#[tokio::test]
async fn its_pages_and_those_of_further_origins_may_connect() {
    let dev = Dev::start(&["--origin", "http://localhost:5173"]).await;
    let token = dev.token("alice").await;
    let port = dev.address.port();
    for origin in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}"), "http://localhost:5173".to_owned()] {
        dev.stream(Dial::token(&token).header("origin", &origin)).await;
    }
    let stranger = Dial::token(&token).header("origin", "http://localhost:5174");
    assert_eq!(WebSocket::dial(dev.address, stranger).await.err(), Some(403));
}

#[tokio::test]
async fn what_it_prints_leads_on() {
    let dev = Dev::start(&[]).await;
    let (address, printed) = (dev.address, &dev.printed);
    for line in [
        format!("Open       http://{address}/dev\n"),
        format!("Inspector  http://{}/#token=", dev.admin),
        format!("Webhooks   http://{address}/hooks/claimr/<scope>\n"),
        format!("curl -N http://{address}/v1/sse -H 'Authorization: Bearer ey"),
        "Secret     ".to_owned(),
        "Token      ey".to_owned(),
    ] {
        assert!(printed.contains(&line), "{line} in\n{printed}");
    }
    // Its token opens a stream, and its secret signs a webhook.
    let value = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (mut socket, _) = dev.stream(Dial::token(&value("Token"))).await;
    let body = json!({"account": "alice", "platform": "acme", "event_xp": 7}).to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, value("Secret").as_bytes());
    let signature = data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref());
    let url = format!("http://{address}/hooks/claimr/user_activity");
    let post = dev.http.post(url).header(CONTENT_TYPE, "application/json").header("x-signature", signature).body(body);
    assert_eq!(post.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(socket.points(1).await, [7]);
}

#[tokio::test]
async fn serve_has_an_inspector_and_no_demo() {
    let relay = Relay::start().await;
    let status = async |method: Method, url: String| {
        let request = relay.http.request(method, url).header(CONTENT_TYPE, "application/json").header(ORIGIN, "null").body("{}");
        request.send().await.unwrap().status().as_u16()
    };
    for path in [
        "/dev",
        "/dev/demo.js",
        "/dev/claimr-relay.js",
        "/dev/api/config",
        "/dev/api/token",
        "/dev/api/trigger",
        "/dev/api/restart",
    ] {
        for address in [relay.address, relay.admin] {
            assert_eq!(status(Method::GET, format!("http://{address}{path}")).await, 404, "{path}");
            assert_eq!(status(Method::POST, format!("http://{address}{path}")).await, 404, "{path}");
        }
    }
    for path in ["/", "/inspector.js", "/theme.css"] {
        assert_eq!(status(Method::GET, format!("http://{}{path}", relay.admin)).await, 200, "{path}");
        assert_eq!(status(Method::GET, format!("http://{}{path}", relay.address)).await, 404, "{path}");
    }
}
