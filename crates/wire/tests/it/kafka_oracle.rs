//! Messages written by Kafka's own classes, at every version: our codec must read them and write the same bytes.
//!
//! The committed sample is read by every test run; the whole file, which Java writes, by `cargo xtask oracle`.

use crate::kafka_codecs::{CODECS, Codec};
use duolog_wire::kafka::{Decoder, Encoder};
use std::collections::BTreeSet;

pub const GOLDEN: &[u8] = include_bytes!("../golden/kafka-messages.bin");

/// One message of an oracle's file.
pub struct Sample<'a> {
    pub name: &'a str,
    pub version: i16,
    pub bytes: &'a [u8],
}

impl Sample<'_> {
    pub fn codec(&self) -> &'static Codec {
        CODECS.iter().find(|codec| codec.name == self.name).unwrap_or_else(|| panic!("no codec for {}", self.name))
    }
}

/// Takes an oracle's file apart: name, version and bytes of each message, with their lengths before them.
pub fn samples(file: &[u8]) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    let mut d = Decoder::new(file);
    while d.remaining() > 0 {
        let name = d.string(false).expect("a name");
        let version = d.i16().expect("a version");
        samples.push(Sample { name, version, bytes: d.bytes(false).expect("a message") });
    }
    samples
}

fn recode(sample: &Sample<'_>) -> Result<Vec<u8>, String> {
    let mut d = Decoder::new(sample.bytes);
    let mut e = Encoder::new();
    let encoded = (sample.codec().recode)(&mut d, sample.version, &mut e).map_err(|error| error.to_string())?;
    encoded.map_err(|error| error.to_string())?;
    d.finish().map_err(|error| error.to_string())?;
    Ok(e.buffer().to_vec())
}

fn every_sample_survives(file: &[u8]) {
    let mut failures = Vec::new();
    for sample in samples(file) {
        let failure = match recode(&sample) {
            Ok(bytes) if bytes == sample.bytes => continue,
            Ok(bytes) => format!("{:02x?} became {bytes:02x?}", sample.bytes),
            Err(error) => format!("{error} in {:02x?}", sample.bytes),
        };
        failures.push(format!("{} {}: {failure}", sample.name, sample.version));
    }
    let shown = failures.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} messages differ:\n{shown}", failures.len());
}

fn every_prefix_is_refused(file: &[u8]) {
    for sample in samples(file) {
        for length in 0..sample.bytes.len() {
            let outcome =
                (sample.codec().recode)(&mut Decoder::new(&sample.bytes[..length]), sample.version, &mut Encoder::new());
            assert!(outcome.is_err(), "{} {} was read from {length} of its bytes", sample.name, sample.version);
        }
    }
}

fn every_version_has_a_sample(file: &[u8]) {
    let seen: BTreeSet<(&str, i16)> = samples(file).iter().map(|sample| (sample.name, sample.version)).collect();
    for codec in CODECS {
        for version in codec.min_version..=codec.max_version {
            assert!(seen.contains(&(codec.name, version)), "no sample of {} {version}", codec.name);
        }
    }
}

fn oracle_file() -> Vec<u8> {
    let path = std::env::var_os("DUOLOG_ORACLE_FILE").expect("DUOLOG_ORACLE_FILE names the file that Java wrote");
    std::fs::read(path).expect("the oracle's file")
}

#[test]
fn the_committed_sample_is_written_as_it_was_read() {
    every_sample_survives(GOLDEN);
}

#[test]
fn truncated_messages_are_refused() {
    every_prefix_is_refused(GOLDEN);
}

#[test]
fn the_committed_sample_covers_every_version() {
    every_version_has_a_sample(GOLDEN);
}

#[test]
#[ignore = "needs the file that `cargo xtask oracle` lets Java write"]
fn everything_that_java_wrote_is_written_as_it_was_read() {
    let file = oracle_file();
    every_version_has_a_sample(&file);
    every_sample_survives(&file);
    every_prefix_is_refused(&file);
}
