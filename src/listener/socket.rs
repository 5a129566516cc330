//! A stream, plain or under TLS, whose writes may not stall for ever, whose bytes are looked at as they come, and whose last words arrive.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    runtime::Handle,
    time::{Instant, Sleep, sleep, timeout},
};

use super::{ConnectionLimits, intake::Intake, stream::Stream, tls::Tls, vanished::Vanished};
use crate::shutdown::Shutdown;

/// A stream of bytes with its peer.
pub struct Socket {
    /// Gone only when the socket is dropped.
    stream: Option<Stream>,
    common: Arc<Common>,
    intake: Intake,
    /// Read and looked at before, to be read again.
    unread: Option<Box<BytesMut>>,
    vanished: Vanished,
    /// From the first write that had to wait until one succeeds; made only then, since nearly no connection ever needs it.
    stalled: Option<Box<Stall>>,
    /// The peer has closed or reset: there is nobody to say goodbye to.
    peer_left: bool,
    /// Something was said, which a goodbye has to protect.
    spoken: bool,
}

/// A write that waits.
struct Stall {
    until: Instant,
    /// Goes off when there is something to look at, and at the end.
    alarm: Pin<Box<Sleep>>,
}

/// What all sockets of a listener share.
pub(super) struct Common {
    pub(super) limits: ConnectionLimits,
    pub(super) shutdown: Shutdown,
    /// Absent where requests come in the clear.
    pub(super) tls: Option<Arc<Tls>>,
}

impl Socket {
    pub(super) fn new(stream: Stream, common: Arc<Common>, intake: Intake) -> Self {
        Self {
            stream: Some(stream),
            common,
            intake,
            unread: None,
            vanished: Vanished::default(),
            stalled: None,
            peer_left: false,
            spoken: false,
        }
    }

    /// Puts back what was read.
    pub(super) fn unread(&mut self, bytes: BytesMut) {
        self.unread = (!bytes.is_empty()).then(|| Box::new(bytes));
    }

    /// Takes what was put back, and bounds what comes from now on as what an upgraded client sends.
    pub fn upgraded(&mut self) -> BytesMut {
        self.intake.upgraded();
        self.unread.take().map_or_else(BytesMut::new, |bytes| *bytes)
    }

    fn stream(&mut self) -> Pin<&mut Stream> {
        Pin::new(self.stream.as_mut().expect("the stream is there until the socket is dropped"))
    }

    /// Before a write: whether there is still somebody to write to.
    fn reaches(&mut self) -> io::Result<()> {
        let patience = self.common.limits.acknowledge_timeout;
        if self.stream.as_ref().is_some_and(|stream| self.vanished.is_certain(stream.tcp(), patience, Instant::now())) {
            self.peer_left = true;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer's machine is gone"));
        }
        Ok(())
    }

    /// After a try to write: how long it has waited already.
    fn watch<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = written {
            self.stalled = None;
            self.peer_left |= written.is_err();
            return Poll::Ready(written);
        }
        let ConnectionLimits { write_stall, acknowledge_timeout, .. } = self.common.limits;
        loop {
            let stall = self.stalled.get_or_insert_with(|| Box::new(Stall::of(write_stall, acknowledge_timeout)));
            ready!(stall.alarm.as_mut().poll(context));
            if Instant::now() >= stall.until {
                self.peer_left = true;
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")));
            }
            stall.alarm.as_mut().reset(stall.until.min(Instant::now() + acknowledge_timeout));
            self.reaches()?;
        }
    }
}

impl Stall {
    fn of(write_stall: Duration, acknowledge_timeout: Duration) -> Self {
        Self { until: Instant::now() + write_stall, alarm: Box::pin(sleep(write_stall.min(acknowledge_timeout))) }
    }
}

impl Drop for Socket {
    /// A peer that sent more than was read would be reset by a plain close, and might lose the answer that says why.
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        if self.spoken && !self.peer_left && Handle::try_current().is_ok() {
            self.common.shutdown.spawn(say_goodbye(stream));
        } else {
            stream.say_end();
        }
    }
}

/// Says that nothing more comes, and drops what the peer still sends until it says so too; for a while and up to a bound.
async fn say_goodbye(mut stream: Stream) {
    const PATIENCE: Duration = Duration::from_secs(1);
    const BYTES_MAX: usize = 128 * 1024;
    let mut dropped = [0; 1_024];
    let last = async {
        stream.shutdown().await?;
        let mut bytes = 0;
        while bytes < BYTES_MAX {
            match stream.tcp_mut().read(&mut dropped).await? {
                0 => break,
                n => bytes += n,
            }
        }
        io::Result::Ok(())
    };
    // Whatever goes wrong, the connection ends now.
    let _ = timeout(PATIENCE, last).await;
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if let Some(bytes) = &mut socket.unread {
            let part = bytes.split_to(bytes.len().min(buffer.remaining()));
            buffer.put_slice(&part);
            if bytes.is_empty() {
                socket.unread = None;
            }
            return Poll::Ready(Ok(()));
        }
        if socket.intake.instead(buffer) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = socket.stream().poll_read(context, buffer);
        let came = socket.stream().came(buffer.filled().len() - before);
        let limits = socket.common.limits.upgraded;
        let Poll::Ready(read) = read else {
            if came > 0 {
                // Records without content cost us as much as they weigh.
                socket.intake.weigh(came, limits)?;
            }
            return Poll::Pending;
        };
        let nothing_came = buffer.filled().len() == before && buffer.remaining() > 0;
        socket.peer_left |= read.is_err() || nothing_came;
        Poll::Ready(read.and_then(|()| socket.intake.check(buffer, before, came, limits)))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.reaches()?;
        let written = self.stream().poll_write(context, bytes);
        self.spoken |= written.is_ready();
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.reaches()?;
        let written = self.stream().poll_write_vectored(context, slices);
        self.spoken |= written.is_ready();
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    /// TCP has nothing to flush. Under TLS a write may leave its end with us, and the peer may not take that either.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(Stream::Plain(_)) = &self.stream {
            return Poll::Ready(Ok(()));
        }
        let flushed = self.stream().poll_flush(context);
        self.watch(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.stream().poll_shutdown(context);
        if let Some(Stream::Plain(_)) = &self.stream { ended } else { self.watch(ended, context) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::listener::{
        WaitingLimits,
        intake::{Upgraded, UpgradedLimits},
    };

    pub(in crate::listener) fn common(write_stall: Duration) -> Arc<Common> {
        let upgraded = UpgradedLimits { bytes_per_s_max: 1, bytes_burst_max: 1 };
        let waiting = WaitingLimits { connections_max: 1, connections_per_address_max: 1 };
        let (read_timeout, acknowledge_timeout) = (Duration::from_secs(1), write_stall / 4);
        let limits = ConnectionLimits { read_timeout, header_bytes_max: 1, write_stall, acknowledge_timeout, waiting, upgraded };
        Arc::new(Common { limits, shutdown: Shutdown::default(), tls: None })
    }

    /// Thousands of idle connections have one each.
    #[test]
    fn a_socket_is_small() {
        let own = size_of::<Socket>() - size_of::<TcpStream>();
        assert!(own <= 96, "{own} bytes");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = Socket::new(Stream::Plain(stream), common(Duration::from_millis(50)), Intake::new(Upgraded::default()));
        let bytes = vec![0; 65_536];
        let error = loop {
            if let Err(error) = socket.write_all(&bytes).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
