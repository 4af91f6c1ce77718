//! The dispatcher's loop: take events in, then let each connection that has something take it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tidewire_core::shard::Event;
use tokio::sync::mpsc;

use super::{Core, RefusalInfo, Stage, wall_ms};
use crate::transport;

/// Groups of events taken in before connections get their turn.
const GROUPS_MAX: usize = 64;
/// Time for which connections are served before new events are taken in and readers run.
const SLICE: Duration = Duration::from_micros(200);

pub(super) async fn run(core: Rc<Core>, mut events: mpsc::Receiver<Vec<Event>>) {
    let mut groups = Vec::new();
    let mut stop = core.shared.stop.subscribe();
    loop {
        let timeout_ms = core.dispatcher.borrow().next_timeout_ms();
        tokio::select! {
            received = events.recv_many(&mut groups, GROUPS_MAX) => {
                if received == 0 {
                    return;
                }
            }
            () = core.woken.rung() => {}
            () = tokio::time::sleep_until(core.shared.clock.instant_of(timeout_ms)) => {}
            changed = stop.changed() => {
                if changed.is_ok() && *stop.borrow_and_update() == Stage::Draining {
                    transport::say_goodbye(&core);
                }
            }
        }
        apply(&core, &mut groups);
        serve(&core, &mut events, &mut groups).await;
        core.record();
        core.show_refusals();
        core.shared.figures.set_core(core.number, &core.dispatcher.borrow());
    }
}

fn apply(core: &Core, groups: &mut Vec<Vec<Event>>) {
    let now_ms = core.now_ms();
    let mut dispatcher = core.dispatcher.borrow_mut();
    dispatcher.widen(core.shared.load.level().interval_ms());
    for event in groups.drain(..).flatten() {
        dispatcher.apply(event, now_ms);
    }
    dispatcher.handle_timeout(now_ms);
    for (id, refusal) in dispatcher.take_closing() {
        if let Some(connection) = core.connections.borrow().get(id) {
            let info = RefusalInfo::new(wall_ms(), &refusal, Core::who(&connection));
            core.shared.refusals.add([info], 0);
            connection.end(refusal);
        }
    }
    core.forward.notify_one();
}

/// Serves the connections that are ready, in slices.
async fn serve(
    core: &Rc<Core>,
    events: &mut mpsc::Receiver<Vec<Event>>,
    groups: &mut Vec<Vec<Event>>,
) {
    // The clock is read once per connection, for the slice and for what is due.
    let mut now = Instant::now();
    pump_woken(core, now);
    let mut slice_end = now + SLICE;
    loop {
        let next = core.dispatcher.borrow_mut().next_ready();
        let Some(id) = next else { return };
        transport::pump(core, id, core.shared.clock.ms_at(now));
        now = Instant::now();
        if now >= slice_end {
            // New events and readers do not wait until every follower has been served.
            tokio::task::yield_now().await;
            now = Instant::now();
            slice_end = now + SLICE;
            while groups.len() < GROUPS_MAX
                && let Ok(group) = events.try_recv()
            {
                groups.push(group);
            }
            apply(core, groups);
            if let Some(figures) = core.figures() {
                let lag_ms = core.dispatcher.borrow().fanout_lag_ms();
                figures.fanout_lag_ms.fetch_max(lag_ms, std::sync::atomic::Ordering::Relaxed);
            }
            core.record();
            pump_woken(core, now);
        }
    }
}

/// Serves the connections whose sockets take bytes again.
fn pump_woken(core: &Rc<Core>, now: Instant) {
    for id in core.woken.take() {
        transport::pump(core, id, core.shared.clock.ms_at(now));
    }
}
