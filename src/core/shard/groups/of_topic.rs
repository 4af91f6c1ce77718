//! A topic as its groups see it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tidewire_protocol::group::GroupInfo;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::{GroupStart, no_group};
use crate::group::Group;
use crate::shard::refuse;
use crate::shard::topics::Topic;

impl Topic {
    /// Whether somebody consumes it.
    pub(in crate::shard) fn is_consumed(&self) -> bool {
        self.groups.iter().flat_map(|groups| groups.values()).any(Group::has_members)
    }

    pub(in crate::shard) fn remove_group(&mut self, group: &Name) {
        if let Some(groups) = &mut self.groups {
            groups.remove(group);
            if groups.is_empty() {
                self.groups = None;
            }
        }
    }

    /// When something is due in one of its groups.
    pub(in crate::shard) fn groups_due_ms(&self) -> Option<u64> {
        let groups = self.groups.iter().flat_map(|groups| groups.values());
        groups.filter_map(Group::due_ms).min()
    }

    pub(super) fn offset_of(&self, start: GroupStart) -> Result<u64, Refusal> {
        let (first, next) = (self.ring.first(), self.next());
        Ok(match start {
            GroupStart::Latest => next,
            GroupStart::Earliest => first,
            GroupStart::Time(time_ms) => self.ring.offset_at_time(time_ms),
            GroupStart::Last(count) => next.saturating_sub(count).max(first),
            GroupStart::Offset(epoch, offset) => {
                let name = &self.name;
                if epoch != 0 && epoch != self.epoch {
                    let message = format!(
                        "topic '{name}' has epoch {}, not {epoch}: offsets of that one mean nothing",
                        self.epoch
                    );
                    return Err(refuse(ErrorCode::OutOfRange, message).actual(self.epoch));
                }
                if offset < first || offset > next {
                    let message = format!(
                        "offset {offset} is not in topic '{name}', which goes from {first} to {next}"
                    );
                    let nearest = if offset < first { first } else { next };
                    return Err(refuse(ErrorCode::OutOfRange, message).actual(nearest));
                }
                offset
            }
        })
    }

    pub(super) fn group_info(&self, group: &Name) -> Result<GroupInfo, Refusal> {
        let found = self.groups.as_ref().and_then(|groups| groups.get(group));
        let Some(found) = found else { return Err(no_group(&self.name, group)) };
        let (rules, counts, next) = (found.rules(), found.counts(), self.next());
        Ok(GroupInfo {
            created: false,
            position: found.floor().max(self.ring.first().min(next)),
            next,
            lag: found.lag(next),
            leased: found.leased() as u64,
            outstanding: found.outstanding() as u64,
            consumers: found.members() as u64,
            missed: counts.missed,
            dead: counts.dead,
            redelivered: counts.redelivered,
            ack_timeout_ms: rules.ack_timeout_ms,
            deliveries_max: rules.deliveries_max.into(),
            backoff_ms: rules.backoff_ms,
            backoff_max_ms: rules.backoff_max_ms,
            dead_letter: rules.dead_letter.as_ref().map(|name| String::from(name.as_str())),
            ordered: rules.ordered,
            partitions: None,
        })
    }

    /// The state of each of its groups.
    pub(in crate::shard) fn group_infos(&self) -> Vec<(Name, GroupInfo)> {
        let names = self.groups.iter().flat_map(|groups| groups.keys());
        names.filter_map(|group| Some((group.clone(), self.group_info(group).ok()?))).collect()
    }

    /// The names of its groups.
    pub(in crate::shard) fn group_names(&self) -> Vec<Name> {
        self.groups.iter().flat_map(|groups| groups.keys().cloned()).collect()
    }
}
