//! The gateway as a process of its own, for what cannot be done to a task: killing it, signalling it, reading its log.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{configuration, until};

/// Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the real binary on the folder, and waits until it listens.
    pub(crate) async fn start(folder: &TempDir, address: SocketAddr, settings: &str) -> Self {
        let (file, log) = (folder.path().join("relay.toml"), folder.path().join("log"));
        fs::write(&file, configuration(folder.path(), address, settings)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_claimr-relay"))
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        until("the gateway listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
        Self { child, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
