//! What all targets share.

/// Memory that an input may need at once, in bytes: so much, and so much for each of its bytes.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
const BYTES_MAX_PER_BYTE: u64 = 256;

/// Checks a property of an input, and that no length in it is believed before its bytes are there.
pub fn check(input: &[u8], property: fn(&[u8])) {
    let needed = allocation_counter::measure(|| property(input)).bytes_max;
    let allowed = BYTES_MAX + BYTES_MAX_PER_BYTE * input.len() as u64;
    assert!(needed <= allowed, "{} bytes of input need {needed} bytes of memory", input.len());
}
