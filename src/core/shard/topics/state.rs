//! The state of a shard's topics: its hash.

use alloc::vec::Vec;

use super::{Topic, Topics};
use crate::state_hash::StateHasher;

impl Topics {
    pub(in crate::shard) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self {
            by_id,
            ids,
            log,
            open,
            offering,
            extents,
            cold,
            bytes,
            warm_bytes,
            batches,
            epoch,
            raised_ms,
            expired: _,
            released_bytes: _,
            // It follows from the rest.
            census: _,
        } = self;
        hasher.ordered(by_id, |hasher, (id, topic)| {
            hasher.size(id);
            topic.hash_into(hasher);
        });
        // Which number the next topic gets.
        hasher.size(by_id.vacant_key());
        hasher.unordered(ids, |hasher, (name, id)| {
            hasher.text(name.as_str());
            hasher.number(*id);
        });
        log.hash_into(hasher);
        hasher.ordered(open, |hasher, id| hasher.number(*id));
        hasher.ordered(offering, |hasher, id| hasher.number(*id));
        extents.hash_into(hasher);
        cold.hash_into(hasher);
        hasher.number(*bytes);
        hasher.number(*warm_bytes);
        hasher.size(*batches);
        hasher.number(*epoch);
        hasher.number(*raised_ms);
    }
}

impl Topics {
    /// What a durable shard keeps of its topics: those that something was published to.
    pub(in crate::shard) fn hash_durable(&self, hasher: &mut StateHasher) {
        let is_kept = |topic: &&Topic| topic.ring.next() > 0 || topic.groups.is_some();
        let kept: Vec<&Topic> = self.by_id.iter().map(|(_, topic)| topic).filter(is_kept).collect();
        hasher.unordered(kept, |hasher, topic| {
            hasher.text(topic.name.as_str());
            hasher.number(topic.epoch);
            hasher.number(topic.ring.next());
            hasher.ordered(topic.ring.iter(), |hasher, batch| {
                for number in [batch.base, batch.count, batch.time_ms, batch.sequence] {
                    hasher.number(number);
                }
                // Not the records: whether they are in memory is another matter.
                hasher.size(batch.body.len());
            });
            hasher.option(topic.map.as_ref(), |hasher, map| map.hash_into(hasher));
            for (name, group) in topic.groups.iter().flat_map(|groups| groups.iter()) {
                hasher.text(name.as_str());
                group.hash_durable(hasher, topic.ring.first(), topic.ring.next());
            }
        });
    }
}

impl Topic {
    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self {
            name,
            epoch,
            policy,
            ring,
            open,
            followers,
            map,
            map_followers,
            map_told,
            active_ms,
            timer_ms,
            groups,
            offers,
            tenant: _,
        } = self;
        hasher.text(name.as_str());
        hasher.number(*epoch);
        policy.hash_into(hasher);
        ring.hash_into(hasher);
        open.hash_into(hasher);
        followers.hash_into(hasher);
        hasher.option(map.as_ref(), |hasher, map| map.hash_into(hasher));
        map_followers.hash_into(hasher);
        hasher.number(*map_told);
        hasher.number(*active_ms);
        hasher.option_number(*timer_ms);
        for (name, group) in groups.iter().flat_map(|groups| groups.iter()) {
            hasher.text(name.as_str());
            group.hash_into(hasher);
        }
        hasher.flag(*offers);
    }
}
