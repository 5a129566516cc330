//! A gateway with a disk or a network of its own, which can be spoilt without spoiling anybody else's. Gone with the process.

use std::process::{Command, Output};

use super::node::Node;

/// What a gateway has to itself.
#[derive(Clone, Copy)]
pub(super) enum Own {
    Mounts,
    Network,
}

impl Own {
    fn flag(self) -> &'static str {
        match self {
            Self::Mounts => "-m",
            Self::Network => "-n",
        }
    }

    /// Something that only works in one's own.
    fn trial(self) -> &'static str {
        match self {
            Self::Mounts => "mount -t tmpfs none /mnt",
            Self::Network => "ip link set lo up",
        }
    }

    /// Flags of `unshare`: for root nothing more, for others a user namespace too.
    fn flags(self) -> Vec<&'static str> {
        let works = |flags: &Vec<&str>| {
            let trial = Command::new("unshare").args(flags).args(["sh", "-c", self.trial()]).output();
            trial.is_ok_and(|output| output.status.success())
        };
        let remedy = "this needs a namespace of its own: run as root (in a container with CAP_SYS_ADMIN), or allow user namespaces \
                      (sysctl kernel.unprivileged_userns_clone=1); and `unshare`, `nsenter`, `mount` and `ip` have to be there \
                      (apt-get install util-linux mount iproute2)";
        [vec![self.flag()], vec![self.flag(), "-r"]].into_iter().find(works).expect(remedy)
    }

    /// The command that makes it, does `first` in it, and becomes the gateway.
    pub(super) fn wrapper(self, first: &str) -> Vec<String> {
        let script = format!(r#"{first} && exec "$@""#);
        let words = [vec!["unshare"], self.flags(), vec!["sh", "-c", &script, "sh"]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// A command where the gateway is.
    pub(super) fn inside(self, node: &Node, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &node.id().to_string(), self.flag()]);
        if self.flags().contains(&"-r") {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.arg(program);
        command
    }

    /// Does something where the gateway is.
    pub(super) fn shell(self, node: &Node, script: &str) -> String {
        let Output { status, stdout, stderr } = self.inside(node, "sh").args(["-c", script]).output().unwrap();
        assert!(status.success(), "{script}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).into_owned()
    }
}
