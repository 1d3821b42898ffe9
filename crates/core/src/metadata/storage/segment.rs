//! One file of the journal: created with its first frame, read as a whole, appended to with one write and one sync.

use super::format::{Frame, HEADER_BYTES, HeaderProblem, any_frame_from, check_header, decode, encode_frame, frame_at, header};
use super::{corrupt, io_error};
use crate::metadata::error::MetadataOpenError;
use crate::metadata::storage::format::FORMAT_VERSION;
use duolog_base::{Disk, DiskFile, OpenMode};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PREFIX: &str = "journal-";

/// An open segment.
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
    file: Arc<dyn DiskFile>,
    pub(super) length: u64,
}

/// Where a frame lies in its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct FramePlace {
    pub(super) position: u64,
    pub(super) length: u64,
}

/// What reading a segment found.
pub(super) enum Scanned {
    Frames {
        segment: Segment,
        frames: Vec<(Frame, FramePlace)>,
        /// Bytes behind the last frame: a write that was not finished.
        torn_bytes: u64,
    },
    /// The file was being created when the crash came; nothing in it was ever relied on.
    Unborn,
}

pub(super) fn segment_name(sequence: u64) -> String {
    format!("{PREFIX}{sequence:020}")
}

pub(super) fn segment_sequence(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

impl Segment {
    /// Creates the file with its first frame, durable with its name.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, sequence: u64, first: &Frame) -> io::Result<Segment> {
        let path = dir.join(segment_name(sequence));
        let file = disk.open(&path, OpenMode::CreateNew)?;
        let mut bytes = header().to_vec();
        encode_frame(&mut bytes, first)?;
        file.write_at(&[IoSlice::new(&bytes)], 0)?;
        file.sync_data()?;
        disk.sync_dir(dir)?;
        Ok(Segment { sequence, path, file, length: bytes.len() as u64 })
    }

    /// Writes one frame and waits until it is durable.
    pub(super) fn append(&mut self, frame: &Frame) -> io::Result<FramePlace> {
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, frame)?;
        let place = FramePlace { position: self.length, length: bytes.len() as u64 };
        self.file.write_at(&[IoSlice::new(&bytes)], place.position)?;
        self.file.sync_data()?;
        self.length += place.length;
        Ok(place)
    }

    /// Reads a frame that was found or written before.
    pub(super) fn read(&self, place: FramePlace) -> io::Result<Frame> {
        let mut bytes = vec![0; place.length as usize];
        self.file.read_exact_at(&mut bytes, place.position)?;
        let payload = frame_at(&bytes, 0).map(|(payload, _)| payload);
        payload.and_then(decode).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a journal frame is damaged"))
    }

    /// Reads all frames and changes nothing. In the `last` segment there may be a torn end; anywhere else it is damage.
    pub(super) fn scan(
        disk: &dyn Disk,
        dir: &Path,
        sequence: u64,
        last: bool,
        mode: OpenMode,
    ) -> Result<Scanned, MetadataOpenError> {
        let path = dir.join(segment_name(sequence));
        let failed = |error| io_error(&path, error);
        let file = disk.open(&path, mode).map_err(failed)?;
        if mode != OpenMode::Read {
            // What a sync has failed to write may be in the cache and nowhere else.
            file.sync_data().and_then(|()| file.evict()).map_err(failed)?;
        }
        let bytes = read_whole(&*file).map_err(failed)?;
        match check_header(&bytes) {
            Ok(()) => {}
            Err(HeaderProblem::Newer(found)) => {
                return Err(MetadataOpenError::NewerFormat { path, found, supported: FORMAT_VERSION });
            }
            Err(HeaderProblem::NotOurs) if last && !any_frame_from(&bytes, 0) => return Ok(Scanned::Unborn),
            Err(HeaderProblem::NotOurs) => return Err(corrupt(&path, 0, "the header is damaged")),
        }
        let (frames, end) = read_frames(&path, &bytes)?;
        if frames.is_empty() && last {
            return match any_frame_from(&bytes, end) {
                false => Ok(Scanned::Unborn),
                true => Err(corrupt(&path, end as u64, "the first frame is damaged")),
            };
        }
        if end < bytes.len() && (!last || any_frame_from(&bytes, end + 1)) {
            return Err(corrupt(&path, end as u64, "a frame is damaged that was once complete"));
        }
        let segment = Segment { sequence, path, file, length: end as u64 };
        Ok(Scanned::Frames { segment, frames, torn_bytes: (bytes.len() - end) as u64 })
    }

    /// Cuts off what lies behind the last frame.
    pub(super) fn cut_torn_end(&self) -> io::Result<()> {
        tracing::info!(path = %self.path.display(), "cut off a metadata write that was not finished");
        self.file.set_len(self.length)?;
        self.file.sync_data()
    }
}

type Frames = Vec<(Frame, FramePlace)>;

/// All good frames from the beginning on, and where they end.
fn read_frames(path: &Path, bytes: &[u8]) -> Result<(Frames, usize), MetadataOpenError> {
    let mut frames = Vec::new();
    let mut position = HEADER_BYTES;
    while let Some((payload, next)) = frame_at(bytes, position) {
        let Some(frame) = decode(payload) else {
            return Err(corrupt(path, position as u64, "a frame is whole but not understood"));
        };
        frames.push((frame, FramePlace { position: position as u64, length: (next - position) as u64 }));
        position = next;
    }
    Ok((frames, position))
}

pub(super) fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
