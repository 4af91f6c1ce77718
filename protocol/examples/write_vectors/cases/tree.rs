//! One value in the form that JSON and `MessagePack` share, with maps in their written order.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Integers beyond this are not exact in every JSON reader, so they are written as text.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// A value. In JSON, bytes are `{"bin": "HEX"}` and large integers `{"int": "DECIMAL"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Nil,
    Bool(bool),
    Uint(u64),
    Negative(i64),
    Text(String),
    Bin(Vec<u8>),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads the JSON form.
    pub(crate) fn of_json(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("{error} in {json}"))
    }

    /// Reads one `MessagePack` value, without the crate under test.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// Writes `MessagePack`, without the crate under test.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        rmp_serde::to_vec(self).map_err(|error| error.to_string())
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = serializer.is_human_readable();
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Uint(number) if json && *number > EXACT_MAX => {
                marked(serializer, "int", &number.to_string())
            }
            Self::Uint(number) => serializer.serialize_u64(*number),
            Self::Negative(number) if json && number.unsigned_abs() > EXACT_MAX => {
                marked(serializer, "int", &number.to_string())
            }
            Self::Negative(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bin(bytes) if json => marked(serializer, "bin", &to_hex(bytes)),
            Self::Bin(bytes) => serializer.serialize_bytes(bytes),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

fn marked<S: Serializer>(serializer: S, mark: &str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(mark, text)?;
    map.end()
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = deserializer.is_human_readable();
        deserializer.deserialize_any(TreeVisitor { json })
    }
}

struct TreeVisitor {
    json: bool,
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without floats and extensions")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nil)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Uint(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(u64::try_from(number).map_or(Tree::Negative(number), Tree::Uint))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bin(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries: Vec<(String, Tree)> = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        let marked = match entries.as_slice() {
            [(mark, Tree::Text(text))] if self.json && mark == "bin" => {
                Some(from_hex(text).map(Tree::Bin))
            }
            [(mark, Tree::Text(text))] if self.json && mark == "int" => Some(integer(text)),
            _ => None,
        };
        marked.unwrap_or(Ok(Tree::Map(entries))).map_err(serde::de::Error::custom)
    }
}

fn integer(text: &str) -> Result<Tree, String> {
    if let Ok(number) = text.parse() {
        return Ok(Tree::Uint(number));
    }
    text.parse().map(Tree::Negative).map_err(|error| format!("{error}: {text}"))
}

/// Lower-case hexadecimal digits, two a byte.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits; white space between bytes is skipped.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = str::from_utf8(pair).map_err(|error| error.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|error| format!("{error}: {pair}"))
        })
        .collect()
}
