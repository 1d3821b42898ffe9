//! The cases of the comparison with Apache RocketMQ: sending, pulling, POP, delays and transactions over remoting.
//!
//! `flush=async` of ours stands against RocketMQ's ASYNC_FLUSH, which is its default; `flush=sync` against SYNC_FLUSH.

use super::cases::{ASYNC, Case, LATENCY, Plan, SYNC, Scale, Settings, THROUGHPUT, goal};
use super::figures::Metric;
use super::goal::{Bound, Goal};

const QUEUES: u32 = 8;
const MANY_QUEUES: u32 = 10_000;
/// A pull for one of them keeps 1 %.
const TAGS: u32 = 100;
const EIGHT_QUEUES: &str = "send-1kb-8q";

pub(super) fn cases(scale: &Scale) -> Vec<Case> {
    let mut cases = Vec::new();
    send(&mut cases, scale);
    one_in_flight(&mut cases, scale);
    batch(&mut cases, scale);
    many_queues(&mut cases, scale);
    pull(&mut cases, scale);
    pop(&mut cases, scale);
    delays(&mut cases, scale);
    transactions(&mut cases, scale);
    cases
}

fn create(queues: u32) -> String {
    format!("remoting-create --queues {queues}")
}

/// RocketMQ's broker is twice as fast once its JVM has compiled the way of a single message, which takes half a minute.
fn timed(scale: &Scale, load: &str) -> String {
    format!("remoting-send {load} --seconds {} --warm-up {}", scale.seconds, 6 * scale.warm_up)
}

fn case(name: &str, about: String, settings: Settings, plan: Plan, metrics: &'static [Metric], goals: Vec<Goal>) -> Case {
    Case { name: name.to_owned(), about, settings, peer: true, plan, metrics, goals }
}

/// Four connections with 64 sends in flight each.
fn send(cases: &mut Vec<Case>, scale: &Scale) {
    for (size, size_name) in [(1024, "1kb"), (100, "100b")] {
        for (settings, suffix, flush) in [(ASYNC, "", "async"), (SYNC, "-sync", "sync")] {
            let cpu = goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.25));
            let mut goals = vec![goal(Metric::Rate, Bound::OfPeerAtLeast(3.0))];
            goals.extend((settings == ASYNC).then_some(cpu));
            let load = timed(scale, &format!("--queues {QUEUES} --size {size}"));
            let about = format!("SEND_MESSAGE_V2 of {size} B over {QUEUES} queues, 4 connections x 64 in flight, {flush} flush");
            let plan = Plan::Load { before: vec![create(QUEUES)], load };
            cases.push(case(&format!("send-{size_name}-{QUEUES}q{suffix}"), about, settings, plan, LATENCY, goals));
        }
    }
}

fn one_in_flight(cases: &mut Vec<Case>, scale: &Scale) {
    let load = timed(scale, &format!("--queues {QUEUES} --connections 64 --in-flight 1"));
    let plan = Plan::Load { before: vec![create(QUEUES)], load };
    let about = "SEND_MESSAGE_V2 of 1 KiB, 64 connections with one in flight each, sync flush".to_owned();
    cases.push(case("send-64x1-sync", about, SYNC, plan, LATENCY, vec![goal(Metric::P99, Bound::OfPeerAtMost(1.0 / 3.0))]));
}

fn batch(cases: &mut Vec<Case>, scale: &Scale) {
    let load = timed(scale, &format!("--queues {QUEUES} --batch 32 --in-flight 8"));
    let plan = Plan::Load { before: vec![create(QUEUES)], load };
    let about = "SEND_BATCH_MESSAGE of 32 x 1 KiB, 4 connections x 8 in flight, async flush".to_owned();
    let goals = vec![goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(1.0 / 3.0))];
    cases.push(case("send-batch-32", about, ASYNC, plan, THROUGHPUT, goals));
}

fn many_queues(cases: &mut Vec<Case>, scale: &Scale) {
    let load = timed(scale, &format!("--queues {MANY_QUEUES}"));
    let plan = Plan::Load { before: vec![create(MANY_QUEUES)], load };
    let about = format!("SEND_MESSAGE_V2 of 1 KiB over {MANY_QUEUES} queues, 4 connections x 64 in flight, async flush");
    let goals = vec![goal(Metric::Rate, Bound::OfCaseAtLeast(EIGHT_QUEUES, 0.9))];
    cases.push(case("send-1kb-10000q", about, ASYNC, plan, LATENCY, goals));
}

/// From the page cache, in pulls of 32.
fn pull(cases: &mut Vec<Case>, scale: &Scale) {
    let messages = scale.messages / 3;
    let fill = |queues: u32, more: &str| {
        format!("remoting-send --queues {queues} --batch 32 --in-flight 4 --messages {messages} --seconds 300 {more}")
    };
    for queues in [1, QUEUES] {
        let load = format!("remoting-pull --queues {queues} --passes-before 2");
        let plan = Plan::Load { before: vec![create(queues), fill(queues, "")], load };
        let about = format!("PULL_MESSAGE of 32 x 1 KiB from {queues} queues");
        let goals = vec![goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(1.0 / 3.0))];
        cases.push(case(&format!("pull-{queues}q"), about, ASYNC, plan, THROUGHPUT, goals));
    }
    let single = format!("remoting-send --queues {QUEUES} --messages {messages} --seconds 300 --tags {TAGS}");
    for (name, subscription, what) in [("pull-tagged-all", "*", "all of them"), ("pull-tagged-1", "tag7", "one of them")] {
        let load = format!("remoting-pull --queues {QUEUES} --passes-before 2 --subscription {subscription}");
        let plan = Plan::Load { before: vec![create(QUEUES), single.clone()], load };
        let about = format!("PULL_MESSAGE of messages that were sent one by one with {TAGS} tags, subscribed to {what}");
        cases.push(case(name, about, ASYNC, plan, &[Metric::Seconds, Metric::Rate, Metric::CpuPerMillion], Vec::new()));
    }
}

/// Messages of a topic taken by 8 requests at the same time, each acknowledged by a request of its own.
fn pop(cases: &mut Vec<Case>, scale: &Scale) {
    let messages = scale.messages / 10;
    let fill =
        format!("remoting-send --queues {QUEUES} --batch 32 --in-flight 4 --connections 1 --messages {messages} --seconds 300");
    for (settings, suffix, flush) in [(ASYNC, "", "async"), (SYNC, "-sync", "sync")] {
        let load = format!("remoting-pop --messages {messages}");
        let plan = Plan::Load { before: vec![create(QUEUES), fill.clone()], load };
        let about = format!("POP_MESSAGE of 32 x 1 KiB from {QUEUES} queues, 8 in flight, ACK_MESSAGE for each, {flush} flush");
        let goals = vec![goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.5))];
        cases.push(case(&format!("pop-{QUEUES}q{suffix}"), about, settings, plan, THROUGHPUT, goals));
    }
}

/// Far timers, and near ones beside a million far ones.
fn delays(cases: &mut Vec<Case>, scale: &Scale) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let load = timed(scale, &format!("--queues {QUEUES} --size 100 --delay-ms {DAY_MS}"));
    let plan = Plan::Load { before: vec![create(QUEUES)], load };
    let about = "SEND_MESSAGE_V2 of 100 B to be delivered in a day, 4 connections x 64 in flight, async flush".to_owned();
    cases.push(case("delay-accepted", about, ASYNC, plan, LATENCY, vec![goal(Metric::Rate, Bound::OfPeerAtLeast(1.0))]));
    let pending = scale.messages * 2 / 3;
    let fill = format!("remoting-send --queues {QUEUES} --size 100 --delay-ms {DAY_MS} --messages {pending} --seconds 600");
    let plan = Plan::Load { before: vec![create(QUEUES), fill], load: "remoting-lateness".to_owned() };
    let about = format!("500 msg/s of 100 B to be delivered 5 s later beside {pending} pending ones: from due to received");
    let metrics = &[Metric::P50, Metric::P99, Metric::Rss];
    cases.push(case("delay-lateness", about, ASYNC, plan, metrics, vec![goal(Metric::P99, Bound::AtMost(50.0))]));
}

/// Half messages, each committed when it is stored.
fn transactions(cases: &mut Vec<Case>, scale: &Scale) {
    for (settings, suffix, flush) in [(ASYNC, "", "async"), (SYNC, "-sync", "sync")] {
        let load = format!("remoting-transact --queues {QUEUES} --seconds {} --warm-up {}", scale.seconds, 2 * scale.warm_up);
        let plan = Plan::Load { before: vec![create(QUEUES)], load };
        let about = format!("half messages of 1 KiB and END_TRANSACTION with a commit, 64 transactions in flight, {flush} flush");
        let goals = vec![goal(Metric::Rate, Bound::OfPeerAtLeast(1.0)), goal(Metric::CpuPerMillion, Bound::OfPeerAtMost(0.5))];
        cases.push(case(&format!("transact{suffix}"), about, settings, plan, LATENCY, goals));
    }
}
