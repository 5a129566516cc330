//! Our upgrade, our listener and the library below, against the Autobahn test suite: the cases of RFC 6455, but for compression, which
//! we do not offer. It speaks to an echo, since the suite wants one; only the limits of size differ from a stream's.
//!
//! The suite's runner is the Python package `kosoku`, which is installed below `target/` if it is not there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use bytes::BytesMut;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use prometheus_client::metrics::family::Family;
use tokio::io::AsyncWriteExt as _;
use tungstenite::{Message, protocol::CloseFrame};

use super::*;
use crate::{
    listener::{Connection, ConnectionLimits, Heard, Leave, Listener, UpgradedLimits, Visitors, WaitingLimits},
    shutdown::Shutdown,
};

const KOSOKU: &str = "kosoku==0.1.0";
/// The suite's largest message, and what its frames are around it.
const MESSAGE_BYTES_MAX: usize = 17 * 1_024 * 1_024;
/// The library notices bad UTF-8 only at the end of a message.
const NOT_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];

/// Answers a handshake with our own code, and then says what it hears.
async fn echo(mut connection: Connection) -> Leave {
    let Heard::Request(request) = connection.next(|method, _| method == "GET").await else { return Leave::Closed };
    let handshake = Handshake::of(&request.into_parts().0).unwrap();
    let response = handshake.response(None);
    let mut socket = connection.into_socket();
    let early = socket.upgraded();
    Leave::AsStream(
        async move {
            let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
            for (name, value) in response.headers() {
                head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
            head.extend_from_slice(b"\r\n");
            socket.write_all(&head).await.unwrap();
            talk(socket, early).await;
        }
        .boxed(),
    )
}

async fn talk(socket: Socket, early: BytesMut) {
    let mut socket = websocket_carrier::accept(socket, early, MESSAGE_BYTES_MAX).await;
    while let Some(message) = socket.next().await {
        let answer = match message {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => message,
            Ok(_) => continue,
            Err(error) => match websocket_carrier::code_of(&error) {
                Some(code) => Message::Close(Some(CloseFrame { code: code.code().into(), reason: "".into() })),
                None => return,
            },
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}

fn listener() -> Listener {
    let limits = ConnectionLimits {
        read_timeout: std::time::Duration::from_secs(10),
        header_bytes_max: 16_384,
        write_stall: std::time::Duration::from_secs(10),
        waiting: WaitingLimits { connections_max: 1_000, connections_per_address_max: 1_000 },
        acknowledge_timeout: std::time::Duration::from_secs(10),
        upgraded: UpgradedLimits { bytes_per_s_max: u32::MAX, bytes_burst_max: u32::MAX },
    };
    Listener::bind("127.0.0.1:0".parse().unwrap(), limits).unwrap()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The runner, installed if need be.
fn kosoku(target: &Path) -> PathBuf {
    let folder = target.join("kosoku");
    let program = folder.join("bin/kosoku");
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", KOSOKU]));
    }
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autobahn_finds_nothing_wrong() {
    let (listener, shutdown) = (listener(), Shutdown::default());
    let address = listener.address().unwrap();
    let handle = async |_: axum::http::Request<hyper::body::Incoming>, _| Problem::not_found().into_response();
    let visitors = Visitors { is_shared: Arc::new(|_| false), closed: Family::default() };
    shutdown.spawn(listener.run(echo, handle, visitors, shutdown.clone()));

    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let reports = tempfile::tempdir().unwrap();
    let folder = reports.path().to_owned();
    let suite = tokio::task::spawn_blocking(move || {
        let mut suite = Command::new(kosoku(&target));
        suite
            .args(["--parallelism", "8", "--exclude", "12.*", "--exclude", "13.*", "--outdir"])
            .arg(folder)
            .arg(address.to_string());
        suite.output().unwrap()
    });
    let output = suite.await.unwrap();

    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let index = std::fs::read(reports.path().join("index.json")).unwrap_or_else(|error| panic!("{error}: {said}"));
    let agents: BTreeMap<String, BTreeMap<String, Verdict>> = serde_json::from_slice(&index).unwrap();
    let verdicts: Vec<_> = agents.into_values().flatten().collect();
    assert!(verdicts.len() > 290, "the suite ran: {said}");
    let bad = |(case, verdict): &&(String, Verdict)| {
        let strict = !NOT_STRICT.contains(&case.as_str());
        let allowed = |word: &str| matches!(word, "OK" | "INFORMATIONAL") || (word == "NON-STRICT" && !strict);
        !allowed(&verdict.behavior) || !allowed(&verdict.behavior_close)
    };
    let bad: Vec<_> = verdicts.iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:?}\n{said}");
    let not_strict = verdicts.iter().filter(|(_, verdict)| verdict.behavior == "NON-STRICT").count();
    println!("{} cases, {not_strict} of them not strict", verdicts.len());
}

/// What the suite says of a case.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    behavior: String,
    behavior_close: String,
}
