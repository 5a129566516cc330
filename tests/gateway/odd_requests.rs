//! Requests and payloads that are odd, and that no client of ours sends: who looks for a way in sends them. Each has one exact answer.
//!
//! Everything goes over raw sockets, and on connections that end with the answer or show that they do not.

use serde_json::Value;

use crate::harness::{Raw, RawAnswer, RawSocket, Relay, event, sign, token};

const ORIGIN: &str = "Origin: https://app.example.com\r\n";
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn bearer(user: &str) -> String {
    format!("Authorization: Bearer {}\r\n", token(user))
}

fn request(method: &str, target: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// A signed webhook with these lines after the usual ones.
fn webhook(path: &str, lines: &str, body: &str) -> String {
    let signed = format!("Content-Type: application/json\r\nX-Signature: {}\r\n", sign(body.as_bytes()));
    request("POST", path, &format!("{signed}{lines}Content-Length: {}\r\n", body.len())) + body
}

/// The same in one chunk, between what stands behind its size and what ends the body.
fn chunked(body: &str, extension: &str, end: &str) -> String {
    let signed = format!("Content-Type: application/json\r\nX-Signature: {}\r\n", sign(body.as_bytes()));
    let head = request("POST", "/hooks/claimr", &format!("{signed}Transfer-Encoding: chunked\r\n"));
    format!("{head}{:x}{extension}\r\n{body}\r\n{end}", body.len())
}

async fn answer(relay: &Relay, request: &str) -> RawAnswer {
    Raw::say(relay.address, request).await.answer().await.unwrap_or_else(|| panic!("no answer to {request:.200}"))
}

fn code(answer: &RawAnswer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    body["error"]["code"].as_str().unwrap_or_default().to_owned()
}

/// Asks each on a connection of its own; `""` where the answer is no error.
async fn answers(relay: &Relay, table: &[(String, u16, &str)]) {
    for (request, status, expected) in table {
        let answer = answer(relay, request).await;
        assert_eq!((answer.status, code(&answer).as_str()), (*status, *expected), "{request:.300}\n{answer:?}");
    }
}

#[tokio::test]
async fn a_path_is_read_as_it_stands_and_what_is_no_text_names_nothing() {
    let relay = Relay::start().await;
    let hook = |path: &str, n| webhook(path, "", &event("42", n).to_string());
    answers(
        &relay,
        &[
            (hook("/hooks/claimr/user%5Factivity", 1), 200, ""),
            (hook("/hooks/%63laimr", 2), 200, ""),
            (hook("/hooks/%ff", 3), 404, "not_found"),
            (hook("/hooks/claimr/%ff%fe", 3), 404, "not_found"),
            (hook("/hooks/claimr/%f", 3), 404, "not_found"),
            (hook("/hooks/claimr/a%00b", 3), 404, "not_found"),
            (hook("/hooks/claimr%2Fuser_activity", 3), 404, "source_unknown"),
            (hook("/hooks/claimr;x=1", 3), 404, "source_unknown"),
            (hook("/hooks/./claimr", 3), 404, "source_unknown"),
            (hook("/%68ooks/claimr", 3), 404, "not_found"),
            (hook("//hooks/claimr", 3), 404, "not_found"),
            (request("GET", "/v1/%73se", &bearer("42")), 404, "not_found"),
            (request("GET", "/v1/sse?types=%zz", &bearer("42")), 400, "types_invalid"),
            (request("GET", "/v1/sse?types=%ff", &bearer("42")), 400, "types_invalid"),
            (request("OPTIONS", "*", ""), 404, "not_found"),
        ],
    )
    .await;
    assert_eq!(relay.metric("claimr_relay_events_total").await, 2);
    for target in ["/admin/v1/users/%ff", "/admin/v1/users/%ff/sessions", "/admin/v1/events/%ff/replay"] {
        let method = if target.ends_with("sessions") {
            "DELETE"
        } else if target.ends_with("replay") {
            "POST"
        } else {
            "GET"
        };
        let ask = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nX-Claimr-Relay: 1\r\nContent-Length: 0\r\n\r\n");
        let answer = Raw::say(relay.admin, ask).await.answer().await.unwrap();
        assert_eq!((answer.status, code(&answer).as_str()), (400, "request_invalid"), "{target}: {answer:?}");
    }
}

/// A target may be a whole URL. Its host is the one that counts, so there must be no other.
#[tokio::test]
async fn a_target_that_is_a_whole_url_names_the_host_that_the_header_names() {
    let relay = Relay::start().await;
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let body = event("42", 1).to_string();
    answers(
        &relay,
        &[
            (get("http://a/v1/sse", "a"), 401, "token_missing"),
            (get("http://A:80/v1/sse", "a:80"), 401, "token_missing"),
            (get("http://evil/v1/sse", "a"), 400, "host_invalid"),
            (get("http://a:81/v1/sse", "a"), 400, "host_invalid"),
            (get("http://u:p@a/v1/sse", "a"), 400, "host_invalid"),
            (get(&format!("http://{}/v1/sse", "a".repeat(8_192)), "a"), 414, "uri_too_long"),
            (webhook("http://a/hooks/claimr", "", &body), 200, ""),
            (webhook("http://b/hooks/claimr", "", &body), 400, "host_invalid"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_token_is_refused_wherever_it_stands_in_a_url_and_is_in_no_answer() {
    let relay = Relay::start().await;
    let jwt = token("42");
    let escaped = jwt.replace('.', "%2E");
    for query in [
        jwt.clone(),
        format!("{jwt}=1"),
        format!("x={escaped}"),
        format!("a;token={jwt}"),
        format!("last_event_id={jwt}"),
        format!("ticket={jwt}"),
        "%74oken=x".to_owned(),
        "TOKEN=x".to_owned(),
    ] {
        let bearer = bearer("42");
        answers(
            &relay,
            &[
                (request("GET", &format!("/v1/sse?{query}"), &bearer), 400, "token_in_url"),
                (request("GET", &format!("/v1/ws?{query}"), &format!("{WEBSOCKET}{bearer}")), 400, "token_in_url"),
                (
                    request("POST", &format!("/v1/tickets?{query}"), &format!("{bearer}Content-Length: 0\r\n")),
                    400,
                    "token_in_url",
                ),
            ],
        )
        .await;
    }
    // A protocol that is offered is echoed, so that a browser learns why it was sent away; but no token is.
    for protocol in [format!("Claimr.Bearer.{jwt}"), format!("CLAIMR.BEARER.{jwt}"), jwt.clone()] {
        for first in ["", "claimr.v1, "] {
            let offer = format!("{WEBSOCKET}Sec-WebSocket-Protocol: {first}{protocol}\r\n");
            let mut raw = Raw::say(relay.address, request("GET", "/v1/ws", &offer)).await;
            let answer = raw.answer().await.unwrap();
            let echoed = (!first.is_empty()).then_some("claimr.v1");
            assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, echoed), "{protocol}");
            assert_eq!(RawSocket(raw).closed().await, 4101, "{protocol}");
        }
    }
}

#[tokio::test]
async fn fields_that_stand_twice_or_say_two_things_are_not_believed() {
    let relay = Relay::start().await;
    let (hook, sse) = (|lines: &str| webhook("/hooks/claimr", lines, "{}"), |lines: &str| request("GET", "/v1/sse", lines));
    let good = bearer("42");
    answers(
        &relay,
        &[
            (sse(&[good.as_str(), &good].concat()), 401, "token_rejected"),
            (sse(&[good.as_str(), &bearer("43").replace("Authorization", "aUTHORIZATION")].concat()), 401, "token_rejected"),
            (sse(&good.replace("Bearer ", "Bearer\t")), 401, "token_rejected"),
            (sse(&good.replace("\r\n", " x\r\n")), 401, "token_rejected"),
            (sse("Authorization: Basic YTpi\r\n"), 401, "token_rejected"),
            (sse(&[good.as_str(), ORIGIN, ORIGIN].concat()), 403, "origin_not_allowed"),
            (sse(&[&good, "Origin: https://app.example.com, https://app.example.com\r\n"].concat()), 403, "origin_not_allowed"),
            (sse(&[&good, "Origin: HTTPS://APP.EXAMPLE.COM\r\n"].concat()), 403, "origin_not_allowed"),
            (sse(&[&good, "Origin: https://app.example.com:443\r\n"].concat()), 403, "origin_not_allowed"),
            (sse(&[&good, "Origin: https://app.example.com/\r\n"].concat()), 403, "origin_not_allowed"),
            (sse(&[&good, "Origin:\r\n"].concat()), 403, "origin_not_allowed"),
            (hook("Content-Type: text/plain\r\n"), 415, "content_unsupported"),
            (hook("Content-Type: application/json\r\n"), 415, "content_unsupported"),
            (hook("Content-Encoding:\r\n"), 415, "content_unsupported"),
            (hook("").replace("/json", "/json, text/plain"), 415, "content_unsupported"),
            (hook("").replace("Content-Type: application/json", "CONTENT-type: APPLICATION/Json ; charset=UTF-8"), 200, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_told_which_it_does() {
    let relay = Relay::start().await;
    for (path, allow) in
        [("/hooks/claimr", "POST"), ("/v1/ws", "GET,HEAD"), ("/v1/sse", "GET,HEAD,OPTIONS"), ("/v1/tickets", "POST,OPTIONS")]
    {
        for method in ["PUT", "DELETE", "PATCH", "TRACE", "X", "get"] {
            let answer = answer(&relay, &request(method, path, "")).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
        }
    }
    // An answer to HEAD has no body, and the next request is read where it begins.
    for (path, status) in [("/hooks/claimr", 405), ("/v1/tickets", 405), ("/v1/ws", 426), ("/v1/sse", 401), ("/nothing", 404)] {
        let both = request("HEAD", path, "") + &request("GET", "/nothing", "Connection: close\r\n");
        let text = String::from_utf8(Raw::say(relay.address, both).await.rest().await).unwrap();
        let heads: Vec<_> = text.split("HTTP/1.1 ").skip(1).map(|head| &head[..3]).collect();
        assert_eq!(heads, [status.to_string().as_str(), "404"], "{path}: {text}");
        assert_eq!(text.matches("{\"error\"").count(), 1, "{path}: {text}");
    }
    let upgrade = request("HEAD", "/v1/ws", &format!("{WEBSOCKET}{}Connection: close\r\n", bearer("42")));
    let text = String::from_utf8(Raw::say(relay.address, upgrade).await.rest().await).unwrap();
    assert!(text.starts_with("HTTP/1.1 426 "), "{text}");
}

#[tokio::test]
async fn a_body_may_be_framed_oddly_but_not_endlessly() {
    let relay = Relay::start().await;
    let body = |n| event("42", n).to_string();
    let expect = |lines: &str, n| webhook("/hooks/claimr", &format!("Expect: 100-continue\r\n{lines}"), &body(n));
    answers(
        &relay,
        &[
            (chunked(&body(1), "", "0\r\nX-Signature: 00\r\nContent-Length: 5\r\n\r\n"), 200, ""),
            (chunked(&body(2), "", "000\r\n\r\n"), 200, ""),
            (chunked(&body(3), &format!(";{}", "e".repeat(8_192)), "0\r\n\r\n"), 200, ""),
            (chunked(&body(4), ";a=\"", "0\r\n\r\n"), 200, ""),
            (chunked(&body(5), &format!(";{}", "e".repeat(40_000)), "0\r\n\r\n"), 400, "body_broken"),
            (chunked(&body(5), "", &format!("0\r\na: {}\r\n\r\n", "b".repeat(30_000))), 400, "body_broken"),
            (chunked(&body(5), "", &format!("0\r\n{}\r\n", "a: b\r\n".repeat(2_000))), 400, "body_broken"),
            (webhook("/hooks/claimr", "Expect: 200-maybe\r\n", &body(5)), 200, ""),
            (expect("Content-Encoding: gzip\r\n", 6), 415, "content_unsupported"),
            (
                request(
                    "POST",
                    "/hooks/claimr",
                    "Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n",
                ),
                413,
                "body_too_large",
            ),
            (request("POST", "/v1/tickets", &format!("{}Content-Length: 10000000000\r\n", bearer("42"))), 200, ""),
        ],
    )
    .await;
    // Who asks whether to go on is told so first, and then has an answer.
    let mut raw = Raw::say(relay.address, expect("", 6)).await;
    assert_eq!(raw.answer().await.unwrap().status, 100);
    assert_eq!(raw.answer().await.unwrap().status, 200);
    // A body that nobody wants is skipped, and the next request is read where it begins.
    let next = webhook("/hooks/claimr", "", &body(7));
    for unwanted in [webhook("/hooks/nobody", "", &body(8)), request("PUT", "/hooks/claimr", "Content-Length: 5\r\n") + "hello"] {
        let mut raw = Raw::say(relay.address, unwanted + &next).await;
        assert!(matches!(raw.answer().await.unwrap().status, 404 | 405));
        assert_eq!(raw.answer().await.unwrap().status, 200);
    }
    assert_eq!(relay.metric("claimr_relay_events_total").await, 7);
}

/// The bytes of a body would be a part of the request for whoever is in front, and the first of the WebSocket for us.
#[tokio::test]
async fn a_handshake_has_no_body_and_becomes_nothing_but_a_websocket() {
    let relay = Relay::start().await;
    let ws = |lines: &str| request("GET", "/v1/ws", &format!("{WEBSOCKET}{}{lines}", bearer("42")));
    answers(
        &relay,
        &[
            (ws("Content-Length: 5\r\n") + "hello", 400, "framing_invalid"),
            (ws("Content-Length: 5\r\n"), 400, "framing_invalid"),
            (ws("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400, "framing_invalid"),
            (ws("Upgrade: h2c\r\n").replace("Upgrade: websocket\r\n", ""), 426, "upgrade_required"),
            (ws("").replace("websocket", "h2c, websocket"), 426, "upgrade_required"),
            (ws("").replace("HTTP/1.1", "HTTP/1.0"), 426, "upgrade_required"),
            (ws("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400, "websocket_key"),
        ],
    )
    .await;
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let answer = answer(&relay, &request("GET", "/v1/sse", h2c)).await;
    assert_eq!((answer.status, answer.header("upgrade")), (401, None));
    for (lines, echoed) in [
        ("Content-Length: 0\r\n", None),
        ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n", None),
        ("Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol:  ,, claimr.v1 ,\r\n", Some("claimr.v1")),
    ] {
        let mut raw = Raw::say(relay.address, ws(lines)).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, echoed), "{lines}");
        assert_eq!(answer.header("sec-websocket-extensions"), None);
        assert_eq!(RawSocket(raw).frame().await.unwrap().0, 1, "{lines}");
    }
}

/// Other protocols on the plain port: an answer that says so, or an end.
#[tokio::test]
async fn what_speaks_another_protocol_is_sent_away() {
    let relay = Relay::start().await;
    let hello = [&[0x16, 3, 1, 0, 0xc8, 1, 0, 0, 0xc4, 3, 3][..], &[b'\n'; 200]].concat();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let proxy2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[1; 12]].concat();
    for (bytes, status) in [
        (hello, Some(400)),
        (http2, None),
        (proxy2, Some(400)),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Some(400)),
        (b"SSH-2.0-x\r\n\r\n".to_vec(), Some(400)),
        (b"EHLO x\r\n\r\n".to_vec(), Some(400)),
        (b"*1\r\n$4\r\nPING\r\n".to_vec(), Some(400)),
        (b"\x80\x2e\x01\x00\x02\x00\x15\r\n".to_vec(), Some(400)),
    ] {
        let mut raw = Raw::say(relay.address, &bytes).await;
        assert_eq!(raw.answer().await.map(|answer| answer.status), status, "{}", bytes.escape_ascii());
        assert!(raw.rest().await.is_empty(), "{}", bytes.escape_ascii());
    }
}

/// Each bound of a payload to the last byte and level, and what is JSON for some readers only.
#[tokio::test]
async fn a_payload_is_taken_up_to_its_bounds_and_not_beyond() {
    let relay = Relay::start().await;
    let with = |n: usize, rest: &str| format!(r#"{{"account":"42","platform":"acme","event_xp":{n}{rest}}}"#);
    let nested = |n: usize, levels: usize| with(n, &format!(r#","d":{}{}"#, "[".repeat(levels), "]".repeat(levels)));
    let sized = |n: usize, bytes: usize| {
        let empty = with(n, r#","x":"""#).len();
        with(n, &format!(r#","x":"{}""#, "x".repeat(bytes - empty)))
    };
    let list = |n: usize| format!("[{}]", (0..n).map(|i| with(10_000 + i, "")).collect::<Vec<_>>().join(","));
    let mut table = vec![
        (nested(1, 63), 200, ""),
        (nested(2, 64), 400, "payload_invalid"),
        (sized(3, 262_144), 200, ""),
        (sized(4, 262_145), 413, "body_too_large"),
        (list(1_000), 200, ""),
        (list(1_001), 400, "payload_invalid"),
        (with(5, r#","__proto__":{"account":"43"},"constructor":1"#), 200, ""),
        (with(6, r#","":1,"\u0000":2"#), 200, ""),
        (with(7, r#","x":"\ud83d\ude00""#), 200, ""),
        (with(8, r#","x":1e-400,"y":-0,"z":18446744073709551616"#), 200, ""),
    ];
    for bad in [
        r#","__proto__":1,"__proto__":2"#,
        r#","\u0061ccount":"43""#,
        r#","d":{"a":1,"a":1}"#,
        r#","x":-1e400"#,
        r#","x":"\udc00\ud800""#,
        r#","\ud800":1"#,
        r#","x":01"#,
        r#","x":.5"#,
        r#","x":5."#,
        r#","x":-Infinity"#,
        ",\"x\":\"a\nb\"",
        r#","x":"\x41""#,
        ",",
        "/**/",
        "}\0{",
    ] {
        table.push((with(9, bad), 400, "payload_invalid"));
    }
    for (body, status, expected) in table {
        let answer = answer(&relay, &webhook("/hooks/claimr", "", &body)).await;
        assert_eq!((answer.status, code(&answer).as_str()), (status, expected), "{body:.120}");
    }
    assert_eq!(relay.metric("claimr_relay_events_total").await, 6 + 1_000);
}
