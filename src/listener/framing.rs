//! Refuses the heads that hyper would read although somebody in front of us may read them in another way (RFC 9112, sections 2.2 and 6.3).
//!
//! hyper drops Content-Length beside Transfer-Encoding, takes a repeated Content-Length if it says the same, and takes a bare LF as the end
//! of a line, all before a route can see it. So the bytes are looked at on their way to hyper: a head line by line, which needs to know
//! where bodies end. Everything else that is wrong with a request is hyper's to refuse; it then ends the connection, so it does not matter
//! what is made of the bytes behind it.

#[cfg(any(test, fuzzing))]
pub(super) mod any_bytes;

use memchr::memchr;

/// Follows the requests of one connection. Small while nothing is cut in two: every idle connection has one.
#[derive(Default)]
pub(super) struct Framing {
    at: At,
    /// The beginning of a line of which the rest has not come yet.
    cut: Vec<u8>,
}

/// A byte that makes a request ambiguous, by its place among the bytes looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous(pub(super) usize);

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// The line that begins a request. Empty lines may stand before it.
    #[default]
    RequestLine,
    /// A header line, with what the ones before it said about the body.
    Header(Body),
    /// So many bytes of a body.
    Body(u64),
    /// The size of a chunk, as far as it was read.
    ChunkSize(u64),
    /// What may follow the size on its line. hyper refuses a bare LF there.
    ChunkExtension(u64),
    /// So many bytes of a chunk, and the line's end after it.
    Chunk(u64),
    /// A line after the last chunk.
    Trailer,
    /// hyper refuses what has been seen, and reads no further.
    Refused,
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Unsaid,
    Length(u64),
    Chunked,
}

impl Framing {
    /// So many bytes are kept of a line that is cut in two. A longer line cannot be a framing header that anybody sends.
    const LINE_BYTES_KEPT: usize = 48;

    /// Looks at the next `bytes` of the connection.
    pub(super) fn check(&mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            done += match self.at {
                At::RequestLine | At::Header(_) | At::Trailer => match memchr(b'\n', rest) {
                    Some(end) => {
                        self.at = self.line(&rest[..end]).ok_or(Ambiguous(done + end))?;
                        end + 1
                    }
                    None => self.keep(rest),
                },
                At::Body(left) => {
                    let (taken, left) = take(left, rest);
                    self.at = if left == 0 { At::RequestLine } else { At::Body(left) };
                    taken
                }
                At::Chunk(left) => {
                    let (taken, left) = take(left, rest);
                    self.at = if left == 0 { At::ChunkSize(0) } else { At::Chunk(left) };
                    taken
                }
                At::ChunkSize(size) => {
                    self.at = chunk_size(size, rest[0]);
                    1
                }
                At::ChunkExtension(size) => match memchr(b'\n', rest) {
                    Some(end) => {
                        self.at = chunk(size);
                        end + 1
                    }
                    None => rest.len(),
                },
                At::Refused => rest.len(),
            };
        }
        Ok(())
    }

    /// What comes after a line that ended with this; nothing good if it is ambiguous.
    fn line(&mut self, end: &[u8]) -> Option<At> {
        if self.cut.is_empty() {
            return after(self.at, end);
        }
        self.keep(end);
        after(self.at, &std::mem::take(&mut self.cut))
    }

    /// Keeps the beginning of a line, and always its last byte, which has to be the CR before the LF.
    fn keep(&mut self, part: &[u8]) -> usize {
        let room = Self::LINE_BYTES_KEPT - self.cut.len();
        match part {
            [.., last] if part.len() > room => {
                self.cut.extend_from_slice(&part[..room]);
                self.cut[Self::LINE_BYTES_KEPT - 1] = *last;
            }
            _ => self.cut.extend_from_slice(part),
        }
        part.len()
    }
}

/// What comes after `line`, given without its LF.
fn after(at: At, line: &[u8]) -> Option<At> {
    let line = line.strip_suffix(b"\r")?;
    match at {
        At::RequestLine | At::Trailer if line.is_empty() => Some(At::RequestLine),
        At::RequestLine => Some(At::Header(Body::Unsaid)),
        At::Header(body) if line.is_empty() => Some(match body {
            Body::Unsaid | Body::Length(0) => At::RequestLine,
            Body::Length(length) => At::Body(length),
            Body::Chunked => At::ChunkSize(0),
        }),
        At::Header(body) => match framing_header(line) {
            None => Some(At::Header(body)),
            // A second word on the same matter, or one that is too long to have been seen whole.
            Some(_) if body != Body::Unsaid || line.len() + 1 >= Framing::LINE_BYTES_KEPT => None,
            Some(FramingHeader::TransferEncoding) => Some(At::Header(Body::Chunked)),
            Some(FramingHeader::ContentLength(value)) => {
                Some(decimal(value).map_or(At::Refused, |length| At::Header(Body::Length(length))))
            }
        },
        other => Some(other),
    }
}

enum FramingHeader<'a> {
    ContentLength(&'a [u8]),
    /// hyper refuses it unless the last coding is `chunked`.
    TransferEncoding,
}

/// hyper refuses a space before the colon and a line that begins with one, so a name has no other form.
fn framing_header(line: &[u8]) -> Option<FramingHeader<'_>> {
    const LENGTH: &[u8] = b"content-length:";
    const ENCODING: &[u8] = b"transfer-encoding:";
    let named = |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    match line.first()? {
        b'c' | b'C' if named(LENGTH) => Some(FramingHeader::ContentLength(line[LENGTH.len()..].trim_ascii())),
        b't' | b'T' if named(ENCODING) => Some(FramingHeader::TransferEncoding),
        _ => None,
    }
}

/// A number of decimal digits only; hyper refuses any other.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

fn chunk_size(size: u64, byte: u8) -> At {
    let Some(digit) = char::from(byte).to_digit(16) else { return At::ChunkExtension(size) };
    let larger = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
    larger.map_or(At::Refused, At::ChunkSize)
}

fn chunk(size: u64) -> At {
    const LINE_END: u64 = 2;
    if size == 0 { At::Trailer } else { At::Chunk(size.saturating_add(LINE_END)) }
}

/// How many of the `left` bytes are here, and how many are still to come.
fn take(left: u64, here: &[u8]) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(here.len());
    (taken, left - taken as u64)
}

#[cfg(test)]
mod tests;
