//! The headers in which proxies list whom a request has come from: `Forwarded` (RFC 7239) and
//! `X-Forwarded-For`. They are read as a whole, also what a client may have put in front: a quote that is
//! left open there must not swallow what its proxy has added.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::{GetAll, HeaderValue};

/// Entries of a request; a chain of proxies has a few.
const NODES_MAX: usize = 64;

/// Whom a proxy has a request from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Address(IpAddr),
    /// It does not say.
    Hidden,
}

/// A header that cannot be read, and the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    header: &'static str,
    rule: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.header, self.rule)
    }
}

/// The nodes in the order in which the request has passed them.
pub(super) fn forwarded(lines: GetAll<'_, HeaderValue>) -> Result<Vec<Node>, Malformed> {
    read(lines, "Forwarded", |line, nodes| {
        let mut rest = Rest(line);
        loop {
            rest.skip_space();
            nodes.push(rest.element()?)?;
            rest.skip_space();
            if rest.is_empty() {
                return Ok(());
            }
            if !rest.eat(',') {
                return Err("each entry is pairs such as for=192.0.2.7 with ';' between them");
            }
        }
    })
}

/// The same of `X-Forwarded-For`, which has no standard: addresses, maybe with ports.
pub(super) fn x_forwarded_for(lines: GetAll<'_, HeaderValue>) -> Result<Vec<Node>, Malformed> {
    read(lines, "X-Forwarded-For", |line, nodes| {
        for entry in line.split(',') {
            let entry = entry.trim_matches([' ', '\t']);
            let bare = entry.parse().ok();
            let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
            let in_brackets = || six_of(entry).map(IpAddr::V6);
            nodes.push(match bare.or_else(with_port).or_else(in_brackets) {
                Some(address) => Node::Address(address),
                None if entry.eq_ignore_ascii_case("unknown") => Node::Hidden,
                None => return Err("each entry is an IP address, or 'unknown'"),
            })?;
        }
        Ok(())
    })
}

/// The nodes of a request, of which there may be so many.
struct Nodes(Vec<Node>);

impl Nodes {
    fn push(&mut self, node: Node) -> Result<(), &'static str> {
        if self.0.len() == NODES_MAX {
            return Err("a request has at most 64 entries");
        }
        self.0.push(node);
        Ok(())
    }
}

fn read(
    lines: GetAll<'_, HeaderValue>,
    header: &'static str,
    read_line: impl Fn(&str, &mut Nodes) -> Result<(), &'static str>,
) -> Result<Vec<Node>, Malformed> {
    let mut nodes = Nodes(Vec::new());
    for line in lines {
        let line = line.to_str().map_err(|_error| "it holds characters other than ASCII");
        let outcome = line.and_then(|line| read_line(line, &mut nodes));
        outcome.map_err(|rule| Malformed { header, rule })?;
    }
    Ok(nodes.0)
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Pairs with semicolons between them (RFC 7239, section 4).
    fn element(&mut self) -> Result<Node, &'static str> {
        let mut node = None;
        loop {
            let name = self.token();
            if name.is_empty() || !self.eat('=') {
                return Err("each entry is pairs such as for=192.0.2.7 with ';' between them");
            }
            let value = self.value()?;
            if name.eq_ignore_ascii_case("for") {
                let rule = "'for' is an address, with quotes and brackets if it is one of IPv6, \
                            'unknown', or a name that begins with '_'";
                let found = node_of(&value).ok_or(rule)?;
                if node.replace(found).is_some() {
                    return Err("an entry names 'for' twice");
                }
            }
            if !self.eat(';') {
                return Ok(node.unwrap_or(Node::Hidden));
            }
        }
    }

    /// A token (RFC 9110, section 5.6.2); nothing if there is none.
    fn token(&mut self) -> &'a str {
        let is_of_tokens = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c| !is_of_tokens(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        token
    }

    /// A token or a string in quotes (RFC 9110, section 5.6.4).
    fn value(&mut self) -> Result<String, &'static str> {
        if !self.eat('"') {
            let token = self.token();
            return match token.is_empty() {
                true => Err("a value is a token, or a string in quotes"),
                false => Ok(token.to_owned()),
            };
        }
        let mut value = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => value.push(chars.next().ok_or("a quote is not closed")?),
                Some(c) => value.push(c),
                None => return Err("a quote is not closed"),
            }
        }
        self.0 = chars.as_str();
        Ok(value)
    }
}

/// A node (RFC 7239, section 6): what stands before its port, if it has one.
fn node_of(value: &str) -> Option<Node> {
    let end = if value.starts_with('[') { value.find(']')? + 1 } else { 0 };
    let port_at = value.get(end..)?.find(':').map(|at| end + at);
    let (name, port) = value.split_at(port_at.unwrap_or(value.len()));
    if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
        return None;
    }
    if name.eq_ignore_ascii_case("unknown") || is_made_up(name) {
        return Some(Node::Hidden);
    }
    let six = six_of(name).map(IpAddr::V6);
    six.or_else(|| name.parse::<Ipv4Addr>().ok().map(IpAddr::V4)).map(Node::Address)
}

/// An address of IPv6 in brackets.
fn six_of(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn is_port(text: &str) -> bool {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number || is_made_up(text)
}

/// A name that a proxy has made up so as not to tell (RFC 7239, section 6.3).
fn is_made_up(text: &str) -> bool {
    let is_one_of = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_one_of))
}

#[cfg(test)]
mod tests {
    use http::header::{FORWARDED, HeaderMap};
    use proptest::prelude::*;

    use super::*;

    type Reader = fn(GetAll<'_, HeaderValue>) -> Result<Vec<Node>, Malformed>;

    fn nodes(reader: Reader, lines: &[&str]) -> Result<Vec<Node>, Malformed> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        reader(headers.get_all(FORWARDED))
    }

    fn shown(reader: Reader, lines: &[&str]) -> String {
        let show = |node: &Node| match node {
            Node::Address(address) => address.to_string(),
            Node::Hidden => "?".to_owned(),
        };
        match nodes(reader, lines) {
            Ok(nodes) => nodes.iter().map(show).collect::<Vec<_>>().join(" "),
            Err(malformed) => malformed.to_string(),
        }
    }

    #[test]
    fn forwarded_is_read_as_the_rfc_writes_it() {
        for (lines, expected) in [
            (&["for=\"_gazonk\""][..], "?"),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["for=192.0.2.43, for=198.51.100.17"], "192.0.2.43 198.51.100.17"),
            (&["for=_hidden, for=_SEVKISEK"], "? ?"),
            (&["for=unknown;by=_x", "proto=https,for=\"192.0.2.1:_p\""], "? ? 192.0.2.1"),
            (&["for=\"192.0.2\\.1\";host=\"a\\\"b, for=6.6.6.6\""], "192.0.2.1"),
            (&[], ""),
        ] {
            assert_eq!(shown(forwarded, lines), expected, "{lines:?}");
        }
        for line in [
            "",
            ",",
            "for=",
            "for",
            "for=2001:db8::1",
            "for=[2001:db8::1]",
            "for=\"2001:db8::1\"",
            "for=\"[192.0.2.1]\"",
            "for=192.0.2.1:80",
            "for=\"192.0.2.1:800000\"",
            "for=\"192.0.2.1:\"",
            "for=192.0.2.01",
            "for=name.example",
            "for=\"_\"",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;",
            "for=192.0.2.1; proto=http",
            "for =192.0.2.1",
            "for=192.0.2.1 for=192.0.2.2",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            // A quote that a client has left open, and what its proxy adds.
            "for=6.6.6.6;x=\", for=192.0.2.1",
            "for=6.6.6.6;x=\", for=\"[2001:db8::1]\"",
            "for=192.0.2.1\u{e9}",
        ] {
            assert!(shown(forwarded, &[line]).starts_with("Forwarded: "), "{line}");
        }
    }

    #[test]
    fn x_forwarded_for_is_addresses() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (
                &["192.0.2.1:80,[2001:db8::1]:80 ,\t[2001:db8::2], 2001:db8::3"],
                "192.0.2.1 2001:db8::1 2001:db8::2 2001:db8::3",
            ),
            (&["192.0.2.1", "Unknown, 192.0.2.2"], "192.0.2.1 ? 192.0.2.2"),
        ] {
            assert_eq!(shown(x_forwarded_for, lines), expected, "{lines:?}");
        }
        for line in ["", "192.0.2.1,", "192.0.2.256", "a.example", "fe80::1%eth0", "\"192.0.2.1\""]
        {
            assert!(shown(x_forwarded_for, &[line]).starts_with("X-Forwarded-For: "), "{line}");
        }
        let many = vec!["192.0.2.1"; NODES_MAX].join(",");
        assert_eq!(nodes(x_forwarded_for, &[&many]).unwrap().len(), NODES_MAX);
        assert!(shown(x_forwarded_for, &[&many, "192.0.2.1"]).contains("at most 64"));
        let many = vec!["for=192.0.2.1"; NODES_MAX + 1].join(",");
        assert!(shown(forwarded, &[&many]).contains("at most 64"));
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "[ -~\t]{0,300}", like in "[for=\";,:\\[\\]_.0-9 \\\\]{0,80}") {
            for line in [&text, &like] {
                for reader in [forwarded as Reader, x_forwarded_for] {
                    if let Ok(nodes) = nodes(reader, &[line]) {
                        prop_assert!((1..=NODES_MAX).contains(&nodes.len()));
                    }
                }
            }
        }

        #[test]
        fn every_address_comes_through(address: IpAddr, port: Option<u16>, space in "[ \t]{0,3}") {
            let in_brackets = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let expected = Ok(vec![Node::Hidden, Node::Address(address)]);
            let line = format!("unknown{space},{space}{in_brackets}{port}");
            prop_assert_eq!(nodes(x_forwarded_for, &[&line]), expected.clone());
            let line = format!("by=_x{space},{space}for=\"{in_brackets}{port}\";proto=https");
            prop_assert_eq!(nodes(forwarded, &[&line]), expected);
        }
    }
}
