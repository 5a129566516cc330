//! The gateway as a process of its own, to kill it, to starve it, to signal it, to read its log, and to see what it costs.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{configuration, until};

/// The real binary, serving. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    file: PathBuf,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Serves on `address` with its data in `folder`; with at most so many open files.
    pub(crate) async fn start(folder: &TempDir, address: SocketAddr, settings: &str, files_max: Option<u32>) -> Self {
        let (file, log) = (folder.path().join("relay.toml"), folder.path().join("log"));
        fs::write(&file, configuration(folder.path(), address, settings)).unwrap();
        let limit = files_max.map_or(String::new(), |files| format!("ulimit -n {files}; "));
        let child = Command::new("sh")
            .args(["-c", &format!(r#"trap '' XFSZ; {limit}exec "$0" serve --config "$1""#)])
            .args([env!("CARGO_BIN_EXE_claimr-relay").as_ref(), file.as_os_str()])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        until("the gateway listens", async || TcpStream::connect(address).await.is_ok()).await;
        Self { child, file, address, log }
    }

    /// Writes other settings into its file, sends SIGHUP, and waits for the line of its log that holds `outcome`.
    pub(crate) async fn reload(&self, settings: &str, outcome: &str) {
        let text = configuration(self.file.parent().unwrap(), self.address, settings);
        self.reload_text(&text, outcome).await;
    }

    /// The same with a whole file.
    pub(crate) async fn reload_text(&self, text: &str, outcome: &str) {
        fs::write(&self.file, text).unwrap();
        let before = self.log().matches(outcome).count();
        let hup = Command::new("sh").args(["-c", &format!("kill -HUP {}", self.child.id())]).status().unwrap();
        assert!(hup.success());
        until(outcome, async || self.log().matches(outcome).count() > before).await;
    }

    /// Bytes of memory that are its own and in use (resident, without files).
    pub(crate) fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
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
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
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
