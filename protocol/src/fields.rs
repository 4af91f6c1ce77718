//! The fields of a frame, read one by one and checked as they are read.

use bytes::Bytes;
use rmp::Marker;
use serde::de::DeserializeOwned;

use crate::error::Refusal;
use crate::name::{Name, Pattern};
use crate::wire::{from_slice, malformed, read_bin, read_str, value_len};

/// The fields of one frame, read in order. Fields that are not there read as `nil`.
pub(crate) struct Fields<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
    left: u32,
    what: &'static str,
    known: Option<&'a Name>,
}

impl<'a> Fields<'a> {
    /// The fields of the array that `frame` consists of. The caller has checked it with
    /// [`value_len`], so no read below can run over its end.
    pub(crate) fn of(frame: &'a Bytes) -> Result<Self, Refusal> {
        let mut rest: &[u8] = frame;
        let left = rmp::decode::read_array_len(&mut rest)
            .map_err(|error| malformed(&format!("a frame must be an array: {error}")))?;
        Ok(Self { frame, rest, left, what: "frame", known: None })
    }

    /// A name that equals this one is not checked and copied again.
    pub(crate) fn know(&mut self, name: Option<&'a Name>) {
        self.known = name;
    }

    pub(crate) fn name_frame(&mut self, what: &'static str) {
        self.what = what;
    }

    /// The next field's bytes; `None` when it is `nil` or not there.
    pub(crate) fn raw(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let len = value_len(self.rest).ok()?;
        let (value, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        (value != [Marker::Null.to_u8()]).then_some(value)
    }

    /// The next field as shared bytes of the frame, not decoded.
    pub(crate) fn raw_bytes(&mut self) -> Option<Bytes> {
        self.raw().map(|raw| self.frame.slice_ref(raw))
    }

    fn bad(&self, field: &str, must: &str) -> Refusal {
        malformed(&format!("{}: field '{field}' must be {must}", self.what))
    }

    pub(crate) fn opt_uint(&mut self, field: &str) -> Result<Option<u64>, Refusal> {
        let Some(mut raw) = self.raw() else { return Ok(None) };
        match rmp::decode::read_int(&mut raw) {
            Ok(number) => Ok(Some(number)),
            Err(_mismatch) => Err(self.bad(field, "an unsigned integer")),
        }
    }

    pub(crate) fn uint(&mut self, field: &str) -> Result<u64, Refusal> {
        self.opt_uint(field)?.ok_or_else(|| self.bad(field, "an unsigned integer"))
    }

    pub(crate) fn uint32(&mut self, field: &str) -> Result<u32, Refusal> {
        let number = self.uint(field)?;
        u32::try_from(number).map_err(|_wide| self.bad(field, "below 2^32"))
    }

    pub(crate) fn int(&mut self, field: &str) -> Result<i64, Refusal> {
        let Some(mut raw) = self.raw() else { return Err(self.bad(field, "an integer")) };
        rmp::decode::read_int(&mut raw).map_err(|_mismatch| self.bad(field, "an integer"))
    }

    pub(crate) fn boolean(&mut self, field: &str) -> Result<bool, Refusal> {
        let Some(mut raw) = self.raw() else { return Err(self.bad(field, "a boolean")) };
        rmp::decode::read_bool(&mut raw).map_err(|_mismatch| self.bad(field, "a boolean"))
    }

    pub(crate) fn opt_str(&mut self, field: &str) -> Result<Option<&'a str>, Refusal> {
        let Some(raw) = self.raw() else { return Ok(None) };
        match read_str(raw) {
            Some(text) => Ok(Some(text)),
            None => Err(self.bad(field, "a string of UTF-8")),
        }
    }

    pub(crate) fn str(&mut self, field: &str) -> Result<&'a str, Refusal> {
        self.opt_str(field)?.ok_or_else(|| self.bad(field, "a string of UTF-8"))
    }

    pub(crate) fn name(&mut self, field: &str) -> Result<Name, Refusal> {
        let raw = self.str(field)?;
        match self.known {
            Some(known) if known.as_str() == raw => Ok(known.clone()),
            _ => Name::parse(raw),
        }
    }

    pub(crate) fn pattern(&mut self, field: &str) -> Result<Pattern, Refusal> {
        Pattern::parse(self.str(field)?)
    }

    pub(crate) fn opt_bin(&mut self, field: &str) -> Result<Option<Bytes>, Refusal> {
        let Some(raw) = self.raw() else { return Ok(None) };
        match read_bin(raw) {
            Some(content) => Ok(Some(self.frame.slice_ref(content))),
            None => Err(self.bad(field, "binary")),
        }
    }

    pub(crate) fn bin(&mut self, field: &str) -> Result<Bytes, Refusal> {
        self.opt_bin(field)?.ok_or_else(|| self.bad(field, "binary"))
    }

    /// The next field as a structured value (a flat map, a short array).
    pub(crate) fn opt_value<T: DeserializeOwned>(
        &mut self,
        field: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(raw) = self.raw() else { return Ok(None) };
        from_slice(raw)
            .map(Some)
            .map_err(|error| malformed(&format!("{}: field '{field}': {error}", self.what)))
    }

    /// The next field as a map by names. Serde would take a struct's fields by position as well;
    /// the protocol does not.
    pub(crate) fn opt_map<T: DeserializeOwned>(
        &mut self,
        field: &str,
    ) -> Result<Option<T>, Refusal> {
        let mut ahead = Self { frame: self.frame, ..*self };
        match ahead.raw() {
            Some(raw) if !is_map_by_names(raw) => Err(self.bad(field, "a map with string keys")),
            _ => self.opt_value(field),
        }
    }

    pub(crate) fn map<T: DeserializeOwned>(&mut self, field: &str) -> Result<T, Refusal> {
        self.opt_map(field)?.ok_or_else(|| self.bad(field, "a map with string keys"))
    }

    pub(crate) fn value<T: DeserializeOwned>(&mut self, field: &str) -> Result<T, Refusal> {
        self.opt_value(field)?.ok_or_else(|| self.bad(field, "there"))
    }
}

/// Whether one whole value is a map whose keys are strings.
fn is_map_by_names(raw: &[u8]) -> bool {
    let mut rest = raw;
    let Ok(len) = rmp::decode::read_map_len(&mut rest) else { return false };
    (0..len).all(|_| {
        let Ok((_name, value)) = rmp::decode::read_str_from_slice(rest) else { return false };
        let Ok(len) = value_len(value) else { return false };
        rest = value.get(len..).unwrap_or_default();
        true
    })
}
