//! The records of a PUBLISH.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewire_protocol::record::{BodyBuilder, HEADERS_MAX, KEY_BYTES_MAX, RECORDS_MAX, Records, validate};

fuzz_target!(|input: &[u8]| tidewire_fuzz::check(input, property));

/// All of a body that passes is records, within their bounds, and they are the same after they were written again.
fn property(input: &[u8]) {
    let Ok(count) = validate(input) else {
        // Whoever does not check first is stopped at the latest where it is wrong.
        assert!(Records::of(input).count() <= input.len());
        return;
    };
    assert!((1..=RECORDS_MAX).contains(&count));
    let records: Vec<_> = Records::of(input).collect();
    assert_eq!(records.len(), count);
    assert_eq!(records.iter().map(|record| record.encoded.len()).sum::<usize>(), input.len());
    let mut body = BodyBuilder::new();
    for record in &records {
        assert!(record.key.is_none_or(|key| (1..=KEY_BYTES_MAX).contains(&key.len())));
        let headers: Vec<(&str, &str)> = record.headers().collect();
        assert!(headers.len() <= HEADERS_MAX as usize);
        body.push(record.key, &headers, record.payload);
    }
    let body = body.finish();
    assert_eq!(validate(&body), Ok(count));
    for (written, record) in Records::of(&body).zip(&records) {
        assert_eq!((written.key, written.payload), (record.key, record.payload));
        assert!(written.headers().eq(record.headers()));
    }
}
