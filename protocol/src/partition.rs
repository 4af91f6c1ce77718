//! Where the records of a topic with partitions go.

/// Most partitions of one name.
pub const PARTITIONS_MAX: u16 = 16;

/// The partition of a key: its stable hash, modulo the number of partitions.
#[must_use]
pub fn partition_of(key: &str, partitions: u16) -> u16 {
    let number = stable_hash(key.as_bytes()) % u64::from(partitions.max(1));
    u16::try_from(number).unwrap_or(0)
}

/// FNV-1a (Fowler, Noll, Vo) of 64 bits, its upper half folded onto the lower one. What is stored
/// and what clients compute depend on it, so it never changes.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one_folded() {
        // Test vectors of FNV-1a: of nothing, of "a" and of "foobar".
        let published: [(&[u8], u64); 3] = [
            (b"", 0xcbf2_9ce4_8422_2325),
            (b"a", 0xaf63_dc4c_8601_ec8c),
            (b"foobar", 0x8594_4171_f739_67e8),
        ];
        for (bytes, hash) in published {
            assert_eq!(stable_hash(bytes), hash ^ (hash >> 32));
        }
    }

    #[test]
    fn keys_spread_over_every_partition() {
        for partitions in 1..=PARTITIONS_MAX {
            let mut counts = vec![0; usize::from(partitions)];
            for key in 0..10_000 {
                counts[usize::from(partition_of(&format!("user-{key}"), partitions))] += 1;
            }
            let even = 10_000 / i32::from(partitions);
            assert!(counts.iter().all(|count| (count - even).abs() < even / 4), "{counts:?}");
        }
    }
}
