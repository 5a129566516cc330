//! A gateway with mounts of its own, so that its disk can be spoilt without spoiling anybody else's. Gone with the process.

use std::process::{Command, Output};

use super::node::Node;

/// Flags of `unshare`: for root nothing more, for others a user namespace too.
fn flags() -> Vec<&'static str> {
    let works = |flags: &Vec<&str>| {
        let trial = Command::new("unshare").args(flags).args(["sh", "-c", "mount -t tmpfs none /mnt"]).output();
        trial.is_ok_and(|output| output.status.success())
    };
    let remedy = "this needs a namespace of its own: run as root (in a container with CAP_SYS_ADMIN), or allow user namespaces \
                  (sysctl kernel.unprivileged_userns_clone=1); and `unshare`, `nsenter` and `mount` have to be there \
                  (apt-get install util-linux mount)";
    [vec!["-m"], vec!["-m", "-r"]].into_iter().find(works).expect(remedy)
}

/// The command that makes a namespace, does `first` in it, and becomes the gateway.
pub(super) fn wrapper(first: &str) -> Vec<String> {
    let script = format!(r#"{first} && exec "$@""#);
    let words = [vec!["unshare"], flags(), vec!["sh", "-c", &script, "sh"]].concat();
    words.into_iter().map(str::to_owned).collect()
}

/// Does something where the gateway is.
pub(super) fn shell(node: &Node, script: &str) -> String {
    let mut command = Command::new("nsenter");
    command.args(["-t", &node.id().to_string(), "-m"]);
    if flags().contains(&"-r") {
        command.args(["-U", "--preserve-credentials"]);
    }
    let Output { status, stdout, stderr } = command.args(["sh", "-c", script]).output().unwrap();
    assert!(status.success(), "{script}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}
