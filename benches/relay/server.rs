//! What is measured, as a process on a core of its own: our release binary, or nchan in nginx.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use claimr_relay::{
    auth::jwt,
    clock,
    config::{Config, load::load},
    event::UserKey,
};
use tempfile::TempDir;

use crate::kernel;

/// How the gateway and the load sign.
pub(crate) const HOOK_SECRET: &str = "bench-hook-secret-bench-hook-secret";
/// What broadcasts go to.
const CAMPAIGN: &str = "AbCd_123";
/// Debian's place for it.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Whom a session is held by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Carrier {
    WebSocket,
    Sse,
}

impl Carrier {
    pub(crate) const BOTH: [Self; 2] = [Self::WebSocket, Self::Sse];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "WebSocket",
            Self::Sse => "SSE",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Product {
    ClaimrRelay,
    Nchan,
}

impl Product {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClaimrRelay => "claimr-relay",
            Self::Nchan => "nchan",
        }
    }

    /// Says what is missing.
    pub(crate) fn check(self) -> anyhow::Result<()> {
        if self == Self::Nchan && !Path::new(NCHAN).exists() {
            bail!("nchan is missing. Install it, on Debian: apt-get install nginx-light libnginx-mod-nchan");
        }
        Ok(())
    }
}

/// How it is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) product: Product,
    /// Whether events are broadcast to a campaign that everybody follows.
    pub(crate) broadcasts: bool,
    /// `store.engine`.
    pub(crate) engine: String,
    /// The folder of a log that is there already; else an empty one of its own.
    pub(crate) log: Option<PathBuf>,
}

/// One that runs. Dropping it ends it.
pub(crate) struct Server {
    pub(crate) setup: Setup,
    pub(crate) public: SocketAddr,
    admin: SocketAddr,
    child: Child,
    config: Option<Config>,
    folder: TempDir,
}

impl Server {
    /// Starts it on the first core and waits until it takes requests.
    pub(crate) fn start(setup: Setup) -> anyhow::Result<Self> {
        setup.product.check()?;
        let folder = tempfile::tempdir()?;
        let (public, admin) = (free_address()?, free_address()?);
        let (mut command, config) = match setup.product {
            Product::ClaimrRelay => claimr_relay(&setup, folder.path(), public, admin)?,
            Product::Nchan => (nchan(folder.path(), public)?, None),
        };
        let log = fs::File::create(folder.path().join("stderr"))?;
        let child = command.stdout(Stdio::null()).stderr(log).spawn().context("`taskset` is missing (Debian: util-linux)")?;
        let mut server = Self { setup, public, admin, child, config, folder };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        // Counted in looks, and not in seconds, because a machine may be stopped for a while.
        const LOOKS_MAX: u32 = 60_000;
        let mut looks = 0;
        while !self.is_ready() {
            looks += 1;
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.setup.product.name(), self.last_words());
            }
            if looks > LOOKS_MAX {
                bail!("{} is not ready: {}", self.setup.product.name(), self.last_words());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        match self.setup.product {
            Product::ClaimrRelay => get(self.admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")),
            Product::Nchan => TcpStream::connect(self.public).is_ok(),
        }
    }

    /// The end of what it has logged.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2_000)..]).into_owned()
    }

    /// It and its children.
    pub(crate) fn processes(&self) -> Vec<u32> {
        kernel::family(self.child.id())
    }

    /// The request with which `user` opens a stream, at a cursor if there is one.
    pub(crate) fn stream_request(&self, user: usize, carrier: Carrier, cursor: Option<&str>) -> anyhow::Result<String> {
        let query = cursor.map(|cursor| format!("?last_event_id={cursor}")).unwrap_or_default();
        let path = match (self.setup.product, carrier) {
            (Product::ClaimrRelay, Carrier::WebSocket) => format!("/v1/ws{query}"),
            (Product::ClaimrRelay, Carrier::Sse) => format!("/v1/sse{query}"),
            (Product::Nchan, _) => {
                let channel = if self.setup.broadcasts { "all".to_owned() } else { user_name(user) };
                format!("/{}?id={channel}", if carrier == Carrier::WebSocket { "ws" } else { "sse" })
            }
        };
        let fields = match carrier {
            Carrier::WebSocket => {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
            Carrier::Sse => "Accept: text/event-stream\r\n",
        };
        let token = self.config.as_ref().map(|config| self.token(config, user)).transpose()?;
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        Ok(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{fields}{token}\r\n", self.public))
    }

    fn token(&self, config: &Config, user: usize) -> anyhow::Result<String> {
        let user = UserKey::new("bench", &user_name(user)).context("a user's name")?;
        let campaigns = if self.setup.broadcasts { vec![UserKey::of_campaign(CAMPAIGN)?] } else { Vec::new() };
        Ok(jwt::mint(&config.auth, &user, &campaigns, Duration::from_hours(12), clock::now())?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.setup.product == Product::Nchan {
            // Its worker would outlive a master that is killed.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The name of a user, always as long.
pub(crate) fn user_name(user: usize) -> String {
    format!("user-{user:08}")
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &kernel::cores().0.to_string(), program]);
    command
}

/// The configuration that everything here runs under: all limits of addresses and users out of the way, all else by default.
pub(crate) fn configuration(setup: &Setup, folder: &Path, public: SocketAddr, admin: SocketAddr) -> String {
    let log = setup.log.clone().unwrap_or_else(|| folder.join("log"));
    let rule = if setup.broadcasts {
        "[[sources.broadcast]]\ntypes = [\"user_activity\"]\nshow = [\"name\", \"points\", \"quest\"]\nfields = [\"/note\", \"/mark\"]\n"
    } else {
        ""
    };
    format!(
        "[server]\nlisten = \"{public}\"\nadmin_listen = \"{admin}\"\n[store]\nengine = \"{}\"\npath = '{}'\n\
         [auth]\nissuer = \"bench\"\naudience = \"claimr-relay\"\n\
         [[auth.keys]]\nalg = \"HS256\"\nsecret = {{ value = \"0123456789abcdef0123456789abcdef\" }}\n\
         [limits]\nsessions_max = 1000000\nsessions_per_address_max = 1000000\nnew_sessions_per_address_per_s_max = 1000000\n\
         waiting_connections_max = 1000000\nwaiting_connections_per_address_max = 1000000\n\
         [[sources]]\nname = \"claimr\"\npreset = \"claimr\"\nsecrets = [{{ value = \"{HOOK_SECRET}\" }}]\n{rule}",
        setup.engine,
        log.display(),
    )
}

fn claimr_relay(
    setup: &Setup,
    folder: &Path,
    public: SocketAddr,
    admin: SocketAddr,
) -> anyhow::Result<(Command, Option<Config>)> {
    let file = folder.join("relay.toml");
    fs::write(&file, configuration(setup, folder, public, admin))?;
    let config = load(Some(&file), []).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let mut command = pinned(env!("CARGO_BIN_EXE_claimr-relay"));
    command.args(["serve", "--config"]).arg(file);
    Ok((command, Some(config)))
}

/// One worker, channels in memory, as short a replay buffer as its users have.
fn nchan(folder: &Path, public: SocketAddr) -> anyhow::Result<Command> {
    let subscriber = |path: &str, kind: &str| {
        format!(
            "location = /{path} {{ nchan_subscriber {kind}; nchan_channel_id $arg_id; nchan_subscriber_first_message newest; \
             nchan_websocket_ping_interval 30; nchan_eventsource_ping_interval 30; }}\n"
        )
    };
    let text = format!(
        "load_module {NCHAN};\nuser root;\nworker_processes 1;\nworker_rlimit_nofile 20000;\npid nginx.pid;\ndaemon off;\n\
         events {{ worker_connections 19500; multi_accept on; }}\n\
         http {{\naccess_log off;\ntcp_nodelay on;\nkeepalive_requests 100000000;\nkeepalive_timeout 120s;\n\
         client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n\
         nchan_shared_memory_size 1024M;\nnchan_message_buffer_length 10;\nnchan_message_timeout 1m;\n\
         server {{\nlisten {public} backlog=4096;\nlocation = /publish {{ nchan_publisher http; nchan_channel_id $arg_id; }}\n{}{}}}\n}}\n",
        subscriber("ws", "websocket"),
        subscriber("sse", "eventsource"),
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = pinned("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(file).arg("-e").arg(folder.join("error.log"));
    Ok(command)
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
