//! The lane of dead letters: a stream of its own, in which a letter's subject is its name, so that the server keeps each once.

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage, stream::LastRawMessageErrorKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

use super::Shared;
use crate::{
    engine::{EngineError, LetterId, PublishError},
    event::{DeadLetter, DeadReason, EventType, Timestamp},
};

/// A letter's head, on a line of its own before its body.
#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    at: u64,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    reason: String,
}

const VERSION: u32 = 1;
const REASONS: [DeadReason; 2] = [DeadReason::PayloadInvalid, DeadReason::NoUser];

pub(super) fn encode(letter: &DeadLetter) -> Bytes {
    let head = Head {
        v: VERSION,
        at: letter.at.0,
        source: letter.source.clone(),
        scope: letter.scope.as_ref().map(ToString::to_string),
        reason: letter.reason.as_str().to_owned(),
    };
    // Texts and numbers always have a JSON form, which has no line break.
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(&letter.body);
    bytes.into()
}

pub(super) fn decode(message: &Bytes) -> Option<DeadLetter> {
    let end = message.iter().position(|b| *b == b'\n')?;
    let head: Head = serde_json::from_slice(&message[..end]).ok()?;
    let scope = match &head.scope {
        Some(scope) => Some(EventType::new(scope)?),
        None => None,
    };
    let reason = REASONS.into_iter().find(|reason| reason.as_str() == head.reason)?;
    let letter = DeadLetter { at: Timestamp(head.at), source: head.source, scope, reason, body: message.slice(end + 1..) };
    (head.v == VERSION).then_some(letter)
}

impl Shared {
    fn letter_subject(&self, id: LetterId) -> String {
        format!("{}.l.{id}", self.name)
    }

    /// Puts a letter into the lane, unless it is there.
    pub(super) async fn keep_letter(&self, letter: &DeadLetter) -> Result<(), PublishError> {
        if self.retention.dead_letters_max == 0 {
            return Ok(());
        }
        let subject = self.letter_subject(LetterId::of(letter));
        let message = PublishMessage::build().payload(encode(letter)).expected_last_subject_sequence(0);
        let unavailable = |error: &dyn std::fmt::Display| PublishError::Unavailable(error.to_string());
        let sent = self.link.jetstream.send_publish(subject, message).await.map_err(|e| unavailable(&e))?;
        match sent.await {
            Ok(_) => Ok(()),
            // Its subject has a message: this letter, which keeps its place.
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Answers [`crate::engine::Engine::dead_letters`].
    pub(super) async fn letters(&self, limit: usize) -> Result<Vec<DeadLetter>, EngineError> {
        self.open()?;
        let all = format!("{}.l.*", self.name);
        let (mut newest, mut next) = (VecDeque::new(), 1);
        loop {
            // Of the one that leads, which knows what was kept a moment ago.
            match self.streams.letters.raw_message_builder().sequence(next).next_by_subject(all.as_str()).send().await {
                Ok(message) => {
                    next = message.sequence + 1;
                    newest.extend(decode(&message.payload));
                    if newest.len() > limit {
                        newest.pop_front();
                    }
                }
                Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => break,
                Err(error) => return Err(EngineError::Unavailable(error.to_string())),
            }
        }
        Ok(newest.into_iter().rev().collect())
    }

    /// Answers [`crate::engine::Engine::remove_dead_letters`].
    pub(super) async fn remove_letters(&self, ids: &[LetterId]) -> Result<usize, EngineError> {
        self.open()?;
        let mut removed = 0;
        for id in ids {
            let purged = self.streams.letters.purge().filter(self.letter_subject(*id)).await;
            removed += purged.map_err(|error| EngineError::Unavailable(error.to_string()))?.purged;
        }
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_comes_back_as_it_was_kept_and_junk_is_none() {
        let letter = DeadLetter {
            at: Timestamp(7),
            source: "claimr".to_owned(),
            scope: EventType::new("referral"),
            reason: DeadReason::NoUser,
            body: Bytes::from_static(b"{\n\"a\":1}\n"),
        };
        let without = DeadLetter { scope: None, body: Bytes::new(), ..letter.clone() };
        for letter in [letter, without] {
            assert_eq!(decode(&encode(&letter)), Some(letter));
        }
        let later = r#"{"v":2,"at":1,"source":"s","reason":"no_user"}"#;
        for junk in ["", "\n", "{}\n", later, &format!("{later}\n"), "\u{0}\n"] {
            assert_eq!(decode(&Bytes::copy_from_slice(junk.as_bytes())), None, "{junk:?}");
        }
    }
}
