//! Paths and queries: percent-encoded, each parameter known and given once.

use std::str::FromStr;

use tidewire_protocol::{Name, Refusal};

use super::problem::invalid;

/// The parameters of a query. Each has to be asked for; one that nobody has asked for is refused.
#[derive(Debug)]
pub(super) struct Query {
    left: Vec<(String, String)>,
}

impl Query {
    /// # Errors
    /// When it is not encoded as a query, or names something twice.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let mut left: Vec<(String, String)> = Vec::new();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| {
                percent_decoded(&text.replace('+', " "))
                    .ok_or_else(|| invalid("the query is not encoded as in a URL"))
            };
            let (name, value) = (decoded(name)?, decoded(value)?);
            if left.iter().any(|(known, _)| *known == name) {
                return Err(invalid(format!("{}: given twice", name.escape_default())));
            }
            left.push((name, value));
        }
        Ok(Self { left })
    }

    /// Takes a parameter.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let place = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.swap_remove(place).1)
    }

    /// Takes a parameter of a type.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn value<T: FromStr>(
        &mut self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || invalid(format!("{name}: {what}, not '{}'", text.escape_default()));
        text.parse().map(Some).map_err(|_error| wrong())
    }

    /// # Errors
    /// When something is left that nobody has asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(invalid(format!("{}: no such parameter here", name.escape_default())))
            }
        }
    }
}

/// A name as it stands in a path.
///
/// # Errors
/// When it is not encoded, or no name.
pub(super) fn name(segment: &str) -> Result<Name, Refusal> {
    let decoded = percent_decoded(segment);
    let decoded = decoded.ok_or_else(|| invalid("the name is not encoded as in a URL"))?;
    Name::parse(&decoded)
}

/// A name for a path.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The text that `%XX` and other characters stand for (RFC 3986, section 2.1).
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_known_and_given_once() {
        let mut query = Query::parse(Some("limit=5&start=1%3A2&text=a+b")).unwrap();
        assert_eq!(query.value::<u64>("limit", "a number").unwrap(), Some(5));
        assert_eq!(query.text("start").as_deref(), Some("1:2"));
        assert!(query.finish().unwrap_err().message.contains("text"));
        assert!(Query::parse(Some("a=1&a=2")).is_err());
        assert!(Query::parse(Some("a=%zz")).is_err());
        let mut query = Query::parse(Some("limit=x")).unwrap();
        assert!(query.value::<u64>("limit", "a number").unwrap_err().message.contains("limit"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(text in ".*") {
            prop_assert_eq!(percent_decoded(&encoded(&text)), Some(text));
        }

        #[test]
        fn no_query_panics(text in ".*") {
            drop(Query::parse(Some(&text)));
        }
    }
}
