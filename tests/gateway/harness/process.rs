//! The gateway as a process of its own, to kill it, to starve it, and to see what it costs.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{configuration, until};

/// The real binary, serving. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Serves on `address` with its data in `folder`; with at most so many open files.
    pub(crate) async fn start(folder: &TempDir, address: SocketAddr, settings: &str, files_max: Option<u32>) -> Self {
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, configuration(folder.path(), address, settings)).unwrap();
        let limit = files_max.map_or(String::new(), |files| format!("ulimit -n {files}; "));
        let child = Command::new("sh")
            .args(["-c", &format!(r#"trap '' XFSZ; {limit}exec "$0" serve --config "$1""#)])
            .args([env!("CARGO_BIN_EXE_claimr-relay").as_ref(), file.as_os_str()])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        until("the gateway listens", async || TcpStream::connect(address).await.is_ok()).await;
        Self { child }
    }

    /// Bytes of memory that are its own and in use (resident, without files).
    pub(crate) fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")).unwrap();
        kib.parse::<usize>().unwrap() * 1_024
    }

    /// Lets it write no file beyond so many bytes; any again if none are given. The disk looks full to it.
    pub(crate) fn limit_file_size(&self, bytes: Option<u32>) {
        let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let limit = format!("--fsize={soft}:unlimited");
        assert!(Command::new("prlimit").args(["--pid", &self.child.id().to_string(), &limit]).status().unwrap().success());
    }

    /// How many files it has open.
    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
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
