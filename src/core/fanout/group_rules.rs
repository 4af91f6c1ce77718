//! What GROUP asks for, checked.

use alloc::format;
use alloc::sync::Arc;

use tidewire_protocol::frame::GroupOp;
use tidewire_protocol::group::GroupOptions;
use tidewire_protocol::{Name, Refusal};

use super::invalid;
use super::request::writable;
use crate::group::GroupRules;
use crate::shard::{GroupAsk, GroupStart};

/// Longest time-out or pause.
const TIME_MS_MAX: u64 = 7 * 86_400_000;

pub(super) fn ask_of(
    op: GroupOp,
    topic: &Name,
    options: &GroupOptions,
) -> Result<GroupAsk, Refusal> {
    let start = options.start.as_deref().map(start_of).transpose()?;
    Ok(match op {
        GroupOp::Create => {
            let rules = Arc::new(rules_of(topic, options)?);
            GroupAsk::Create { rules, start: start.unwrap_or(GroupStart::Earliest) }
        }
        GroupOp::Delete => GroupAsk::Delete,
        GroupOp::Reset => match start {
            Some(start) => GroupAsk::Reset { start },
            None => return Err(invalid("option 'start': say where to begin anew".into())),
        },
        GroupOp::Status => GroupAsk::Status,
    })
}

fn start_of(start: &[u64]) -> Result<GroupStart, Refusal> {
    Ok(match start {
        [0] => GroupStart::Latest,
        [1] => GroupStart::Earliest,
        [2, epoch, offset] => GroupStart::Offset(*epoch, *offset),
        [3, time_ms] => GroupStart::Time(*time_ms),
        [4, count] => GroupStart::Last(*count),
        _ => {
            let rule = "option 'start': [0], [1], [2, epoch, offset], [3, time_ms] or [4, n]";
            return Err(invalid(rule.into()));
        }
    })
}

fn rules_of(topic: &Name, options: &GroupOptions) -> Result<GroupRules, Refusal> {
    let ack_timeout_ms = check_time("ack_timeout_ms", options.ack_timeout_ms, 100)?;
    let backoff_ms = check_time("backoff_ms", options.backoff_ms, 0)?.unwrap_or(1_000);
    let backoff_max_ms = check_time("backoff_max_ms", options.backoff_max_ms, 0)?;
    let deliveries_max = options.deliveries_max.unwrap_or(0);
    let dead_letter = options.dead_letter.as_deref().map(Name::parse).transpose()?;
    if let Some(to) = &dead_letter {
        writable(to)?;
        if to == topic {
            return Err(invalid("option 'dead_letter': another topic than the group's".into()));
        }
    }
    let Ok(deliveries_max) = u32::try_from(deliveries_max) else {
        return Err(invalid(format!("option 'deliveries_max': at most {}", u32::MAX)));
    };
    if deliveries_max > 0 && dead_letter.is_none() {
        let rule = "option 'deliveries_max' needs 'dead_letter': the topic that records go to which \
                    were delivered so often in vain";
        return Err(invalid(rule.into()));
    }
    Ok(GroupRules {
        ack_timeout_ms: ack_timeout_ms.unwrap_or(30_000),
        deliveries_max,
        backoff_ms,
        backoff_max_ms: backoff_max_ms.unwrap_or(60_000).max(backoff_ms),
        dead_letter,
        ordered: options.ordered.unwrap_or(false),
    })
}

pub(super) fn check_time(
    option: &str,
    value: Option<u64>,
    min: u64,
) -> Result<Option<u64>, Refusal> {
    match value {
        Some(ms) if ms < min || ms > TIME_MS_MAX => {
            Err(invalid(format!("option '{option}': {min} to {TIME_MS_MAX}, not {ms}")))
        }
        other => Ok(other),
    }
}
