//! Idempotent producers: what each has published, so that a repeated publish is appended once.
//!
//! A producer numbers its publishes. For each topic that it publishes to, a window remembers the
//! newest numbers with the offsets that they got. What the windows do not know any more is never
//! taken for new: whoever may have been forgotten is told so.

mod window;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;
use crate::{HashMap, hash_map};
use window::{SavedWindow, Verdict, Window};

/// Low bits of a producer's id; above them stands the time of its issue in Unix milliseconds.
pub(crate) const ID_BITS: u32 = 12;
/// How far a producer's time may be behind before it is moved to the front of those to be kept.
const ACTIVITY_MS: u64 = 1_000;

/// Bounds of what is remembered of producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerLimits {
    /// Publishes that are remembered of one producer in one topic.
    pub window: u64,
    /// Entries of all windows together; the producers that were active longest ago leave first. A
    /// row of publishes without others between them is one entry.
    pub entries_max: usize,
    /// A producer that has published nothing for so long is forgotten.
    pub idle_ms: u64,
}

impl Default for ProducerLimits {
    fn default() -> Self {
        Self { window: 1_024, entries_max: 524_288, idle_ms: 3_600_000 }
    }
}

/// One publish in the numbering of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The producer's id, as the server has issued it.
    pub producer: u64,
    /// The producer's number of the publish. It grows, not necessarily by one.
    pub sequence: u64,
}

/// Where a publish stands in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Epoch of the topic.
    pub epoch: u64,
    /// Offset of its first record.
    pub offset: u64,
}

/// What all producers have published in one shard.
#[derive(Debug)]
pub(crate) struct Producers {
    known: HashMap<u64, Producer>,
    /// Those who were active longest ago come first.
    by_activity: BTreeSet<(u64, u64)>,
    entries: usize,
    /// Of ids up to this one, those that are not known may have been forgotten.
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Producer {
    active_ms: u64,
    windows: BTreeMap<Name, Window>,
}

/// Saved [`Producers`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedProducers {
    forgotten: u64,
    known: Vec<SavedProducer>,
}

/// Id, time of its last publish, windows.
type SavedProducer = (u64, u64, Vec<(Name, SavedWindow)>);

/// The largest id that is issued before this time.
pub(crate) fn ids_before(time_ms: u64) -> u64 {
    (time_ms << ID_BITS).saturating_sub(1)
}

impl Producers {
    /// Nobody is known, and whoever has an id up to `forgotten` may have been.
    pub(crate) fn new(seed: u64, forgotten: u64) -> Self {
        Self { known: hash_map(seed), by_activity: BTreeSet::new(), entries: 0, forgotten }
    }

    /// Looks at a publish before it is appended. Returns where it stands if it was before.
    ///
    /// # Errors
    /// `producer_unknown` and `sequence_too_old`, when that cannot be said.
    pub(crate) fn check(
        &mut self,
        topic: &Name,
        step: Step,
        limits: &ProducerLimits,
        now_ms: u64,
    ) -> Result<Option<Place>, Refusal> {
        self.forget_idle(limits, now_ms);
        let Step { producer, sequence } = step;
        let Some(known) = self.known.get(&producer) else {
            return if producer > self.forgotten {
                Ok(None)
            } else {
                Err(unknown(topic, producer))
            };
        };
        match known.windows.get(topic).map(|window| window.find(sequence)) {
            None | Some(Verdict::New) => Ok(None),
            Some(Verdict::Known(place)) => Ok(Some(place)),
            Some(Verdict::TooOld { oldest }) => Err(too_old(topic, step, oldest)),
        }
    }

    /// Remembers a publish that has been appended.
    pub(crate) fn record(
        &mut self,
        topic: &Name,
        step: Step,
        place: Place,
        count: u64,
        limits: &ProducerLimits,
        now_ms: u64,
    ) {
        let Step { producer, sequence } = step;
        let known = self.known.entry(producer).or_default();
        if known.windows.is_empty() || now_ms >= known.active_ms.saturating_add(ACTIVITY_MS) {
            self.by_activity.remove(&(known.active_ms, producer));
            known.active_ms = now_ms;
            self.by_activity.insert((now_ms, producer));
        }
        let window = match known.windows.get_mut(topic) {
            Some(window) => window,
            None => known.windows.entry(topic.clone()).or_default(),
        };
        let before = window.entries();
        window.record(sequence, place, count, limits.window);
        self.entries = self.entries + window.entries() - before;
        while self.entries > limits.entries_max && self.forget_oldest() {}
    }

    fn forget_idle(&mut self, limits: &ProducerLimits, now_ms: u64) {
        let is_idle = |active_ms: u64| active_ms.saturating_add(limits.idle_ms) <= now_ms;
        while self.by_activity.first().is_some_and(|(active_ms, _)| is_idle(*active_ms)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, producer)) = self.by_activity.pop_first() else { return false };
        if let Some(gone) = self.known.remove(&producer) {
            self.entries -= gone.windows.values().map(Window::entries).sum::<usize>();
        }
        self.forgotten = self.forgotten.max(producer);
        true
    }

    /// Producers that are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn save(&self) -> SavedProducers {
        let Self { known, by_activity, entries: _, forgotten } = self;
        let saved = by_activity.iter().filter_map(|(active_ms, id)| {
            let windows = &known.get(id)?.windows;
            let windows = windows.iter().map(|(topic, window)| (topic.clone(), window.save()));
            Some((*id, *active_ms, windows.collect()))
        });
        SavedProducers { forgotten: *forgotten, known: saved.collect() }
    }

    /// Those that were saved.
    ///
    /// # Errors
    /// When one stands there twice.
    pub(crate) fn restore(saved: SavedProducers, seed: u64) -> Result<Self, BadSnapshot> {
        let mut producers = Self::new(seed, saved.forgotten);
        for (id, active_ms, windows) in saved.known {
            let windows: BTreeMap<Name, Window> =
                windows.into_iter().map(|(topic, saved)| (topic, Window::restore(saved))).collect();
            producers.entries += windows.values().map(Window::entries).sum::<usize>();
            producers.by_activity.insert((active_ms, id));
            if producers.known.insert(id, Producer { active_ms, windows }).is_some() {
                return Err(BadSnapshot::new(format!("producer {id} stands there twice")));
            }
        }
        Ok(producers)
    }

    /// What is remembered of each, without when it was active.
    pub(crate) fn hash_durable(&self, hasher: &mut StateHasher) {
        hasher.unordered(&self.known, |hasher, (id, Producer { active_ms: _, windows })| {
            hasher.number(*id);
            hasher.ordered(windows, |hasher, (topic, window)| {
                hasher.text(topic.as_str());
                window.hash_into(hasher);
            });
        });
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { known, by_activity, entries, forgotten } = self;
        hasher.unordered(known, |hasher, (id, Producer { active_ms, windows })| {
            hasher.number(*id);
            hasher.number(*active_ms);
            hasher.ordered(windows, |hasher, (topic, window)| {
                hasher.text(topic.as_str());
                window.hash_into(hasher);
            });
        });
        hasher.size(by_activity.len());
        hasher.size(*entries);
        hasher.number(*forgotten);
    }
}

fn unknown(topic: &Name, producer: u64) -> Refusal {
    let message = format!(
        "producer {producer} is not known in topic '{topic}' (any more), so this publish is not \
         appended: whether an earlier attempt was cannot be said; ask for a new producer id"
    );
    Refusal::new(ErrorCode::ProducerUnknown, message)
}

fn too_old(topic: &Name, Step { producer, sequence }: Step, oldest: u64) -> Refusal {
    let message = format!(
        "sequence {sequence} of producer {producer} is older than what is remembered in topic \
         '{topic}', which begins at {oldest}: whether it was appended cannot be said; have fewer \
         publishes in flight, or raise limits.producer_window"
    );
    Refusal::new(ErrorCode::SequenceTooOld, message).actual(oldest)
}

#[cfg(test)]
mod tests;
