//! From what is measured to a level, with time passed in.

/// How loaded a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    #[default]
    Normal,
    Busy,
    Strained,
    Overloaded,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Signals {
    /// How long followers wait for their turn, on the core where it is longest.
    pub(crate) fanout_lag_ms: u64,
    /// How long the longest commit took that has ended since the last look, or the one under way has
    /// taken so far.
    pub(crate) commit_ms: u64,
    /// The share of the memory budget that is in use, in thousandths.
    pub(crate) memory_permille: u64,
    /// The same of what the process has, in use or not.
    pub(crate) resident_permille: u64,
}

/// From where on a signal stands for [`Level::Busy`], [`Level::Strained`] and [`Level::Overloaded`].
const FANOUT_LAG_MS: [u64; 3] = [50, 200, 1_000];
const COMMIT_MS: [u64; 3] = [250, 1_000, 5_000];
const MEMORY_PERMILLE: [u64; 3] = [750, 850, 950];

/// What is free in the process counts as room up to here: it may be in pieces that fit nothing.
const RESIDENT_PERMILLE_MAX: u64 = 1_200;

/// A level is left when the signals are below this share of what led to it, in per cent.
const LEFT_BELOW_PERCENT: u64 = 80;
/// There is room again when memory is below this share of what it was full at, in per cent.
const ROOM_BELOW_PERCENT: u64 = 95;
/// Looks in a row that it takes to rise, so that one late commit is no load.
const RISES_AFTER: u32 = 2;
/// How long the signals have to be lower before the level falls by one.
const FALLS_AFTER_MS: u64 = 1_000;

impl Level {
    /// All levels, from the lowest on.
    pub(crate) const ALL: [Self; 4] = [Self::Normal, Self::Busy, Self::Strained, Self::Overloaded];

    /// The level of this number, or the highest.
    pub(crate) fn of(number: u8) -> Self {
        let level = Self::ALL.get(usize::from(number)).copied();
        level.unwrap_or(Self::Overloaded)
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Busy => "busy",
            Self::Strained => "strained",
            Self::Overloaded => "overloaded",
        }
    }

    /// How often the newest value of something goes to the same follower at most.
    pub(crate) fn interval_ms(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Busy => 100,
            Self::Strained => 250,
            Self::Overloaded => 1_000,
        }
    }
}

impl Signals {
    /// The level that these stand for, if they count by so many per cent of what leads to one.
    fn level(&self, percent: u64) -> Level {
        let of = |value: u64, from: [u64; 3]| {
            let reached = |from: &&u64| value.saturating_mul(100) >= from.saturating_mul(percent);
            from.iter().filter(reached).count()
        };
        let highest = of(self.fanout_lag_ms, FANOUT_LAG_MS)
            .max(of(self.commit_ms, COMMIT_MS))
            .max(of(self.memory_permille, MEMORY_PERMILLE));
        Level::of(u8::try_from(highest).unwrap_or(u8::MAX))
    }

    /// Whether so much memory is in use that nothing more is taken on.
    pub(crate) fn is_full(&self, was_full: bool) -> bool {
        let percent = if was_full { ROOM_BELOW_PERCENT } else { 100 };
        let [.., from] = MEMORY_PERMILLE;
        self.memory_permille.saturating_mul(100) >= from * percent
            || self.resident_permille >= RESIDENT_PERMILLE_MAX
    }
}

/// The level, as looks at the signals lead up and down.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    level: Level,
    higher_in_a_row: u32,
    lower_since_ms: Option<u64>,
}

impl Ladder {
    /// Takes a look; returns the level now.
    pub(crate) fn look(&mut self, signals: &Signals, now_ms: u64) -> Level {
        let (up, down) = (signals.level(100), signals.level(LEFT_BELOW_PERCENT));
        self.higher_in_a_row = if up > self.level { self.higher_in_a_row + 1 } else { 0 };
        if self.higher_in_a_row >= RISES_AFTER {
            self.higher_in_a_row = 0;
            self.lower_since_ms = None;
            self.level = up;
        } else if down >= self.level {
            self.lower_since_ms = None;
        } else {
            let since_ms = *self.lower_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) >= FALLS_AFTER_MS {
                self.level = Level::of(self.level.number().saturating_sub(1));
                self.lower_since_ms = Some(now_ms);
            }
        }
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(fanout_lag_ms: u64) -> Signals {
        Signals { fanout_lag_ms, ..Signals::default() }
    }

    #[test]
    fn one_look_is_no_load_and_two_are() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.look(&lag(5_000), 0), Level::Normal);
        assert_eq!(ladder.look(&lag(0), 100), Level::Normal);
        assert_eq!(ladder.look(&lag(5_000), 200), Level::Normal);
        assert_eq!(ladder.look(&lag(5_000), 300), Level::Overloaded);
    }

    #[test]
    fn it_falls_step_by_step_within_five_seconds() {
        let mut ladder = Ladder { level: Level::Overloaded, ..Ladder::default() };
        let levels: Vec<u8> =
            (0..=5).map(|second| ladder.look(&lag(0), second * 1_000).number()).collect();
        assert_eq!(levels, [3, 2, 1, 0, 0, 0]);
    }

    #[test]
    fn a_signal_that_swings_around_a_bound_does_not_swing_the_level() {
        let mut ladder = Ladder::default();
        let mut changes = 0;
        let mut last = Level::Normal;
        for look in 0..1_000_u64 {
            let level = ladder.look(&lag(if look % 2 == 0 { 190 } else { 210 }), look * 100);
            changes += u32::from(level != last);
            last = level;
        }
        assert!(changes <= 2, "{changes}");
        let mut ladder = Ladder { level: Level::Strained, ..Ladder::default() };
        for look in 0..1_000_u64 {
            let level = ladder.look(&lag(if look % 8 == 0 { 170 } else { 20 }), look * 100);
            assert_eq!(level, Level::Strained, "lower for less than a second at a time");
        }
    }

    #[test]
    fn each_signal_counts_by_itself() {
        for (signals, level) in [
            (Signals { commit_ms: 1_000, ..Signals::default() }, Level::Strained),
            (Signals { memory_permille: 750, ..Signals::default() }, Level::Busy),
            (Signals { memory_permille: 960, ..Signals::default() }, Level::Overloaded),
            (
                Signals {
                    fanout_lag_ms: 49,
                    commit_ms: 249,
                    memory_permille: 749,
                    resident_permille: 1_500,
                },
                Level::Normal,
            ),
        ] {
            assert_eq!(signals.level(100), level, "{signals:?}");
        }
        let memory = |memory_permille| Signals { memory_permille, ..Signals::default() };
        assert!(memory(950).is_full(false) && !memory(949).is_full(false));
        assert!(memory(903).is_full(true) && !memory(902).is_full(true));
    }
}
