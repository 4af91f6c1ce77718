//! What a loaded server refuses, and in which order.

use std::sync::atomic::Ordering::Relaxed;

use tidewire_protocol::frame::{CounterOp, GroupOp, PresenceOp, TallyOp};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, Refusal};

use super::{Level, Load};
use crate::config::{Config, Durability, Priority};

/// What is known of names when the server is loaded.
#[derive(Debug)]
pub(crate) struct Gate {
    policies: Vec<(Pattern, Priority, Durability)>,
}

/// When somebody who was refused may try again.
const RETRY_AFTER_MS: u64 = 1_000;

impl Gate {
    pub(crate) fn of(config: &Config) -> Self {
        let policies = config.policy.iter().filter_map(|policy| {
            Some((Pattern::parse(&policy.names).ok()?, policy.priority, policy.durability))
        });
        Self { policies: policies.collect() }
    }

    fn policy(&self, name: &Name) -> Option<&(Pattern, Priority, Durability)> {
        self.policies.iter().find(|(pattern, ..)| pattern.matches(name))
    }

    /// Lets a request in, unless the server is too loaded for it. Costs three loads from memory while
    /// it is not.
    ///
    /// # Errors
    /// `overloaded` or `unavailable`, with what is too much and what to do.
    pub(crate) fn check(&self, load: &Load, frame: &ClientFrame) -> Result<(), Refusal> {
        let level = load.level();
        let is_stalled = load.is_stalled.load(Relaxed);
        if level < Level::Strained && !load.is_full() && !is_stalled {
            return Ok(());
        }
        let checked = self.refusal(load, frame, level, is_stalled);
        if checked.is_err() {
            load.refused.fetch_add(1, Relaxed);
        }
        checked
    }

    fn refusal(
        &self,
        load: &Load,
        frame: &ClientFrame,
        level: Level,
        is_stalled: bool,
    ) -> Result<(), Refusal> {
        let effect = effect(frame);
        if effect == Effect::Light {
            return Ok(());
        }
        if load.is_full() {
            return Err(full(load));
        }
        let policy = frame.name().and_then(|name| self.policy(name));
        let Some((pattern, priority, durability)) = policy else { return Ok(()) };
        if level >= Level::Strained && *priority == Priority::Low {
            let message = format!(
                "the server is {}, and the policy for '{pattern}' has a low priority: try again later",
                level.name()
            );
            return Err(overloaded(message));
        }
        if is_stalled && *durability == Durability::Disk && effect == Effect::Adds {
            let message = format!(
                "the server's disk does not answer, and the policy for '{pattern}' keeps its names on \
                 it: try again later"
            );
            return Err(
                Refusal::new(ErrorCode::Unavailable, message).retry_after_ms(RETRY_AFTER_MS)
            );
        }
        Ok(())
    }
}

/// Why nothing more is taken on.
pub(crate) fn full(load: &Load) -> Refusal {
    let mib = load.memory_max_bytes / (1024 * 1024);
    overloaded(format!(
        "the server's memory budget of {mib} MiB (limits.memory_max_bytes) is used up: try again later"
    ))
}

fn overloaded(message: String) -> Refusal {
    Refusal::new(ErrorCode::Overloaded, message).retry_after_ms(RETRY_AFTER_MS)
}

/// What a request does to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It adds to what is kept.
    Adds,
    /// It begins something that goes on: a subscription, a watch.
    Follows,
    /// It only reads, ends something or makes room.
    Light,
}

fn effect(frame: &ClientFrame) -> Effect {
    match frame {
        ClientFrame::Incr { op: CounterOp::Reset, .. } => Effect::Light,
        ClientFrame::Publish { .. } | ClientFrame::Incr { .. } | ClientFrame::Vote { .. } => {
            Effect::Adds
        }
        ClientFrame::Tally { op: TallyOp::Create, .. }
        | ClientFrame::Presence { op: PresenceOp::Join, .. }
        | ClientFrame::Group { op: GroupOp::Create, .. } => Effect::Adds,
        ClientFrame::Subscribe { .. } | ClientFrame::Watch { .. } | ClientFrame::Consume { .. } => {
            Effect::Follows
        }
        ClientFrame::Hello { .. }
        | ClientFrame::Ping { .. }
        | ClientFrame::Pong { .. }
        | ClientFrame::Unsubscribe { .. }
        | ClientFrame::Credit { .. }
        | ClientFrame::Get { .. }
        | ClientFrame::Presence { .. }
        | ClientFrame::Tally { .. }
        | ClientFrame::Producer { .. }
        | ClientFrame::Auth { .. }
        | ClientFrame::Group { .. }
        | ClientFrame::Invalidate { .. }
        | ClientFrame::Topic { .. }
        | ClientFrame::Settle { .. } => Effect::Light,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;
    use tidewire_protocol::frame::CellKind;

    fn gate() -> Gate {
        let config = "data_dir = '/nowhere'\n[[policy]]\nnames = 'metrics.>'\npriority = 'low'\n\
                      [[policy]]\nnames = 'kept.>'\ndurability = 'disk'\n";
        Gate::of(&toml::from_str(config).unwrap())
    }

    fn incr(name: &str) -> ClientFrame {
        let counter = Name::parse(name).unwrap();
        let options = tidewire_protocol::options::CounterOptions::default();
        ClientFrame::Incr { req: 1, counter, op: CounterOp::Add, operand: 1, options }
    }

    fn get(name: &str) -> ClientFrame {
        let name = Name::parse(name).unwrap();
        ClientFrame::Get {
            req: 1,
            kind: CellKind::Counter,
            name,
            key: None,
            options: tidewire_protocol::options::GetOptions::default(),
        }
    }

    fn refused(load: &Load, frame: &ClientFrame) -> Option<(ErrorCode, String)> {
        let refusal = gate().check(load, frame).err()?;
        assert_eq!(refusal.retry_after_ms, Some(RETRY_AFTER_MS));
        Some((refusal.code, refusal.message))
    }

    #[test]
    fn what_has_a_low_priority_is_refused_first() {
        let load = Load::new(1 << 30);
        load.level.store(Level::Busy.number(), Relaxed);
        assert_eq!(refused(&load, &incr("metrics.a")), None);
        load.level.store(Level::Strained.number(), Relaxed);
        let (code, message) = refused(&load, &incr("metrics.a")).unwrap();
        assert_eq!(code, ErrorCode::Overloaded);
        assert!(message.contains("strained") && message.contains("'metrics.>'"), "{message}");
        for frame in [get("metrics.a"), incr("poll.a"), incr("kept.a")] {
            assert_eq!(refused(&load, &frame), None, "{frame:?}");
        }
    }

    #[test]
    fn a_used_up_budget_refuses_what_takes_memory_and_nothing_else() {
        let load = Load::new(100 << 20);
        load.is_full.store(true, Relaxed);
        let (code, message) = refused(&load, &incr("poll.a")).unwrap();
        assert_eq!(code, ErrorCode::Overloaded);
        assert!(message.contains("100 MiB (limits.memory_max_bytes)"), "{message}");
        assert_eq!(refused(&load, &get("poll.a")), None);
        let (counter, options) = (Name::parse("poll.a").unwrap(), <_>::default());
        let reset =
            ClientFrame::Incr { req: 1, counter, op: CounterOp::Reset, operand: 0, options };
        assert_eq!(refused(&load, &reset), None, "it makes room");
        assert_eq!(refused(&load, &ClientFrame::Unsubscribe { req: 1, sub: 1 }), None);
        assert_eq!(load.counts(), [0, 0, 1]);
    }

    #[test]
    fn a_disk_that_does_not_answer_holds_up_what_is_on_it_only() {
        let load = Load::new(1 << 30);
        load.is_stalled.store(true, Relaxed);
        let (code, message) = refused(&load, &incr("kept.a")).unwrap();
        assert_eq!(code, ErrorCode::Unavailable);
        assert!(message.contains("disk does not answer"), "{message}");
        assert_eq!(refused(&load, &incr("poll.a")), None);
        assert_eq!(refused(&load, &get("kept.a")), None);
    }
}
