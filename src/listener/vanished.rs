//! Whether a peer's machine is still there, by what the kernel knows of acknowledgements.
//!
//! An SSE client answers no pings, and bytes for a machine that vanished are written without an error for as long as the kernel has room.
//! `TCP_USER_TIMEOUT` would notice, but Linux counts by it also how long a peer's window is closed, however well it answers probes: a
//! reader that stops for a minute, and is to hear 4001 when it goes on, would be gone after the time that is right for one that vanished.

use std::time::Duration;

use tokio::{net::TcpStream, time::Instant};

/// What is known of one connection.
#[derive(Default)]
pub(super) struct Vanished {
    /// The first write since it was last known that the peer is there.
    unsure_since: Option<Instant>,
}

impl Vanished {
    /// Before a write at `now`: whether bytes have been on their way for `patience`, and nothing was acknowledged meanwhile.
    ///
    /// Costs a system call once in `patience`.
    pub(super) fn is_certain(&mut self, stream: &TcpStream, patience: Duration, now: Instant) -> bool {
        let waited = now - *self.unsure_since.get_or_insert(now);
        if waited < patience {
            return false;
        }
        if unacknowledged(stream).is_some_and(|silent| silent >= waited) {
            return true;
        }
        self.unsure_since = Some(now);
        false
    }
}

/// How long the peer's machine has acknowledged nothing, if it should have. A closed window keeps bytes here that nobody has to
/// acknowledge, but only probes of it, and one may just be on its way.
#[cfg(target_os = "linux")]
fn unacknowledged(stream: &TcpStream) -> Option<Duration> {
    use nix::sys::socket::{GetSockOpt as _, sockopt::GetStruct};

    /// The part of `struct tcp_info` that every kernel has, as words: two of single bytes, then the numbers.
    type Words = [u32; 26];
    const PROBES: (usize, usize) = (0, 3);
    const UNACKED: usize = 6;
    const LAST_ACK_RECV_MS: usize = 14;
    #[derive(Clone, Copy)]
    struct TcpInfo;
    nix::getsockopt_impl!(TcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, Words, GetStruct<Words>);

    let info = TcpInfo.get(stream).ok()?;
    let probes = info[PROBES.0].to_ne_bytes()[PROBES.1];
    (info[UNACKED] > 0 || probes > 1).then(|| Duration::from_millis(info[LAST_ACK_RECV_MS].into()))
}

/// Elsewhere the write stall has to do.
#[cfg(not(target_os = "linux"))]
fn unacknowledged(_: &TcpStream) -> Option<Duration> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use socket2::{SockFilter, SockRef};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Longer than a kernel delays an acknowledgement.
    const PATIENCE: Duration = Duration::from_millis(300);

    /// A connection to somebody who does not read, and whose kernel takes little for them.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let peer = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, peer)
    }

    /// Writes what can be written until the peer is known to have vanished, or for a while.
    fn vanishes(stream: &TcpStream) -> bool {
        let (mut vanished, begun) = (Vanished::default(), std::time::Instant::now());
        while begun.elapsed() < 5 * PATIENCE {
            if vanished.is_certain(stream, PATIENCE, Instant::now()) {
                return true;
            }
            let _ = stream.try_write(&[b'x'; 100]);
            std::thread::yield_now();
        }
        false
    }

    #[tokio::test]
    async fn a_machine_that_acknowledges_nothing_has_vanished() {
        let (stream, peer) = connection().await;
        // Drops every segment before TCP sees it.
        SockRef::from(&peer).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]).unwrap();
        assert!(vanishes(&stream));
    }

    #[tokio::test]
    async fn one_that_only_does_not_read_has_not() {
        let (stream, _peer) = connection().await;
        assert!(!vanishes(&stream));
    }
}
