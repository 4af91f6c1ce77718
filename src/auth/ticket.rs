//! Tickets: tokens that the server itself signs, for whoever asks, each for one poll.
//!
//! A ticket is a voter: whoever votes with it again changes their vote. So that one person does not take
//! many, an address gets so many for each poll.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jsonwebtoken::DecodingKey;
use tidewire_protocol::{Name, Pattern};

use super::keys::{Algorithm, TokenKey};
use super::{AuthError, Claims, Grant, Issue, issue};
use crate::config::{AuthConfig, TicketConfig};
use crate::whole_file;

/// The `kid` of tickets. No key of a configuration may have it.
pub(crate) const TICKET_KEY_ID: &str = "tidewire-ticket";
/// The `iss` of tickets, and of the voters that they are.
pub(crate) const TICKET_ISSUER: &str = "ticket";
/// Where the key is kept, in the data directory.
const FILE: &str = "ticket-key";
const KEY_BYTES: usize = 32;
/// Random bytes of a subject and of a token's id.
const ID_BYTES: usize = 16;
/// Polls that an address may have tickets of at a time, and addresses that are remembered.
const POLLS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 65_536;

/// What tickets are signed with.
#[derive(Debug)]
pub(crate) struct TicketKey(Vec<u8>);

impl TicketKey {
    /// The key in the data directory, made if it is not there; without a directory one that nobody keeps.
    ///
    /// # Errors
    /// When it cannot be read, written or made.
    pub(crate) fn of(directory: Option<&Path>) -> Result<Self, AuthError> {
        let Some(path) = directory.map(|directory| directory.join(FILE)) else {
            return Ok(Self(random(KEY_BYTES)?));
        };
        let cannot =
            |source| AuthError::Read { key: "auth.ticket".to_owned(), path: path.clone(), source };
        match std::fs::read(&path) {
            Ok(key) if key.len() == KEY_BYTES => Ok(Self(key)),
            Ok(_) => {
                let rule = format!("{} holds no key of tickets: remove it", path.display());
                Err(AuthError::value("auth.ticket", rule))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = random(KEY_BYTES)?;
                whole_file::replace(&path, &key, 0o600).map_err(cannot)?;
                Ok(Self(key))
            }
            Err(error) => Err(cannot(error)),
        }
    }

    /// The key as others are, to verify with.
    ///
    /// # Errors
    /// Never for a key of this length.
    pub(super) fn verifying(&self) -> Result<TokenKey, AuthError> {
        let wrong =
            |error: jsonwebtoken::errors::Error| AuthError::value("auth.ticket", error.to_string());
        Ok(TokenKey {
            id: Some(TICKET_KEY_ID.to_owned()),
            algorithm: Algorithm::Hs256,
            decoding: DecodingKey::from_secret(&self.0).map_err(wrong)?,
            issuer: Some(TICKET_ISSUER.to_owned()),
            roles: Some(Vec::new()),
            may_bring_rules: true,
            tenant: None,
        })
    }

    /// A ticket for a poll.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub(crate) fn sign(
        &self,
        poll: &Name,
        audience: Option<&str>,
        now_ms: u64,
        lifetime_ms: u64,
    ) -> Result<String, AuthError> {
        let allow = ["subscribe", "vote"].map(str::to_owned).to_vec();
        let claims = Claims {
            sub: hexadecimal(&random(ID_BYTES)?),
            iss: Some(TICKET_ISSUER.to_owned()),
            aud: audience.map(str::to_owned),
            exp: now_ms.saturating_add(lifetime_ms) / 1000,
            nbf: None,
            iat: Some(now_ms / 1000),
            jti: Some(hexadecimal(&random(ID_BYTES)?)),
            roles: Vec::new(),
            permissions: vec![Grant { names: poll.as_str().to_owned(), allow }],
        };
        let (key, key_id) = (self.0.as_slice(), Some(TICKET_KEY_ID.to_owned()));
        issue(&Issue { algorithm: Algorithm::Hs256, key, key_id, claims })
            .map_err(|error| AuthError::value("auth.ticket", error))
    }
}

fn random(bytes: usize) -> Result<Vec<u8>, AuthError> {
    let mut random = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut random).map_err(|_unspecified| {
        AuthError::value("auth.ticket", "the system has no random bytes to make a key from")
    })?;
    Ok(random)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// For which polls there are tickets.
#[derive(Debug, Default)]
pub(super) struct TicketRules(Vec<(Pattern, TicketConfig)>);

impl TicketRules {
    pub(super) fn of(config: &AuthConfig) -> Self {
        let rules = config.ticket.iter();
        let rules =
            rules.filter_map(|rule| Some((Pattern::parse(&rule.polls).ok()?, rule.clone())));
        Self(rules.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first rule for a poll.
    pub(super) fn find(&self, poll: &Name) -> Option<&TicketConfig> {
        self.0.iter().find(|(pattern, _)| pattern.matches(poll)).map(|(_, rule)| rule)
    }
}

/// Tickets of an address for one poll, and until when they count.
type Taken = HashMap<Name, (u32, u64)>;

/// How many tickets addresses have taken.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    taken: Mutex<HashMap<IpAddr, Taken>>,
}

impl Tickets {
    /// Counts a ticket.
    ///
    /// # Errors
    /// How long the address has to wait for another one.
    pub(crate) fn take(
        &self,
        address: IpAddr,
        poll: &Name,
        rule: &TicketConfig,
        now_ms: u64,
    ) -> Result<(), u64> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= ADDRESSES_MAX && !taken.contains_key(&address) {
            taken.retain(|_, polls| polls.values().any(|(_, until_ms)| *until_ms > now_ms));
            if taken.len() >= ADDRESSES_MAX {
                return Err(rule.lifetime_ms);
            }
        }
        let polls = taken.entry(address).or_default();
        polls.retain(|_, (_, until_ms)| *until_ms > now_ms);
        if polls.len() >= POLLS_MAX && !polls.contains_key(poll) {
            let soonest = polls.values().map(|(_, until_ms)| *until_ms).min().unwrap_or(now_ms);
            return Err(soonest.saturating_sub(now_ms).max(1));
        }
        let (count, until_ms) = polls.entry(poll.clone()).or_default();
        if *count >= rule.address_tickets_max {
            return Err(until_ms.saturating_sub(now_ms).max(1));
        }
        *count += 1;
        // All of them count until the last one has expired.
        *until_ms = now_ms.saturating_add(rule.lifetime_ms);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Auth, Credential};
    use crate::config::AuthConfig;

    fn rule(address_tickets_max: u32) -> TicketConfig {
        TicketConfig { polls: "poll.>".to_owned(), lifetime_ms: 60_000, address_tickets_max }
    }

    fn poll(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn an_address_gets_so_many_tickets_for_a_poll_as_long_as_they_last() {
        let tickets = Tickets::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let take =
            |address, name: &str, now_ms| tickets.take(address, &poll(name), &rule(2), now_ms);
        assert_eq!((take(here, "poll.a", 0), take(here, "poll.a", 10_000)), (Ok(()), Ok(())));
        assert_eq!(take(here, "poll.a", 20_000), Err(50_000));
        assert_eq!((take(there, "poll.a", 20_000), take(here, "poll.b", 20_000)), (Ok(()), Ok(())));
        assert_eq!(take(here, "poll.a", 70_000), Ok(()));
    }

    #[test]
    fn any_key_signs_what_it_verifies() {
        for last in *b"\n \t\0x" {
            let key = TicketKey(vec![last; KEY_BYTES]);
            let token = key.sign(&poll("poll.a"), None, 1_000_000, 60_000).unwrap();
            let config = AuthConfig { ticket: vec![rule(1)], ..AuthConfig::default() };
            let auth = Auth::load(&config).unwrap().with_ticket_key(&key).unwrap();
            let shown = Credential::of(Some(&token), None);
            assert!(auth.authenticate(&shown, 1_010_000).is_ok(), "a key that ends with {last}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let tickets = Tickets::default();
        let here = IpAddr::from([10, 0, 0, 1]);
        let take = |number: usize, now_ms| {
            tickets.take(here, &poll(&format!("poll.{number}")), &rule(1), now_ms)
        };
        assert!((0..POLLS_MAX).all(|number| take(number, 0).is_ok()));
        assert_eq!(take(POLLS_MAX, 1), Err(59_999));
        assert_eq!(take(POLLS_MAX, 60_000), Ok(()));
        let far = |number: usize, now_ms| {
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            tickets.take(address, &poll("poll.a"), &rule(1), now_ms)
        };
        assert!((0..ADDRESSES_MAX - 1).all(|number| far(number, 60_001).is_ok()));
        assert_eq!(far(ADDRESSES_MAX, 60_002), Err(60_000));
        assert_eq!(far(ADDRESSES_MAX, 120_001), Ok(()));
    }

    #[test]
    fn a_key_is_kept_for_its_user_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let made = TicketKey::of(Some(directory.path())).unwrap();
        assert_eq!(TicketKey::of(Some(directory.path())).unwrap().0, made.0);
        let path = directory.path().join(FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(TicketKey::of(Some(directory.path())).is_err());
        assert_ne!(TicketKey::of(None).unwrap().0, made.0);
    }
}
