//! schemathesis asks the real program for everything that its descriptions allow, and for much that they forbid: no answer may be an
//! error of the gateway, or one that is not described; what is allowed is taken, what is forbidden is refused.
//!
//! It asks the same every time. The package is installed below `target/` if it is not there.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::harness::{HOOK_SECRET, JWT_SECRET, Process, free_address};

const ADMIN_TOKEN: &str = "admin-token-of-the-tests-0123456789abcdef";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/openapi");
/// Far more than it takes, for machines that have much else to do.
const HANGS_AFTER: Duration = Duration::from_mins(5);

async fn run(command: &mut Command) -> Output {
    let output = command.kill_on_drop(true).stdin(Stdio::null()).output();
    timeout(HANGS_AFTER, output).await.expect("it ends").unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The program, installed if need be. What it needs stands in a file with every version, so that it asks the same tomorrow.
async fn schemathesis() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis");
    let (program, installed) = (folder.join("bin/schemathesis"), folder.join("installed.txt"));
    let wanted = Path::new(FOLDER).join("requirements.txt");
    if std::fs::read(&installed).ok() != std::fs::read(&wanted).ok() {
        let pip = folder.join("bin/pip");
        for command in [
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder),
            Command::new(pip).args(["install", "--quiet", "--requirement"]).arg(&wanted),
        ] {
            let output = run(command).await;
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::copy(&wanted, &installed).unwrap();
    }
    program
}

#[tokio::test]
async fn schemathesis_finds_nothing_wrong_on_either_listener() {
    let schemathesis = schemathesis().await;
    let (folder, address, admin) = (TempDir::new().unwrap(), free_address(), free_address());
    let settings = format!(
        "server.admin_listen = \"{admin}\"\nadmin.token = {{ value = \"{ADMIN_TOKEN}\" }}\nauth.leeway = \"0s\"\n\
         limits.sessions_per_user_max = 1000"
    );
    let gateway = Process::start(&folder, address, &settings, None).await;
    let look = async |description: &str, listener: std::net::SocketAddr, examples: &str| {
        let mut command = Command::new(&schemathesis);
        command
            .current_dir(folder.path())
            .env("PYTHONPATH", FOLDER)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SCHEMATHESIS_HOOKS", "credentials")
            .envs([("HOOK_SECRET", HOOK_SECRET), ("JWT_SECRET", JWT_SECRET), ("ADMIN_TOKEN", ADMIN_TOKEN)])
            .args(["--config-file", &format!("{FOLDER}/schemathesis.toml"), "run"])
            .arg(format!("http://{admin}/{description}"))
            .args(["--url", &format!("http://{listener}"), "--max-examples", examples])
            .args(["--phases", "examples,coverage,fuzzing", "--generation-deterministic"])
            .args(["--request-timeout", "60", "--suppress-health-check", "all", "--continue-on-failure"])
            .args(["--warnings", "off", "--no-color"]);
        let output = run(&mut command).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{description}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let cases = said.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse::<u32>().ok());
        assert!(cases.is_some_and(|cases| cases > 200), "{description}: it asked for something: {said}");
    };
    tokio::join!(look("openapi-public.json", address, "25"), look("openapi.json", admin, "50"));
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}
