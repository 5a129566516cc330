//! The gateway as a process that things are done to, and what the operating system says of it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{configuration, until};

/// How a gateway is started.
#[derive(Clone, Default)]
pub(super) struct Launch {
    /// The lines in which its configuration differs.
    pub(super) settings: String,
    /// A command that becomes the gateway, such as one that makes a namespace for it first.
    pub(super) wrapper: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// Where its configuration and data are seen by the gateway, if not where we see them.
    pub(super) folder: Option<PathBuf>,
}

impl Launch {
    pub(super) fn with(settings: &str) -> Self {
        Self { settings: settings.to_owned(), ..Self::default() }
    }
}

/// A running gateway; killed when it is dropped.
pub(super) struct Node {
    child: Child,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    log: PathBuf,
}

impl Node {
    /// Starts the binary on `folder`, and waits until it listens.
    pub(super) async fn start(folder: &TempDir, address: SocketAddr, launch: &Launch) -> Self {
        let (file, log) = (folder.path().join("relay.toml"), folder.path().join("log"));
        let data = launch.folder.as_deref().unwrap_or(folder.path());
        fs::write(&file, configuration(data, address, &launch.settings)).unwrap();
        // Another build, such as the one that is to be released, goes through the same days.
        let program = std::env::var("CLAIMR_RELAY_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_claimr-relay").to_owned());
        let words = [program, "serve".to_owned(), "--config".to_owned(), file.display().to_string()];
        let mut words = launch.wrapper.iter().cloned().chain(words);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .envs(launch.environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut admin = None;
        until("the gateway serves", async || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gateway ended with {status}: {text}");
            }
            admin = serving(&text);
            admin.is_some()
        })
        .await;
        Self { child, address, admin: admin.unwrap(), log }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(super) async fn ended(&mut self, patience: Duration) -> ExitStatus {
        let mut status = None;
        let waiting = async {
            while status.is_none() {
                status = self.child.try_wait().unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(patience, waiting).await.is_ok(), "the gateway did not end within {patience:?}");
        status.unwrap()
    }

    /// The status and the text of an admin page.
    pub(super) async fn page(&self, path: &str) -> (u16, String) {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = answer.get(format!("http://{}{path}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The sum of a metric over its labels; 0 if it is not there yet.
    pub(super) async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.page("/metrics").await;
        let of = |line: &str| line.strip_prefix(name)?.trim_start_matches(|c| c != ' ').trim().parse::<u64>().ok();
        text.lines().filter(|line| !line.starts_with('#')).filter_map(of).sum()
    }

    /// One metric by its name and labels as exposed; 0 if it is not there yet.
    pub(super) async fn labelled(&self, line: &str) -> u64 {
        let (_, text) = self.page("/metrics").await;
        text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0)
    }

    pub(super) async fn sessions(&self) -> u64 {
        self.metric("claimr_relay_sessions{").await
    }

    /// Bytes of memory that are in use.
    pub(super) fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")).unwrap();
        kib.parse::<u64>().unwrap() * 1_024
    }

    /// How many files it has open, less those in a folder: the log has more of them the more it holds.
    pub(super) fn files_outside(&self, folder: &Path) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        // What is closed meanwhile is not open.
        let targets = open.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        targets.filter(|target| !target.starts_with(folder)).count()
    }

    /// All that it has logged.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Nothing that must never happen did.
    pub(super) fn check_log(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The admin address, once the log says that the gateway serves.
fn serving(log: &str) -> Option<SocketAddr> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut fields = lines.filter_map(|line| line["admin"].as_str().or(line["fields"]["admin"].as_str())?.parse().ok());
    fields.next()
}

/// Bytes of the files in a folder.
pub(super) fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().filter_map(|entry| entry.ok()?.metadata().ok());
    entries.map(|metadata| metadata.len()).sum()
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, (bytes % (1 << 20)) * 10 / (1 << 20))
}
