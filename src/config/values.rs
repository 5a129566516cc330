//! The small languages of single values: addresses, origins, durations, dates. Each says what to write instead.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use super::{
    Network,
    mistake::Wrong,
    tree::{Node, Value},
};
use crate::event::Timestamp;

type Read<T> = Result<T, Wrong>;

/// Text as an operator may see it again: escaped, and not endless.
pub(super) fn quote(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

fn wrong_kind(wanted: &str, node: &Node, remedy: &str) -> Wrong {
    Wrong::new(format!("{wanted} belongs here, not {}", node.kind()), remedy)
}

pub(super) fn table_expected(node: &Node) -> Wrong {
    wrong_kind("a table", node, "write { name = value }, or put the name into [brackets] and its settings below")
}

/// Any text.
pub(super) fn text(node: &Node) -> Read<&str> {
    match &node.value {
        Value::Text(text) | Value::Written(text) => Ok(text),
        _ => Err(wrong_kind("text", node, "put the value into double quotes")),
    }
}

/// Text with something in it.
pub(super) fn name(node: &Node) -> Read<String> {
    match text(node)? {
        text if text.trim().is_empty() => Err(Wrong::new("empty", "write a value, or remove the setting")),
        text => Ok(text.to_owned()),
    }
}

pub(super) fn path(node: &Node) -> Read<PathBuf> {
    name(node).map(PathBuf::from)
}

pub(super) fn yes_or_no(node: &Node) -> Read<bool> {
    match &node.value {
        Value::Bool(yes) => Ok(*yes),
        Value::Written(text) if text == "true" => Ok(true),
        Value::Written(text) if text == "false" => Ok(false),
        _ => Err(wrong_kind("true or false", node, "write true or false, without quotes")),
    }
}

/// A whole number of at least `min`.
pub(super) fn count<T: TryFrom<i64>>(min: i64) -> impl Fn(&Node) -> Read<T> {
    move |node| {
        let number = match &node.value {
            Value::Number(number) => Some(*number),
            Value::Written(text) => text.trim().parse().ok(),
            _ => None,
        };
        let remedy = format!("write a whole number of at least {min}, without quotes");
        let number = number.ok_or_else(|| wrong_kind("a whole number", node, &remedy))?;
        let fits = T::try_from(number).ok().filter(|_| number >= min);
        fits.ok_or_else(|| Wrong::new(format!("{number} is out of range"), remedy))
    }
}

/// One of `choices`.
pub(super) fn choice<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&Node) -> Read<T> {
    move |node| {
        let text = text(node)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            Wrong::new(format!("{} is not a choice", quote(text)), format!("write one of {}", names.join(", ")))
        })
    }
}

/// A duration between `min` and `max`.
pub(super) fn duration(min: Duration, max: Duration) -> impl Fn(&Node) -> Read<Duration> {
    move |node| {
        let remedy = "write a number and its unit, such as \"500ms\", \"10s\", \"15m\" or \"24h\"";
        let Ok(text) = text(node) else { return Err(wrong_kind("a duration", node, remedy)) };
        let parsed = humantime::parse_duration(text);
        let duration = parsed.map_err(|e| Wrong::new(format!("{} is not a duration: {e}", quote(text)), remedy))?;
        let show = humantime::format_duration;
        if duration < min {
            return Err(Wrong::new(format!("{} is too short", quote(text)), format!("write at least \"{}\"", show(min))));
        }
        if duration > max {
            return Err(Wrong::new(format!("{} is too long", quote(text)), format!("write at most \"{}\"", show(max))));
        }
        Ok(duration)
    }
}

/// A moment in UTC.
pub(super) fn moment(node: &Node) -> Read<Timestamp> {
    let remedy = "write a moment in UTC, such as \"2026-12-31T00:00:00Z\"";
    let (Value::Text(text) | Value::Written(text) | Value::Date(text)) = &node.value else {
        return Err(wrong_kind("a date", node, remedy));
    };
    let wrong = || Wrong::new(format!("{} is not a moment in UTC", quote(text)), remedy);
    let time = humantime::parse_rfc3339(text).map_err(|_| wrong())?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| wrong())?;
    Ok(Timestamp::default().plus(since))
}

/// `address:port` to listen on.
pub(super) fn address(node: &Node) -> Read<SocketAddr> {
    let example =
        |port: &str| format!("write \"127.0.0.1:{port}\" for this machine only, or \"0.0.0.0:{port}\" for every interface");
    let text = match &node.value {
        Value::Number(port) => return Err(Wrong::new("a port without an address", example(&port.to_string()))),
        _ => text(node)?,
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let wrong = |why: &str, remedy: String| Err(Wrong::new(format!("{} {why}", quote(text)), remedy));
    if let Some(port) = Some(text.strip_prefix(':').unwrap_or(text)).filter(|port| is_port(port)) {
        return wrong("has a port, but no address", example(port));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return wrong(
            "is a URL",
            format!("write address and port only, without a scheme: {}", quote(rest.trim_end_matches('/'))),
        );
    }
    let parts = text.rsplit_once(':').filter(|(_, port)| is_port(port));
    if let Some((ip, port)) = parts.and_then(|(host, port)| Some((Ipv6Addr::from_str(host).ok()?, port))) {
        return wrong("needs brackets around its address", format!("write \"[{ip}]:{port}\""));
    }
    if let Ok(ip) = IpAddr::from_str(text.trim_matches(['[', ']'])) {
        return wrong("has no port", format!("write \"{}\"", SocketAddr::new(ip, 8080)));
    }
    match parts {
        Some((_, port)) => wrong("names a host; an IP address is needed", example(port)),
        None => wrong("is not an address with a port", example("8080")),
    }
}

/// `address/prefix`, or a single address.
pub(super) fn network(node: &Node) -> Read<Network> {
    let text = text(node)?;
    text.parse::<Network>().map_err(|remedy| Wrong::new(format!("{} is not a network", quote(text)), remedy))
}

/// The Origin of a page exactly as browsers send it.
pub(super) fn origin(node: &Node) -> Read<String> {
    let text = text(node)?;
    let wrong = |why: &str, remedy: &str| Err(Wrong::new(format!("{} {why}", quote(text)), remedy));
    let exact = "write each page's scheme, host and port, such as \"https://app.example.com\"";
    if text.contains('*') {
        return wrong("has a wildcard; origins are compared exactly", exact);
    }
    if text == "null" {
        return wrong("is what every sandboxed page and local file sends", exact);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let host = text.trim_end_matches('/');
        return wrong("has no scheme", &format!("write {}", quote(&format!("https://{host}"))));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let meant = format!("{}://{}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    if host.len() < rest.len() {
        return wrong("goes on after the host; an Origin never does", &format!("write {}", quote(&meant)));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:[]".contains(c);
    let (name, port) = split_port(host);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if name.is_empty() || !host.chars().all(plain) || !is_scheme || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return wrong("is not an Origin as browsers send it", exact);
    }
    if meant != text {
        return wrong("has capitals, which browsers never send", &format!("write {}", quote(&meant)));
    }
    if let ("https", Some("443")) | ("http", Some("80")) = (scheme, port) {
        return wrong(
            "names the default port, which browsers leave out",
            &format!("write {}", quote(&format!("{scheme}://{name}"))),
        );
    }
    Ok(meant)
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// A path segment of `[a-z0-9_-]+`.
pub(super) fn source_name(node: &Node) -> Read<String> {
    let name = name(node)?;
    if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b)) {
        return Ok(name);
    }
    let problem = format!("{} cannot stand in a URL's path as it is", quote(&name));
    Err(Wrong::new(problem, "write lower-case letters, digits, '_' and '-' only, such as \"claimr\""))
}

/// The part of a user key before the colon.
pub(super) fn platform(node: &Node) -> Read<String> {
    let name = name(node)?;
    if name.contains(':') {
        return Err(Wrong::new(format!("{} has a colon in it", quote(&name)), "write the platform alone, such as \"acme\""));
    }
    Ok(name)
}

/// An RFC 6901 pointer to a member.
pub(super) fn pointer(node: &Node) -> Read<String> {
    let text = text(node)?;
    let wrong = |why: &str, remedy: String| Err(Wrong::new(format!("{} {why}", quote(text)), remedy));
    if text.is_empty() {
        return wrong("points at the whole payload", "write the member to point at, such as \"/user/email\"".to_owned());
    }
    if !text.starts_with('/') {
        let meant = format!("/{}", text.trim_start_matches("$.").replace('.', "/"));
        return wrong("is not a JSON pointer", format!("write {}", quote(&meant)));
    }
    if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        return wrong("has a '~' that stands for nothing", "write ~0 for '~' and ~1 for '/' within a name".to_owned());
    }
    Ok(text.to_owned())
}

/// The name of an HTTP header.
pub(super) fn header(node: &Node) -> Read<String> {
    let text = text(node)?;
    match http::HeaderName::from_str(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Wrong::new(format!("{} is not a header's name", quote(text)), "write a name such as \"X-Signature\"")),
    }
}

/// What the log shows.
pub(super) fn log_filter(node: &Node) -> Read<String> {
    let text = name(node)?;
    match tracing_subscriber::EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(e) => {
            Err(Wrong::new(format!("{}: {e}", quote(&text)), "write a level, such as \"info\" or \"info,claimr_relay=debug\""))
        }
    }
}

/// An algorithm for tokens.
pub(super) fn algorithm(node: &Node) -> Read<jsonwebtoken::Algorithm> {
    let text = text(node)?;
    text.parse().map_err(|_| {
        let remedy = "write one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
        Wrong::new(format!("{} is not an algorithm that is supported", quote(text)), remedy)
    })
}

/// Where a key set is published: over TLS, unless it comes from this machine.
pub(super) fn key_set_url(node: &Node) -> Read<String> {
    let text = text(node)?;
    let example = "write a URL such as \"https://app.example.com/.well-known/jwks.json\"";
    let wrong = |why: &str, remedy: &str| Err(Wrong::new(format!("{} {why}", quote(text)), remedy));
    let Ok(uri) = text.parse::<http::Uri>() else { return wrong("is not a URL", example) };
    let host = uri.host().unwrap_or("");
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback());
    match uri.scheme_str() {
        _ if host.is_empty() => wrong("is not a URL", example),
        // Not quoted: what stands there may be a password.
        _ if authority.contains('@') => Err(Wrong::new("a URL with a user name in it", "leave it out; it would be sent nowhere")),
        _ if text.contains('#') => wrong("has a fragment (#…), which is never sent", "leave it out"),
        Some("https") => Ok(text.to_owned()),
        Some("http") if is_loopback => Ok(text.to_owned()),
        Some("http") => wrong("is not encrypted: whoever is on the way could put keys of their own in", "write https://"),
        _ => wrong("begins neither with https:// nor with http://", example),
    }
}
