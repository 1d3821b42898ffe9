//! A tidied file whose index or end is damaged, written anew from its own frames.
//!
//! The frames are all still there, and what cannot be learnt from them (which partitions were known, and their ends) is in two
//! places: the directory and the state section. So damage in one place only is overcome, if every frame is sound. If the state is
//! what is lost, an opening that would have to begin with it is refused; it begins with a newer one nearly always.

use super::output::Output;
use crate::files::tidied_path;
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::format::frame::FrameKind;
use crate::format::index::{IndexBuilder, IndexKind, IndexView, QueueEntry};
use crate::format::state;
use crate::format::tidied::TIDIED_END_BYTES;
use crate::scan::{Found, FrameFile};
use crate::sealed::{Sealed, SealedProblem};
use duolog_base::{Disk, DiskFile, OpenMode};
use duolog_wire::record::BatchHeader;
use hashbrown::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What the intact frames of a file say.
struct Scanned {
    entries: HashMap<u32, Vec<QueueEntry>>,
    /// Where in the file they end.
    frames_bytes: u64,
}

/// What stands in two places.
struct Known<'a> {
    /// Partitions with their ends.
    ends: Vec<(u32, i64)>,
    /// The state section, empty if it is lost.
    section: &'a [u8],
}

/// Writes the file anew; `None` if that would lose something.
pub(crate) fn rebuild_tidied(disk: &dyn Disk, dir: &Path, base: u64) -> io::Result<Option<Sealed>> {
    let file = disk.open(&tidied_path(dir, base), OpenMode::Read)?;
    let Some(mut scanned) = scan(&file, base)? else { return Ok(None) };
    let Some(index_bytes) = file.length()?.checked_sub(scanned.frames_bytes + TIDIED_END_BYTES as u64) else { return Ok(None) };
    let mut index = vec![0; index_bytes as usize];
    file.read_exact_at(&mut index, scanned.frames_bytes)?;
    let Ok(view) = IndexView::split(&index, IndexKind::Tidied) else { return Ok(None) };
    let Some(Known { ends, section }) = known_partitions(&view) else { return Ok(None) };
    let mut builder = IndexBuilder::default();
    for (partition, end_offset) in ends {
        builder.begin(partition, end_offset);
        let run = scanned.entries.remove(&partition).unwrap_or_default();
        let counted = view.directory_is_intact().then(|| view.find(partition).map(|record| record.entries as usize)).flatten();
        if counted.is_some_and(|counted| counted != run.len()) {
            return Ok(None);
        }
        run.iter().for_each(|entry| builder.push(entry));
    }
    if !scanned.entries.is_empty() {
        return Ok(None);
    }
    let sections = builder.finish(IndexKind::Tidied, view.header.generation, base, view.header.end, section);
    let mut output = Output::create(disk, dir, base, view.header.generation)?;
    copy_frames(file.as_ref(), scanned.frames_bytes, &mut output)?;
    output.publish(disk, dir, &sections)?;
    match Sealed::open_tidied(disk, dir, base) {
        Ok(sealed) => Ok(Some(sealed)),
        Err(SealedProblem::Io(error)) => Err(error),
        Err(SealedProblem::Index(problem)) => Err(io::Error::new(io::ErrorKind::InvalidData, problem.describe())),
    }
}

/// `None` if a frame is damaged, as far as can be seen.
fn scan(file: &Arc<dyn DiskFile>, base: u64) -> io::Result<Option<Scanned>> {
    let mut frames = FrameFile::new(file.clone(), base, None)?;
    let mut entries: HashMap<u32, Vec<QueueEntry>> = HashMap::new();
    let mut position = base + FILE_HEADER_BYTES as u64;
    loop {
        match frames.frame_at(position, 0)? {
            Found::Frame(header) if header.kind == FrameKind::Batch => {
                let Ok(batch) = BatchHeader::parse(frames.payload(&header)?) else { return Ok(None) };
                let entry = QueueEntry::of_frame(&header, batch.max_timestamp.0);
                entries.entry(header.partition).or_default().push(entry);
                position = header.end();
            }
            Found::Nothing if frames.search(position + 1, u64::MAX, 0)?.is_none() => {
                return Ok(Some(Scanned { entries, frames_bytes: position - base }));
            }
            _ => return Ok(None),
        }
    }
}

/// `None` if both places are damaged.
fn known_partitions<'a>(view: &IndexView<'a>) -> Option<Known<'a>> {
    let section = if view.state_is_intact() { view.state() } else { &[] };
    let states = state::decode(section)?;
    let ends = match (states.is_empty(), view.directory_is_intact()) {
        (false, _) => states.iter().map(|(number, known)| (*number, known.next_offset())).collect(),
        (true, true) => view.records().map(|record| (record.partition, record.end_offset)).collect(),
        (true, false) => return None,
    };
    Some(Known { ends, section })
}

fn copy_frames(file: &dyn DiskFile, frames_bytes: u64, output: &mut Output) -> io::Result<()> {
    let mut portion = vec![0; COPY_BYTES];
    let mut at = FILE_HEADER_BYTES as u64;
    while at < frames_bytes {
        let bytes = portion.len().min((frames_bytes - at) as usize);
        file.read_exact_at(&mut portion[..bytes], at)?;
        output.push_bytes(&portion[..bytes])?;
        at += bytes as u64;
    }
    Ok(())
}
