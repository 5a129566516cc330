//! The settings of every section but the sources: their names, their forms, and what they must not say together.

use std::time::Duration;

use super::{
    Admin, Auth, Config, EngineKind, Limits, Log, LogFormat, Server, Source, Store, jwt_keys,
    mistake::Wrong,
    nats,
    reader::{Report, Reported, Section},
    secrets, sources, tls,
    tree::{Node, Origin, Value},
    values::{self, address, choice, count, duration, name},
};

/// An admin token, a ticket secret: 256 bits of key, as RFC 7518 wants for HS256.
const SECRET_BYTES_MIN: usize = 32;
const LEEWAY_MAX: Duration = Duration::from_secs(30);
const TOKEN_LIFE_MAX: Duration = Duration::from_hours(24);
const A_MOMENT: Duration = Duration::from_millis(1);

/// Reads everything, and goes on after every mistake.
pub(super) fn config(report: &Report<'_>, root: Node) -> Result<Config, Reported> {
    let Value::Table(table) = root.value else { return Err(Reported) };
    let root = Section::new(report, String::new(), Origin::Default, table);
    let server = section(&root, "server").and_then(|s| server(&s));
    let store = section(&root, "store").and_then(|s| store(&s));
    let auth = section(&root, "auth").and_then(|s| auth(&s));
    let admin = section(&root, "admin").and_then(|s| admin(&s, server.as_ref().ok()));
    let sources = sources::sources(&root);
    let remembered =
        store.as_ref().map_or(Ok(()), |store| sources.as_ref().map_or(Ok(()), |sources| remembered(&root, store, sources)));
    let limits = section(&root, "limits").and_then(|s| Limits::read(&s));
    let log = section(&root, "log").and_then(|s| log(&s));
    remembered?;
    Ok(Config { server: server?, store: store?, auth: auth?, admin: admin?, sources: sources?, limits: limits?, log: log? })
}

fn section<'r>(root: &Section<'r>, key: &'static str) -> Result<Section<'r>, Reported> {
    root.table(key, values::table_expected)?.ok_or_else(|| root.missing(key, &format!("[{key}]")))
}

fn server(s: &Section<'_>) -> Result<Server, Reported> {
    let listen = s.required("listen", "listen = \"127.0.0.1:8080\"", address);
    let admin_listen = s.required("admin_listen", "admin_listen = \"127.0.0.1:8081\"", address);
    let allowed_origins = s.list("allowed_origins", values::origin);
    let trusted_proxies = s.list("trusted_proxies", values::network);
    let drain_window = s.required("drain_window", "drain_window = \"10s\"", duration(Duration::ZERO, Duration::MAX));
    let tls = tls::tls(s);
    if let (Ok(public), Ok(admin)) = (listen, admin_listen) {
        let overlap = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
        if public.port() == admin.port() && public.port() != 0 && overlap {
            let problem = format!("{admin} cannot be listened on beside server.listen = \"{public}\"");
            s.wrong("admin_listen", Wrong::new(problem, "write another port, such as \"127.0.0.1:8081\""));
            return Err(Reported);
        }
    }
    Ok(Server {
        listen: listen?,
        admin_listen: admin_listen?,
        allowed_origins: allowed_origins?,
        trusted_proxies: trusted_proxies?,
        drain_window: drain_window?,
        tls: tls?,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Memory,
    Disk,
    Nats,
}

fn store(s: &Section<'_>) -> Result<Store, Reported> {
    let engines = &[("disk", Engine::Disk), ("memory", Engine::Memory), ("nats", Engine::Nats)];
    let engine = s.required("engine", "engine = \"disk\"", choice(engines));
    let path = s.required("path", "path = \"data\"", values::path);
    let max_age = s.required("max_age", "max_age = \"24h\"", duration(A_MOMENT, Duration::MAX));
    let max_events_per_user = s.required("max_events_per_user", "max_events_per_user = 1000", count(1));
    let engine = match engine? {
        Engine::Memory => Ok(EngineKind::Memory),
        Engine::Disk => path.map(|path| EngineKind::Disk { path }),
        Engine::Nats => nats::nats(s).map(|nats| EngineKind::Nats { nats: Box::new(nats) }),
    };
    if !matches!(engine, Ok(EngineKind::Nats { .. }) | Err(Reported)) {
        // Read all the same, so that it is known and checked.
        if s.node("nats").is_some() {
            nats::nats(s)?;
        }
    }
    Ok(Store { engine: engine?, max_age: max_age?, max_events_per_user: max_events_per_user? })
}

/// A log in NATS knows a delivery id as long as its event.
fn remembered(root: &Section<'_>, store: &Store, sources: &[Source]) -> Result<(), Reported> {
    let longest = sources.iter().enumerate().max_by_key(|(_, source)| source.delivery_id_window);
    let Some((number, source)) = longest.filter(|(_, source)| source.delivery_id_window > store.max_age) else { return Ok(()) };
    if !matches!(store.engine, EngineKind::Nats { .. }) {
        return Ok(());
    }
    let window = humantime::format_duration(source.delivery_id_window);
    let problem =
        format!("shorter than sources[{number}].delivery_id_window, and a log in NATS forgets a delivery id with its event");
    let remedy = format!("write at least \"{window}\", or a shorter delivery_id_window");
    let origin = root.node("store").map_or(Origin::Default, |node| node.origin.clone());
    Err(root.report.add("store.max_age".to_owned(), &origin, Wrong::new(problem, remedy)))
}

fn auth(s: &Section<'_>) -> Result<Auth, Reported> {
    let issuer = s.required("issuer", "issuer = \"https://app.example.com\", the \"iss\" of your tokens", name);
    let audience = s.required("audience", "audience = \"claimr-relay\", the \"aud\" of your tokens", name);
    let default_platform = s.optional("default_platform", values::platform);
    let keys = jwt_keys::keys(s);
    let ticket_secret = secrets::optional(s, "ticket_secret", SECRET_BYTES_MIN);
    let leeway = s.required("leeway", "leeway = \"30s\"", duration(Duration::ZERO, LEEWAY_MAX));
    let token_life_max = s.required("token_life_max", "token_life_max = \"24h\"", duration(A_MOMENT, TOKEN_LIFE_MAX));
    let (keys, jwks) = keys?;
    Ok(Auth {
        issuer: issuer?,
        audience: audience?,
        default_platform: default_platform?,
        keys,
        jwks,
        ticket_secret: ticket_secret?,
        leeway: leeway?,
        token_life_max: token_life_max?,
    })
}

fn admin(s: &Section<'_>, server: Option<&Server>) -> Result<Admin, Reported> {
    let token = secrets::optional(s, "token", SECRET_BYTES_MIN)?;
    match server.filter(|server| token.is_none() && !server.admin_listen.ip().is_loopback()) {
        None => Ok(Admin { token }),
        Some(server) => {
            let problem = format!("required, because server.admin_listen = \"{}\" is not loopback", server.admin_listen);
            let remedy = "write token = { env = \"RELAY_ADMIN_TOKEN\" }, or listen on 127.0.0.1";
            Err(s.wrong("token", Wrong::new(problem, remedy)))
        }
    }
}

fn log(s: &Section<'_>) -> Result<Log, Reported> {
    let filter = s.required("filter", "filter = \"info\"", values::log_filter);
    let formats = &[("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = s.required("format", "format = \"json\"", choice(formats));
    let refusals_per_s_max = s.required("refusals_per_s_max", "refusals_per_s_max = 10", count(1));
    Ok(Log { filter: filter?, format: format?, refusals_per_s_max: refusals_per_s_max? })
}
