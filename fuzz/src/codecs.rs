//! The generated table of every message's codec; the tests of the wire crate go through the same one.

// Which versions there are is for the tests to know.
#[allow(dead_code)]
#[path = "../../crates/wire/tests/it/kafka_codecs.rs"]
mod table;

pub(crate) use table::{CODECS, Codec};

use duolog_wire::kafka::Decoder;

/// Messages at every version, written by Kafka's own classes.
const GOLDEN: &[u8] = include_bytes!("../../crates/wire/tests/golden/kafka-messages.bin");

/// One message of the golden file.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) version: i16,
    pub(crate) bytes: &'static [u8],
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut decoder = Decoder::new(GOLDEN);
    while decoder.remaining() > 0 {
        let name = decoder.string(false).expect("a name");
        let version = decoder.i16().expect("a version");
        samples.push(Sample { name, version, bytes: decoder.bytes(false).expect("a message") });
    }
    samples
}

pub(crate) fn find(name: &str) -> Option<&'static Codec> {
    CODECS.binary_search_by_key(&name, |codec| codec.name).ok().map(|at| &CODECS[at])
}
