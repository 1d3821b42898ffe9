//! What arrives on one connection: frames, the room they take, and how long the client may take to send them.
//!
//! The connection says when it reads; time in which it does not is the client's.

use crate::budget::{Budget, Room};
use crate::frames::{FrameError, FrameReader, Next};
use crate::limits::ConnectionLimits;
use bytes::BytesMut;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Frames under way, and what they have been given.
#[derive(Debug)]
pub struct Intake {
    reader: FrameReader,
    /// What the frame at the front has been given.
    charge: Charge,
    /// What it asked for in vain.
    lacking: Option<Lacking>,
    upload: Option<Upload>,
    received: Instant,
}

/// Room of one frame.
#[derive(Debug, Default)]
pub struct Charge {
    /// Bytes of the connection's own allowance.
    pub allowance: usize,
    pub room: Room,
}

/// A whole frame, without its length.
#[derive(Debug)]
pub struct Arrived {
    pub frame: BytesMut,
    pub charge: Charge,
}

/// Room for the next bytes of a frame: the part that the allowance has, and the part that the budget had not.
#[derive(Clone, Copy, Debug)]
struct Lacking {
    allowance: usize,
    pool: usize,
}

/// The period in which enough of a frame must come.
#[derive(Debug)]
struct Upload {
    since: Instant,
    bytes: usize,
}

/// Why a client is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    #[error("nothing was received for too long")]
    Idle,
    #[error("of a request under way only {bytes} bytes came in {period:?}")]
    Slow { bytes: usize, period: Duration },
}

impl Intake {
    /// Frames of at least `least_frame_bytes`.
    pub fn new(limits: &ConnectionLimits, least_frame_bytes: usize) -> Intake {
        Intake {
            reader: FrameReader::new(limits.frame_bytes, least_frame_bytes),
            charge: Charge::default(),
            lacking: None,
            upload: None,
            received: Instant::now(),
        }
    }

    /// The next frame, if its bytes are here and there is room for it. `allowance` is what unanswered requests have taken of
    /// the connection's own.
    pub fn next(&mut self, budget: &Budget, limits: &ConnectionLimits, allowance: usize) -> Result<Option<Arrived>, FrameError> {
        self.lacking = None;
        loop {
            match self.reader.next()? {
                Next::Frame(frame) => {
                    self.upload = None;
                    return Ok(Some(Arrived { frame, charge: std::mem::take(&mut self.charge) }));
                }
                Next::Room(bytes) if self.charge(budget, limits, allowance, bytes) => self.reader.grant(bytes),
                Next::Room(_) => return Ok(None),
                Next::Incomplete => {
                    self.reader.release();
                    return Ok(None);
                }
            }
        }
    }

    /// Charges bytes of the frame at the front to the connection's allowance, and what does not fit there to the budget.
    fn charge(&mut self, budget: &Budget, limits: &ConnectionLimits, taken: usize, bytes: usize) -> bool {
        let taken = taken + self.charge.allowance;
        let allowance = bytes.min(limits.allowance_bytes.saturating_sub(taken));
        let pool = bytes - allowance;
        let fits = budget.try_take(&mut self.charge.room, pool);
        match fits {
            true => self.charge.allowance += allowance,
            false => self.lacking = Some(Lacking { allowance, pool }),
        }
        fits
    }

    /// Bytes of the budget for which the frame at the front waits: nothing more is read until they are [`Intake::granted`].
    pub fn lacking(&self) -> Option<usize> {
        self.lacking.map(|lacking| lacking.pool)
    }

    /// Takes in the room that was lacking.
    pub fn granted(&mut self, room: Room) {
        let Some(Lacking { allowance, pool }) = self.lacking.take() else { return };
        self.charge.allowance += allowance;
        self.charge.room.add(room);
        self.reader.grant(allowance + pool);
    }

    /// Reads once when the socket is readable; 0 is the end of the stream.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut TcpStream,
        limits: &ConnectionLimits,
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.reader.poll_fill(context, stream))?;
        self.received = Instant::now();
        if let Some(upload) = &mut self.upload {
            upload.bytes += bytes;
            if upload.bytes >= limits.upload_least_bytes {
                *upload = Upload { since: self.received, bytes: 0 };
            }
        }
        Poll::Ready(Ok(bytes))
    }

    /// When something was received last.
    pub fn received(&self) -> Instant {
        self.received
    }

    /// When the client must have sent more of the frame under way.
    pub fn upload_limit(&mut self, reading: bool, limits: &ConnectionLimits) -> Option<Instant> {
        if !reading || !self.reader.under_way() {
            self.upload = None;
            return None;
        }
        let upload = self.upload.get_or_insert_with(|| Upload { since: Instant::now(), bytes: 0 });
        Some(upload.since + limits.upload_period)
    }

    /// When the client must have sent something; an error if that has passed. One that waits for an answer is `busy`.
    pub fn client_limit(&self, now: Instant, busy: bool, limits: &ConnectionLimits) -> Result<Instant, Late> {
        let upload_limit = self.upload.as_ref().map(|upload| upload.since + limits.upload_period);
        if let Some(upload) = &self.upload
            && upload_limit <= Some(now)
        {
            return Err(Late::Slow { bytes: upload.bytes, period: limits.upload_period });
        }
        let idle_limit = match self.received + limits.idle {
            limit if limit > now => limit,
            // A client that waits for an answer or for room is not idle.
            _ if !busy && self.lacking.is_none() => return Err(Late::Idle),
            _ => now + limits.idle,
        };
        Ok(upload_limit.map_or(idle_limit, |limit| limit.min(idle_limit)))
    }
}
