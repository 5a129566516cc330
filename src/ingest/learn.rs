//! What the remembered deliveries tell of a source: how it signs, and where its fields stand. Only the gateway can find out, because only
//! it has the secrets and the raw bytes; what it says holds neither.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Ingest, Source};
use crate::{
    capture::{Captured, Proof, Step},
    claimr::{
        payload::{Learner, Proposal},
        signature,
    },
};

/// What one source's deliveries tell.
#[derive(Debug, Serialize)]
pub struct Learned {
    source: String,
    /// Remembered deliveries of which the signature was looked at.
    deliveries: usize,
    /// Those that proved themselves.
    verified: usize,
    signature: LearnedSignature,
    mapping: Proposal,
    /// All lines together, as they belong into the configuration; empty if there is none.
    toml: String,
    /// What could not be told, in words.
    unknown: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LearnedSignature {
    /// The line that pins it.
    line: Option<String>,
    /// How many deliveries it fits.
    fits: usize,
}

/// How deliveries were signed.
#[derive(Default)]
struct Signatures {
    deliveries: usize,
    /// By the line that pins it: how many in all, and how many of them were taken.
    lines: BTreeMap<String, (usize, usize)>,
    unsigned: usize,
    /// Why others match nothing.
    reasons: BTreeMap<String, usize>,
}

impl Ingest {
    /// What can be told of `source`, or of every source. Computes for some milliseconds if many deliveries were refused.
    pub fn learn(&self, source: Option<&str>) -> Vec<Learned> {
        let sources = self.sources.get();
        let latest = sources.capture.latest();
        let mut names: Vec<&String> = sources.by_name.keys().filter(|name| source.is_none_or(|source| source == *name)).collect();
        names.sort_unstable();
        let of = |name: &String| {
            // Oldest first, as they came.
            let own: Vec<&Captured> = latest.iter().rev().map(AsRef::as_ref).filter(|c| c.source == *name).collect();
            sources.by_name.get(name).map(|source| source.learn(&own))
        };
        names.into_iter().filter_map(of).collect()
    }
}

impl Source {
    fn learn(&self, captured: &[&Captured]) -> Learned {
        let mut signatures = Signatures::default();
        for captured in captured {
            self.note_signature(captured, &mut signatures);
        }
        let verified = captured.iter().filter(|captured| captured.is_verified());
        let mut learner = Learner::new(&self.reader);
        let mut cut = 0;
        for captured in verified.clone() {
            if captured.is_whole() {
                // What is no JSON has its own story in the list of deliveries.
                let _ = learner.see(&self.reader, &captured.body, captured.scope.as_ref());
            } else {
                cut += 1;
            }
        }
        let mapping = learner.propose();
        let (signature, mut unknown) = signatures.conclude(self.secrets.is_empty());
        if cut > 0 {
            unknown.push(format!("{cut} deliveries are longer than limits.captured_body_bytes_max and were not looked into"));
        }
        unknown.extend(mapping.notes.iter().cloned());
        let unknown = unknown.iter().map(|note| self.mask.text(note, false)).collect();
        let toml = self.toml(signature.line.as_deref(), &mapping.lines);
        Learned {
            source: self.name.clone(),
            deliveries: signatures.deliveries,
            verified: verified.count(),
            signature,
            mapping,
            toml,
            unknown,
        }
    }

    fn note_signature(&self, captured: &Captured, signatures: &mut Signatures) {
        let Some(Step { what, .. }) = &captured.walk.verified else { return };
        signatures.deliveries += 1;
        match what {
            Ok(Proof { found: Some(found), .. }) => signatures.fits(found.to_toml(), true),
            Ok(_) => signatures.unsigned += 1,
            Err(refusal) => {
                // Under a pinned scheme that is wrong, every delivery is refused, and each of them still tells the right one.
                let explained = captured
                    .is_whole()
                    .then(|| signature::explain(&self.secrets, &captured.headers, &captured.body, captured.at).verdict.ok());
                match explained.flatten() {
                    Some(matched) => signatures.fits(matched.found.to_toml(), false),
                    None => *signatures.reasons.entry(self.why(*refusal, captured)).or_default() += 1,
                }
            }
        }
    }

    fn toml(&self, signature: Option<&str>, mapping: &[String]) -> String {
        if signature.is_none() && mapping.is_empty() {
            return String::new();
        }
        let mut lines = vec!["[[sources]]".to_owned(), format!("name = \"{}\"", self.name)];
        lines.extend(signature.map(str::to_owned));
        if !mapping.is_empty() {
            lines.push("[sources.mapping]".to_owned());
            lines.extend_from_slice(mapping);
        }
        lines.join("\n")
    }
}

impl Signatures {
    fn fits(&mut self, line: String, taken: bool) {
        let counts = self.lines.entry(line).or_default();
        counts.0 += 1;
        counts.1 += usize::from(taken);
    }

    fn conclude(&self, has_no_secret: bool) -> (LearnedSignature, Vec<String>) {
        let mut notes = Vec::new();
        let best = self.lines.iter().max_by_key(|(_, counts)| **counts);
        if best.is_none() && self.unsigned == 0 && !has_no_secret {
            notes.push("no delivery is signed with one of the source's secrets, so the scheme is not known".to_owned());
        }
        if self.unsigned > 0 && has_no_secret {
            notes.push(
                "the source has no secret, so no signature was looked for; give it the one that the sender signs with".to_owned(),
            );
        }
        let others = self.lines.iter().filter(|(line, _)| best.is_none_or(|(best, _)| best != *line));
        notes.extend(
            others.map(|(line, (count, _))| format!("{count} of {} deliveries are signed otherwise: {line}", self.deliveries)),
        );
        notes.extend(
            self.reasons.iter().map(|(why, count)| format!("{count} of {} deliveries match nothing: {why}", self.deliveries)),
        );
        let signature =
            LearnedSignature { line: best.map(|(line, _)| line.clone()), fits: best.map_or(0, |(_, (count, _))| *count) };
        (signature, notes)
    }
}
