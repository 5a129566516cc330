//! A disk that is full, then read-only, then well again: webhooks are refused with 503 meanwhile, sessions stay, nothing acknowledged is
//! lost, and it heals without a restart.
//!
//! The gateway runs in a mount namespace of its own with a small tmpfs as its data folder. We reach that through `/proc/<pid>/root`, and
//! it is gone with the process.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Day,
    client::Route,
    crowd::Crowd,
    ledger::{Ledger, sender},
    namespace,
    node::{Launch, Node},
    size,
};
use crate::harness::{free_address, until};

const USERS: usize = 20;
const DISK_MIB: u32 = 8;

/// Fills the disk to the last byte.
fn fill(disk: &Path) {
    let mut file = fs::File::create(disk.join("filler")).unwrap();
    for bytes in [vec![0; 65_536], vec![0; 1]] {
        while file.write_all(&bytes).is_ok() {}
    }
}

struct Patient {
    day: Arc<Day>,
    node: Node,
    ledger: Arc<Ledger>,
    http: reqwest::Client,
    sent: usize,
}

impl Patient {
    async fn send(&mut self) -> u16 {
        self.sent += 1;
        self.ledger.send(&self.http, self.node.address, self.sent % USERS).await
    }

    async fn send_well(&mut self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.send().await, 200);
        }
    }

    /// Sends until webhooks are refused, and on for a while.
    async fn suffer(&mut self, illness: &str) {
        let begun = Instant::now();
        while self.send().await != 503 {
            assert!(begun.elapsed() < Duration::from_secs(30), "the disk is {illness}, and nobody notices");
        }
        for _ in 0..50 {
            assert_eq!(self.send().await, 503, "the disk is {illness}");
        }
        self.day.happened(illness);
        assert_eq!(self.ledger.rude(), 0, "503 comes with Retry-After");
        assert_eq!(self.node.sessions().await, USERS as u64, "sessions stay");
        until("it knows that it is ill", async || self.node.page("/readyz").await.0 == 503).await;
    }

    async fn heal(&mut self) {
        let begun = Instant::now();
        while self.send().await != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = begun.elapsed();
        self.day.figure("healed after", format!("{took:.1?}"));
        assert!(took < Duration::from_secs(5));
        self.send_well(50).await;
        assert_eq!(self.node.page("/readyz").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_or_read_only_disk_costs_nothing_that_was_acknowledged() {
    let day = Day::begin("disk", &["full", "read-only", "read-only folder"]);
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let at = disk.display();
    let wrapper = namespace::wrapper(&format!(r#"mount -t tmpfs -o size={DISK_MIB}m none "{at}""#));
    let launch = Launch { wrapper, folder: Some(disk.clone()), ..Launch::default() };
    let node = Node::start(&folder, address, &launch).await;
    let seen = PathBuf::from(format!("/proc/{}/root{at}", node.id()));
    assert!(seen.join("data/lock").exists() && !disk.join("data").exists(), "the log is on the small disk");
    let ledger = Arc::new(Ledger::default());
    let crowd = Crowd::new(&day, &ledger, &Route::to(address), USERS, 1.0);
    crowd.all_here(Duration::from_secs(20)).await;
    let mut patient = Patient { day: Arc::clone(&day), node, ledger, http: sender(), sent: 0 };
    patient.send_well(100).await;

    for _ in 0..size(1, 20) {
        fill(&seen);
        patient.suffer("full").await;
        // Space is there again, but the folder cannot be written: what is mended by opening a new file is not mended yet.
        namespace::shell(&patient.node, &format!(r#"mount --bind "{at}" "{at}" && mount -o remount,bind,ro "{at}""#));
        fs::remove_file(PathBuf::from(format!("/proc/{}/root{at}", patient.node.id())).join("filler")).unwrap_err();
        patient.suffer("read-only folder").await;
        namespace::shell(&patient.node, &format!(r#"umount "{at}""#));
        fs::remove_file(seen.join("filler")).unwrap();
        patient.heal().await;
    }
    read_only(&mut patient).await;
    patient.ledger.settled(Duration::from_secs(10)).await;
    patient.ledger.check();
    patient.node.check_log();
    assert_eq!(crowd.ended().len(), 0, "sessions stayed: {:?}", crowd.ended());
    day.figure("webhooks answered, by status", format!("{:?}", patient.ledger.answers()));
    day.end();
}

/// Every write fails, also into the file that is open, as on a file system that went read-only after an error of the device.
async fn read_only(patient: &mut Patient) {
    let pid = patient.node.id().to_string();
    let injection = "inject=pwrite64,pwritev,openat:error=EROFS";
    // Reading configuration or /proc goes through openat too, but not in a gateway that runs.
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-p", &pid, "-e", "trace=pwrite64,pwritev,openat", "-e", injection, "-o", "/dev/null"])
        .spawn()
        .expect("strace is needed: apt-get install strace");
    patient.suffer("read-only").await;
    Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
    strace.wait().unwrap();
    patient.heal().await;
}
