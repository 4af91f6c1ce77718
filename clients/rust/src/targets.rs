//! The servers that a client may connect to, and which of them is next.

use crate::error::Error;
use crate::target::Target;

/// Servers that are given at most.
const GIVEN_MAX: usize = 64;
/// Servers that are remembered of those that servers have told.
const LEARNED_MAX: usize = 16;

/// All nodes of one cluster, as far as the client knows them.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    /// In the order in which they were given.
    given: Vec<Target>,
    /// Those that were told last come first.
    learned: Vec<Target>,
}

impl Targets {
    pub(crate) fn new(first: Target) -> Self {
        Self { given: vec![first], learned: Vec::new() }
    }

    /// Another one of the same cluster.
    pub(crate) fn add(&mut self, target: Target) -> Result<(), Error> {
        if self.given.contains(&target) {
            return Ok(());
        }
        if self.given.len() >= GIVEN_MAX {
            let message =
                format!("a client has at most {GIVEN_MAX} URLs: a few nodes know all others");
            return Err(Error::Config(message));
        }
        // Whoever watches the network would see of one connection what another one hides.
        let is_encrypted = |target: &Target| target.transport.is_encrypted();
        if let Some(other) = self.given.iter().find(|g| is_encrypted(g) != is_encrypted(&target)) {
            let (url, other) = (target.url(), other.url());
            let message = format!(
                "of {other} and {url} one is encrypted and one is not: give URLs of one kind"
            );
            return Err(Error::Config(message));
        }
        self.given.push(target);
        Ok(())
    }

    pub(crate) fn given(&self) -> &[Target] {
        &self.given
    }

    /// Remembers what a server has told. Only URLs whose scheme is one of those that were given count:
    /// nobody is led to a connection that is less safe than was asked for.
    pub(crate) fn learn(&mut self, urls: &[String]) {
        let before = std::mem::take(&mut self.learned);
        let told = urls.iter().filter_map(|url| Target::parse(url).ok());
        for target in told.chain(before) {
            let is_known = self.given.contains(&target) || self.learned.contains(&target);
            if self.is_of_a_kind(&target) && !is_known && self.learned.len() < LEARNED_MAX {
                self.learned.push(target);
            }
        }
    }

    /// Whether there is more than one.
    pub(crate) fn are_several(&self) -> bool {
        self.given.len() + self.learned.len() > 1
    }

    /// Those of these that may be gone to, in this order, and then all others that are known, in a random
    /// one; without the one that is left.
    pub(crate) fn beginning_with(&self, urls: &[String], left: &Target) -> Vec<Target> {
        let told = urls.iter().filter_map(|url| Target::parse(url).ok());
        let mut targets = Vec::new();
        let mut others = self.round(left);
        others.pop();
        for target in told.filter(|target| self.is_of_a_kind(target)).chain(others) {
            if target != *left && !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    fn is_of_a_kind(&self, target: &Target) -> bool {
        self.given.iter().any(|given| given.transport == target.transport)
    }

    /// All of them in a random order, so that the clients of a node that is gone spread over the others;
    /// the one that was lost comes last.
    pub(crate) fn round(&self, lost: &Target) -> Vec<Target> {
        let mut round: Vec<Target> = self
            .given
            .iter()
            .chain(&self.learned)
            .filter(|target| *target != lost)
            .cloned()
            .collect();
        fastrand::shuffle(&mut round);
        round.push(lost.clone());
        round
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    fn learned(targets: &Targets) -> Vec<String> {
        targets.learned.iter().map(Target::url).collect()
    }

    #[test]
    fn what_servers_tell_is_bounded_and_the_newest_comes_first() {
        let mut targets = Targets::new(target("ws://a"));
        targets.learn(&["ws://b", "ws://a", "ws://c", "ws://b"].map(str::to_owned));
        assert_eq!(learned(&targets), ["ws://b:7171", "ws://c:7171"]);
        targets.learn(&["ws://d".to_owned()]);
        assert_eq!(learned(&targets), ["ws://d:7171", "ws://b:7171", "ws://c:7171"]);
        targets.learn(&[]);
        assert_eq!(targets.learned.len(), 3, "who knows of none takes none away");
        targets.learn(&(0..100).map(|n| format!("ws://n{n}")).collect::<Vec<_>>());
        assert_eq!(targets.learned.len(), LEARNED_MAX);
        assert_eq!(learned(&targets)[0], "ws://n0:7171");
    }

    #[test]
    fn nobody_is_led_to_another_kind_of_connection() {
        let told = ["ws://b", "wss://b", "quic://b", "http://b", ""].map(str::to_owned);
        for (url, kept) in
            [("ws://a", "ws://b:7171"), ("wss://a", "wss://b:7171"), ("quic://a", "quic://b:7171")]
        {
            let mut targets = Targets::new(target(url));
            targets.learn(&told);
            assert_eq!(learned(&targets), [kept]);
        }
    }

    #[test]
    fn the_one_that_was_lost_is_tried_last() {
        let mut targets = Targets::new(target("ws://a"));
        assert!(!targets.are_several());
        assert_eq!(targets.round(&target("ws://a")), [target("ws://a")]);
        targets.add(target("ws://b")).unwrap();
        targets.add(target("ws://b")).unwrap();
        targets.learn(&["ws://c".to_owned()]);
        let round = targets.round(&target("ws://b"));
        assert_eq!((round.len(), &round[2]), (3, &target("ws://b")));
        assert!(targets.are_several());
    }

    #[test]
    fn those_that_a_server_names_come_first_in_its_order() {
        let mut targets = Targets::new(target("ws://a"));
        targets.add(target("ws://b")).unwrap();
        targets.add(target("ws://c")).unwrap();
        let told = ["ws://d", "wss://e", "ws://b", "ws://a", "ws://d"].map(str::to_owned);
        let round = targets.beginning_with(&told, &target("ws://a"));
        assert_eq!(round, ["ws://d", "ws://b", "ws://c"].map(target));
        assert_eq!(Targets::new(target("ws://a")).beginning_with(&[], &target("ws://a")), []);
    }

    #[test]
    fn urls_are_of_one_kind_and_not_too_many() {
        let mut targets = Targets::new(target("wss://a"));
        targets.add(target("quic://a")).unwrap();
        let message = targets.add(target("ws://b")).unwrap_err().to_string();
        assert!(message.contains("ws://b:7171 one is encrypted and one is not"), "{message}");
        for n in 2..GIVEN_MAX {
            targets.add(target(&format!("wss://n{n}"))).unwrap();
        }
        let message = targets.add(target("wss://last")).unwrap_err().to_string();
        assert!(message.contains("at most 64 URLs"), "{message}");
    }
}
