//! The real binary as a process of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{configuration, until};

/// A running `claimr-relay serve`. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Process {
    /// Starts it on `address`, with its data, its configuration and its log in `folder`, and waits until it listens.
    pub(crate) async fn start(folder: &Path, address: SocketAddr, settings: &str) -> Self {
        let file = folder.join("relay.toml");
        std::fs::write(&file, configuration(folder, address, settings)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_claimr-relay"))
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        until("the gateway listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
        Self { child, folder: folder.to_owned(), address }
    }

    /// Writes other settings into its file, sends SIGHUP, and waits for the line of its log that holds `outcome`.
    pub(crate) async fn reload(&self, settings: &str, outcome: &str) {
        let text = configuration(&self.folder, self.address, settings);
        self.reload_text(&text, outcome).await;
    }

    /// The same with a whole file.
    pub(crate) async fn reload_text(&self, text: &str, outcome: &str) {
        std::fs::write(self.folder.join("relay.toml"), text).unwrap();
        let before = self.log().matches(outcome).count();
        let hup = Command::new("sh").args(["-c", &format!("kill -HUP {}", self.child.id())]).status().unwrap();
        assert!(hup.success());
        until(outcome, async || self.log().matches(outcome).count() > before).await;
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
