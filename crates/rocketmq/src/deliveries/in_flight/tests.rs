//! What is delivered again and when: scenarios, then random histories held to a model.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const NOBODY: &dyn Fn(&str) -> bool = &|_| false;

fn terms(now_ms: u64, hidden_ms: u64) -> Terms {
    Terms { now_ms, hidden_ms, renewal: None }
}

fn offsets(plan: &Plan) -> Vec<i64> {
    plan.again.iter().map(|again| again.offset.0).collect()
}

#[test]
fn what_is_not_acknowledged_in_time_is_delivered_once_more() {
    let mut queue = InFlight::new(Offset(5));
    queue.deliver(Offset(5), 1, &terms(0, 100));
    queue.deliver(Offset(6), 2, &terms(0, 100));
    assert_eq!((queue.committed(), queue.next()), (Offset(5), Offset(7)));
    assert_eq!(queue.acknowledge(Offset(6), 2), Ok(()));
    assert_eq!(queue.committed(), Offset(5), "5 is still worked on");
    assert!(queue.plan(99, 10, Order::Any, NOBODY).again.is_empty());
    let plan = queue.plan(100, 10, Order::Any, NOBODY);
    assert_eq!((offsets(&plan), plan.fresh), (vec![5], 9));
    assert_eq!(queue.deliver_again(plan.again[0], 3, &terms(100, 100)), Some(2));
    assert_eq!(queue.acknowledge(Offset(5), 1), Err(StaleHandle));
    assert_eq!(queue.acknowledge(Offset(5), 3), Ok(()));
    assert_eq!(queue.committed(), Offset(7));
}

#[test]
fn an_acknowledgement_between_plan_and_delivery_counts() {
    let mut queue = InFlight::new(Offset(0));
    queue.deliver(Offset(0), 1, &terms(0, 10));
    let plan = queue.plan(10, 1, Order::Any, NOBODY);
    assert_eq!(queue.acknowledge(Offset(0), 1), Ok(()));
    assert_eq!(queue.deliver_again(plan.again[0], 2, &terms(10, 10)), None);
}

#[test]
fn changing_the_time_changes_the_handle() {
    let mut queue = InFlight::new(Offset(0));
    queue.deliver(Offset(0), 1, &terms(0, 10));
    assert_eq!(queue.hide(Offset(0), 1, 2, 500), Ok(()));
    assert_eq!(queue.hide(Offset(0), 1, 3, 500), Err(StaleHandle));
    assert!(queue.plan(499, 1, Order::Any, NOBODY).again.is_empty());
    assert_eq!(offsets(&queue.plan(500, 1, Order::Any, NOBODY)), [0]);
}

#[test]
fn what_is_kept_goes_to_those_who_receive_its_topic() {
    let (orders, bills): (Arc<str>, Arc<str>) = ("orders".into(), "bills".into());
    let (of_orders, of_bills) = (Order::Returned { from: &orders }, Order::Returned { from: &bills });
    let mut queue = InFlight::new(Offset(3));
    queue.keep(Offset(3), Some(bills.clone()));
    queue.keep(Offset(5), Some(orders.clone()));
    assert_eq!((queue.next(), queue.committed(), queue.next_due_ms(of_orders)), (Offset(6), Offset(3), Some(0)));
    let plan = queue.plan(7, 10, of_orders, NOBODY);
    assert_eq!((offsets(&plan), plan.fresh), (vec![5], 0));
    assert_eq!(queue.deliver_again(plan.again[0], 1, &terms(7, 100)), Some(1), "for the first time");
    assert_eq!(queue.plan(7, 10, of_orders, NOBODY), Plan::default());
    assert_eq!(queue.next_due_ms(of_orders), Some(107));
    assert_eq!(offsets(&queue.plan(107, 10, of_orders, NOBODY)), [5]);
    assert_eq!(queue.acknowledge(Offset(5), 1), Ok(()));
    assert_eq!(queue.committed(), Offset(3), "nobody has had the other one");
    let plan = queue.plan(200, 10, of_bills, NOBODY);
    assert_eq!(queue.deliver_again(plan.again[0], 2, &terms(200, 100)), Some(1));
    assert_eq!(queue.acknowledge(Offset(3), 2), Ok(()));
    assert_eq!((queue.committed(), queue.is_empty()), (Offset(6), true));
}

#[test]
fn an_ordered_queue_gives_nothing_while_something_is_worked_on() {
    let ordered = Order::Queue { attempt_id: Some("b") };
    let mut queue = InFlight::new(Offset(0));
    queue.deliver(Offset(0), 1, &terms(0, 100));
    queue.deliver(Offset(1), 2, &terms(0, 100));
    queue.delivered_to(Some("a"));
    assert_eq!(queue.plan(10, 5, ordered, NOBODY), Plan::default());
    let repeated = queue.plan(10, 5, Order::Queue { attempt_id: Some("a") }, NOBODY);
    assert_eq!(offsets(&repeated), [0, 1]);
    assert_eq!(queue.deliver_again(repeated.again[0], 3, &terms(10, 100)), Some(1), "the same receive is no further attempt");
    assert_eq!(queue.next_due_ms(ordered), Some(110), "not before all of them are due");
    assert_eq!(queue.acknowledge(Offset(1), 2), Ok(()));
    assert_eq!(queue.plan(109, 5, ordered, NOBODY), Plan::default());
    assert_eq!(offsets(&queue.plan(110, 5, ordered, NOBODY)), [0]);
    assert_eq!(queue.acknowledge(Offset(0), 3), Ok(()));
    assert_eq!(queue.plan(110, 5, ordered, NOBODY), Plan { again: vec![], fresh: 5 });
}

#[test]
fn messages_stay_hidden_while_their_consumer_lives_and_not_for_ever() {
    let renewal = Some(Renewal { client: "c".into(), period_ms: 60, until_ms: 150 });
    let mut queue = InFlight::new(Offset(0));
    queue.deliver(Offset(0), 1, &Terms { now_ms: 0, hidden_ms: 60, renewal });
    let alive: &dyn Fn(&str) -> bool = &|client| client == "c";
    assert!(queue.plan(60, 1, Order::Any, alive).again.is_empty());
    assert!(queue.plan(120, 1, Order::Any, alive).again.is_empty());
    assert_eq!(offsets(&queue.plan(150, 1, Order::Any, alive)), [0]);
}

#[test]
fn messages_of_a_consumer_that_left_are_due_soon() {
    let renewal = Some(Renewal { client: "c".into(), period_ms: 60_000, until_ms: 900_000 });
    let mut queue = InFlight::new(Offset(0));
    queue.deliver(Offset(0), 1, &Terms { now_ms: 0, hidden_ms: 60_000, renewal });
    queue.deliver(Offset(1), 2, &terms(0, 60_000));
    assert!(queue.release("c", 10) && !queue.release("c", 10));
    assert_eq!(offsets(&queue.plan(10 + RELEASED_AFTER_MS, 2, Order::Any, NOBODY)), [0]);
}

#[test]
fn a_full_queue_gives_nothing_new() {
    let mut queue = InFlight::new(Offset(0));
    for offset in 0..IN_FLIGHT_OF_QUEUE as i64 - 1 {
        queue.deliver(Offset(offset), offset as u64, &terms(0, 100));
    }
    assert_eq!(queue.plan(0, 32, Order::Any, NOBODY).fresh, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Receive { want: usize, hidden_ms: u64 },
    Acknowledge(usize),
    Hide(usize, u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..5usize, 1..50u64).prop_map(|(want, hidden_ms)| Step::Receive { want, hidden_ms }),
        any::<usize>().prop_map(Step::Acknowledge),
        (any::<usize>(), 0..50u64).prop_map(|(which, ms)| Step::Hide(which, ms)),
        (0..60u64).prop_map(Step::Wait),
    ]
}

const LOG_END: i64 = 30;

/// A group of consumers, and what it must not see.
struct Model {
    queue: InFlight,
    ordered: bool,
    now_ms: u64,
    last_handle: u64,
    /// Hidden until then, by offset, with the valid handle.
    held: HashMap<i64, (u64, u64)>,
    handles: Vec<(i64, u64)>,
    done: HashSet<i64>,
}

impl Model {
    fn receive(&mut self, want: usize, hidden_ms: u64) -> usize {
        let order = if self.ordered { Order::Queue { attempt_id: None } } else { Order::Any };
        let plan = self.queue.plan(self.now_ms, want, order, NOBODY);
        if self.ordered && !(plan.again.is_empty() && plan.fresh == 0) {
            assert!(self.held.values().all(|(due, _)| *due <= self.now_ms), "ordered, and something is hidden");
        }
        let fresh: Vec<i64> = (self.queue.next().0..LOG_END).take(plan.fresh).collect();
        let count = plan.again.len() + fresh.len();
        for again in plan.again {
            self.last_handle += 1;
            assert!(self.queue.deliver_again(again, self.last_handle, &terms(self.now_ms, hidden_ms)).is_some());
            self.given(again.offset.0, hidden_ms);
        }
        for offset in fresh {
            self.last_handle += 1;
            self.queue.deliver(Offset(offset), self.last_handle, &terms(self.now_ms, hidden_ms));
            self.given(offset, hidden_ms);
        }
        assert!(count <= want);
        count
    }

    fn given(&mut self, offset: i64, hidden_ms: u64) {
        assert!(!self.done.contains(&offset), "{offset} was acknowledged");
        let held = self.held.insert(offset, (self.now_ms + hidden_ms, self.last_handle));
        assert!(held.is_none_or(|(due, _)| due <= self.now_ms), "{offset} was hidden");
        self.handles.push((offset, self.last_handle));
    }

    fn acknowledge(&mut self, which: usize) {
        let Some((offset, handle)) = pick(&self.handles, which) else { return };
        let valid = self.held.get(&offset).is_some_and(|(_, held)| *held == handle);
        assert_eq!(self.queue.acknowledge(Offset(offset), handle).is_ok(), valid);
        if valid {
            self.held.remove(&offset);
            self.done.insert(offset);
        }
    }

    fn hide(&mut self, which: usize, ms: u64) {
        let Some((offset, handle)) = pick(&self.handles, which) else { return };
        self.last_handle += 1;
        let valid = self.held.get(&offset).is_some_and(|(_, held)| *held == handle);
        let hidden = self.queue.hide(Offset(offset), handle, self.last_handle, self.now_ms + ms);
        assert_eq!(hidden.is_ok(), valid);
        if valid {
            self.held.insert(offset, (self.now_ms + ms, self.last_handle));
            self.handles.push((offset, self.last_handle));
        }
    }

    fn check(&self) {
        let lowest = (0..).find(|offset| !self.done.contains(offset)).unwrap();
        assert_eq!(self.queue.committed().0, lowest, "all below is acknowledged, and nothing more is said");
        assert_eq!(self.queue.len(), self.held.len());
    }
}

fn pick(handles: &[(i64, u64)], which: usize) -> Option<(i64, u64)> {
    (!handles.is_empty()).then(|| handles[which % handles.len()])
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_is_given_twice_while_hidden(
        ordered: bool,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let queue = InFlight::new(Offset(0));
        let mut model = Model {
            queue, ordered, now_ms: 0, last_handle: 0, held: HashMap::new(), handles: Vec::new(), done: HashSet::new(),
        };
        for step in steps {
            match step {
                Step::Receive { want, hidden_ms } => { model.receive(want, hidden_ms); }
                Step::Acknowledge(which) => model.acknowledge(which),
                Step::Hide(which, ms) => model.hide(which, ms),
                Step::Wait(ms) => model.now_ms += ms,
            }
            model.check();
        }
        // Whatever happened, the rest is delivered to the end.
        for _ in 0..LOG_END * 2 {
            model.now_ms += 100;
            model.receive(4, 10);
            for at in 0..model.handles.len() {
                model.acknowledge(at);
            }
        }
        prop_assert_eq!(model.queue.committed().0, LOG_END);
        prop_assert!(model.queue.is_empty());
    }
}
