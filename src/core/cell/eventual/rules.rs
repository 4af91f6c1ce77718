//! What an eventual counter cannot do.

use alloc::format;

use tidewire_protocol::frame::CounterOp;
use tidewire_protocol::options::{CounterOptions, Numbering};
use tidewire_protocol::{ErrorCode, Name, Refusal};

/// Checks that an operation is one that nodes can do without asking each other.
///
/// A time to live is none of them: nodes would start anew at different increments, and increments
/// that come late would be counted into what was begun anew.
///
/// # Errors
/// `unsupported` for everything but a plain `add`.
pub fn check_eventual(
    counter: &Name,
    op: CounterOp,
    options: &CounterOptions,
) -> Result<(), Refusal> {
    let CounterOptions { min, max, strict, ttl_ms, id, numbering } = options;
    let asked = match op {
        CounterOp::Set => "set",
        CounterOp::Reset => "reset",
        CounterOp::Add if min.is_some() => "min",
        CounterOp::Add if max.is_some() => "max",
        CounterOp::Add if *strict == Some(true) => "strict",
        CounterOp::Add if ttl_ms.is_some() => "ttl_ms",
        CounterOp::Add if id.is_some() => {
            let message = format!(
                "id of counter '{counter}': it is remembered by one node only, and counter '{counter}' is \
                 eventual: number the increments by 'producer' and 'sequence', or use a strong counter"
            );
            return Err(Refusal::new(ErrorCode::Unsupported, message));
        }
        CounterOp::Add if numbering.as_deref().is_some_and(|number| !is_whole(number)) => {
            let message = format!(
                "increment of counter '{counter}': options 'producer' and 'sequence' come together, \
                 and numbers begin at 1"
            );
            return Err(Refusal::new(ErrorCode::InvalidArgument, message));
        }
        CounterOp::Add => return Ok(()),
    };
    let message = format!(
        "{asked} of counter '{counter}': it is eventual, each node adds to it without knowing what the \
         others add, so it takes increments only; use a strong counter"
    );
    Err(Refusal::new(ErrorCode::Unsupported, message))
}

fn is_whole(numbering: &Numbering) -> bool {
    numbering.producer.is_some() && numbering.sequence.is_some_and(|sequence| sequence > 0)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn only_a_plain_add_is_taken_and_the_refusal_says_what_to_use() {
        let counter = Name::parse("likes").unwrap();
        let plain = CounterOptions::default;
        assert!(check_eventual(&counter, CounterOp::Add, &plain()).is_ok());
        let refused = [
            (CounterOp::Set, plain(), "set"),
            (CounterOp::Reset, plain(), "reset"),
            (CounterOp::Add, CounterOptions { min: Some(0), ..plain() }, "min"),
            (CounterOp::Add, CounterOptions { max: Some(0), ..plain() }, "max"),
            (CounterOp::Add, CounterOptions { strict: Some(true), ..plain() }, "strict"),
            (CounterOp::Add, CounterOptions { ttl_ms: Some(5), ..plain() }, "ttl_ms"),
            (CounterOp::Add, CounterOptions { id: Some("a".to_string()), ..plain() }, "id"),
        ];
        for (op, options, rule) in refused {
            let refusal = check_eventual(&counter, op, &options).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::Unsupported);
            assert!(refusal.message.starts_with(rule), "{}", refusal.message);
            assert!(refusal.message.contains("'likes'") && refusal.message.contains("strong"));
        }
    }
}
