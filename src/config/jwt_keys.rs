//! The settings of the keys that tokens are signed with: `[[auth.keys]]`, each a key of its own or a set that is fetched.

use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::{
    Jwks, JwtKey, KeyMaterial,
    mistake::Wrong,
    reader::{Reported, Section, Seen},
    secrets,
    tree::Node,
    values::{self, duration, name},
};

/// What most issuers sign with, one for each kind of key, so that every key says by its kind what it is for.
const ALGS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
const REFRESH: Duration = Duration::from_mins(10);
/// Unknown keys make us ask again that often, too.
const REFRESH_MIN: Duration = Duration::from_secs(30);
const STALE_MAX: Duration = Duration::from_hours(24);
/// A token waits for all of them.
const SETS_MAX: usize = 8;

/// What an entry says of a key of its own.
const OF_A_KEY: [&str; 5] = ["alg", "secret", "public_key", "kid", "not_after"];

enum Entry {
    Key(JwtKey),
    Set(Jwks),
}

/// Every `[[auth.keys]]`, at least one.
pub(super) fn keys(s: &Section<'_>) -> Result<(Vec<JwtKey>, Vec<Jwks>), Reported> {
    let kids = Seen::default();
    let entries = s.tables("keys", values::table_expected, |s| entry(s, &kids))?;
    if entries.is_empty() {
        return Err(s.missing("keys", "[[auth.keys]] with alg and secret (or public_key): the key that signs your tokens"));
    }
    let (mut keys, mut sets) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Key(key) => keys.push(key),
            Entry::Set(set) => sets.push(set),
        }
    }
    if sets.len() > SETS_MAX {
        let problem = format!("{} of them are sets to be fetched", sets.len());
        return Err(s.wrong("keys", Wrong::new(problem, format!("write at most {SETS_MAX} with jwks"))));
    }
    Ok((keys, sets))
}

fn entry(s: &Section<'_>, kids: &Seen) -> Result<Entry, Reported> {
    let table = s.table("jwks", table_with_url).inspect_err(|_| {
        // Of an unreadable set, no other setting is known to be wrong.
        for key in OF_A_KEY {
            s.node(key);
        }
    });
    match table? {
        Some(table) => set(s, &table).map(Entry::Set),
        None => key(s, kids).map(Entry::Key),
    }
}

fn table_with_url(node: &Node) -> Wrong {
    let remedy = "write jwks = { url = \"https://app.example.com/.well-known/jwks.json\" }";
    Wrong::new(format!("a table belongs here, not {}", node.kind()), remedy)
}

fn set(s: &Section<'_>, table: &Section<'_>) -> Result<Jwks, Reported> {
    let mut result = Ok(());
    for key in OF_A_KEY {
        if s.node(key).is_some() {
            let remedy = "remove it; algorithms that may be used are jwks.algs, and a key of your own is another [[auth.keys]]";
            result = Err(s.wrong(key, Wrong::new("each key of a set says this for itself", remedy)));
        }
    }
    let url = table.required("url", "url = \"https://app.example.com/.well-known/jwks.json\"", values::key_set_url);
    let algs = if table.node("algs").is_some() { table.list("algs", asymmetric) } else { Ok(ALGS.to_vec()) };
    let algs = algs.and_then(|algs| {
        let wrong = || Wrong::new("no key could ever be used", "write algs = [\"RS256\"], or what your tokens are signed with");
        if algs.is_empty() { Err(table.wrong("algs", wrong())) } else { Ok(algs) }
    });
    let refresh = table.optional("refresh", duration(REFRESH_MIN, Duration::from_hours(24)));
    let stale_max = table.optional("stale_max", duration(REFRESH_MIN, Duration::from_hours(24 * 365)));
    result?;
    Ok(Jwks {
        url: url?,
        algs: algs?,
        refresh: refresh?.unwrap_or(REFRESH),
        stale_max: stale_max?.unwrap_or(STALE_MAX),
        setting: table.path.clone(),
    })
}

fn asymmetric(node: &Node) -> Result<Algorithm, Wrong> {
    let alg = values::algorithm(node)?;
    if alg.family() == AlgorithmFamily::Hmac {
        return Err(Wrong::new("a published key cannot be a shared secret", "write RS, PS, ES or EdDSA algorithms only"));
    }
    Ok(alg)
}

fn key(s: &Section<'_>, kids: &Seen) -> Result<JwtKey, Reported> {
    let alg = s.required("alg", "alg = \"HS256\", or what your tokens are signed with", values::algorithm);
    let secret = secrets::optional(s, "secret", 1);
    let public = secrets::optional(s, "public_key", 1);
    let kid = s.optional("kid", name).and_then(|kid| kid.map(|kid| s.unique("kid", kid, kids)).transpose());
    let not_after = s.optional("not_after", values::moment);
    let (alg, secret, public) = (alg?, secret?, public?);
    let symmetric = alg.family() == AlgorithmFamily::Hmac;
    let material = match (symmetric, secret, public) {
        (true, Some(secret), None) => KeyMaterial::Secret(secret),
        (false, None, Some(pem)) => public_key(s, secrecy::ExposeSecret::expose_secret(&pem))?,
        (true, None, _) => return Err(s.missing("secret", "secret = { env = \"VARIABLE\" }, for an HS algorithm")),
        (false, _, None) => {
            return Err(s.missing("public_key", "public_key = { file = \"path\" }, PEM, for an RS, PS, ES or EdDSA algorithm"));
        }
        (true, _, Some(_)) => {
            return Err(s.wrong("public_key", Wrong::new("an HS algorithm has no public key", "remove it, or change alg")));
        }
        (false, Some(_), _) => {
            return Err(s.wrong("secret", Wrong::new("this algorithm has no secret", "remove it, or change alg to an HS one")));
        }
    };
    Ok(JwtKey { alg, material, kid: kid?, not_after: not_after?, setting: s.path.clone() })
}

fn public_key(s: &Section<'_>, pem: &str) -> Result<KeyMaterial, Reported> {
    let wrong = |problem, remedy| Err(s.wrong("public_key", Wrong::new(problem, remedy)));
    if pem.contains("PRIVATE KEY") {
        return wrong("a private key, which the gateway must not have", "write the public key: openssl pkey -in KEY -pubout");
    }
    if !pem.trim_start().starts_with("-----BEGIN ") {
        return wrong("not in PEM form", "write the public key in PEM, which starts with -----BEGIN PUBLIC KEY-----");
    }
    Ok(KeyMaterial::PublicPem(pem.to_owned()))
}
