//! The corruption matrix: every region of every file of a log x every kind of damage. Whatever is damaged, what a client takes for
//! a batch is the batch that was appended there; damage is either harmless or said; who is not concerned is served; and
//! `verify` finds it offline.

mod history;
mod regions;
mod torn_pages;

use crate::scenario::*;
use duolog_base::{Disk, PartitionNumber};
use duolog_log::inspect::verify;
use duolog_log::{Log, OpenError};
use duolog_sim::{Random, SimDisk};
use duolog_wire::record::verify_crc;
use history::{Ending, History, PARTITIONS, dir, matrix_options};
use regions::Region;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Flip,
    Zero,
    Truncate,
    /// With a region of the same class and length in the same file or another of its kind.
    Swap,
    /// The whole file as it was before.
    Stale,
}

const DAMAGES: [Damage; 5] = [Damage::Flip, Damage::Zero, Damage::Truncate, Damage::Swap, Damage::Stale];
/// One cell of the matrix, applied.
struct Case<'a> {
    history: &'a History,
    ending: Ending,
    path: PathBuf,
    kind: Kind,
    region: Region,
    damage: Damage,
    /// The region, and the one it was exchanged with.
    touched: Vec<(PathBuf, Range<usize>)>,
    disk: SimDisk,
}

/// What a file is to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Log,
    /// Queues or checkpoint: derived from the log.
    Index,
    Spare,
    /// A log file with its index at its end.
    Tidied,
    /// Derived: how far compaction has come.
    Cleaner,
}

impl Kind {
    fn of(path: &Path) -> Kind {
        match path.extension().and_then(|name| name.to_str()) {
            Some("tidied") => Kind::Tidied,
            None if path.ends_with("cleaner-checkpoint") => Kind::Cleaner,
            Some("log") => Kind::Log,
            Some("queues" | "checkpoint") => Kind::Index,
            Some("spare") => Kind::Spare,
            _ => panic!("{} is new here", path.display()),
        }
    }
}

impl std::fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.path.file_name().unwrap().to_string_lossy();
        write!(f, "{:?}: {:?} of {} {:?} in {name}", self.ending, self.damage, self.region.class, self.region.range)
    }
}

/// What an opening of the damaged files shows.
#[derive(Debug, Default)]
struct Outcome {
    quarantined: BTreeSet<u32>,
    /// Partitions of which a read failed, or was answered with what a client refuses.
    unreadable: BTreeSet<u32>,
    /// Partitions that end too early.
    cut: BTreeSet<u32>,
    /// The log does not open, and says that it is because of this file.
    refused: bool,
}

impl Outcome {
    /// Partitions for which somebody is told that something is wrong.
    fn told(&self) -> BTreeSet<u32> {
        &self.quarantined | &self.unreadable
    }

    fn is_untouched(&self) -> bool {
        self.told().is_empty() && self.cut.is_empty() && !self.refused
    }
}

/// Damages a copy of the files; `None` if nothing would change.
fn apply<'a>(
    history: &'a History,
    ending: Ending,
    path: &Path,
    region: &Region,
    damage: Damage,
    random: &mut Random,
) -> Option<Case<'a>> {
    let mut files = history.files.clone();
    let mut touched = vec![(path.to_owned(), region.range.clone())];
    let range = region.range.clone();
    let bytes = files.get_mut(path).unwrap();
    match damage {
        Damage::Flip if range.is_empty() => return None,
        Damage::Flip => bytes[range.start + random.below(range.len() as u64) as usize] ^= 1 << random.below(8),
        Damage::Zero => bytes[range.clone()].fill(0),
        Damage::Truncate => bytes.truncate(range.start + random.below(range.len() as u64 + 1) as usize),
        Damage::Swap => touched.push(swap(&mut files, path, region, random)?),
        Damage::Stale => *bytes = history.older.get(path)?.clone(),
    }
    if files == history.files {
        return None;
    }
    let disk = SimDisk::new(0);
    files.iter().for_each(|(path, bytes)| disk.write_file(path, bytes));
    Some(Case { history, ending, path: path.to_owned(), kind: Kind::of(path), region: region.clone(), damage, touched, disk })
}

/// Exchanges the region with another like it, and says with which.
fn swap(
    files: &mut BTreeMap<PathBuf, Vec<u8>>,
    path: &Path,
    region: &Region,
    random: &mut Random,
) -> Option<(PathBuf, Range<usize>)> {
    let mut others = Vec::new();
    for (other, bytes) in files.iter().filter(|(other, _)| other.extension() == path.extension()) {
        let alike = |candidate: &Region| candidate.class == region.class && candidate.range.len() == region.range.len();
        let found = regions::of_file(other, bytes).into_iter().filter(alike);
        others.extend(
            found.map(|found| (other.clone(), found.range)).filter(|found| *found != (path.to_owned(), region.range.clone())),
        );
    }
    if others.is_empty() {
        return None;
    }
    let (other, place) = others.swap_remove(random.below(others.len() as u64) as usize);
    let mine = files[path][region.range.clone()].to_vec();
    let theirs = files[&other][place.clone()].to_vec();
    files.get_mut(path)?[region.range.clone()].copy_from_slice(&theirs);
    files.get_mut(&other)?[place.clone()].copy_from_slice(&mine);
    Some((other, place))
}

impl Case<'_> {
    /// Opens the files twice, with some work and housekeeping in between, and judges what is seen.
    fn judge(&self) {
        let shared: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let problems = verify(shared, dir()).map_or(1, |report| report.problem_count);
        let (first, second) = (self.open_and_read(), self.open_and_read());
        for outcome in [&first, &second] {
            let may_be_cut = !matches!(self.ending, Ending::Closed | Ending::Tidied) && self.reaches_the_end();
            assert!(may_be_cut || outcome.cut.is_subset(&outcome.told()), "{self}: cut in silence: {outcome:?}");
            if let Some(concerned) = self.concerned() {
                assert!(outcome.told().is_subset(&BTreeSet::from([concerned])), "{self}: more than {concerned}: {outcome:?}");
            }
        }
        if self.kind == Kind::Index {
            assert!(first.quarantined.is_empty() && first.cut.is_empty(), "{self}: {first:?}");
            assert!(second.is_untouched(), "{self}: what can be rebuilt is not: {second:?}");
        }
        if matches!(self.kind, Kind::Spare | Kind::Cleaner) {
            assert!(first.is_untouched(), "{self}: nothing in it counts: {first:?}");
        }
        let harmless = first.is_untouched() && second.is_untouched();
        assert!(harmless || problems > 0 || self.reaches_the_end(), "{self}: verify finds nothing, reading {first:?}");
    }

    fn open_and_read(&self) -> Outcome {
        let shared: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (log, report) = match open(&shared, dir(), matrix_options()) {
            // Of a tidied file there is nothing else.
            Err(OpenError::Corrupt { path, .. })
                if self.kind == Kind::Tidied && self.touched.iter().any(|(at, _)| *at == path) =>
            {
                return Outcome { refused: true, ..Outcome::default() };
            }
            opened => opened.unwrap_or_else(|error| panic!("{self}: refused: {error}")),
        };
        if self.ending == Ending::Tidied {
            history::compact(&log);
        }
        (0..PARTITIONS).for_each(|number| log.open_partition(PartitionNumber(number)));
        let quarantined = report.quarantined.iter().map(|number| number.0).collect();
        let mut outcome = Outcome { quarantined, ..Outcome::default() };
        for number in 0..PARTITIONS {
            self.read(&log, number, &mut outcome);
        }
        log.house_step(NOW).unwrap();
        self.go_on(&log, &outcome);
        log.close().unwrap();
        drop(log);
        self.disk.reboot(1);
        outcome
    }

    /// The only partition that damage to a batch may concern: the header in front of it names it.
    fn concerned(&self) -> Option<u32> {
        let (_, last) = self.region.frame.filter(|_| self.region.class.starts_with("batch"))?;
        let bytes = &self.history.files[&self.path];
        let frame = regions::frames(bytes).into_iter().find(|frame| frame.contains(&self.region.range.start))?;
        let confined = matches!(self.damage, Damage::Flip | Damage::Zero) && !last;
        let partition = bytes[frame.start + 36..frame.start + 40].try_into().unwrap();
        confined.then_some(u32::from_le_bytes(partition))
    }

    /// Reads every batch of the partition by its offset.
    fn read(&self, log: &Log, number: u32, outcome: &mut Outcome) {
        let Some(written) = self.history.written.get(&number) else { return };
        let end = log.ends(PartitionNumber(number)).unwrap().end.0;
        let start = self.history.starts.get(&number).copied().unwrap_or(0);
        for batch in written.iter().filter(|batch| batch.offset >= start) {
            if batch.offset >= end {
                outcome.cut.insert(number);
                return;
            }
            let found = plan(log, number, batch.offset, 1).and_then(|plan| plan.materialize());
            match found {
                Ok(bytes) if bytes == batch.bytes => {}
                // A client checks the batch's own checksum and length.
                Ok(bytes) if bytes.len() != batch.bytes.len() || verify_crc(&bytes).is_err() => {
                    outcome.unreadable.insert(number);
                }
                Ok(bytes) => panic!(
                    "{self}: another batch is served at offset {} of partition {number}: {:02x?} instead of {:02x?}",
                    batch.offset,
                    &bytes[..24],
                    &batch.bytes[..24]
                ),
                Err(_) => _ = outcome.unreadable.insert(number),
            }
        }
    }

    /// Who is not quarantined takes and shows further batches.
    fn go_on(&self, log: &Log, outcome: &Outcome) {
        for number in (0..PARTITIONS).filter(|number| !outcome.quarantined.contains(number)) {
            let bytes = batch(number.into(), 1, 50);
            let appended = append(log, number, bytes.clone()).unwrap_or_else(|error| panic!("{self}: {error}"));
            settle(log);
            let offset = appended.base_offset.0;
            let found = plan(log, number, offset, 1).unwrap().materialize().unwrap();
            assert_eq!(found, stored(&bytes, offset, 0), "{self}: what is appended afterwards is not read back");
        }
    }

    /// Whether the damage reaches the last frame of the log, so that nothing behind it can speak for it.
    fn reaches_the_end(&self) -> bool {
        let active = self.history.active_log();
        // The header of a file with a single frame is as old as that.
        let last = match &regions::frames(&self.history.files[&active])[..] {
            [_] => 0,
            [.., last] => last.start,
            [] => panic!("{self}: a log ends with a frame"),
        };
        let whole = matches!(self.damage, Damage::Truncate | Damage::Stale);
        self.touched.iter().any(|(path, range)| *path == active && (whole || range.end > last))
    }
}

/// What places have in common among which chance picks one: the kind of file, whether it is the active one, the class of the region,
/// and whether it belongs to the last frame.
type Cell = (Kind, bool, &'static str, bool);

/// Every kind of file, every class of region in it, every damage: one case each, wherever chance puts it.
fn matrix(ending: Ending, seed: u64) -> usize {
    let history = History::new(ending, seed);
    let mut random = Random::new(seed);
    let active = history.active_log();
    let mut cells: BTreeMap<Cell, Vec<(&Path, Region)>> = BTreeMap::new();
    for (path, bytes) in &history.files {
        for region in regions::of_file(path, bytes) {
            let last = region.frame.is_some_and(|(_, last)| last);
            let cell = (Kind::of(path), *path == active, region.class, last);
            cells.entry(cell).or_default().push((path, region));
        }
    }
    let mut cases = 0;
    for places in cells.into_values() {
        for damage in DAMAGES {
            let (path, region) = &places[random.below(places.len() as u64) as usize];
            if let Some(case) = apply(&history, ending, path, region, damage, &mut random) {
                cases += 1;
                case.judge();
            }
        }
    }
    cases
}

/// `DUOLOG_CORRUPTION_SEEDS`, for longer runs.
fn seeds() -> u64 {
    std::env::var("DUOLOG_CORRUPTION_SEEDS").map_or(1, |seeds| seeds.parse().unwrap())
}

fn judge_all(ending: Ending) {
    for seed in 0..seeds() {
        let cases = matrix(ending, seed);
        assert!(cases > 250, "{cases} cases");
    }
}

#[test]
fn no_damage_to_a_log_that_was_closed_is_served_or_hidden() {
    judge_all(Ending::Closed);
}

#[test]
fn no_damage_to_a_log_that_lost_its_power_is_served_or_hidden() {
    judge_all(Ending::Lost);
}

#[test]
fn no_damage_to_a_log_without_indexes_is_served_or_hidden() {
    judge_all(Ending::Unkept);
}

#[test]
fn no_damage_to_a_log_that_was_tidied_is_served_or_hidden() {
    judge_all(Ending::Tidied);
}
