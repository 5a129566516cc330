//! The webhooks that the load sends: one request, made once, in which only numbers and the signature change.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use bytes::Bytes;

use crate::server::{HOOK_SECRET, Product, user_name};

/// Before the number and the addressee in every body, and so in every frame.
pub(crate) const MARK: &[u8] = br#""mark":""#;
/// 16 digits of number and 8 of addressee, in hexadecimal.
const MARK_DIGITS: usize = 24;
/// The addressee of what is broadcast, who is not connected.
pub(crate) const NOBODY: usize = 99_999_999;
const SEQ: &str = "################";

/// A delivery of about 500 bytes. Everything that changes is as long in all of them.
pub(crate) struct Template {
    request: Vec<u8>,
    body_at: usize,
    seqs: Vec<usize>,
    users: Vec<usize>,
    mark: usize,
    signature: Option<(usize, hmac::Key)>,
}

impl Template {
    /// Events for one user each, or, of nchan's, for its one channel.
    pub(crate) fn new(product: Product, to: SocketAddr, broadcasts: bool) -> Self {
        let user = user_name(NOBODY);
        // Ids are remembered for a day, so those of another run must be others.
        let run = fastrand::u64(..);
        let body = format!(
            r#"{{"scope":"user_activity","id":"{run:016x}-{SEQ}","campaign_id":"AbCd_123","campaign_name":"Spring","contest_id":"q-1042","event_type":"quest_completed","event_xp":150,"account":"{user}","platform":"bench","total_xp":1250.5,"rank":42,"note":"{}","mark":"{SEQ}%%%%%%%%"}}"#,
            "x".repeat(170),
        );
        let (path, signature) = match product {
            Product::ClaimrRelay => ("/hooks/claimr/user_activity".to_owned(), format!("X-Signature: {}\r\n", "&".repeat(64))),
            Product::Nchan if broadcasts => ("/publish?id=all".to_owned(), String::new()),
            Product::Nchan => (format!("/publish?id={user}"), String::new()),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\n{signature}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let text = head.clone() + &body;
        let all = |needle: &str| text.match_indices(needle).map(|(at, _)| at).collect::<Vec<_>>();
        let digits = &user["user-".len()..];
        Self {
            body_at: head.len(),
            seqs: all(SEQ),
            users: all(digits),
            mark: text.find('%').unwrap_or_default(),
            signature: text.find('&').map(|at| (at, hmac::Key::new(hmac::HMAC_SHA256, HOOK_SECRET.as_bytes()))),
            request: text.into_bytes(),
        }
    }

    /// The request with event `seq` for `user`.
    pub(crate) fn request(&mut self, seq: u64, user: usize) -> &[u8] {
        for at in &self.seqs {
            put_digits(&mut self.request[*at..*at + SEQ.len()], seq, 16);
        }
        for at in &self.users {
            put_digits(&mut self.request[*at..*at + 8], user as u64, 10);
        }
        put_digits(&mut self.request[self.mark..self.mark + 8], user as u64, 16);
        if let Some((at, key)) = &self.signature {
            let tag = hmac::sign(key, &self.request[self.body_at..]);
            for (place, byte) in self.request[*at..*at + 64].chunks_exact_mut(2).zip(tag.as_ref()) {
                put_digits(place, u64::from(*byte), 16);
            }
        }
        &self.request
    }

    /// The same as body and signature.
    pub(crate) fn body(&mut self, seq: u64, user: usize) -> (Bytes, String) {
        self.request(seq, user);
        let signature = self.signature.as_ref().map_or(&[][..], |(at, _)| &self.request[*at..*at + 64]);
        (Bytes::copy_from_slice(&self.request[self.body_at..]), String::from_utf8_lossy(signature).into_owned())
    }
}

fn put_digits(place: &mut [u8], mut number: u64, radix: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in place.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % radix).unwrap_or(0)];
        number /= radix;
    }
}

/// Number and addressee after a mark, if that is one.
pub(crate) fn read_mark(text: &[u8]) -> Option<(u64, usize)> {
    let digits = std::str::from_utf8(text.get(..MARK_DIGITS)?).ok()?;
    Some((u64::from_str_radix(&digits[..16], 16).ok()?, usize::from_str_radix(&digits[16..], 16).ok()?))
}
