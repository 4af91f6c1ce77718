//! Requests of clients in the form in which a shard carries them out.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{CellKind, PresenceOp};
use tidewire_protocol::record::{KEY_BYTES_MAX, validate};
use tidewire_protocol::tally::TallyRules;
use tidewire_protocol::{ClientFrame, Name, Refusal};

use super::publishing::terms_of;
use super::request::{HashVoter, check_at_most, check_len, writable};
use super::{Dispatcher, invalid};
use crate::access::{LOCAL_ISSUER, Operation, Voter};
use crate::cell::VoterId;
use crate::shard::{Request, SessionId};

/// Longest name of a voter or a member in bytes.
pub(super) const PERSON_BYTES_MAX: usize = 256;
/// Actors that a read may ask for.
const AT_LEAST_MAX: usize = 64;
/// Ballots that one request takes out.
const INVALIDATED_MAX: usize = 10_000;
/// Largest data of a member in bytes.
const MEMBER_DATA_BYTES_MAX: usize = 4096;
/// Longest idempotence key of a counter in bytes.
const IDEMPOTENCE_BYTES_MAX: usize = 64;

impl Dispatcher {
    /// The shard's form of a request, and the name that decides which shard.
    pub(super) fn shard_request(
        &self,
        id: SessionId,
        frame: ClientFrame,
        hash_voter: HashVoter<'_>,
    ) -> Result<Option<(Name, Request)>, Refusal> {
        Ok(Some(match frame {
            ClientFrame::Publish { topic, ack, body, options, .. } => {
                writable(&topic)?;
                let terms = terms_of(options, self.now_ms)?;
                let count = validate(&body)? as u64;
                (topic.clone(), Request::Publish { topic, ack, body, count, terms })
            }
            ClientFrame::Incr { counter, op, operand, options, .. } => {
                writable(&counter)?;
                if let Some(id) = &options.id {
                    check_len("option 'id'", id, IDEMPOTENCE_BYTES_MAX)?;
                }
                (counter.clone(), Request::Counter { name: counter, op, operand, options })
            }
            ClientFrame::Vote { tally, voter, choices, revision, .. } => {
                // First, since a refusal repeats the name.
                check_at_most("voter", &voter, PERSON_BYTES_MAX)?;
                let person = self.person(id, (Operation::Vote, &tally), &voter)?;
                check_len("voter", person.subject, PERSON_BYTES_MAX)?;
                let (voter, issuer) = (hash_voter(&tally, person), self.issuer(id));
                (tally.clone(), Request::Vote { tally, voter, choices, revision, issuer })
            }
            ClientFrame::Invalidate { tally, voters, hashes, .. } => {
                self.invalidate(id, tally, &voters, hashes.as_deref(), hash_voter)?
            }
            ClientFrame::Topic { op, topic, options, .. } => {
                writable(&topic)?;
                (topic.clone(), Request::Topic { topic, op, options })
            }
            ClientFrame::Tally { op, tally, rules, .. } => {
                writable(&tally)?;
                let rules = rules.map(|rules| Arc::new(self.own_rules(id, rules)));
                (tally.clone(), Request::Tally { name: tally, op, rules, incarnation: None })
            }
            ClientFrame::Get { kind, name, key, options, .. } => {
                if let Some(key) = &key {
                    if !matches!(kind, CellKind::Map | CellKind::Presence) {
                        return Err(invalid(format!("'{name}': a {} has no keys", kind.as_str())));
                    }
                    check_len("key", key, KEY_BYTES_MAX)?;
                }
                if options.at_least.len() > AT_LEAST_MAX {
                    let count = options.at_least.len();
                    return Err(invalid(format!(
                        "at_least: at most {AT_LEAST_MAX} actors, not {count}"
                    )));
                }
                (name.clone(), Request::Get { kind, name, key, options })
            }
            ClientFrame::Presence { op, name, member, data, .. } => {
                self.presence(id, op, name, &member, data)?
            }
            ClientFrame::Hello { .. }
            | ClientFrame::Auth { .. }
            | ClientFrame::Ping { .. }
            | ClientFrame::Pong { .. }
            | ClientFrame::Credit { .. }
            | ClientFrame::Subscribe { .. }
            | ClientFrame::Unsubscribe { .. }
            | ClientFrame::Watch { .. }
            | ClientFrame::Group { .. }
            | ClientFrame::Consume { .. }
            | ClientFrame::Settle { .. }
            | ClientFrame::Producer { .. } => return Ok(None),
        }))
    }
}

impl Dispatcher {
    /// The issuer of the people that a session names; nothing where there are no accounts.
    fn issuer(&self, id: SessionId) -> Option<Arc<str>> {
        self.access(id).map(|access| Arc::clone(&access.identity.issuer))
    }

    /// Who joins or leaves. A member is of one connection, so nobody leaves for another's.
    fn presence(
        &self,
        id: SessionId,
        op: PresenceOp,
        name: Name,
        member: &str,
        data: Option<Bytes>,
    ) -> Result<(Name, Request), Refusal> {
        writable(&name)?;
        check_at_most("member", member, PERSON_BYTES_MAX)?;
        let member = match (op, self.access(id)) {
            (PresenceOp::Leave, Some(access)) if member.is_empty() => &access.identity.subject,
            (PresenceOp::Leave, _) => member,
            (PresenceOp::Join, _) => self.person(id, (Operation::Presence, &name), member)?.subject,
        };
        let member = member.to_owned();
        check_len("member", &member, PERSON_BYTES_MAX)?;
        let data = data.map_or_else(Bytes::new, |data| Bytes::copy_from_slice(&data));
        if data.len() > MEMBER_DATA_BYTES_MAX {
            return Err(invalid(format!("data: at most {MEMBER_DATA_BYTES_MAX} bytes")));
        }
        Ok((name.clone(), Request::Presence { name, op, member, data }))
    }

    /// The ballots of whom are taken out.
    fn invalidate(
        &self,
        id: SessionId,
        tally: Name,
        voters: &[String],
        hashes: Option<&[String]>,
        hash_voter: HashVoter<'_>,
    ) -> Result<(Name, Request), Refusal> {
        writable(&tally)?;
        // A hash says nothing of its issuer, and needs none.
        let issuer = self.issuer(id).filter(|_| !voters.is_empty());
        let hash = |name: &str| {
            let issuer = issuer.as_deref().unwrap_or(LOCAL_ISSUER);
            hash_voter(&tally, Voter { issuer, subject: name })
        };
        let voters = voters_of(voters, hashes, &hash)?;
        Ok((tally.clone(), Request::Invalidate { tally, voters, issuer }))
    }

    /// The rules of a tally that a session makes: unless they say otherwise, its voters are those of
    /// the session's own issuer.
    fn own_rules(&self, id: SessionId, rules: TallyRules) -> TallyRules {
        let issuer = self.issuer(id).filter(|issuer| **issuer != *LOCAL_ISSUER);
        let identity = rules.identity.or_else(|| issuer.map(|issuer| issuer.as_ref().to_owned()));
        TallyRules { identity, ..rules }
    }
}

/// Voters by name and by hash, as an audit shows it.
fn voters_of(
    names: &[String],
    hashes: Option<&[String]>,
    hash: &dyn Fn(&str) -> VoterId,
) -> Result<Vec<VoterId>, Refusal> {
    let hashes = hashes.unwrap_or_default();
    let count = names.len() + hashes.len();
    if count == 0 || count > INVALIDATED_MAX {
        return Err(invalid(format!("voters: 1 to {INVALIDATED_MAX} at once, not {count}")));
    }
    let mut voters = Vec::with_capacity(count);
    for name in names {
        check_len("voter", name, PERSON_BYTES_MAX)?;
        voters.push(hash(name));
    }
    for hash in hashes {
        let voter = VoterId::from_hex(hash).ok_or_else(|| {
            invalid(format!("hash '{}': 32 hexadecimal digits", hash.escape_default()))
        })?;
        voters.push(voter);
    }
    Ok(voters)
}
