//! `claimr-relay verify`: which scheme and which secret match a recorded delivery, or why none does.

use std::{
    fs,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::json;

use crate::{
    claimr::signature::{self, Explanation},
    event::Timestamp,
};

/// Bytes of a body file that are read; no delivery is that large.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// Tells which scheme and which secret match a delivery, or why none does
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    claimr-relay verify --secret \"$CLAIMR_HOOK_SECRET\" --body body.json \\\n    \
    --header 'X-Signature: e866cc1d…' --header 'Content-Type: application/json'\n\n\
    Exit code 0: one matches; 1: none does; 2: bad usage.")]
pub struct Args {
    /// A secret to try; may be repeated
    #[arg(long = "secret", value_name = "SECRET", required = true, value_parser = NonEmptyStringValueParser::new())]
    secrets: Vec<String>,
    /// The file with the raw body, byte for byte as it came; `-` for standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// A header of the delivery; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The moment to check at, as 2026-11-23T12:00:00Z; for recorded deliveries
    #[arg(long, value_name = "TIME", value_parser = moment)]
    now: Option<Timestamp>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints the result to standard output. `now` counts unless the arguments name another moment. The code is 0 if a secret
/// matches, 1 if none does; an error is a body that cannot be read.
pub fn run(args: Args, now: Timestamp) -> anyhow::Result<ExitCode> {
    let body = read(&args.body).with_context(|| format!("cannot read the body from {}", args.body.display()))?;
    let matches = report(args, &body, now, &mut io::stdout().lock()).context("cannot write the result")?;
    Ok(if matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let input: Box<dyn io::Read> = if path == "-" { Box::new(io::stdin()) } else { Box::new(fs::File::open(path)?) };
    input.take(BODY_BYTES_MAX + 1).read_to_end(&mut body)?;
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {BODY_BYTES_MAX} bytes")));
    }
    Ok(body)
}

fn report(args: Args, body: &[u8], now: Timestamp, out: &mut impl Write) -> io::Result<bool> {
    let secrets: Vec<SecretString> = args.secrets.into_iter().map(Into::into).collect();
    let headers: HeaderMap = args.headers.into_iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    });
    let explanation = signature::explain(&secrets, &headers, body, args.now.unwrap_or(now));
    let print = if args.json { as_json } else { as_text };
    print(&explanation, out)?;
    Ok(explanation.verdict.is_ok())
}

fn as_json(explanation: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let object = match &explanation.verdict {
        Ok(matched) => json!({
            "verified": true,
            "scheme": matched.found.scheme(),
            "header": matched.found.header(),
            "secret": matched.secret + 1,
            "delivery_id": matched.delivery_id,
            "config": matched.found.to_toml(),
        }),
        Err(refusal) => json!({ "verified": false, "code": refusal.code(), "reasons": explanation.reasons }),
    };
    writeln!(out, "{object}")
}

fn as_text(explanation: &Explanation, out: &mut impl Write) -> io::Result<()> {
    match &explanation.verdict {
        Ok(matched) => {
            writeln!(out, "verified: {} with secret {}", matched.found.scheme(), matched.secret + 1)?;
            if let Some(id) = &matched.delivery_id {
                writeln!(out, "delivery id: {id}")?;
            }
            writeln!(out, "\nTo pin it, in the [[sources]] table of the configuration:\n  {}", matched.found)
        }
        Err(refusal) => {
            writeln!(out, "not verified: {}", refusal.code())?;
            explanation.reasons.iter().try_for_each(|reason| writeln!(out, "- {reason}"))
        }
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} cannot be a header's name"))?;
    let value =
        HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| format!("no header can hold that value of {name}"))?;
    Ok((name, value))
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let time = humantime::parse_rfc3339_weak(text).map_err(|e| e.to_string())?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "it is before 1970")?;
    Ok(Timestamp(0).plus(since))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const BODY: &[u8] = br#"{"scope":"user_activity","pid":"fLEFzw90"}"#;
    const PLAIN: &str = "X-Signature: e866cc1d81ed6b995898923beee04fb4713458a8b026848502cad26dc43fc206";
    const STRIPE: &str = "a-signature: t=1700000000,v1=2e6846c099abcc33853d3c58fa3af11acca7797c914c2a30d00f1f9babc12e6c";

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let words = ["verify", "--secret", "my-secret-key", "--body", "-"].iter().chain(words);
        Cli::try_parse_from(words).map(|cli| cli.args)
    }

    fn report_of(words: &[&str]) -> (bool, String) {
        let mut out = Vec::new();
        let matches = report(parse(words).unwrap_or_else(|e| panic!("{e}")), BODY, Timestamp(0), &mut out).unwrap();
        (matches, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_match_comes_with_the_line_that_pins_it() {
        let (matches, text) = report_of(&["--secret", "other", "--header", PLAIN]);
        assert!(matches);
        assert_eq!(
            text,
            "verified: hmac with secret 1\n\nTo pin it, in the [[sources]] table of the configuration:\n  \
             signature = { scheme = \"hmac\", header = \"x-signature\", algorithm = \"sha256\", encoding = \"hex\", prefix = \"\" }\n"
        );
        let (matches, text) = report_of(&["--header", PLAIN, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(matches);
        assert_eq!((&json["verified"], &json["secret"], &json["header"]), (&json!(true), &json!(1), &json!("x-signature")));
    }

    #[test]
    fn a_refusal_comes_with_its_code_and_reasons() {
        let (matches, text) = report_of(&[]);
        assert!(!matches && text.starts_with("not verified: signature_missing\n- No header"), "{text}");
        let (matches, text) = report_of(&["--header", STRIPE, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!matches && json["code"] == "timestamp_stale" && json["reasons"].is_array(), "{text}");
        let (matches, _) = report_of(&["--header", STRIPE, "--now", "2023-11-14T22:13:20Z"]);
        assert!(matches);
    }

    #[test]
    fn bad_usage_is_refused_by_the_parser() {
        for words in [
            &["--header", "no colon"][..],
            &["--header", "a b: c"],
            &["--header", "a: b\nc"],
            &["--now", "yesterday"],
            &["--now", "1969-12-31T00:00:00Z"],
            &["--secret", ""],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
