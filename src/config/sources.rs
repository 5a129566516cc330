//! The settings of a sender of webhooks.

use std::time::Duration;

use super::{
    HmacAlgorithm, HmacEncoding, HookSecret, Mapping, Signature, Source, broadcast,
    mistake::Wrong,
    reader::{Reported, Section, Seen},
    secrets,
    tree::{Node, Value},
    values::{self, choice, duration},
};

/// Every `[[sources]]`; at least one, names unique.
pub(super) fn sources(root: &Section<'_>) -> Result<Vec<Source>, Reported> {
    let names = Seen::default();
    let sources = root.tables("sources", values::table_expected, |s| source(s, &names))?;
    let example = "[[sources]] with name = \"claimr\" and secrets = [{ env = \"CLAIMR_HOOK_SECRET\" }]";
    if sources.is_empty() { Err(root.missing("sources", example)) } else { Ok(sources) }
}

fn source(s: &Section<'_>, names: &Seen) -> Result<Source, Reported> {
    let name = s.required("name", "name = \"claimr\": its webhooks come to /hooks/claimr", values::source_name);
    let name = name.and_then(|name| s.unique("name", name, names));
    let preset = s.required("preset", "preset = \"claimr\"", choice(&[("claimr", ())]));
    let secrets = s.tables("secrets", secrets::form, hook_secret);
    let allow_unsigned = s.required("allow_unsigned", "allow_unsigned = false", values::yes_or_no);
    let signature = signature(s);
    let mapping = mapping(s);
    let redact = s.list("redact", values::pointer);
    let referrer_data = s.list("referrer_data", values::pointer);
    let broadcast = broadcast::rules(s);
    let window = || duration(Duration::ZERO, Duration::MAX);
    let duplicate_window = s.required("duplicate_window", "duplicate_window = \"10s\"", window());
    let delivery_id_window = s.required("delivery_id_window", "delivery_id_window = \"24h\"", window());
    if let (Ok(secrets), Ok(allow_unsigned)) = (&secrets, allow_unsigned) {
        signed_or_not(s, secrets, allow_unsigned)?;
    }
    preset?;
    Ok(Source {
        name: name?,
        secrets: secrets?,
        allow_unsigned: allow_unsigned?,
        signature: signature?,
        mapping: mapping?,
        redact: redact?,
        referrer_data: referrer_data?,
        broadcast: broadcast?,
        duplicate_window: duplicate_window?,
        delivery_id_window: delivery_id_window?,
    })
}

fn signed_or_not(s: &Section<'_>, secrets: &[HookSecret], allow_unsigned: bool) -> Result<(), Reported> {
    match (secrets.is_empty(), allow_unsigned) {
        (true, false) => {
            let example = "secrets = [{ env = \"CLAIMR_HOOK_SECRET\" }]; only allow_unsigned = true does without, \
                           and then anybody can send events";
            Err(s.missing("secrets", example))
        }
        (false, true) => {
            let problem = "secrets are set, but deliveries without a signature would be taken all the same";
            Err(s.wrong("allow_unsigned", Wrong::new(problem, "write allow_unsigned = false, or remove the secrets")))
        }
        _ => Ok(()),
    }
}

fn hook_secret(s: &Section<'_>) -> Result<HookSecret, Reported> {
    let secret = secrets::content(s);
    let not_after = s.optional("not_after", values::moment);
    Ok(HookSecret { secret: secret?.into(), not_after: not_after?, setting: s.path.clone() })
}

#[derive(Clone, Copy)]
enum Scheme {
    Detect,
    Hmac,
    Stripe,
    StandardWebhooks,
    SharedSecret,
}

const SCHEMES: &[(&str, Scheme)] = &[
    ("detect", Scheme::Detect),
    ("hmac", Scheme::Hmac),
    ("stripe", Scheme::Stripe),
    ("standard-webhooks", Scheme::StandardWebhooks),
    ("shared-secret", Scheme::SharedSecret),
];

const ALGORITHMS: &[(&str, HmacAlgorithm)] =
    &[("sha256", HmacAlgorithm::Sha256), ("sha512", HmacAlgorithm::Sha512), ("sha1", HmacAlgorithm::Sha1)];

const ENCODINGS: &[(&str, HmacEncoding)] = &[("hex", HmacEncoding::Hex), ("base64", HmacEncoding::Base64)];

/// A scheme that needs nothing else may be written as a bare text.
fn signature(s: &Section<'_>) -> Result<Signature, Reported> {
    let bare = |node: &Node| match &node.value {
        Value::Text(_) => choice(SCHEMES)(node).map(Some),
        Value::Written(text) if !text.trim_start().starts_with('{') => choice(SCHEMES)(node).map(Some),
        _ => Ok(None),
    };
    match s.optional("signature", bare)?.flatten() {
        Some(Scheme::Detect) => return Ok(Signature::Detect),
        Some(Scheme::StandardWebhooks) => return Ok(Signature::StandardWebhooks),
        Some(_) => {
            let remedy = "write { scheme = \"…\", header = \"X-Signature\" } with the header that the sender uses";
            return Err(s.wrong("signature", Wrong::new("this scheme needs to know its header", remedy)));
        }
        None => {}
    }
    let form = |node: &Node| {
        let remedy = "write \"detect\", or { scheme = \"hmac\", header = \"X-Signature\" }";
        Wrong::new(format!("a scheme belongs here, not {}", node.kind()), remedy)
    };
    let table = s.table("signature", form)?.ok_or_else(|| s.missing("signature", "signature = \"detect\""))?;
    let header = || table.required("header", "header = \"X-Signature\", the header that the sender uses", values::header);
    let scheme = table.required("scheme", "scheme = \"hmac\"", choice(SCHEMES)).inspect_err(|_| {
        // Of an unknown scheme, no setting is known to be wrong.
        for key in ["header", "algorithm", "encoding", "prefix"] {
            table.node(key);
        }
    });
    match scheme? {
        Scheme::Detect => Ok(Signature::Detect),
        Scheme::StandardWebhooks => Ok(Signature::StandardWebhooks),
        Scheme::Stripe => Ok(Signature::Stripe { header: header()? }),
        Scheme::SharedSecret => Ok(Signature::SharedSecret { header: header()? }),
        Scheme::Hmac => {
            let header = header();
            let algorithm = table.optional("algorithm", choice(ALGORITHMS));
            let encoding = table.optional("encoding", choice(ENCODINGS));
            let prefix = table.optional("prefix", |node| values::text(node).map(str::to_owned));
            Ok(Signature::Hmac {
                header: header?,
                algorithm: algorithm?.unwrap_or(HmacAlgorithm::Sha256),
                encoding: encoding?.unwrap_or(HmacEncoding::Hex),
                prefix: prefix?.unwrap_or_default(),
            })
        }
    }
}

/// Each field is tried on its own, so that every wrong one is named.
fn mapping(s: &Section<'_>) -> Result<Mapping, Reported> {
    let Some(table) = s.table("mapping", values::table_expected)? else { return Ok(Mapping::default()) };
    let mut members = serde_json::Map::new();
    let mut result = Ok(());
    for (field, _) in Mapping::FIELDS {
        let Some(node) = table.node(field) else { continue };
        let member = serde_json::Map::from_iter([((*field).to_owned(), node.clone().into_json())]);
        match serde_json::from_value::<Mapping>(member.clone().into()) {
            Ok(_) => members.extend(member),
            Err(e) => result = Err(table.wrong(field, Wrong::new(e.to_string(), "write a list of paths, such as [\"user.id\"]"))),
        }
    }
    result?;
    let mapping: Mapping = serde_json::from_value(members.into())
        .map_err(|e| s.wrong("mapping", Wrong::new(e.to_string(), "write lists of paths")))?;
    for (field, problem) in mapping.problems() {
        result = Err(table.wrong(&field, Wrong::new(problem, "see the notes on sources.mapping in the reference")));
    }
    result.map(|()| mapping)
}
