//! What holds for the bytes of any connection: however they are cut, the verdict is the same; a head that can be read in two ways is
//! found; and where nothing is found, hyper sees each request end where [`Framing`] does.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};

use super::{Ambiguous, At, Framing};

/// `options` says by its bytes where the stream is cut.
pub(crate) fn check(options: &[u8], stream: &[u8]) {
    let whole = Framing::default().check(stream).err().map(|Ambiguous(at)| at);
    let sizes = options.iter().map(|byte| usize::from(*byte) + 1);
    assert_eq!(in_parts(stream, &mut sizes.cycle()), whole, "cut by the options");
    assert_eq!(in_parts(stream, &mut std::iter::repeat(1)), whole, "byte by byte");
    if let Some(at) = whole {
        assert_eq!(stream[at], b'\n', "a line is ambiguous at its end");
    }
    let by = ambiguous_by(stream).unwrap_or(usize::MAX);
    if whole.is_none_or(|at| at > by) && by < stream.len() {
        assert!(
            answers(stream).is_empty(),
            "hyper takes a head that can be read in two ways at {by}, and {whole:?} is our verdict"
        );
    }
    if whole.is_none() {
        hyper_agrees(stream);
    }
}

fn in_parts(stream: &[u8], sizes: &mut dyn Iterator<Item = usize>) -> Option<usize> {
    let (mut framing, mut done) = (Framing::default(), 0);
    while done < stream.len() {
        let part = &stream[done..(done + sizes.next().unwrap_or(1)).min(stream.len())];
        if let Err(Ambiguous(at)) = framing.check(part) {
            return Some(done + at);
        }
        assert!(framing.cut.len() <= Framing::LINE_BYTES_KEPT);
        done += part.len();
    }
    None
}

/// Where at the latest the head of the first request is ambiguous, told by another way of reading it.
fn ambiguous_by(stream: &[u8]) -> Option<usize> {
    let (mut done, mut framed, mut begun) = (0, 0, false);
    for line in stream.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        done += line.len();
        let Some(text) = line.strip_suffix(b"\r\n") else { return Some(done - 1) };
        if text.is_empty() && begun {
            return None;
        }
        if begun {
            let name = text.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
            let has_colon = name.len() < text.len();
            framed += usize::from(has_colon && (name == b"content-length" || name == b"transfer-encoding"));
            if framed == 2 {
                return Some(done - 1);
            }
        }
        begun |= !text.is_empty();
    }
    None
}

/// Each request that hyper hands on has the end that we see, not a byte before and not a byte after.
fn hyper_agrees(stream: &[u8]) {
    let answered = answers(stream);
    let Some(last) = answered.len().checked_sub(1) else { return };
    let ends = ends(stream);
    assert!(ends.len() > last, "hyper has {} requests, and {} ended", answered.len(), ends.len());
    assert_eq!(answers(&stream[..ends[last]]), answered, "a request has no end at {}", ends[last]);
    assert!(answers(&stream[..ends[last] - 1]).len() <= last, "a request has an end before {}", ends[last]);
}

/// How many bytes are behind us when a request ends.
fn ends(stream: &[u8]) -> Vec<usize> {
    let (mut framing, mut ends) = (Framing::default(), Vec::new());
    for (at, byte) in stream.iter().enumerate() {
        let before = framing.at;
        if framing.check(&[*byte]).is_err() {
            break;
        }
        if before != At::RequestLine && framing.at == At::RequestLine {
            ends.push(at + 1);
        }
    }
    ends
}

/// The lengths of the bodies of the requests that hyper hands on whole.
fn answers(stream: &[u8]) -> Vec<usize> {
    let lengths = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        let body = request.into_body().collect().await?;
        lengths.borrow_mut().push(body.to_bytes().len());
        Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
    });
    let mut connection = http1::Builder::new().half_close(true).serve_connection(Wire(stream), service);
    // All of the bytes are there, so that it waits for nothing; but after some work it lets others go first.
    let mut context = Context::from_waker(Waker::noop());
    let over = (0..10_000).any(|_| connection.poll_unpin(&mut context).is_ready());
    assert!(over, "hyper waits for more than there is");
    drop(connection);
    lengths.into_inner()
}

/// A socket from which all bytes come at once, and into which every byte goes.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
