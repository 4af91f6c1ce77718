//! Epochs that no client takes for those of another history.

/// Epochs in a cluster begin here: above those that come from a clock, and few enough bits for every client.
pub const CLUSTER_EPOCH: u64 = 1 << 48;

/// Epochs of what is restored lie so far apart, as powers of 2: between two of them there is room for changes of
/// leaders and for topics that are removed and made again.
const APART: u32 = 21;

/// The epoch of what is restored now, where it was in this one before: above all that clients may have seen of
/// it, on a server of its own or in a cluster, and another one for each second in which something is restored.
#[must_use]
pub fn epoch_anew(before: u64, now_ms: u64) -> u64 {
    let at = CLUSTER_EPOCH + ((now_ms / 1_000) << APART);
    at.max(((before >> APART) + 1) << APART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_anew_is_above_those_before_and_held_by_every_client() {
        const YEAR_2090_MS: u64 = 3_786_912_000_000;
        let [first, second] = [1_700_000_000_000, 1_700_000_001_000];
        let restored = epoch_anew(CLUSTER_EPOCH + 70, first);
        assert!(restored > CLUSTER_EPOCH + 70 && restored > first);
        assert!(epoch_anew(restored + 900, second) > restored + 900);
        assert_ne!(epoch_anew(0, first), epoch_anew(0, second));
        // Also if the clock was set back.
        assert!(epoch_anew(restored + 900, 0) > restored + 900);
        assert!(epoch_anew(restored, YEAR_2090_MS) < 1 << 53);
    }
}
