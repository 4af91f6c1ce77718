//! Values of cells as they stand in VALUE and UPDATE, read without copying.

use bytes::Bytes;

use crate::error::Refusal;
use crate::fields::Fields;
use crate::wire::{self, malformed};

/// One entry of a map or presence set: `[key, version, value?]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedEntry {
    /// The key, or the member.
    pub key: String,
    /// The version that wrote it.
    pub version: u64,
    /// What stands under the key; `None` says that the key is gone.
    pub value: Option<Bytes>,
}

/// The entries that a VALUE or UPDATE of a map or presence set holds.
///
/// # Errors
/// `malformed` when the value is not an array of entries.
pub fn read_entries(value: &Bytes) -> Result<Vec<KeyedEntry>, Refusal> {
    check_whole(value)?;
    let count = rmp::decode::read_array_len(&mut value.as_ref())
        .map_err(|error| malformed(&format!("entries must be an array: {error}")))?;
    let mut list = Fields::of(value)?;
    list.name_frame("entries");
    // Each entry takes a byte at least, so the length that the array claims is not believed.
    let mut entries = Vec::new();
    for _ in 0..count {
        let raw = list.raw_bytes().ok_or_else(|| malformed("an entry must not be nil"))?;
        let mut fields = Fields::of(&raw)?;
        fields.name_frame("entry");
        entries.push(KeyedEntry {
            key: fields.str("key")?.to_owned(),
            version: fields.uint("version")?,
            value: fields.opt_bin("value")?,
        });
    }
    Ok(entries)
}

/// The bytes of a value that is one `bin`, such as that of one key of a map.
///
/// # Errors
/// `malformed` when the value is something else.
pub fn read_bytes(value: &Bytes) -> Result<Bytes, Refusal> {
    check_whole(value)?;
    let content = wire::read_bin(value).ok_or_else(|| malformed("the value must be binary"))?;
    Ok(value.slice_ref(content))
}

fn check_whole(value: &Bytes) -> Result<(), Refusal> {
    match wire::value_len(value) {
        Ok(len) if len == value.len() => Ok(()),
        Ok(_) => Err(malformed("bytes behind the value")),
        Err(broken) => Err(malformed(&broken.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::put_entry;

    fn list(entries: &[(&str, u64, Option<&[u8]>)]) -> Bytes {
        let mut out = Vec::new();
        wire::put_array(&mut out, entries.len());
        for (key, version, value) in entries {
            put_entry(&mut out, key, *version, *value);
        }
        out.into()
    }

    #[test]
    fn entries_read_back_as_they_were_put() {
        let value = list(&[("a", 3, Some(b"x")), ("b", 4, None), ("c", 5, Some(b""))]);
        let read = read_entries(&value).unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!((read[0].key.as_str(), read[0].version), ("a", 3));
        assert_eq!(read[0].value.as_deref(), Some(b"x".as_slice()));
        assert_eq!(read[1].value, None);
        assert_eq!(read[2].value.as_deref(), Some(b"".as_slice()));
    }

    #[test]
    fn what_is_not_a_list_of_entries_is_refused() {
        for bad in [&[0xc0][..], &[0x91, 0xc0], &[0x91, 0x93, 1, 1, 0xc0], &[0x90, 1], &[]] {
            assert!(read_entries(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
        assert!(read_bytes(&Bytes::from_static(&[0xa1, b'x'])).is_err());
        assert_eq!(read_bytes(&Bytes::from_static(&[0xc4, 1, 9])).unwrap(), &[9][..]);
    }
}
