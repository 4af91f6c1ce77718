//! The headers in which proxies list whom a request has come from: `Forwarded` (RFC 7239) and
//! `X-Forwarded-For`. They are read as a whole, also what a client may have put in front: a quote that is
//! left open there must not swallow what its proxy has added.

#[cfg(test)]
mod tests;

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
