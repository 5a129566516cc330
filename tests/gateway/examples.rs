//! What the examples make, the gateway takes.

use std::process::Command;

use crate::harness::{Dial, JWT_SECRET, Relay, WebSocket};

#[tokio::test]
async fn a_backends_token_opens_a_stream() {
    let relay = Relay::start().await;
    for (n, program, file) in [(1, "node", "examples/token.mjs"), (2, "python3", "examples/token.py")] {
        let mut command = Command::new(program);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args([file, "acme:42"]).env("RELAY_JWT_SECRET", JWT_SECRET);
        let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        let token = String::from_utf8(output.stdout).unwrap();
        let (mut socket, _) = WebSocket::open(&relay, Dial::token(token.trim())).await;
        relay.event("42", n).await;
        assert_eq!(socket.points(1).await, [u64::try_from(n).unwrap()], "{program}");
    }
}
