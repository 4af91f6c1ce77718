use tidewire_client::Name;

use super::*;
use crate::bench::payload::Batch;
use crate::bench::progress::Progress;

const BATCH: Batch = Batch { payload_bytes: 16, records: 2 };

/// The ear of a connection with subscribers 1 and 2 of three, and where they are.
fn ear() -> (Ear, Arc<Flow>, Rc<RefCell<Heard>>) {
    let flow = Arc::new(Flow::new(3, 10));
    let audience = Audience {
        topic: Name::parse("t").unwrap(),
        connections: 2,
        threads: 1,
        batch: BATCH,
        flow: Arc::clone(&flow),
        phase: Arc::new(Phase::default()),
        clock: Clock::start(),
        progress: Progress::hidden(),
        over_time: None,
    };
    let heard = Rc::new(RefCell::new(Heard::default()));
    let mut ear = Ear::new(&audience, 1, 2, Rc::clone(&heard), Arc::new(AtomicU64::new(0)));
    for sub in [1, 2] {
        ear.frame(ServerFrame::Subscribed {
            req: sub.into(),
            sub,
            status: 0,
            epoch: 1,
            offset: 0,
            missing: None,
            positions: None,
        });
    }
    assert!(ear.is_subscribed());
    (ear, flow, heard)
}

/// Hears deliveries `(sub, from, next)` as one read brings them, each record as it was published.
fn hear(ear: &mut Ear, deliveries: &[(u32, u64, u64)]) {
    ear.arrived();
    for (sub, from, next) in deliveries {
        let records = u32::try_from(next - from).unwrap();
        let body = Batch { records, ..BATCH }.body(0);
        let (sub, from, next) = (*sub, *from, *next);
        ear.deliver(&DeliverView { sub, epoch: 1, from, next, is_dense: true, body: &body });
    }
    ear.taken();
}

#[test]
fn deliveries_that_continue_each_other_are_counted_and_move_their_subscriber() {
    let (mut ear, flow, heard) = ear();
    flow.reach(0, 9);
    hear(&mut ear, &[(1, 0, 2), (1, 2, 4), (2, 0, 4), (1, 4, 6)]);
    assert_eq!((heard.borrow().received, flow.slowest()), (10, 4));
    hear(&mut ear, &[(2, 4, 8)]);
    assert_eq!((heard.borrow().received, flow.slowest()), (14, 6));
    assert_eq!(heard.borrow().holes.count, 0);
}

#[test]
fn a_hole_and_a_repetition_are_faults() {
    let (mut ear, _flow, heard) = ear();
    hear(&mut ear, &[(1, 0, 2), (1, 4, 6)]);
    assert_eq!(heard.borrow().holes.count, 1);
    hear(&mut ear, &[(2, 0, 2), (2, 0, 2), (3, 0, 2)]);
    let told = heard.take().holes.tell("holes").unwrap();
    assert_eq!(told, "3 holes; the first: subscriber 1 was at 2 and got a delivery from 4");
}

#[test]
fn a_body_that_is_not_the_records_it_covers_is_a_fault() {
    let (mut ear, _flow, heard) = ear();
    let body = BATCH.body(0);
    ear.arrived();
    let view = DeliverView { sub: 1, epoch: 1, from: 0, next: 3, is_dense: true, body: &body };
    ear.deliver(&view);
    ear.deliver(&DeliverView { from: 3, next: 5, is_dense: false, ..view });
    ear.taken();
    assert_eq!(heard.borrow().holes.count, 2);
}

#[test]
fn a_gap_is_missing_and_delivery_goes_on_behind_it() {
    let (mut ear, flow, heard) = ear();
    let gap = ServerFrame::Gap {
        sub: 1,
        topic: None,
        epoch: 1,
        from: 0,
        next: 7,
        reason: 0,
        position: None,
    };
    ear.frame(gap);
    hear(&mut ear, &[(1, 7, 9), (2, 0, 9)]);
    flow.reach(0, 9);
    let heard = heard.take();
    assert_eq!((heard.received, heard.missing, flow.slowest()), (11, 7, 9));
    assert_eq!((heard.gaps.count, heard.holes.count), (1, 0));
}
