//! WebSocket frames that no client library would send, and the exact end of each: cases D1 and D2 on raw sockets.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::harness::{Process, RawSocket, Relay, frame, free_address, token, until};

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame's head that announces `length` bytes in the longest form, masked.
fn announces(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

fn in_fragments(payload: &[u8], bytes: usize) -> Vec<u8> {
    let mut frames = frame(TEXT, b"");
    for part in payload.chunks(bytes) {
        frames.extend(frame(CONTINUATION, part));
    }
    frames.extend(frame(FIN | CONTINUATION, b""));
    frames
}

/// D1.
#[tokio::test]
async fn a_broken_frame_ends_the_connection_with_its_code() {
    let relay = Relay::start().await;
    let unmasked = vec![FIN | TEXT, 2, b'{', b'}'];
    for (what, bytes, code) in [
        ("unmasked", unmasked, 1002),
        ("RSV1", frame(FIN | 0x40 | TEXT, b"{}"), 1002),
        ("RSV2", frame(FIN | 0x20 | TEXT, b"{}"), 1002),
        ("RSV3 of a ping", frame(FIN | 0x10 | PING, b""), 1002),
        ("opcode 3", frame(FIN | 0x3, b"{}"), 1002),
        ("opcode 7", frame(FIN | 0x7, b""), 1002),
        ("opcode 11", frame(FIN | 0xb, b""), 1002),
        ("opcode 15", frame(FIN | 0xf, b"{}"), 1002),
        ("stray continuation", frame(FIN | CONTINUATION, b"{}"), 1002),
        ("stray unfinished continuation", frame(CONTINUATION, b"{}"), 1002),
        ("text inside of a message", [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat(), 1002),
        ("fragmented ping", frame(PING, b"x"), 1002),
        ("fragmented close", frame(CLOSE, b""), 1002),
        ("ping of 126 bytes", frame(FIN | PING, &[0; 126]), 1002),
        ("pong of 126 bytes", frame(FIN | PONG, &[0; 126]), 1002),
        ("close of one byte", frame(FIN | CLOSE, &[3]), 1002),
        ("close of 126 bytes", close(1000, &[b'x'; 124]), 1002),
        ("close 0", close(0, b""), 1002),
        ("close 999", close(999, b""), 1002),
        ("close 1004", close(1004, b""), 1002),
        ("close 1005", close(1005, b""), 1002),
        ("close 1006", close(1006, b""), 1002),
        ("close 1015", close(1015, b""), 1002),
        ("close 1016", close(1016, b""), 1002),
        ("close 2999", close(2999, b""), 1002),
        ("close 5000", close(5000, b""), 1002),
        ("close 65535", close(65_535, b""), 1002),
        ("close with broken text", close(1000, b"\xce\xba\xe1"), 1007),
        ("not UTF-8", frame(FIN | TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80edited"), 1007),
        ("overlong UTF-8", frame(FIN | TEXT, b"\xc0\xaf"), 1007),
        ("a surrogate", frame(FIN | TEXT, b"\xed\xa0\x80"), 1007),
        ("UTF-8 that ends early", [frame(TEXT, b"\xce"), frame(FIN | CONTINUATION, b"")].concat(), 1007),
        ("binary", frame(FIN | BINARY, b"{}"), 1003),
        ("empty binary", frame(FIN | BINARY, b""), 1003),
        ("2^62 bytes", announces(FIN | TEXT, 1 << 62), 1009),
        ("2^62 bytes of binary", announces(FIN | BINARY, 1 << 62), 1009),
        ("2^62 bytes of ping", announces(FIN | PING, 1 << 62), 1009),
        ("2^63 bytes", announces(FIN | TEXT, 1 << 63), 1009),
        ("2^64 - 1 bytes", announces(FIN | TEXT, u64::MAX), 1009),
        ("4,097 bytes", frame(FIN | TEXT, &[b'x'; 4_097]), 1009),
        ("4,097 bytes in two", in_fragments(&[b'x'; 4_097], 4_000), 1009),
        ("4,097 bytes in a hundred", in_fragments(&[b'x'; 4_097], 41), 1009),
        ("4,097 bytes one by one", in_fragments(&[b'x'; 4_097], 1), 1009),
        ("a good close", close(1000, b"bye"), 1000),
        ("a close of their own", close(4999, b""), 4999),
        ("a close without a code", frame(FIN | CLOSE, b""), 1005),
    ] {
        let mut socket = RawSocket::open(relay.address, "42").await;
        // A frame after it must not matter.
        socket.send([bytes, frame(FIN | TEXT, b"{}")].concat()).await;
        assert_eq!(socket.closed().await, code, "{what}");
    }
    until("nobody is left behind", async || relay.hub.sessions() == 0 && relay.admission.sessions() == 0).await;
}

#[tokio::test]
async fn what_is_odd_but_allowed_is_taken() {
    let relay = Relay::start().await;
    let mut socket = RawSocket::open(relay.address, "42").await;
    // Control frames may come between fragments, and a message may be cut inside of a character.
    let text = r#"{"type":"$é"}"#.as_bytes();
    let (head, tail) = text.split_at(11);
    let ping = frame(FIN | PING, &[b'p'; 125]);
    socket
        .send(
            [frame(TEXT, head), ping, frame(FIN | PONG, b"x"), frame(CONTINUATION, tail), frame(FIN | CONTINUATION, b"")]
                .concat(),
        )
        .await;
    assert_eq!(socket.frame().await, Some((PONG, vec![b'p'; 125])));
    let (opcode, error) = socket.frame().await.unwrap();
    assert_eq!((opcode, String::from_utf8(error).unwrap().contains("$error")), (TEXT, true));
    // The largest message, in the longest form of its length.
    let mut longest = announces(FIN | TEXT, 4_096);
    longest.resize(longest.len() + 4_096, b'x');
    socket.send(longest).await;
    assert!(String::from_utf8(socket.frame().await.unwrap().1).unwrap().contains("$error"));
    socket.send(close(1001, b"going")).await;
    assert_eq!(socket.closed().await, 1001);
}

/// D2: who has not said who they are may say nothing else, but answer and send pings.
#[tokio::test]
async fn before_auth_any_frame_ends_the_connection() {
    let relay = Relay::start().await;
    let auth = serde_json::json!({"type": "$auth", "token": token("42")}).to_string();
    let auth = frame(FIN | TEXT, auth.as_bytes());
    for (what, bytes, code) in [
        ("text", frame(FIN | TEXT, b"hello"), 4103),
        ("nothing", frame(FIN | TEXT, b""), 4103),
        ("another message", frame(FIN | TEXT, br#"{"type":"$ping"}"#), 4103),
        ("binary", frame(FIN | BINARY, &auth), 4103),
        ("a bad token", frame(FIN | TEXT, br#"{"type":"$auth","token":"x"}"#), 4101),
        ("a broken frame", frame(FIN | 0x3, b""), 1002),
        ("pings without end", frame(FIN | PING, b"").repeat(100), 4202),
        ("a large message", frame(FIN | TEXT, &[b'x'; 4_097]), 1009),
    ] {
        let mut socket = RawSocket::dial_without_token(relay.address).await;
        socket.send([bytes, auth.clone()].concat()).await;
        assert_eq!(socket.closed().await, code, "{what}");
    }
    let mut polite = RawSocket::dial_without_token(relay.address).await;
    polite.send([frame(FIN | PING, b""), frame(FIN | PONG, b""), auth].concat()).await;
    assert_eq!(polite.frame().await.unwrap().0, PONG);
    assert!(String::from_utf8(polite.frame().await.unwrap().1).unwrap().contains("$hello"));
}

/// D2: each flood at full speed and at a thousand frames a second, on the real binary, whose memory is looked at.
#[tokio::test]
async fn endless_frames_end_by_themselves_and_cost_no_memory() {
    const MEMORY_MAX: usize = 64 * 1_024;
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let gateway = Process::start(&folder, address, "", None).await;
    let empty = frame(CONTINUATION, b"");
    let floods = [
        ("2^62 bytes", announces(FIN | TEXT, 1 << 62), vec![0; 1_024], 1009),
        ("empty fragments", frame(TEXT, b""), empty.clone(), 4202),
        ("empty fragments of binary", frame(BINARY, b""), empty, 4202),
        ("fragments of a byte", frame(TEXT, b""), frame(CONTINUATION, b"x"), 1009),
        ("pings", Vec::new(), frame(FIN | PING, b""), 4202),
        ("pongs", Vec::new(), frame(FIN | PONG, &[0; 125]), 4202),
        ("messages", Vec::new(), frame(FIN | TEXT, br#"{"type":"$auth","token":"x"}"#), 4101),
        ("nonsense", Vec::new(), frame(FIN | TEXT, b"x"), 4400),
    ];
    let most = AtomicUsize::new(0);
    let flood = async |what: &str, first: &[u8], next: &[u8], code: u16, at_full_speed: bool| {
        let mut socket = RawSocket::open(address, "42").await;
        socket.send(first).await;
        let (began, mut sent) = (Instant::now(), 0);
        loop {
            let due = if at_full_speed { sent + 1_000 } else { usize::try_from(began.elapsed().as_millis()).unwrap() };
            if !socket.send(next.repeat(due - sent)).await {
                break;
            }
            sent = due;
            most.fetch_max(gateway.memory(), Ordering::Relaxed);
            sleep(Duration::from_millis(if at_full_speed { 0 } else { 10 })).await;
            assert!(began.elapsed() < Duration::from_secs(10), "{what} go on");
        }
        assert_eq!(socket.closed().await, code, "{what}");
    };
    // The first round makes the allocator take what it keeps; the last one is a thousand frames a second.
    for (round, at_full_speed) in [true, true, false].into_iter().enumerate() {
        let before = gateway.memory();
        most.store(before, Ordering::Relaxed);
        join_all(floods.iter().map(|(what, first, next, code)| flood(what, first, next, *code, at_full_speed))).await;
        let cost = most.load(Ordering::Relaxed) - before;
        assert!(round == 0 || cost <= MEMORY_MAX * floods.len(), "round {round}: {cost} bytes");
    }
}
