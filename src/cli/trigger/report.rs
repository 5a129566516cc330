//! What `trigger` tells: what became of one delivery or of many, the line for a shell, the list of shapes.

use std::process::ExitCode;

use serde_json::json;

use super::{
    curl, fixture,
    send::{Deliveries, Receipt, Tally},
};
use crate::{
    cli::{
        Failure,
        client::{Answer, Target},
        print,
    },
    clock,
};

/// Bytes that a line for a shell can hold: Linux takes 128 KiB an argument.
const LINE_BYTES_MAX: usize = 100 * 1_024;

/// The shapes that there are.
pub(super) fn list(as_json: bool) -> Result<ExitCode, Failure> {
    let all = fixture::all()?;
    if as_json {
        let variants = all.iter().flat_map(|(scope, fixtures)| {
            fixtures.variants.iter().map(move |v| json!({ "scope": scope, "variant": v.name, "about": v.about, "body": v.body }))
        });
        let provenance = all.first().map(|(_, fixtures)| fixtures.provenance.as_str());
        print(&json!({ "ok": true, "provenance": provenance, "variants": variants.collect::<Vec<_>>() }).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![all.first().map_or(String::new(), |(_, fixtures)| fixtures.provenance.clone())];
    for (scope, fixtures) in &all {
        lines.push(format!("\n{scope}"));
        lines.extend(fixtures.variants.iter().map(|variant| format!("  {:<10} {}", variant.name, variant.about)));
    }
    print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The line for a shell that would send the first delivery.
pub(super) fn line(target: &Target, deliveries: &Deliveries, as_json: bool) -> Result<ExitCode, Failure> {
    let delivery = deliveries.make(0, clock::now())?;
    let body = std::str::from_utf8(&delivery.body).ok().filter(|text| !text.contains('\0') && text.len() <= LINE_BYTES_MAX);
    let Some(body) = body else {
        let problem = "the body is not text, or longer than a line for a shell can be";
        return Err(Failure::Usage(format!("{problem}\n      -> leave --print out, and it is sent as it is")));
    };
    let line = curl::line(&target.url(&deliveries.path), &delivery.headers, body);
    if as_json {
        print(&json!({ "ok": true, "curl": line }).to_string())?;
    } else {
        print(&line)?;
        if deliveries.signer.signs_time() {
            eprintln!("claimr-relay: this line is good for five minutes, because the time is signed");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of many.
pub(super) fn tally(tally: &Tally, as_json: bool) -> Result<ExitCode, Failure> {
    print(&if as_json { tally.to_json().to_string() } else { tally.to_text() })?;
    if !as_json {
        tally.stopped.iter().for_each(|why| eprintln!("claimr-relay: {why}"));
        tally.refusals().for_each(|(status, code)| eprintln!("claimr-relay: {status} {code}\n      -> {}", remedy(status, code)));
    }
    Ok(if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of one.
pub(super) fn answer(answer: &Answer, url: &str, as_json: bool) -> Result<ExitCode, Failure> {
    let status = answer.status.as_u16();
    let Some(receipt) = Receipt::of(answer) else {
        let code = answer.error_code();
        if as_json {
            print(&json!({ "ok": false, "status": status, "code": code, "error": refusal(answer, url) }).to_string())?;
            return Ok(ExitCode::FAILURE);
        }
        return Err(anyhow::anyhow!(refusal(answer, url)).into());
    };
    let Receipt { ids, duplicate, recipients, connections, dead_letters } = receipt;
    if as_json {
        let result = json!({ "ok": true, "status": status, "ids": ids, "duplicate": duplicate, "recipients": recipients,
            "connections": connections, "dead_letters": dead_letters });
        print(&result.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let cursors = ids.join(" ");
    let fate = match (duplicate, recipients, connections) {
        (true, ..) => format!("duplicate of {cursors}: it was stored before, and is not delivered again"),
        (_, 0, _) => "accepted, but it names nobody: kept as a dead letter".to_owned(),
        (_, _, 0) => format!("accepted {cursors}, for {}, nobody of whom is connected: kept for resume", people(recipients)),
        _ => format!("accepted {cursors}, for {} on {}", people(recipients), counted(connections, "connection")),
    };
    print(&fate)?;
    Ok(ExitCode::SUCCESS)
}

fn people(count: usize) -> String {
    if count == 1 { "1 person".to_owned() } else { format!("{count} people") }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What a refusal means, and what to do.
fn refusal(answer: &Answer, url: &str) -> String {
    let Some(code) = answer.error_code() else {
        let problem = format!("{url} answered {}, but not as a gateway does: {}", answer.status, answer.excerpt());
        return format!("{problem}\n      -> check --url; a proxy in front of the gateway must pass /hooks on as it is");
    };
    let status = answer.status.as_u16();
    format!("refused: {status} {code}\n      -> {}", remedy(status, &code))
}

fn remedy(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (401, _) => {
            "is this the secret of that source at the gateway? To see which secret and scheme match:\n         \
             claimr-relay verify --secret \"$CLAIMR_HOOK_SECRET\" --body body.json --header 'X-Signature: …'"
        }
        (404, "source_unknown") => {
            "the gateway has no source of this name: see [[sources]] in its configuration, and name its URL with --url"
        }
        (404, _) => "the path is wrong: --url takes the URL of a source, such as http://127.0.0.1:8080/hooks/claimr",
        (400, "tls_required") => "this port speaks TLS: write https:// in --url; --ca trusts an authority of your own",
        (400, _) => "the gateway keeps a copy among its dead letters",
        (413, _) => "see limits.webhook_body_bytes_max in the gateway's configuration",
        (503, _) => "it is stopping, or cannot write its log: see its own log",
        _ => "see the gateway's log",
    }
}
