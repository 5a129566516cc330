//! The descriptions of both listeners (`/openapi.json`, `/openapi-public.json`) are true: every route is in them and no other, and so is
//! every answer: what is described happens here, on raw sockets, and what happens is described.

mod fuzz;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Dial, ORIGIN, Raw, RawAnswer, Relay, Sse, WebSocket, sign, token, token_with, unix_now};

const PUBLIC: &str = include_str!("../../src/http/openapi.json");
const ADMIN: &str = include_str!("../../src/http/admin/openapi.json");
const ERRORS: &str = include_str!("../../docs/errors.md");
const SURFACE: &str = include_str!("../fixtures/api.txt");

const METHODS: [&str; 4] = ["get", "post", "delete", "options"];

/// Shown where there is what it needs: a full disk, a node that ends, a key set without secrets.
const SHOWN_ELSEWHERE: [&str; 9] = [
    // webhooks.rs: a_log_that_cannot_be_written_is_answered_503_until_it_can; the others are the same answer for the same trouble.
    "POST /hooks/{source} 503 draining",
    "POST /hooks/{source} 503 log_unavailable",
    "POST /hooks/{source} 503 overloaded",
    "POST /hooks/{source}/{scope} 503 draining",
    "POST /hooks/{source}/{scope} 503 log_unavailable",
    "POST /hooks/{source}/{scope} 503 overloaded",
    // life.rs: a_drain_tells_every_session_and_serves_webhooks_meanwhile.
    "GET /v1/sse 503 draining",
    "GET /v1/sse 503 log_unavailable",
    // src/auth/ticket/tests.rs.
    "POST /v1/tickets 404 tickets_disabled",
];

fn parse(description: &str) -> Value {
    serde_json::from_str(description).unwrap()
}

/// Follows a reference within the document.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}")),
        None => value,
    }
}

/// `METHOD path status code` for every answer; without a code where there is none.
fn answers(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = resolved(document, response);
                let schema = &response["content"]["application/json"]["schema"];
                let codes = schema["properties"]["error"]["properties"]["code"]["enum"].as_array();
                let answer = format!("{} {path} {status}", method.to_uppercase());
                match codes {
                    Some(codes) => found.extend(codes.iter().map(|code| format!("{answer} {}", code.as_str().unwrap()))),
                    None => assert!(found.insert(answer)),
                }
            }
        }
    }
    found
}

/// What a change of the API would change for its users, for reviewers to see.
#[test]
fn the_surface_is_as_it_was() {
    let both = [PUBLIC, ADMIN].map(|text| answers(&parse(text)).into_iter().collect::<Vec<_>>().join("\n")).join("\n");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/api.txt");
    if std::env::var_os("SURFACE").is_some_and(|what| what == "overwrite") {
        std::fs::write(file, both + "\n").unwrap();
        return;
    }
    let (was, is): (BTreeSet<&str>, BTreeSet<&str>) = (SURFACE.lines().collect(), both.lines().collect());
    let (gone, new): (Vec<_>, Vec<_>) = (was.difference(&is).collect(), is.difference(&was).collect());
    assert!(
        gone.is_empty() && new.is_empty(),
        "gone: {gone:#?}\nnew: {new:#?}\nIf that is meant: SURFACE=overwrite cargo test the_surface"
    );
}

#[test]
fn every_route_of_the_public_listener_is_described_and_no_other() {
    let document = parse(PUBLIC);
    let paths = document["paths"].as_object().unwrap();
    let table = include_str!("../../src/http.rs");
    let mut routes = BTreeSet::new();
    for line in table.lines().filter_map(|line| Some(line.split_once(".route(\"")?.1)) {
        let (path, handler) = line.split_once('"').unwrap();
        let has = |method: &&str| handler.contains(&format!(" {method}(")) || handler.contains(&format!(".{method}("));
        routes.extend(METHODS.iter().filter(|method| has(method)).map(|method| format!("{method} {path}")));
    }
    let described = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| format!("{method} {path}"))
    });
    assert_eq!(described.collect::<BTreeSet<_>>(), routes);
    assert!(routes.len() >= 7, "{routes:?}");
}

/// Every code has a section in docs/errors.md, which names the status that it comes with.
#[test]
fn every_code_is_explained_with_its_status() {
    for answer in [PUBLIC, ADMIN].iter().flat_map(|text| answers(&parse(text))) {
        let mut words = answer.split(' ').skip(2);
        let (status, Some(code)) = (words.next().unwrap(), words.next()) else { continue };
        let section = ERRORS.split("\n### ").find(|section| section.lines().next() == Some(code));
        let section = section.unwrap_or_else(|| panic!("{answer} is not in docs/errors.md"));
        assert!(section.contains(&format!("HTTP {status}")), "docs/errors.md: {code} does not name {status}");
    }
}

/// Every code in the sources of the routes is described. (The demo's routes are no API.)
#[test]
fn every_code_of_the_sources_is_described() {
    let described: BTreeSet<String> = [PUBLIC, ADMIN].iter().flat_map(|text| answers(&parse(text))).collect();
    let codes: BTreeSet<&str> = described.iter().filter_map(|answer| answer.split(' ').nth(3)).collect();
    let mut seen = 0;
    for (file, text) in crate::layering::rust_files("src/http") {
        if file.starts_with("dev") || file == std::path::Path::new("dev.rs") {
            continue;
        }
        let parts: Vec<&str> = text.split("#[cfg(test)]\nmod tests {").next().unwrap().split('"').collect();
        for (before, literal) in parts.iter().zip(&parts[1..]) {
            let before = before.trim_end();
            let last = before.rsplit(['(', '\n', ' ']).next().unwrap_or("");
            // The rest is said to people.
            let is_code = literal.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if !is_code {
                continue;
            }
            if before.ends_with("bad_request(") || (last.starts_with("StatusCode::") && last.ends_with(',')) {
                // Of a path's own: no described operation has them.
                assert!(codes.contains(literal) || *literal == "method_not_allowed", "{}: {literal}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// Collects what was answered.
struct Seen {
    described: BTreeSet<String>,
    answers: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, operation: &str, status: u16, code: &str) {
        let answer = format!("{operation} {status} {code}");
        assert!(self.described.contains(answer.trim_end()), "{answer} is not described");
        self.answers.insert(answer.trim_end().to_owned());
    }

    /// Sends a whole request to the public listener; it has to be answered so.
    async fn raw(&mut self, relay: &Relay, operation: &str, request: &str, status: u16, code: &str) -> RawAnswer {
        let answer = Raw::say(relay.address, request).await.answer().await.unwrap_or_else(|| panic!("no answer to {request}"));
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let said = body["error"]["code"].as_str().unwrap_or("");
        assert_eq!((answer.status, said), (status, code), "{operation}: {request:.300}");
        self.note(operation, status, code);
        answer
    }
}

fn request(method: &str, target: &str, lines: &[&str], body: &str) -> String {
    let lines: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

const JSON: &str = "Content-Type: application/json";
const STRANGER: &str = "Origin: https://evil.example";

async fn webhooks(relay: &Relay, seen: &mut Seen) {
    let good = json!({"account": "42", "platform": "acme"}).to_string();
    let signature = |body: &str| format!("X-Signature: {}", sign(body.as_bytes()));
    let stamped = |t: &str| format!("Acme-Signature: t={t},v1={}", sign(format!("{t}.{good}").as_bytes()));
    let wrong = format!("X-Signature: {}", "0".repeat(64));
    let (old, never) = (stamped("1600000000"), stamped("soon"));
    let no_time = format!("Acme-Signature: v1={}", sign(format!(".{good}").as_bytes()));
    for (operation, path) in [("POST /hooks/{source}", "/hooks/claimr"), ("POST /hooks/{source}/{scope}", "/hooks/claimr/a")] {
        let pinned = path.replace("claimr", "stamped");
        let (signed, broken) = (signature(&good), signature("no json"));
        let stranger = path.replace("claimr", "stranger");
        for (target, lines, body, status, code) in [
            (path, &[JSON, &signed][..], good.as_str(), 200, ""),
            (path, &[JSON, &broken], "no json", 400, "payload_invalid"),
            (path, &[JSON], &good, 401, "signature_missing"),
            (path, &[JSON, &wrong], &good, 401, "signature_invalid"),
            (path, &[JSON, &old], &good, 401, "timestamp_stale"),
            (&pinned, &[JSON, &never], &good, 401, "timestamp_malformed"),
            (&pinned, &[JSON, &no_time], &good, 401, "timestamp_missing"),
            (&stranger, &[JSON, &signed], &good, 404, "source_unknown"),
            (path, &[JSON, &signed], &"x".repeat(262_145), 413, "body_too_large"),
            (path, &["Content-Type: text/plain", &signed], &good, 415, "content_unsupported"),
        ] {
            seen.raw(relay, operation, &request("POST", target, lines, body), status, code).await;
        }
        let chunked =
            |chunks: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        seen.raw(relay, operation, &chunked("g\r\n"), 400, "body_broken").await;
        seen.raw(relay, operation, &chunked("5\r\n"), 408, "body_timeout").await;
    }
    let no_scope = request("POST", "/hooks/claimr/%20", &[JSON], "{}");
    seen.raw(relay, "POST /hooks/{source}/{scope}", &no_scope, 404, "not_found").await;
}

async fn streams(relay: &Relay, seen: &mut Seen) {
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let good = bearer(&token("42"));
    let expired = bearer(&token_with(&json!({"sub": "42", "exp": unix_now() - 90})));
    let revoked = bearer(&token("66"));
    relay.ask_admin("POST", "/admin/v1/revocations", &json!({"user": "acme:66"})).await;
    let origin = format!("Origin: {ORIGIN}");
    let of_page = [("authorization", good.trim_start_matches("Authorization: ")), ("origin", ORIGIN)];
    let ticket = relay.post("/v1/tickets", &of_page, b"").await.body["ticket"].as_str().unwrap().to_owned();
    let (in_url, with_ticket) = (format!("?token={}", token("42")), format!("?ticket={ticket}"));
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    let (version, key) = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    let [connection, websocket] = upgrade;
    for (operation, query, lines, status, code) in [
        ("GET /v1/ws", "", &[connection, websocket, version, key][..], 101, ""),
        ("GET /v1/ws", "", &[connection, websocket, version], 400, "websocket_key"),
        ("GET /v1/ws", &in_url, &[connection, websocket, version, key], 400, "token_in_url"),
        ("GET /v1/ws", "", &[connection, websocket, version, key, STRANGER], 403, "origin_not_allowed"),
        ("GET /v1/ws", "", &[], 426, "upgrade_required"),
        ("GET /v1/ws", "", &[connection, websocket, "Sec-WebSocket-Version: 8", key], 426, "websocket_version"),
        ("GET /v1/sse", "", &[&good], 200, ""),
        ("GET /v1/sse", &in_url, &[], 400, "token_in_url"),
        ("GET /v1/sse", "?types=,", &[&good], 400, "types_invalid"),
        ("GET /v1/sse", "?since=never", &[&good], 400, "since_invalid"),
        ("GET /v1/sse", "", &[], 401, "token_missing"),
        ("GET /v1/sse", "", &[&expired], 401, "token_expired"),
        ("GET /v1/sse", "?ticket=x", &[], 401, "token_rejected"),
        ("GET /v1/sse", "", &[&revoked], 401, "token_revoked"),
        ("GET /v1/sse", "", &[&good, STRANGER], 403, "origin_not_allowed"),
        ("GET /v1/sse", &with_ticket, &["Origin: https://other.example"], 403, "ticket_origin"),
        ("OPTIONS /v1/sse", "", &[&origin], 204, ""),
        ("OPTIONS /v1/sse", "", &[STRANGER], 403, "origin_not_allowed"),
        ("POST /v1/tickets", "", &[&good], 200, ""),
        ("POST /v1/tickets", &in_url, &[&good], 400, "token_in_url"),
        ("POST /v1/tickets", "", &[], 401, "token_missing"),
        ("POST /v1/tickets", "", &[&expired], 401, "token_expired"),
        ("POST /v1/tickets", "", &["Authorization: Bearer x"], 401, "token_rejected"),
        ("POST /v1/tickets", "", &[&revoked], 401, "token_revoked"),
        ("POST /v1/tickets", "", &[&good, STRANGER], 403, "origin_not_allowed"),
        ("OPTIONS /v1/tickets", "", &[&origin], 204, ""),
        ("OPTIONS /v1/tickets", "", &[STRANGER], 403, "origin_not_allowed"),
    ] {
        let (method, path) = operation.split_once(' ').unwrap();
        let answer = seen.raw(relay, operation, &request(method, &format!("{path}{query}"), lines, ""), status, code).await;
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
    }
}

/// What no route sees.
async fn edges(relay: &Relay, seen: &mut Seen) {
    let operations: BTreeSet<String> =
        seen.described.iter().map(|answer| answer.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    for operation in operations {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace("{source}", "claimr").replace("{scope}", "a");
        let head = |target: &str, lines: &str| format!("{method} {target} HTTP/1.1\r\n{lines}\r\n");
        for (request, status, code) in [
            (head(&path, "Host: a b\r\n"), 400, "host_invalid"),
            (head(&path, "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"), 400, "framing_invalid"),
            (head(&format!("{path}?{}", "x".repeat(8_192)), "Host: a\r\n"), 414, "uri_too_long"),
            (head(&path, &format!("Host: a\r\n{}", "x: y\r\n".repeat(64))), 431, "too_many_headers"),
        ] {
            seen.raw(relay, &operation, &request, status, code).await;
        }
    }
}

/// Nodes and users that are full.
async fn limits(seen: &mut Seen) {
    for (setting, code) in
        [("sessions_per_address_max", "too_many_sessions_of_address"), ("sessions_per_user_max", "too_many_sessions")]
    {
        let relay = Relay::with(&format!("limits.{setting} = 1")).await;
        let _first = WebSocket::open(&relay, Dial::token(&token("42"))).await;
        let (status, body) = Sse::dial(&relay, Dial::token(&token("42"))).await.err().unwrap();
        assert_eq!((status, body["error"]["code"].as_str()), (429, Some(code)));
        seen.note("GET /v1/sse", status, code);
        if let Err(status) = WebSocket::dial(relay.address, Dial::token(&token("42"))).await {
            seen.note("GET /v1/ws", status, code);
        }
    }
    let relay = Relay::with("limits.sessions_max = 1").await;
    let _first = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let (status, body) = Sse::dial(&relay, Dial::token(&token("43"))).await.err().unwrap();
    seen.note("GET /v1/sse", status, body["error"]["code"].as_str().unwrap());
}

#[tokio::test]
async fn every_answer_of_the_public_listener_is_described_and_every_description_happens() {
    let origins = format!("server.allowed_origins = [\"{ORIGIN}\", \"https://other.example\"]");
    let stamped = "[[sources]]\nname = \"stamped\"\nsecrets = [{ value = \"hook-secret-of-the-tests\" }]\n\
        signature = { scheme = \"stripe\", header = \"Acme-Signature\" }\n";
    let relay = Relay::with(&format!("{origins}\nlimits.read_timeout_s = 1\n{stamped}")).await;
    let mut seen = Seen { described: answers(&parse(PUBLIC)), answers: BTreeSet::new() };
    webhooks(&relay, &mut seen).await;
    streams(&relay, &mut seen).await;
    edges(&relay, &mut seen).await;
    limits(&mut seen).await;
    let never: Vec<_> = seen.described.difference(&seen.answers).map(String::as_str).collect();
    assert_eq!(never.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(SHOWN_ELSEWHERE));
}
