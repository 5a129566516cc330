//! Puts the parts together, runs them, and takes them apart again. The only module that knows all of them.

mod reload;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_rustls::rustls;

use crate::{
    auth::{
        Credentials, KeySetHome, jwt,
        revocations::{self, Revocations},
    },
    capture::{Capture, CaptureLimits},
    claimr::signature,
    clock::{self, Ages},
    config::{Config, EngineKind, Limits},
    engine::{
        self, Engine, EngineError, Notice, Retention,
        disk::{self, DiskEngine},
        memory::MemoryEngine,
        nats::{self, NatsEngine, NatsLimits},
        steady::Steady,
    },
    http::{
        self, ClientAddress, EdgeLimits, Origins, Public, Settings,
        admin::{self, Admin, Api, Guard, Revoking},
        dev::{self, Demo},
    },
    hub::{
        Hub, HubLimits, MailboxLimits,
        admission::{Admission, AdmissionLimits},
    },
    ingest::Ingest,
    listener::{ConnectionLimits, Listener, NextTls, Tls, UpgradedLimits, Visitors, WaitingLimits, no_lane},
    metrics::Metrics,
    probe::Probe,
    protocol::{Close, CloseCode},
    shutdown::Shutdown,
    swap::Swap,
    telemetry::REFUSALS,
    transport::{StreamLimits, Streams},
};

pub use reload::{Refused, Reloader};

/// A gateway that has its ports and its log, and serves once it is [run](Gateway::run).
pub struct Gateway {
    public: (Listener, Router),
    /// What the public routes share, for the requests that need no routes.
    state: Arc<Public>,
    admin: (Listener, Router),
    edge: EdgeLimits,
    engine: Arc<dyn Engine>,
    hub: Arc<Hub>,
    visitors: Visitors,
    admission: Arc<Admission>,
    shutdown: Shutdown,
    drain_window: Duration,
    reloader: Reloader,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Settings that only their users can judge: keys that are weak, secrets that a scheme cannot use.
    #[error("the configuration cannot be used:{}", list(.0))]
    Settings(Vec<SettingProblem>),
    /// A port that cannot be had.
    #[error("{setting} = \"{address}\" cannot be listened on: {source}")]
    Listen {
        /// `server.listen` or `server.admin_listen`.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data folder.
    #[error(transparent)]
    Log(#[from] disk::OpenError),
    /// The log in NATS.
    #[error(transparent)]
    Nats(#[from] nats::OpenError),
    /// What the other gateways have announced.
    #[error(transparent)]
    Notices(#[from] EngineError),
    /// The data folder's list of revoked tokens.
    #[error(transparent)]
    Revocations(#[from] revocations::Unreadable),
}

/// A setting that its user refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingProblem {
    /// Its key, such as `auth.keys[0]`.
    pub setting: String,
    /// What is wrong, and what would be right; never the value.
    pub problem: String,
}

fn list(problems: &[SettingProblem]) -> String {
    let line = |p: &SettingProblem| ["\n  ", &p.setting, ": ", &p.problem].concat();
    problems.iter().map(line).collect()
}

impl Gateway {
    /// Of a drain, after the last session was told to leave.
    const CLOSE_PATIENCE: Duration = Duration::from_secs(15);

    /// All that the gateway's parts find wrong with their settings. [`Gateway::bind`] refuses such a configuration.
    pub fn problems(config: &Config) -> Vec<SettingProblem> {
        let keys = jwt::Verifier::new(&config.auth, config.limits.token_bytes_max).err().unwrap_or_default();
        let sources = config.sources.iter().flat_map(|source| signature::Verifier::new(source).err().unwrap_or_default());
        let log = match &config.store.engine {
            EngineKind::Nats { nats } => nats::problems(nats),
            EngineKind::Memory | EngineKind::Disk { .. } => Vec::new(),
        };
        let log = log.into_iter().map(|(setting, problem)| SettingProblem { setting: setting.to_owned(), problem });
        keys.into_iter().map(SettingProblem::from).chain(sources.map(SettingProblem::from)).chain(log).collect()
    }

    /// Opens the log and binds both ports, and begins to fetch key sets; serves nothing yet.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let limits = config.limits;
        let metrics = Arc::new(Metrics::default());
        let shutdown = Shutdown::default();
        let hub = Hub::new(hub_limits(&limits));
        let tls = next_tls(&config).map_err(|problem| BindError::Settings(vec![problem]))?.map(Tls::new).map(Arc::new);
        let public_listener = listen("server.listen", config.server.listen, &limits)?.with_tls(tls.clone());
        let admin_listener = listen("server.admin_listen", config.server.admin_listen, &limits)?;
        let engine = open_log(&config, &hub)?;
        let capture = Capture::new(capture_limits(&limits));
        let ingest = Ingest::new(&config.sources, Arc::clone(&engine), Arc::clone(&metrics), capture);
        let ingest = Arc::new(ingest.map_err(BindError::settings)?);
        let revocations = match &config.store.engine {
            EngineKind::Memory | EngineKind::Nats { .. } => Revocations::in_memory(),
            EngineKind::Disk { path: folder } => Revocations::open(folder, clock::now())?,
        };
        let home = KeySetHome { shutdown: shutdown.clone(), metrics: Arc::clone(&metrics) };
        let credentials = Credentials::new(&config.auth, limits.token_bytes_max, revocations, home);
        let credentials = Arc::new(credentials.map_err(BindError::settings)?);

        engine.listen(listener(&credentials, &hub))?;

        let streams = Streams {
            hub: Arc::clone(&hub),
            engine: Arc::clone(&engine),
            credentials: Arc::clone(&credentials),
            limits: Swap::new(stream_limits(&limits)),
            metrics: Arc::clone(&metrics),
            clock: clock::now,
        };
        let admission = Admission::new(admission_limits(&limits));
        let edge = EdgeLimits { header_fields_max: limits.header_fields_max, uri_bytes_max: limits.uri_bytes_max };
        let public = Arc::new(Public {
            ingest: Arc::clone(&ingest),
            streams: Arc::new(streams),
            admission: Arc::clone(&admission),
            settings: Swap::new(public_settings(&config)),
            read_timeout: Duration::from_secs(limits.read_timeout_s),
            shutdown: shutdown.clone(),
            clock: clock::now,
        });
        let behind = Arc::clone(&public);
        let visitors = Visitors {
            is_shared: Arc::new(move |address| behind.settings.get().client_address.trusts(address)),
            closed: metrics.waiting_closed.clone(),
        };
        let probe = Probe::new(Arc::clone(&hub), Arc::clone(&engine));
        let api = Api {
            ingest,
            hub: Arc::clone(&hub),
            engine: Arc::clone(&engine),
            guard: Guard::new(config.admin.token.as_ref()),
            revoking: Arc::new(Revoking { credentials, hub: Arc::clone(&hub), engine: Arc::clone(&engine), clock: clock::now }),
            read_timeout: Duration::from_secs(limits.read_timeout_s),
            data_bytes_max: Swap::new(limits.webhook_body_bytes_max),
            clock: clock::now,
        };
        let admin = Arc::new(Admin { metrics, shutdown: shutdown.clone(), probe, api: Arc::new(api), clock: clock::now });
        let drain_window = config.server.drain_window;
        let reloader = Reloader::new(config, Arc::clone(&public), Arc::clone(&admin), tls);
        Ok(Self {
            public: (public_listener, http::public(Arc::clone(&public))),
            state: public,
            admin: (admin_listener, admin::routes(admin)),
            edge,
            engine,
            hub,
            visitors,
            admission,
            shutdown,
            drain_window,
            reloader,
        })
    }

    /// Puts another configuration in force while the gateway runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Adds the demo page, and the backend behind it that hands out tokens, to the public routes: for `claimr-relay dev` only.
    #[must_use]
    pub fn with_demo(mut self, demo: Demo) -> Self {
        self.public.1 = self.public.1.merge(dev::routes(demo, Arc::clone(&self.hub)));
        self
    }

    /// The public address, for those who asked for port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.public.0.address()
    }

    /// The admin address, for those who asked for port 0.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.0.address()
    }

    /// Who is connected, for those who watch from inside the process.
    pub fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.hub)
    }

    /// Whose places are taken, for those who watch from inside the process.
    pub fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission)
    }

    /// Serves until `stop` resolves; then drains, closes the log, and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { public, state, admin, edge, engine, hub, visitors, admission, shutdown, drain_window, reloader: _ } = self;
        let by_routes = |router| {
            let router = Arc::new(router);
            move |request, peer| http::answer(&router, edge, request, peer)
        };
        let (listener, router) = public;
        let lane = move |connection| http::lane(Arc::clone(&state), edge, connection);
        shutdown.spawn(listener.run(lane, by_routes(router), visitors.clone(), shutdown.clone()));
        let (listener, router) = admin;
        shutdown.spawn(listener.run(no_lane, by_routes(router), visitors, shutdown.clone()));
        shutdown.spawn(tidy(Arc::clone(&engine), admission, shutdown.clone()));

        stop.await;
        tracing::info!(sessions = hub.sessions(), "draining");
        shutdown.drain();
        drain(&hub, drain_window).await;
        if !shutdown.close(Self::CLOSE_PATIENCE).await {
            tracing::warn!("some connections did not end in time and were dropped");
        }
        engine.close().await;
        tracing::info!("stopped");
    }
}

/// Tells every session to leave, one after the other over the window, so that they do not all arrive elsewhere at once.
async fn drain(hub: &Hub, window: Duration) {
    /// Few sessions need no long goodbye.
    const PER_SESSION: Duration = Duration::from_millis(5);
    const STEP: Duration = Duration::from_millis(20);
    /// What a node takes of new sessions without noticing decides how far their return is spread.
    const RETURN_PER_SESSION_MS: u64 = 20;
    let mut members = hub.members();
    let spread = (members.len() as u64 * RETURN_PER_SESSION_MS).min(9_000);
    let goodbye =
        || Close { code: CloseCode::Draining, retry_after: Some(Duration::from_millis(1_000 + fastrand::u64(..=spread))) };
    fastrand::shuffle(&mut members);
    let window = window.min(PER_SESSION * u32::try_from(members.len()).unwrap_or(u32::MAX));
    let steps = (window.as_millis() / STEP.as_millis()).max(1);
    let per_step = members.len().div_ceil(usize::try_from(steps).unwrap_or(1)).max(1);
    for step in members.chunks(per_step) {
        for member in step {
            member.close(goodbye());
        }
        sleep(STEP).await;
    }
    // Those who got in while the drain began.
    for member in hub.members() {
        member.close(goodbye());
    }
}

/// Forgets what is old: events past their retention, addresses that have gone, refusals that were not logged.
async fn tidy(engine: Arc<dyn Engine>, admission: Arc<Admission>, shutdown: Shutdown) {
    const EVERY: Duration = Duration::from_secs(1);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.closing() => return,
        }
        admission.forget_idle(Instant::now());
        REFUSALS.sum_up(Instant::now());
        if let Err(error) = engine.retain(clock::now()).await {
            tracing::warn!(%error, "retention could not be applied; it is tried again");
        }
    }
}

fn open_log(config: &Config, hub: &Arc<Hub>) -> Result<Arc<dyn Engine>, BindError> {
    let retention = Retention {
        max_age: config.store.max_age,
        max_events_per_user: config.store.max_events_per_user,
        dead_letters_max: config.limits.dead_letters_max,
        publish_queue_max: config.limits.publish_queue_max,
    };
    let now = clock::now();
    let (log, newest): (Arc<dyn Engine>, _) = match &config.store.engine {
        EngineKind::Memory => (MemoryEngine::new(retention, Arc::clone(hub)), now),
        EngineKind::Disk { path } => {
            let log = DiskEngine::open(path, retention, Arc::clone(hub), now)?;
            let newest = log.clock();
            (log, newest)
        }
        EngineKind::Nats { nats } => {
            let log = NatsEngine::open(nats.as_ref().clone(), retention, NatsLimits::default(), Arc::clone(hub))?;
            let newest = log.clock();
            (log, newest)
        }
    };
    Ok(Steady::new(log, Ages::from(newest), clock::now))
}

/// Puts in force what other gateways revoke.
fn listener(credentials: &Arc<Credentials>, hub: &Arc<Hub>) -> engine::Listener {
    let (credentials, hub) = (Arc::clone(credentials), Arc::clone(hub));
    Box::new(move |notice| match notice {
        Notice::Revoke(revocation) => {
            if let Err(full) = credentials.revocations().add(revocation.clone(), clock::now()) {
                tracing::error!(error = %full, "a revocation of another gateway is not in force here");
            }
            hub.revoke(&revocation);
        }
        Notice::Forget(subject) => drop(credentials.revocations().remove(&subject)),
        Notice::Disconnect(_) | Notice::Again(_) => {}
    })
}

fn listen(setting: &'static str, address: SocketAddr, limits: &Limits) -> Result<Listener, BindError> {
    let limits = ConnectionLimits {
        read_timeout: Duration::from_secs(limits.read_timeout_s),
        header_bytes_max: limits.header_bytes_max,
        write_stall: Duration::from_secs(limits.write_stall_s),
        acknowledge_timeout: stream_limits(limits).acknowledge_timeout(),
        waiting: WaitingLimits {
            connections_max: if limits.waiting_connections_max == 0 {
                reserved_files() / 4
            } else {
                limits.waiting_connections_max
            },
            connections_per_address_max: limits.waiting_connections_per_address_max,
        },
        upgraded: UpgradedLimits {
            bytes_per_s_max: limits.client_bytes_per_s_max,
            bytes_burst_max: limits.client_bytes_burst_max,
        },
    };
    Listener::bind(address, limits).map_err(|source| BindError::Listen { setting, address, source })
}

/// The certificate to show, if one is configured. One whose dates are wrong is shown all the same: some clients may take it, and none could
/// take nothing.
fn next_tls(config: &Config) -> Result<Option<NextTls>, SettingProblem> {
    let Some(settings) = &config.server.tls else { return Ok(None) };
    if let Some(problem) = settings.out_of_date(clock::now()) {
        tracing::warn!(file = %settings.cert.display(), problem, "clients will refuse the certificate of server.tls.cert; renew it and reload");
    }
    let failed = |error: rustls::Error| SettingProblem { setting: "server.tls".to_owned(), problem: error.to_string() };
    NextTls::new(settings).map(Some).map_err(failed)
}

fn public_settings(config: &Config) -> Settings {
    Settings {
        origins: Origins::new(config.server.allowed_origins.iter().cloned()),
        client_address: ClientAddress::new(config.server.trusted_proxies.clone()),
        webhook_body_bytes_max: config.limits.webhook_body_bytes_max,
    }
}

impl BindError {
    fn settings(problems: Vec<impl Into<SettingProblem>>) -> Self {
        Self::Settings(problems.into_iter().map(Into::into).collect())
    }
}

impl From<jwt::KeyProblem> for SettingProblem {
    fn from(jwt::KeyProblem { setting, problem }: jwt::KeyProblem) -> Self {
        Self { setting, problem }
    }
}

impl From<signature::Problem> for SettingProblem {
    fn from(signature::Problem { setting, problem }: signature::Problem) -> Self {
        Self { setting, problem }
    }
}

fn hub_limits(limits: &Limits) -> HubLimits {
    let mailbox = MailboxLimits { events_max: limits.mailbox_events_max, bytes_max: limits.mailbox_bytes_max };
    HubLimits { sessions_per_user_max: limits.sessions_per_user_max, mailbox }
}

fn capture_limits(limits: &Limits) -> CaptureLimits {
    CaptureLimits { deliveries_max: limits.captured_deliveries_max, body_bytes_max: limits.captured_body_bytes_max }
}

fn admission_limits(limits: &Limits) -> AdmissionLimits {
    let sessions_max = if limits.sessions_max == 0 { sessions_by_file_limit() } else { limits.sessions_max };
    AdmissionLimits {
        sessions_max,
        sessions_per_address_max: limits.sessions_per_address_max,
        new_sessions_per_address_per_s_max: limits.new_sessions_per_address_per_s_max,
    }
}

/// Every session is an open file, and so is every webhook's connection.
fn sessions_by_file_limit() -> usize {
    open_files().saturating_sub(reserved_files()).max(1)
}

/// Open files that are kept from sessions for webhooks and for the log. Connections that have not asked for anything yet may take a quarter
/// on each listener, so that half is left whoever comes.
fn reserved_files() -> usize {
    const RESERVE_MIN: usize = 256;
    (open_files() / 10).max(RESERVE_MIN)
}

fn open_files() -> usize {
    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap_or((1_024, 1_024));
    // The soft limit is a shell's default; the hard one is what the operator allows.
    let files = rlimit::increase_nofile_limit(hard).unwrap_or(1_024);
    usize::try_from(files).unwrap_or(usize::MAX)
}

fn stream_limits(limits: &Limits) -> StreamLimits {
    StreamLimits {
        ping_interval: Duration::from_secs(limits.ping_interval_s),
        pong_timeout: Duration::from_secs(limits.pong_timeout_s),
        auth_timeout: Duration::from_secs(limits.auth_timeout_s),
        client_message_bytes_max: limits.client_message_bytes_max,
        client_frames_per_s_max: limits.client_frames_per_s_max,
        client_frames_burst_max: limits.client_frames_burst_max,
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address().ok()).finish_non_exhaustive()
    }
}
