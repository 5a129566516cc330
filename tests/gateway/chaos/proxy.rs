//! A bad network: a TCP proxy in user space that does one thing to each connection, drawn from the day's dice.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Day;

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Each piece comes late.
    Delay(Duration),
    /// Bytes come one by one.
    Dribble,
    /// Broken after so many bytes of the server.
    Cut(usize),
    /// After so many bytes of the server nothing gets through any more, in either direction, and nobody is told.
    BlackHole(usize),
    /// After so many bytes the server's half ends; the client's stays open.
    HalfClose(usize),
}

pub(super) const FAULTS: [&str; 5] = ["delay", "dribble", "cut", "black hole", "half-close"];

impl Fault {
    fn draw(dice: &mut fastrand::Rng) -> Self {
        let after = dice.usize(200..4_000);
        match dice.u8(0..5) {
            0 => Self::Delay(Duration::from_millis(dice.u64(1..60))),
            1 => Self::Dribble,
            2 => Self::Cut(after),
            3 => Self::BlackHole(after),
            _ => Self::HalfClose(after),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Delay(_) => FAULTS[0],
            Self::Dribble => FAULTS[1],
            Self::Cut(_) => FAULTS[2],
            Self::BlackHole(_) => FAULTS[3],
            Self::HalfClose(_) => FAULTS[4],
        }
    }
}

/// The proxy; all its connections break when it is dropped.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    swallowed: Arc<AtomicUsize>,
    _running: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy in front of `to`.
    pub(super) async fn start(day: &Arc<Day>, to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (day, swallowed) = (Arc::clone(day), Arc::new(AtomicUsize::new(0)));
        let holes = Arc::clone(&swallowed);
        #[expect(clippy::disallowed_methods, reason = "the proxy is not a part of the gateway")]
        let running = tokio::spawn(async move {
            let (mut dice, mut connections) = (day.dice(usize::MAX), JoinSet::new());
            while let Ok((client, _)) = listener.accept().await {
                let fault = Fault::draw(&mut dice);
                let (day, holes) = (Arc::clone(&day), Arc::clone(&holes));
                connections.spawn(async move {
                    // Connections that break are what this is for.
                    let _ = carry(&day, client, to, fault, &holes).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, swallowed, _running: AbortOnDropHandle::new(running) }
    }

    /// How many connections are in a black hole now, with a server that has not given up.
    pub(super) fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::Relaxed)
    }
}

async fn carry(day: &Day, client: TcpStream, to: SocketAddr, fault: Fault, holes: &AtomicUsize) -> io::Result<()> {
    let server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let hole = Hole { open: CancellationToken::new(), count: holes };
    tokio::select! {
        ended = up(from_client, to_server, &hole) => ended,
        ended = down(day, from_server, to_client, fault, &hole) => ended,
    }
}

/// Where a connection may get lost.
struct Hole<'a> {
    open: CancellationToken,
    /// How many connections are lost.
    count: &'a AtomicUsize,
}

/// What the client says gets through, until the connection is in a black hole: then not even its end does.
async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hole: &Hole<'_>) -> io::Result<()> {
    tokio::select! {
        ended = tokio::io::copy(&mut from, &mut to) => ended.map(drop),
        () = hole.open.cancelled() => std::future::pending().await,
    }
}

async fn down(day: &Day, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Fault, hole: &Hole<'_>) -> io::Result<()> {
    let (mut buffer, mut carried) = ([0; 2_048], 0);
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let piece = &buffer[..count];
        carried += count;
        match fault {
            Fault::Delay(late) => {
                sleep(late).await;
                to.write_all(piece).await?;
                day.happened(fault.name());
            }
            Fault::Dribble => {
                for byte in piece {
                    to.write_all(std::slice::from_ref(byte)).await?;
                    tokio::task::yield_now().await;
                }
                day.happened(fault.name());
            }
            Fault::Cut(after) | Fault::BlackHole(after) | Fault::HalfClose(after) if carried < after => {
                to.write_all(piece).await?;
            }
            Fault::Cut(_) => {
                day.happened(fault.name());
                to.write_all(&piece[..count / 2]).await?;
                return Ok(());
            }
            Fault::HalfClose(_) => {
                day.happened(fault.name());
                to.shutdown().await?;
                while from.read(&mut buffer).await? > 0 {}
                return Ok(());
            }
            Fault::BlackHole(_) => {
                day.happened(fault.name());
                hole.open.cancel();
                hole.count.fetch_add(1, Ordering::Relaxed);
                // What the server sends is taken and thrown away: its kernel thinks that all is well.
                while from.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
                hole.count.fetch_sub(1, Ordering::Relaxed);
                return Ok(());
            }
        }
    }
}
