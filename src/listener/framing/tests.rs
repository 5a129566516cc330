use super::*;

const HEAD: &str = "POST /hooks/claimr HTTP/1.1\r\nHost: a\r\n";

/// Where the stream becomes ambiguous, and the same for every way to cut it in two and for single bytes.
fn verdict(stream: &[u8]) -> Option<usize> {
    let whole = Framing::default().check(stream).err().map(|Ambiguous(at)| at);
    let in_parts = |sizes: &mut dyn Iterator<Item = usize>| {
        let (mut framing, mut done) = (Framing::default(), 0);
        while done < stream.len() {
            let part = &stream[done..(done + sizes.next().unwrap_or(1)).min(stream.len())];
            if let Err(Ambiguous(at)) = framing.check(part) {
                return Some(done + at);
            }
            done += part.len();
        }
        None
    };
    for cut in 1..stream.len() {
        assert_eq!(in_parts(&mut [cut, stream.len()].into_iter()), whole, "cut at {cut}");
    }
    assert_eq!(in_parts(&mut std::iter::repeat(1)), whole, "byte by byte");
    whole
}

#[test]
fn what_can_be_read_in_two_ways_is_found_at_its_line() {
    for (lines, fault) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "chunked\r\n"),
        ("Transfer-Encoding: chunked\r\ncontent-length: 5\r\n", "5\r\n"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "th: 5\r\n"),
        ("Content-Length:5\r\nx: y\r\nCONTENT-LENGTH:\t6 \r\n", "6 \r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "ng: chunked\r\n"),
        ("x: y\n", "x: y\n"),
        ("Content-Length: 0\n", "0\n"),
        (&format!("Content-Length: {}5\r\n", "0".repeat(40)), "05\r\n"),
        (&format!("x: {}\n", "y".repeat(100)), "y\n"),
    ] {
        let stream = [HEAD, lines, "\r\nhello"].concat();
        let fault = stream.rfind(fault).unwrap() + fault.len() - 1;
        assert_eq!(verdict(stream.as_bytes()), Some(fault), "{lines:?}");
    }
    assert_eq!(verdict(b"GET / HTTP/1.1\n"), Some(14));
    assert_eq!(verdict(b"\n"), Some(0));
    assert_eq!(verdict([HEAD, "\n"].concat().as_bytes()), Some(HEAD.len()));
}

#[test]
fn requests_are_followed_through_their_bodies() {
    // Each body would be ambiguous as a head; the probe behind it is found only by who knows where the body ends.
    let body = "\nContent-Length: 1\r\nContent-Length: 1\r\n\n";
    let lengthy = format!("{HEAD}Content-Length: {}\r\n\r\n{body}", body.len());
    let chunk = |size: &str| format!("{size}\r\n{body}\r\n");
    let hex = format!("{:x}", body.len());
    let chunked = format!(
        "{HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n{}{}{}0;x=\"y\"\r\nTrailer: 1\r\nContent-Length: 1\r\n\r\n",
        chunk(&hex),
        chunk(&format!("000{}", hex.to_uppercase())),
        chunk(&format!("{hex} ;a=b"))
    );
    let requests = [
        format!("{HEAD}\r\n"),
        format!("\r\n\r\n{HEAD}Content-Length: 0\r\nX-Content-Length: 7\r\nContent-Length-Y: 7\r\nTransfer-Encodings: 7\r\n\r\n"),
        lengthy,
        chunked,
        format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{HEAD}{}: {}\r\n\r\n", "n".repeat(100), "v".repeat(100)),
    ];
    for first in &requests {
        for second in &requests {
            let good = [first.as_str(), second].concat();
            assert_eq!(verdict(good.as_bytes()), None, "{good:?}");
            assert_eq!(verdict([&good, "GET / HTTP/1.1\n"].concat().as_bytes()), Some(good.len() + 14), "{good:?}");
        }
    }
}

#[test]
fn what_hyper_refuses_is_left_to_hyper() {
    for lines in [
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length:",
        "Content-Length: 1, 1",
        "Content-Length: 99999999999999999999",
    ] {
        assert_eq!(verdict([HEAD, lines, "\r\n\r\n\n\n\n"].concat().as_bytes()), None, "{lines}");
    }
    let chunk = [HEAD, "Transfer-Encoding: chunked\r\n\r\n", &"f".repeat(17), "\r\n\n\n"].concat();
    assert_eq!(verdict(chunk.as_bytes()), None);
}

#[test]
fn an_idle_connection_is_small() {
    let mut framing = Framing::default();
    framing.check(format!("{HEAD}Content-Le").as_bytes()).unwrap();
    framing.check(b"ngth: 0\r\n\r\n").unwrap();
    assert_eq!(framing.cut.capacity(), 0);
    assert!(size_of::<Framing>() <= 48, "{}", size_of::<Framing>());
}
