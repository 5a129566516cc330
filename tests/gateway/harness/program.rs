//! The program, run beside a gateway of the tests.

use std::{path::Path, process::Output};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use super::PATIENCE;

/// What the program said, and what it ended with.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Runs it in an environment of `variables` alone.
pub(crate) async fn claimr_relay(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claimr-relay"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    said(command).await
}

/// Pastes a line into a shell.
pub(crate) async fn shell(line: &str, folder: &Path) -> Said {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder);
    said(command).await
}

async fn said(mut command: Command) -> Said {
    let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await.expect("the program ends").unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}
