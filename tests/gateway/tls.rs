//! TLS on the public listener: what is above it is the same, and a handshake is a wait like any other.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        HandshakeKind, SupportedProtocolVersion,
        version::{TLS12, TLS13},
    },
};
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::frame::{
        Frame, FrameHeader,
        coding::{Data, OpCode},
    },
};

use crate::harness::{
    Authority, Dial, HOOK_SECRET, PATIENCE, Pair, Process, Raw, Relay, WebSocket, claimr_relay, configuration, event,
    free_address, secured, sign, token, until,
};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
/// A header that makes a request hyper's to read (see `lane`).
const BY_HYPER: &str = "TE: trailers\r\n";
/// The first byte of a record that says what is wrong.
const ALERT: u8 = 21;
/// What the log says of a reload.
const TAKEN_UP: &str = "loaded again and in force";
const STAYS: &str = "the one in force stays";
const GET: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

/// An authority, a certificate of it, and the folder where both are.
struct Trust {
    folder: TempDir,
    authority: Authority,
    pair: Pair,
}

impl Trust {
    fn new() -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
        let pair = authority.issue(folder.path());
        Self { folder, authority, pair }
    }

    /// A gateway that shows the certificate.
    async fn relay(&self, settings: &str) -> Relay {
        Relay::with(&format!("{}{settings}", self.pair.setting())).await
    }

    fn client(&self) -> TlsConnector {
        self.authority.client(BOTH, &["http/1.1"])
    }

    async fn secured(&self, relay: &Relay) -> Raw<TlsStream<TcpStream>> {
        Raw::on(secured(&self.client(), relay.address).await.unwrap())
    }
}

fn webhook(n: usize, headers: &str) -> String {
    let body = event("42", n).to_string();
    let signed = format!("Content-Type: application/json\r\nX-Signature: {}\r\n{headers}", sign(body.as_bytes()));
    format!("POST /hooks/claimr HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{signed}\r\n{body}", body.len())
}

fn stream_of(user: &str, headers: &str) -> String {
    format!("GET /v1/sse HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{headers}\r\n", token(user))
}

/// The end of a connection, which is said: nobody cut it off.
async fn ends(stream: &mut TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the gateway ends it");
    assert!(read.is_ok(), "{read:?}");
}

#[tokio::test]
async fn webhooks_and_both_carriers_go_over_both_versions() {
    let trust = Trust::new();
    let relay = trust.relay("").await;
    for (versions, protocols) in [(&[&TLS13], &["http/1.1"][..]), (&[&TLS12], &["h2", "http/1.1"]), (&[&TLS13], &[])] {
        for headers in ["", BY_HYPER] {
            let client = trust.authority.client(versions, protocols);
            let stream = secured(&client, relay.address).await.unwrap();
            let agreed = stream.get_ref().1;
            assert_eq!(agreed.protocol_version(), Some(versions[0].version));
            assert_eq!(agreed.alpn_protocol().is_some(), !protocols.is_empty());
            let dial = Dial::token(&token("42")).header("te", if headers.is_empty() { "" } else { "trailers" });
            let mut socket = WebSocket::over(stream, relay.address, dial).await;
            let mut sse = Raw::on(secured(&client, relay.address).await.unwrap());
            assert!(sse.send(stream_of("42", headers)).await);
            sse.up_to("$hello").await;
            let mut sender = Raw::on(secured(&client, relay.address).await.unwrap());
            for n in 1..=3 {
                assert!(sender.send(webhook(n, headers)).await);
                let answer = sender.answer().await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                let said: Value = serde_json::from_str(&answer.body).unwrap();
                if said["duplicate"] == false {
                    assert_eq!(socket.points(1).await, [n as u64]);
                    sse.up_to(&format!("\"points\":{n}")).await;
                }
            }
        }
    }
    assert_eq!(relay.metric("claimr_relay_events_total").await, 3);
}

#[tokio::test]
async fn who_speaks_something_else_is_told_so_and_hurts_nobody() {
    let trust = Trust::new();
    let relay = trust.relay("limits.read_timeout_s = 3600").await;
    let error = secured(&trust.authority.client(BOTH, &["h2"]), relay.address).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    let stranger = Authority::new().client(BOTH, &[]);
    assert!(format!("{:?}", secured(&stranger, relay.address).await).contains("InvalidCertificate"));

    for request in [GET.to_owned(), webhook(1, ""), format!("{GET}{}", "x".repeat(100_000))] {
        let mut raw = Raw::say(relay.address, request).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
        assert!(answer.body.contains("\"tls_required\"") && answer.body.contains("https://"), "{answer:?}");
        assert!(raw.rest().await.is_empty());
    }
    for garbage in
        [&b"\0\0\0\0\0\0\0\0"[..], b"\x16\x03\x01\xff\xff\x01", b"\x16\x03\x01\x00\x04\xff\xff\xff\xff", b"\x80\x2e\x01\0\x02"]
    {
        let rest = Raw::say(relay.address, garbage).await.rest().await;
        assert!(rest.first().is_none_or(|first| *first == ALERT), "{garbage:?}: {rest:?}");
    }
    // It may leave at any point.
    for sent in 0..3 {
        drop(Raw::say(relay.address, &b"\x16\x03\x01"[..sent]).await);
    }
    let mut raw = trust.secured(&relay).await;
    assert!(raw.send(GET).await);
    assert_eq!(raw.answer().await.unwrap().status, 404);
    assert_eq!(relay.metric("claimr_relay_events_total").await, 0);
}

/// Nothing said, half a hello, or hands shaken and nothing asked: each waits, and the one that waits longest is closed.
#[tokio::test]
async fn a_handshake_is_a_wait_that_is_counted() {
    let trust = Trust::new();
    let limits = "limits.waiting_connections_max = 3\nlimits.waiting_connections_per_address_max = 1000";
    let relay = trust.relay(&format!("limits.read_timeout_s = 3600\n{limits}")).await;
    let served = async || {
        let mut raw = trust.secured(&relay).await;
        assert!(raw.send(GET).await && raw.answer().await.is_some());
    };
    let mut nothing = Raw::connect(relay.address).await;
    served().await;
    let mut half = Raw::say(relay.address, b"\x16\x03\x01").await;
    served().await;
    let closed = "claimr_relay_waiting_connections_closed_total{kind=\"listener\"}";
    assert_eq!(relay.metric(closed).await, 0);
    let mut idle = trust.secured(&relay).await;
    served().await;
    assert!(nothing.rest().await.is_empty());
    assert_eq!(relay.metric(closed).await, 1);
    let mut later = [trust.secured(&relay).await, trust.secured(&relay).await, trust.secured(&relay).await];
    assert!(half.rest().await.is_empty());
    ends(&mut idle.stream).await;
    assert_eq!(relay.metric(closed).await, 3);
    for raw in &mut later {
        assert!(raw.send(GET).await && raw.answer().await.is_some());
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_ended() {
    let trust = Trust::new();
    let relay = trust.relay("limits.read_timeout_s = 1").await;
    let (mut nothing, mut half) = (Raw::connect(relay.address).await, Raw::say(relay.address, b"\x16\x03\x01\x02\0\x01").await);
    assert!(nothing.rest().await.is_empty() && half.rest().await.is_empty());
    // On a machine that has much to do, not even hands are shaken in time.
    let mut idle = loop {
        if let Ok(stream) = secured(&trust.client(), relay.address).await {
            break stream;
        }
    };
    ends(&mut idle).await;
}

#[tokio::test]
async fn who_comes_back_is_spared_the_signature_until_a_reload() {
    let trust = Trust::new();
    let relay = trust.relay("").await;
    for version in BOTH {
        let client = trust.authority.client(&[version], &["http/1.1"]);
        let kind = async || {
            let mut raw = Raw::on(secured(&client, relay.address).await.unwrap());
            assert!(raw.send(GET).await && raw.answer().await.is_some());
            raw.stream.get_ref().1.handshake_kind().unwrap()
        };
        assert_eq!((kind().await, kind().await), (HandshakeKind::Full, HandshakeKind::Resumed));
        relay.reload(&trust.pair.setting()).unwrap();
        assert_eq!(kind().await, HandshakeKind::Full);
    }
}

/// Records cost what they weigh on the wire, however little is in them.
#[tokio::test]
async fn the_budget_of_bytes_counts_what_tls_adds() {
    let trust = Trust::new();
    let relay = trust.relay("limits.client_bytes_burst_max = 4096\nlimits.client_bytes_per_s_max = 1").await;
    let stream = secured(&trust.client(), relay.address).await.unwrap();
    let mut socket = WebSocket::over(stream, relay.address, Dial::token(&token("42"))).await;
    // 200 fragments of six bytes each would be 1,200 without TLS.
    for opcode in std::iter::once(Data::Text).chain(std::iter::repeat_n(Data::Continue, 199)) {
        let header = FrameHeader { is_final: false, opcode: OpCode::Data(opcode), mask: Some([1; 4]), ..FrameHeader::default() };
        if !socket.try_send(Message::Frame(Frame::from_payload(header, Bytes::new()))).await {
            break;
        }
    }
    assert_eq!(socket.closed().await.0, 4202);
}

#[tokio::test]
async fn a_drain_is_said_to_the_end() {
    let trust = Trust::new();
    let relay = trust.relay("").await;
    let mut socket =
        WebSocket::over(secured(&trust.client(), relay.address).await.unwrap(), relay.address, Dial::token(&token("42"))).await;
    let (mut sse, mut kept) = (trust.secured(&relay).await, trust.secured(&relay).await);
    assert!(sse.send(stream_of("42", "")).await && kept.send(GET).await && kept.answer().await.is_some());
    sse.up_to("$hello").await;
    let mut by_hyper = trust.secured(&relay).await;
    assert!(by_hyper.send(stream_of("42", BY_HYPER)).await);
    by_hyper.up_to("$hello").await;
    let mut silent = trust.secured(&relay).await;
    let begun = Raw::say(relay.address, b"\x16").await;
    let told = async {
        let (code, bye) = socket.closed().await;
        assert_eq!((code, bye["code"].as_u64()), (4000, Some(4000)));
        ends(socket.stream()).await;
        for stream in [&mut sse, &mut by_hyper] {
            stream.up_to("$bye").await;
            ends(&mut stream.stream).await;
        }
        ends(&mut kept.stream).await;
        ends(&mut silent.stream).await;
    };
    tokio::join!(relay.stop(), told);
    drop(begun);
}

#[tokio::test]
async fn sighup_shows_a_new_certificate_and_ends_nothing() {
    let mut trust = Trust::new();
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let settings = trust.pair.setting();
    let process = Process::start(&folder, address, &settings, None).await;
    let shown = async |trust: &Trust| {
        let stream = secured(&trust.client(), address).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown(&trust).await, trust.pair.der);
    let dial = Dial::token(&token("42"));
    let mut socket = WebSocket::over(secured(&trust.client(), address).await.unwrap(), address, dial).await;
    let first = trust.pair.der.clone();

    // As certbot does it: over the same paths.
    trust.pair = trust.authority.issue(trust.folder.path());
    assert_eq!(shown(&trust).await, first, "nothing is read before it is asked for");
    process.reload(&settings, TAKEN_UP).await;
    assert_ne!(first, trust.pair.der);
    assert_eq!(shown(&trust).await, trust.pair.der);

    let good = fs::read(&trust.pair.key).unwrap();
    let other = Trust::new();
    for (key, problem) in [
        (fs::read(&other.pair.key).unwrap(), "does not belong to the first certificate"),
        (b"-----BEGIN PRIVATE KEY-----\n".to_vec(), "is not PEM that can be read"),
        (Vec::new(), "has no private key in it"),
    ] {
        fs::write(&trust.pair.key, key).unwrap();
        process.reload(&settings, STAYS).await;
        let log = process.log();
        let line = log.lines().rfind(|line| line.contains("\"key\":\"server.tls.key\"")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(problem) && line.contains("relay.key.pem") && line.contains("\"level\":\"ERROR\""), "{line}");
        assert_eq!(shown(&trust).await, trust.pair.der);
    }
    process.reload("", STAYS).await;
    assert!(process.log().contains("\"key\":\"server.tls\""), "whether there is TLS is decided at the start");

    fs::write(&trust.pair.key, good).unwrap();
    process.reload(&settings, TAKEN_UP).await;
    let mut sender = Raw::on(secured(&trust.client(), address).await.unwrap());
    assert!(sender.send(webhook(7, "")).await && sender.answer().await.unwrap().status == 200);
    assert_eq!(socket.points(1).await, [7], "the session has lived through all of it");

    // It is shown all the same, since a client that does not look at dates is better than none; but it is said.
    trust.authority.issue_as(trust.folder.path(), |params| params.not_after = rcgen::date_time_ymd(2020, 2, 29));
    process.reload(&settings, TAKEN_UP).await;
    assert!(process.log().contains("the certificate ended at 2020-02-29T00:00:00Z"), "{}", process.log());
    assert!(format!("{:?}", secured(&trust.client(), address).await).contains("Expired"));
    assert!(!process.log().contains("PRIVATE KEY-----"));
}

#[tokio::test]
async fn the_commands_come_over_tls() {
    let trust = Trust::new();
    let relay = trust.relay("").await;
    let (ca, url) = (trust.authority.write(trust.folder.path()), relay.url("").replace("http:", "https:"));
    let ca = ca.to_str().unwrap();
    let trigger = ["trigger", "user_activity", "--user", "acme:42", "--url", &url, "--secret", HOOK_SECRET, "--json"];
    let said = claimr_relay(&[&trigger[..], &["--ca", ca]].concat(), &[]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let file = trust.folder.path().join("relay.toml");
    fs::write(&file, configuration(trust.folder.path(), relay.address, &trust.pair.setting())).unwrap();
    let by_config = ["trigger", "user_login", "--config", file.to_str().unwrap(), "--ca", ca];
    let said = claimr_relay(&by_config, &[]).await;
    assert!(said.code == 0 && said.out.starts_with("accepted"), "{said:?}");
    let distrusted = claimr_relay(&trigger, &[]).await;
    assert!(
        distrusted.code == 1 && distrusted.out.contains("no TLS with") | distrusted.err.contains("no TLS with"),
        "{distrusted:?}"
    );
    let someone = token("42");
    let said = claimr_relay(&["doctor", "--url", &url, "--token", &someone, "--ca", ca, "--json"], &[]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let clear = claimr_relay(&["doctor", "--url", &relay.url(""), "--token", &someone, "--json"], &[]).await;
    assert!(clear.code == 1 && clear.out.contains("https://"), "{clear:?}");
    until("everybody has left", async || relay.hub.sessions() == 0).await;
}
