//! Our accept loop: limits, time-outs, small buffers, and a graceful end.
//!
//! `axum::serve` leaves a half-sent head open for ever and cannot make hyper's buffers smaller, so connections are accepted here. A peer
//! that stops reading, or whose machine vanished, is dropped here, whatever protocol is spoken above it; so is one that floods an upgraded
//! connection.

mod framing;
mod intake;
mod socket;
mod vanished;

use std::{
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
use futures_util::FutureExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    select,
    task::JoinSet,
};

use crate::shutdown::Shutdown;

pub use intake::UpgradedLimits;
use intake::{Intake, Upgraded};
use socket::{Common, Socket};

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
    /// What a client may send after an upgrade.
    pub upgraded: UpgradedLimits,
}

/// A bound port.
pub struct Listener {
    socket: TcpListener,
    limits: ConnectionLimits,
}

impl Listener {
    /// Connections that the kernel queues for us. The kernel's own `somaxconn` bounds it further.
    const BACKLOG: u32 = 4_096;
    /// Bytes that the kernel queues for one peer. More would only hide from us that it does not read.
    const SEND_BUFFER_BYTES: u32 = 128 * 1024;
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
        // Without it the kernel tries for a quarter of an hour to reach a machine that vanished, when there is nothing more to send to it.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(limits.write_stall))?;
        socket.bind(address)?;
        Ok(Self { socket: socket.listen(Self::BACKLOG)?, limits })
    }

    /// The bound address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until closing begins, then waits for the connections that there are. Each request goes to `handle` with its peer's address.
    ///
    /// The connections belong to this future: dropping it drops them.
    pub async fn run<H, F>(self, handle: H, shutdown: Shutdown)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let common = Arc::new(Common { limits: self.limits, shutdown: shutdown.clone() });
        let mut connections = JoinSet::new();
        loop {
            let accepted = select! {
                accepted = self.socket.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = shutdown.closing() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer, Arc::clone(&common), handle.clone()));
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

/// Serves one connection. Written so that the future holds each large part once: there are as many of it as there are streams.
async fn serve<H, F>(stream: TcpStream, peer: SocketAddr, common: Arc<Common>, handle: H)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<Body>>,
{
    // A lone event must not wait for the next one.
    let _ = stream.set_nodelay(true);
    let upgraded = Upgraded::default();
    let service = service_fn(|request| {
        handle(request, peer).map(|response| {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                upgraded.store(true, Ordering::Relaxed);
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
            .serve_connection(
                TokioIo::new(Socket::new(stream, Arc::clone(&common), Intake::new(Upgraded::clone(&upgraded)))),
                service
            )
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
