//! What a connection may bring: well-framed requests first, and after an upgrade so many bytes a second.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{io::ReadBuf, time::Instant};

use super::framing::{Ambiguous, Framing};

/// The bounds of what a client may send after an upgrade. tungstenite takes empty fragments for ever without telling anybody.
#[derive(Clone, Copy, Debug)]
pub struct UpgradedLimits {
    /// Bytes a second in the long run.
    pub bytes_per_s_max: u32,
    /// Bytes at once.
    pub bytes_burst_max: u32,
}

/// Set by whoever answers 101, before the answer is written.
pub(super) type Upgraded = Arc<AtomicBool>;

/// Looks at the bytes of one connection as they are read.
pub(super) struct Intake {
    upgraded: Upgraded,
    stage: Stage,
}

enum Stage {
    Http(Framing),
    /// An ambiguous request was spoilt; so much of [`SPOILT_END`] is still to be handed on.
    Spoilt(usize),
    Upgraded(Allowance),
}

/// hyper reads on until a head looks complete, and only then refuses what is wrong with it.
const SPOILT_END: &[u8] = b"\r\n\r\n";

impl Intake {
    pub(super) fn new(upgraded: Upgraded) -> Self {
        Self { upgraded, stage: Stage::Http(Framing::default()) }
    }

    /// From now on, the peer's bytes are an upgraded client's.
    pub(super) fn upgraded(&mut self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// Hands on what does not come from the peer. True if that is all there is, and nothing may be read.
    pub(super) fn instead(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Stage::Spoilt(left) = &mut self.stage else { return false };
        let part = &SPOILT_END[SPOILT_END.len() - *left..];
        let part = &part[..part.len().min(buffer.remaining())];
        buffer.put_slice(part);
        *left -= part.len();
        true
    }

    /// Looks at what was read into `buffer` after its first `before` bytes, for which the peer sent `came` bytes.
    ///
    /// hyper has to refuse an ambiguous request, because only hyper knows which answers come before this one. So the byte that makes it
    /// ambiguous becomes a NUL, which is allowed nowhere, and nothing after it is handed on.
    pub(super) fn check(
        &mut self,
        buffer: &mut ReadBuf<'_>,
        before: usize,
        came: usize,
        limits: UpgradedLimits,
    ) -> io::Result<()> {
        self.weigh(came, limits)?;
        match &mut self.stage {
            Stage::Http(framing) => {
                if let Err(Ambiguous(at)) = framing.check(&buffer.filled()[before..]) {
                    buffer.filled_mut()[before + at] = 0;
                    buffer.set_filled(before + at + 1);
                    self.stage = Stage::Spoilt(SPOILT_END.len());
                }
                Ok(())
            }
            Stage::Spoilt(_) | Stage::Upgraded(_) => Ok(()),
        }
    }

    /// Counts what the peer sent, if that is bounded.
    pub(super) fn weigh(&mut self, came: usize, limits: UpgradedLimits) -> io::Result<()> {
        if !matches!(self.stage, Stage::Upgraded(_)) && self.upgraded.load(Ordering::Relaxed) {
            self.stage = Stage::Upgraded(Allowance::full(limits));
        }
        match &mut self.stage {
            Stage::Upgraded(allowance) => allowance.take(came, limits),
            Stage::Http(_) | Stage::Spoilt(_) => Ok(()),
        }
    }
}

/// A token bucket of bytes.
struct Allowance {
    bytes: f64,
    refilled: Instant,
}

impl Allowance {
    fn full(limits: UpgradedLimits) -> Self {
        Self { bytes: f64::from(limits.bytes_burst_max), refilled: Instant::now() }
    }

    fn take(&mut self, bytes: usize, limits: UpgradedLimits) -> io::Result<()> {
        let now = Instant::now();
        let refill = (now - self.refilled).as_secs_f64() * f64::from(limits.bytes_per_s_max);
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.bytes = (self.bytes + refill).min(f64::from(limits.bytes_burst_max)) - bytes;
        self.refilled = now;
        if self.bytes < 0.0 {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the client sends more than it may"));
        }
        Ok(())
    }
}
