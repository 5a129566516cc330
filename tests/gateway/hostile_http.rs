//! HTTP that no client library would write, and the exact answer to each: cases A6, C2 to C5 on raw sockets.

use crate::harness::{Raw, Relay, event, sign, token, until};

const PATH: &str = "/hooks/claimr/user_activity";

/// A signed webhook with these framing headers, which say how the body after them is framed.
fn webhook(n: usize, framing: impl Fn(&str) -> (String, String)) -> String {
    let body = event("42", n).to_string();
    let signature = sign(body.as_bytes());
    let (headers, body) = framing(&body);
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Signature: {signature}\r\n{headers}\r\n{body}"
    )
}

fn by_length(body: &str) -> (String, String) {
    (format!("Content-Length: {}\r\n", body.len()), body.to_owned())
}

fn in_chunks(body: &str) -> (String, String) {
    let (head, tail) = body.split_at(body.len() / 3);
    let chunks = format!("{:x}\r\n{head}\r\n{:X};x=y\r\n{tail}\r\n0\r\nDigest: 1\r\n\r\n", head.len(), tail.len());
    ("Transfer-Encoding: chunked\r\n".to_owned(), chunks)
}

/// Sends it, takes the answer, and sees that the connection is closed after it although more requests are waiting on it.
async fn refused(relay: &Relay, request: &str, status: u16) {
    let good = webhook(99, by_length);
    let mut raw = Raw::say(relay.address, [request, &good].concat()).await;
    let answer = raw.answer().await.unwrap_or_else(|| panic!("no answer to {request:.80?}"));
    assert_eq!(answer.status, status, "{request:.200?}: {answer:?}");
    let rest = raw.rest().await;
    assert!(rest.is_empty(), "{request:.200?}: {}", String::from_utf8_lossy(&rest));
}

/// C4.
#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let relay = Relay::start().await;
    let framed = |headers: &'static str, body: &'static str| webhook(1, move |_| (headers.to_owned(), body.to_owned()));
    let chunks = |chunks: &'static str| framed("Transfer-Encoding: chunked\r\n", chunks);
    let head = |lines: &str| format!("GET /v1/sse HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for request in [
        framed("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        framed("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        framed("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
        framed("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
        framed("Content-Length: 2, 2\r\n", "{}"),
        framed("Content-Length: +2\r\n", "{}"),
        framed("Content-Length: -1\r\n", "{}"),
        framed("Content-Length: 0x2\r\n", "{}"),
        framed("Content-Length: 99999999999999999999\r\n", "{}"),
        framed("Content-Length:\r\n", "{}"),
        framed("Content-Length : 2\r\n", "{}"),
        framed("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        framed("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        framed("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        framed("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        framed("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        framed("Transfer-Encoding:\u{b}chunked\r\n", "0\r\n\r\n"),
        chunks("g\r\n{}\r\n0\r\n\r\n"),
        chunks("-2\r\n{}\r\n0\r\n\r\n"),
        chunks("+2\r\n{}\r\n0\r\n\r\n"),
        chunks("0x2\r\n{}\r\n0\r\n\r\n"),
        chunks(" 2\r\n{}\r\n0\r\n\r\n"),
        chunks("\r\n{}\r\n0\r\n\r\n"),
        chunks("2\n{}\r\n0\r\n\r\n"),
        chunks("2;x\n{}\r\n0\r\n\r\n"),
        chunks("2\r\n{}0\r\n\r\n"),
        chunks("2\r\n{}\n0\r\n\r\n"),
        chunks("10000000000000000\r\n{}\r\n0\r\n\r\n"),
        chunks("0\r\nx: y\n\r\n"),
        head("x: y\n"),
        head("x: y\r\n folded\r\n"),
        head(" folded: x\r\n"),
        head("x: \0\r\n"),
        head("x\0: y\r\n"),
        head("x: y\rz\r\n"),
        head("x : y\r\n"),
        head(": y\r\n"),
        head("no colon\r\n"),
        head("x@y: z\r\n"),
        "GET /v1/sse HTTP/1.1\nHost: a\n\n".to_owned(),
        "\nGET /v1/sse HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET  /v1/sse HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /v1/sse\r\n\r\n".to_owned(),
        "GET /v1/sse HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(),
        "GET /v1/\0 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".to_owned(),
    ] {
        refused(&relay, &request, 400).await;
    }
    assert!(relay.metric("claimr_relay_events_total").await < 1, "nothing slipped in behind any of them");
}

/// C3, and what only costs an answer.
#[tokio::test]
async fn heads_that_are_too_long_or_name_no_host_are_refused() {
    let relay = Relay::start().await;
    let get = |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\n{lines}\r\n");
    for (request, status) in [
        (get("/", ""), 400),
        (get("/", "Host: a\r\nHost: a\r\n"), 400),
        (get("/", "Host: a b\r\n"), 400),
        (get("/", "Host:\r\n"), 400),
        (get("/", "Host: a/b\r\n"), 400),
        (get("/", "Host: a@b\r\n"), 400),
        (get("/", &format!("Host: a\r\n{}", "x: y\r\n".repeat(64))), 431),
        (get("/", &format!("Host: a\r\n{}", "x: y\r\n".repeat(200))), 431),
        (get("/", &format!("Host: a\r\nx: {}\r\n", "y".repeat(17 * 1_024))), 431),
        (get(&format!("/{}", "x".repeat(9 * 1_024)), "Host: a\r\n"), 414),
        (get(&format!("/?{}", "x".repeat(9 * 1_024)), "Host: a\r\n"), 414),
    ] {
        refused(&relay, &request, status).await;
    }
    let most = format!("Host: a\r\nConnection: close\r\n{}", format!("x: {}\r\n", "y".repeat(200)).repeat(62));
    let mut raw = Raw::say(relay.address, get("/", &most)).await;
    assert_eq!(raw.answer().await.unwrap().status, 404, "64 fields are not too many");
    let mut old = Raw::say(relay.address, "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.answer().await.unwrap().status, 404, "HTTP/1.0 has no Host");
}

/// C3: twenty megabytes of header, a piece at a time. The answer comes after 16 KiB, and nothing after it is looked at.
#[tokio::test]
async fn an_endless_header_is_cut_off_at_its_limit() {
    let relay = Relay::start().await;
    for lines in ["x: y\r\n", "x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", "\r\n"] {
        let mut raw = Raw::say(relay.address, if lines == "\r\n" { "" } else { "GET / HTTP/1.1\r\nHost: a\r\n" }).await;
        let (piece, mut sent) = (lines.repeat(512 / lines.len()), 0);
        while sent < 20_000_000 && raw.send(&piece).await {
            sent += piece.len();
        }
        assert!(sent < 1_000_000, "{lines:?}: {sent} bytes were taken");
        assert_eq!(raw.answer().await.map(|answer| answer.status), Some(431), "{lines:?}");
    }
}

/// C4.
#[tokio::test]
async fn pipelined_webhooks_are_answered_in_order_however_they_are_cut() {
    let relay = Relay::start().await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut n = 0;
    for _ in 0..20 {
        let framings = [by_length, in_chunks, by_length];
        let requests: String = framings
            .map(|framing| {
                webhook(
                    {
                        n += 1;
                        n
                    },
                    framing,
                )
            })
            .concat();
        let mut raw = Raw::connect(relay.address).await;
        let mut left = requests.as_bytes();
        while !left.is_empty() {
            let (piece, rest) = left.split_at(random.usize(1..=left.len().min(400)));
            assert!(raw.send(piece).await);
            left = rest;
        }
        let mut seqs = Vec::new();
        for _ in 0..3 {
            let answer = raw.answer().await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["duplicate"], false, "{body}");
            seqs.push(body["ids"][0].as_str().unwrap().split_once(':').unwrap().1.parse::<u64>().unwrap());
        }
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    let good = webhook(1_000, by_length);
    let mut raw = Raw::say(relay.address, format!("{good}POST {PATH} HTTP/1.1\nHost: a\r\n\r\n{good}")).await;
    assert_eq!(raw.answer().await.unwrap().status, 200, "what came before the bad one is answered first");
    assert_eq!(raw.answer().await.unwrap().status, 400);
    assert!(raw.rest().await.is_empty());
}

/// A6: what is too large is answered at once and not read to its end.
#[tokio::test]
async fn a_body_without_end_is_answered_413_and_not_read() {
    const READ_MAX: usize = 512 * 1_024;
    /// What this side's kernel takes without the other having read it, and the other's (see `listener.rs`); both are doubled by Linux.
    const QUEUED_MAX: usize = 2 * (16 + 64) * 1_024;
    let relay = Relay::start().await;
    let announced = webhook(1, |_| ("Content-Length: 10737418240\r\n".to_owned(), String::new()));
    assert_eq!(Raw::say(relay.address, announced).await.answer().await.unwrap().status, 413);

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 * 1_024).unwrap();
    let mut raw = Raw::over(socket.connect(relay.address).await.unwrap());
    assert!(raw.send(webhook(1, |_| ("Transfer-Encoding: chunked\r\n".to_owned(), String::new()))).await);
    let (chunk, mut sent) = (format!("400\r\n{}\r\n", "x".repeat(1_024)), 0);
    while raw.send(&chunk).await {
        sent += chunk.len();
        assert!(sent < READ_MAX + QUEUED_MAX, "{sent} bytes were taken");
    }
    let answer = raw.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
}

/// A6: what would inflate to a gigabyte is not even looked at.
#[tokio::test]
async fn nothing_is_inflated() {
    let relay = Relay::start().await;
    for coding in ["gzip", "br", "zstd", "identity", "x"] {
        let bomb = webhook(1, |_| (format!("Content-Encoding: {coding}\r\nContent-Length: 4\r\n"), "\u{1f}\u{8b}".to_owned()));
        assert_eq!(Raw::say(relay.address, bomb).await.answer().await.unwrap().status, 415, "{coding}");
    }
}

/// A7: every method on every path; a redirect or a 410 would make senders disable the endpoint.
#[tokio::test]
async fn nothing_redirects_is_gone_or_fails() {
    let relay = Relay::start().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "POST", "X"] {
        for path in
            ["/", "/hooks", "/hooks/", PATH, "/hooks/stranger", "//hooks/claimr", "/hooks/../x", "/v1/ws", "/v1/sse/", "*"]
        {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            let status = Raw::say(relay.address, &request).await.rest().await;
            let status: u16 = String::from_utf8_lossy(&status)[9..12].parse().unwrap();
            assert!((400..500).contains(&status) && status != 410 || (method, status) == ("OPTIONS", 204), "{request}: {status}");
        }
    }
    let get = Raw::say(relay.address, format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n\r\n")).await.answer().await.unwrap();
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
}

/// C1 (the rest is in tokens.rs), C2.
#[tokio::test]
async fn a_handshake_has_one_key_one_version_and_one_method() {
    let relay = Relay::start().await;
    let good =
        ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
    let authorization = format!("Authorization: Bearer {}", token("42"));
    // (line of the good handshake to leave out, lines to add, method, status)
    for (without, with, method, status) in [
        ("", "", "GET", 101),
        ("", "Origin: https://app.example.com", "GET", 101),
        ("Connection", "Connection: keep-alive, UPGRADE", "GET", 101),
        ("Upgrade", "Upgrade: WebSocket", "GET", 101),
        ("", "Origin: null", "GET", 403),
        ("", "Origin: https://app.example.com\r\nOrigin: https://app.example.com", "GET", 403),
        ("Sec-WebSocket-Key", "", "GET", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key:", "GET", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j", "GET", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWQ=", "GET", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==", "GET", 400),
        ("", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "GET", 400),
        ("Sec-WebSocket-Version", "", "GET", 426),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", "GET", 426),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8", "GET", 426),
        ("", "Sec-WebSocket-Version: 8", "GET", 426),
        ("Connection", "", "GET", 426),
        ("Upgrade", "", "GET", 426),
        ("Upgrade", "Upgrade: h2c", "GET", 426),
        ("", "Content-Length: 0", "POST", 405),
    ] {
        let kept = good.iter().filter(|line| without.is_empty() || line.split(':').next() != Some(without));
        let lines: Vec<&str> = kept.copied().chain([with, &authorization]).filter(|line| !line.is_empty()).collect();
        let request = format!("{method} /v1/ws HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", lines.join("\r\n"));
        let answer = Raw::say(relay.address, &request).await.answer().await.unwrap();
        assert_eq!(answer.status, status, "{request}{answer:?}");
        if status == 426 {
            assert_eq!(answer.header("upgrade"), Some("websocket"), "{answer:?}");
        }
        if without == "Sec-WebSocket-Version" {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{answer:?}");
        }
    }
    let plain = Raw::say(relay.address, "GET /v1/ws HTTP/1.1\r\nHost: a\r\n\r\n").await.answer().await.unwrap();
    assert_eq!(plain.status, 426);
    until("the accepted ones are gone", async || relay.hub.sessions() == 0).await;
}

/// C5.
#[tokio::test]
async fn nothing_of_the_operators_is_on_the_public_port() {
    let relay = Relay::start().await;
    for path in
        ["/metrics", "/admin", "/admin/v1/connections", "/healthz", "/readyz", "/openapi.json", "/dev", "/metrics/", "/./metrics"]
    {
        let answer = Raw::say(relay.address, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await.answer().await.unwrap();
        assert_eq!(answer.status, 404, "{path}");
    }
}
