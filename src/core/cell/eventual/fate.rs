//! What became of an increment that may have been tried before.

use alloc::format;
use alloc::string::String;

use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::contribution::Contribution;
use super::sealing::{BASE_NODE, LIVES_MAX};
use super::sessions::{Verdict, fingerprint};
use super::{Added, EventualCounters};
use crate::cell::replicated::{Actor, Replica};

/// One increment in the numbering of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The session's id, as a server has issued it; ids that are issued later are larger.
    pub session: u64,
    /// The session's number of the increment. It grows, not necessarily by one.
    pub sequence: u64,
    /// Every actor that it was sent to before and that has not answered. Without them a first
    /// attempt could not be told from a repeated one whose first has not been heard of here.
    pub tried: &'a [Actor],
}

/// Actors that may be named in one attempt.
const TRIED_MAX: usize = 16;

impl EventualCounters {
    /// The answer to an earlier attempt; `None` if it is certain that there was none.
    pub(super) fn earlier(
        &self,
        counter: &Name,
        amount: i64,
        attempt: Attempt<'_>,
    ) -> Result<Option<Added>, Refusal> {
        let Attempt { session, sequence, tried } = attempt;
        if tried.len() > TRIED_MAX {
            let message = format!(
                "increment of counter '{counter}': {} actors are named as tried, {TRIED_MAX} may be; \
                 take another sequence",
                tried.len()
            );
            return Err(Refusal::new(ErrorCode::InvalidArgument, message));
        }
        let mut is_too_old = false;
        for replica in self.replicas.values() {
            match replica.state.sessions.window(session).map(|window| window.find(sequence)) {
                Some(Verdict::Counted(answer)) => {
                    if answer.fingerprint != fingerprint(counter, amount) {
                        return Err(another(counter, attempt));
                    }
                    return Ok(Some(Added {
                        value: answer.value,
                        actor: answer.actor,
                        version: answer.version,
                        duplicate: true,
                    }));
                }
                Some(Verdict::TooOld) => is_too_old = true,
                Some(Verdict::New) | None => {}
            }
        }
        if is_too_old {
            let why = "it is older than what is remembered".into();
            return Err(self.unknown(counter, attempt, why));
        }
        if let Some(actor) = tried.iter().find(|actor| !self.excludes(**actor, session)) {
            let why = format!("what {actor} has counted for it is not (all) known here");
            return Err(self.unknown(counter, attempt, why));
        }
        self.check_session(counter, attempt)?;
        Ok(None)
    }

    /// Whether it is certain that this actor has counted nothing of the session but what is in its
    /// window, and never will.
    fn excludes(&self, actor: Actor, session: u64) -> bool {
        let Some((state, is_final)) = self.evidence(actor) else { return self.was_unheard(actor) };
        match state.sessions.window(session) {
            Some(window) => is_final || window.is_closed,
            None => is_final && session > state.sessions.forgotten,
        }
    }

    /// What is known of an actor, by itself or by who has inherited from it, and whether that is all.
    fn evidence(&self, actor: Actor) -> Option<(&Contribution, bool)> {
        if let Some(replica) = self.replicas.get(&actor) {
            return Some((&replica.state, actor == self.own));
        }
        let (_, heir) = self.heir(actor)?;
        heir.state.last_of(actor).map(|_| (&heir.state, true))
    }

    /// Whether no member had heard of a life of a removed node when it was decided what there is of it.
    fn was_unheard(&self, actor: Actor) -> bool {
        let lives = self.base().and_then(|(_, base)| base.state.ended.get(&actor.node));
        lives.is_some_and(|lives| {
            let is_known = lives.iter().any(|(incarnation, _)| *incarnation == actor.incarnation);
            lives.len() < LIVES_MAX && !is_known
        })
    }

    /// Who contains everything of an actor.
    pub(super) fn heir(&self, actor: Actor) -> Option<(Actor, &Replica<Contribution>)> {
        let Actor { node, incarnation } = actor;
        if let Some((base, replica)) = self.base()
            && node != BASE_NODE
            && replica.state.ended.contains_key(&node)
        {
            return Some((base, replica));
        }
        let later = Actor { node, incarnation: incarnation.saturating_add(1) };
        let last = Actor { node, incarnation: u64::MAX };
        let mut lives = self.replicas.range(later..=last.max(later));
        let heir = lives.find(|(_, replica)| {
            replica.state.inherits_through().is_some_and(|through| incarnation <= through)
        });
        heir.map(|(actor, replica)| (*actor, replica))
    }

    /// Whether this actor takes increments of the session.
    fn check_session(&self, counter: &Name, attempt: Attempt<'_>) -> Result<(), Refusal> {
        let Attempt { session, sequence, tried } = attempt;
        let Some(own) = self.replicas.get(&self.own) else { return Ok(()) };
        let rule = match own.state.sessions.window(session) {
            Some(window) if window.is_closed => "has gone on at another node",
            Some(_) => return Ok(()),
            None if session > own.state.sessions.forgotten => return Ok(()),
            None if tried.is_empty() => "may have been forgotten",
            None => {
                let why = "the session may have been forgotten".into();
                return Err(self.unknown(counter, attempt, why));
            }
        };
        let message = format!(
            "sequence {sequence} of session {session} is not counted in '{counter}': the session \
             {rule}; ask for a new one and number anew"
        );
        Err(Refusal::new(ErrorCode::ProducerUnknown, message))
    }

    fn unknown(&self, counter: &Name, attempt: Attempt<'_>, why: String) -> Refusal {
        let Attempt { session, sequence, tried: _ } = attempt;
        let windows = self.replicas.values();
        let windows = windows.filter_map(|replica| replica.state.sessions.window(session));
        let last = windows.map(super::Window::last).max().unwrap_or(0);
        let message = format!(
            "whether sequence {sequence} of session {session} was counted in '{counter}' cannot be \
             said: {why}; the last one that is known to be is {last}. Nothing was counted now; try again \
             later, or read the counter and decide"
        );
        Refusal::new(ErrorCode::OutcomeUnknown, message).actual(last)
    }
}

fn another(counter: &Name, Attempt { session, sequence, tried: _ }: Attempt<'_>) -> Refusal {
    let message = format!(
        "sequence {sequence} of session {session} was another increment than this one of '{counter}': \
         a sequence belongs to one counter and one amount; take the next one"
    );
    Refusal::new(ErrorCode::InvalidArgument, message)
}
