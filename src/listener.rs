//! Our accept loop: limits, time-outs, small buffers, and a graceful end.
//!
//! `axum::serve` leaves a half-sent head open for ever and cannot make hyper's buffers smaller, so connections are accepted here. A peer
//! that stops reading, or whose machine vanished, is dropped here, whatever protocol is spoken above it; so is one that floods an upgraded
//! connection.

mod connection;
mod framing;
mod intake;
mod socket;
mod stream;
mod tls;
mod vanished;
mod waiting;

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
    response::Response,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    select,
    task::{JoinSet, yield_now},
    time::Instant,
};

use crate::shutdown::Shutdown;

pub use connection::{Announced, Broken, Connection, Heard};
#[cfg(any(test, fuzzing))]
pub(crate) use framing::any_bytes::check as any_bytes;
pub use intake::UpgradedLimits;
use intake::{Intake, Upgraded};
use socket::Common;
pub use socket::Socket;
use stream::Stream;
pub use tls::{NextTls, Tls};
use waiting::{Turn, Waiting};
pub use waiting::{Visitors, WaitingLimits};

/// The bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// For a request's head to arrive.
    pub read_timeout: Duration,
    /// Bytes of a request's head; hyper answers 431 above it.
    pub header_bytes_max: usize,
    /// How long a peer may leave our bytes unread.
    pub write_stall: Duration,
    /// How long a peer's machine may leave what was sent to it unacknowledged. Looked at when there is more to send: a machine that
    /// vanished is noticed by the second of two writes that are so far apart.
    pub acknowledge_timeout: Duration,
    /// Connections whose first request has not come.
    pub waiting: WaitingLimits,
    /// What a client may send after an upgrade.
    pub upgraded: UpgradedLimits,
}

/// A bound port.
pub struct Listener {
    socket: TcpListener,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Connections that the kernel queues for us. The kernel's own `somaxconn` bounds it further.
    const BACKLOG: u32 = 4_096;
    /// Bytes that the kernel queues for one peer. More would only hide from us that it does not read.
    const SEND_BUFFER_BYTES: u32 = 128 * 1024;
    /// Bytes of those that were not sent yet. The queue is for what is on its way; of a peer that does not read, little more is kept.
    #[cfg(target_os = "linux")]
    const UNSENT_BYTES: u32 = 16 * 1024;
    /// Bytes that the kernel queues of one peer. More would only be sent to us in vain by one that we do not read.
    const RECEIVE_BUFFER_BYTES: u32 = 64 * 1024;
    /// After accepting failed for want of files or memory, which others may give back meanwhile.
    const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

    /// Binds `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr, limits: ConnectionLimits) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(Self::SEND_BUFFER_BYTES)?;
        socket.set_recv_buffer_size(Self::RECEIVE_BUFFER_BYTES)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_notsent_lowat(Self::UNSENT_BYTES)?;
        // Without it the kernel tries for a quarter of an hour to reach a machine that vanished, when there is nothing more to send to it.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(limits.write_stall))?;
        socket.bind(address)?;
        Ok(Self { socket: socket.listen(Self::BACKLOG)?, limits, tls: None })
    }

    /// Speaks TLS, and nothing else; or, without, plain HTTP.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// The bound address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until closing begins, then waits for the connections that there are. Each connection goes to `lane` first; each request that
    /// it leaves goes to `handle`, with its peer's address.
    ///
    /// The connections belong to this future: dropping it drops them.
    pub async fn run<L, G, H, F>(self, lane: L, handle: H, visitors: Visitors, shutdown: Shutdown)
    where
        L: Fn(Connection) -> G + Clone + Send + Sync + 'static,
        G: Future<Output = Leave> + Send + 'static,
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let common = Arc::new(Common { limits: self.limits, shutdown: shutdown.clone(), tls: self.tls });
        let waiting = Waiting::new(self.limits.waiting, visitors);
        let mut connections = JoinSet::new();
        loop {
            let accepted = select! {
                accepted = self.socket.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = shutdown.closing() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if waiting.is_full() {
                        yield_now().await;
                    }
                    let (common, lane, handle) = (Arc::clone(&common), lane.clone(), handle.clone());
                    waiting.admit(peer.ip(), |turn| connections.spawn(serve(stream, peer, turn, common, lane, handle)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Self::ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }
}

/// How a connection's requests end to be read by us.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Leave {
    /// What comes next is hyper's to read.
    ToHyper(Connection),
    /// The connection has become a stream, which this serves to its end.
    AsStream(BoxFuture<'static, ()>),
    /// It is over.
    Closed,
}

/// Hands every connection to hyper as it is: for listeners that carry no load.
pub async fn no_lane(connection: Connection) -> Leave {
    Leave::ToHyper(connection)
}

/// Serves one connection. Each stage has a box of its own, because there are as many of this future as there are streams, and a stream
/// should not keep the room that its requests needed.
async fn serve<L, G, H, F>(stream: TcpStream, peer: SocketAddr, turn: Turn, common: Arc<Common>, lane: L, handle: H)
where
    L: Fn(Connection) -> G,
    G: Future<Output = Leave>,
    H: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<Body>>,
{
    let upgraded = Upgraded::default();
    let left = Box::pin(begin(stream, peer, turn, Arc::clone(&common), Upgraded::clone(&upgraded), lane)).await;
    match left {
        Leave::ToHyper(connection) => Box::pin(serve_by_hyper(connection, common, upgraded, handle)).await,
        Leave::AsStream(stream) => stream.await,
        Leave::Closed => {}
    }
}

/// Serves one connection until it is somebody else's to read.
async fn begin<L, G>(stream: TcpStream, peer: SocketAddr, turn: Turn, common: Arc<Common>, upgraded: Upgraded, lane: L) -> Leave
where
    L: Fn(Connection) -> G,
    G: Future<Output = Leave>,
{
    let since = Instant::now();
    // A lone event must not wait for the next one.
    let _ = stream.set_nodelay(true);
    let stream = match &common.tls {
        None => Stream::Plain(stream),
        Some(tls) => match Box::pin(tls::shake_hands(stream, peer, tls, &common, since)).await {
            Some(stream) => stream,
            None => return Leave::Closed,
        },
    };
    let socket = Socket::new(stream, Arc::clone(&common), Intake::new(upgraded));
    lane(Connection::new(socket, peer, turn, since, common)).await
}

async fn serve_by_hyper<H, F>(connection: Connection, common: Arc<Common>, upgraded: Upgraded, handle: H)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<Body>>,
{
    let peer = connection.peer();
    let (socket, turn) = connection.into_parts();
    let (upgrading, turn) = (&upgraded, Cell::new(turn));
    let service = service_fn(move |request| {
        drop(turn.take());
        handle(request, peer).map(move |response| {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                upgrading.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(response)
        })
    });
    let limits = &common.limits;
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read_timeout)
            .max_buf_size(limits.header_bytes_max.max(8192))
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades()
    );
    let ended = select! {
        ended = connection.as_mut() => ended,
        () = common.shutdown.closing() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke");
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_keeps_little_for_a_peer_that_does_not_read() {
        let common = crate::listener::socket::tests::common(Duration::from_secs(1));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), common.limits).unwrap();
        let peer = TcpSocket::new_v4().unwrap();
        peer.set_recv_buffer_size(4_096).unwrap();
        let _silent = peer.connect(listener.address().unwrap()).await.unwrap();
        let (stream, _) = listener.socket.accept().await.unwrap();
        stream.writable().await.unwrap();
        let mut kept = 0;
        while let Ok(some) = stream.try_write(&[b'x'; 1_024]) {
            kept += some;
        }
        let most = 3 * Listener::UNSENT_BYTES as usize;
        assert!((1..most).contains(&kept), "{kept} bytes");
    }
}
