//! Messages a second from stored batches to what a pull is answered with, and the way in.
//!
//! `cargo bench -p duolog-rocketmq --bench transcode`

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duolog_base::{Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_rocketmq::message::{MessageLimits, Outgoing, put_record};
use duolog_rocketmq::transcode::{Source, TranscodeLimits, Transcoder};
use duolog_wire::record::{BatchBuilder, Compression};
use duolog_wire::remoting::properties::Properties;
use std::hint::black_box;

/// Messages in a pull.
const MESSAGES: usize = 32;
/// What a producer of Java's sends with a message that has keys and a tag.
const PROPERTIES: &str =
    "KEYS\u{1}order-1234\u{2}UNIQ_KEY\u{1}7F0000010C4E18B4AAC20F8C1A2B0000\u{2}CLUSTER\u{1}DefaultCluster\u{2}TAGS\u{1}TagA\u{2}";
const LIMITS: MessageLimits = MessageLimits { max_body_bytes: 4 << 20 };

fn put(builder: &mut BatchBuilder, body: &[u8]) {
    let message = Outgoing {
        body,
        properties: Properties::new(PROPERTIES),
        changes: &[],
        flag: 0,
        sys_flag: 0,
        born_timestamp: TimestampMs(1),
        born_host: ([10, 0, 0, 1], 5_000).into(),
        store_timestamp: TimestampMs(2),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        delivered_at: None,
    };
    put_record(builder, &message, LIMITS).expect("it fits");
}

/// Batches of `count` messages, as many as a pull takes.
fn batches(codec: Compression, count: usize, body: &[u8]) -> Vec<BytesMut> {
    let batch = |base: usize| {
        let mut builder = BatchBuilder::new(codec).base_offset(Offset(base as i64));
        (0..count).for_each(|_| put(&mut builder, body));
        let mut out = BytesMut::new();
        builder.build(&mut out).expect("it is built");
        out
    };
    (0..MESSAGES).step_by(count).map(batch).collect()
}

fn pull(batches: &[BytesMut], out: &mut BytesMut) {
    let source = Source {
        topic: "orders",
        queue: PartitionIndex(0),
        number: PartitionNumber(7),
        store_host: ([127, 0, 0, 1], 10_911).into(),
    };
    let limits = TranscodeLimits { max_messages: MESSAGES, max_bytes: 64 << 20 };
    let mut transcoder = Transcoder::new(source, Offset(0), limits);
    for batch in batches {
        transcoder.push_batch(batch, &mut |message| message.tag().is_some(), out).expect("sound batches");
    }
    assert_eq!(transcoder.progress().messages, MESSAGES);
}

fn transcode(criterion: &mut Criterion) {
    for bytes in [100, 1024] {
        let body: Vec<u8> = (0..bytes).map(|at| (at * 7 % 251) as u8).collect();
        let mut group = criterion.benchmark_group(format!("{MESSAGES} messages of {bytes} B"));
        group.throughput(Throughput::Bytes((MESSAGES * bytes) as u64));
        for (codec, count) in [(Compression::None, 1), (Compression::None, 32), (Compression::Lz4, 32)] {
            let batches = batches(codec, count, &body);
            let name = BenchmarkId::new(format!("out of batches of {count}"), codec.name());
            group.bench_function(name, |bencher| {
                let mut out = BytesMut::with_capacity(1 << 20);
                bencher.iter(|| {
                    out.clear();
                    pull(&batches, &mut out);
                    black_box(&out);
                });
            });
        }
        for count in [1, 32] {
            group.bench_function(format!("into batches of {count}"), |bencher| {
                let mut out = BytesMut::with_capacity(1 << 20);
                bencher.iter(|| {
                    for _ in (0..MESSAGES).step_by(count) {
                        out.clear();
                        let mut builder = BatchBuilder::new(Compression::None);
                        (0..count).for_each(|_| put(&mut builder, &body));
                        builder.build(&mut out).expect("it is built");
                        black_box(&out);
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, transcode);
criterion_main!(benches);
