//! The record codec: reading and writing whole batches, and the look at a header that is all the produce path needs.
//!
//! `cargo bench -p duolog-log --bench codec`

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duolog_base::TimestampMs;
use duolog_wire::record::{BatchBuilder, BatchHeader, Compression, DecompressLimits, NewRecord, decode_batch, verify_crc};
use std::hint::black_box;

const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];
/// Records in a batch, and bytes of a value.
const SHAPES: [(usize, usize); 4] = [(1, 100), (1, 1024), (100, 100), (64, 1024)];

/// Text-like values: they compress to about a third.
fn values(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    let word = |n: usize| format!("{:x} ", n.wrapping_mul(2_654_435_761) % 4_096);
    let value = |seed: usize| (seed * 1_000..).flat_map(|n| word(n).into_bytes()).take(bytes).collect();
    (0..count).map(value).collect()
}

fn encode(codec: Compression, values: &[Vec<u8>], out: &mut BytesMut) {
    let mut builder = BatchBuilder::new(codec);
    for value in values {
        let record = NewRecord { timestamp: TimestampMs(1), key: Some(b"some-key"), value: Some(value), headers: &[] };
        builder.push(record).expect("it fits");
    }
    builder.build(out).expect("it is built");
}

fn codec(criterion: &mut Criterion) {
    for (count, bytes) in SHAPES {
        let values = values(count, bytes);
        let mut group = criterion.benchmark_group(format!("batch of {count} x {bytes} B"));
        group.throughput(Throughput::Bytes((count * bytes) as u64));
        for codec in CODECS {
            let mut batch = BytesMut::new();
            encode(codec, &values, &mut batch);
            group.bench_function(BenchmarkId::new("encode", codec.name()), |bencher| {
                let mut out = BytesMut::with_capacity(batch.len());
                bencher.iter(|| {
                    out.clear();
                    encode(codec, &values, &mut out);
                });
            });
            group.bench_function(BenchmarkId::new("decode", codec.name()), |bencher| {
                bencher.iter(|| {
                    let decoded = decode_batch(&batch, DecompressLimits::default()).expect("a whole batch");
                    let bytes: usize = decoded.records().map(|record| record.expect("sound").value.map_or(0, <[u8]>::len)).sum();
                    black_box(bytes)
                });
            });
        }
        let mut batch = BytesMut::new();
        encode(Compression::None, &values, &mut batch);
        group.bench_function("header", |bencher| bencher.iter(|| BatchHeader::parse(black_box(&batch))));
        group.bench_function("checksum", |bencher| bencher.iter(|| verify_crc(black_box(&batch))));
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
