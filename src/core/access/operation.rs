//! What may be allowed.

use core::fmt;

/// Something that a connection does with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Append to a topic, and write its map.
    Publish = 0,
    /// Follow a topic from now on, and read and watch cells.
    Subscribe = 1,
    /// Read what was published before: any start but `latest`.
    History = 2,
    /// Change a counter.
    Incr = 3,
    /// Vote in a tally.
    Vote = 4,
    /// Join and leave a presence set.
    Presence = 5,
    /// Create, consume, reset and delete consumer groups, and read their state.
    Group = 6,
    /// Create, open, close and delete tallies, take ballots out, delete and truncate topics.
    Admin = 7,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Publish,
        Self::Subscribe,
        Self::History,
        Self::Incr,
        Self::Vote,
        Self::Presence,
        Self::Group,
        Self::Admin,
    ];

    /// Its name in rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::History => "history",
            Self::Incr => "incr",
            Self::Vote => "vote",
            Self::Presence => "presence",
            Self::Group => "group",
            Self::Admin => "admin",
        }
    }

    /// The operation of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == name)
    }
}

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operations(u8);

impl Operations {
    /// No operation.
    pub const NONE: Self = Self(0);

    /// Whether this operation is among them.
    #[must_use]
    #[inline]
    pub const fn has(self, operation: Operation) -> bool {
        self.0 & 1 << operation as u8 != 0
    }

    /// Whether all of the others are among them.
    #[must_use]
    #[inline]
    pub const fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// What is in one of them or in both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in it.
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(move |operation| self.has(*operation))
    }
}

impl FromIterator<Operation> for Operations {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        let set = |set: u8, operation: Operation| set | 1 << operation as u8;
        Self(operations.into_iter().fold(0, set))
    }
}

/// Their names, with commas; `nothing` for none.
impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("nothing");
        }
        for (index, operation) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", operation.as_str())?;
        }
        Ok(())
    }
}
