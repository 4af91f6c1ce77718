//! Names, patterns, and which pattern matches which name.

use serde::Serialize;
use tidewire_protocol::{Name, Pattern, VERSION, partition_of};

use super::Failure;
use super::group::lines;

/// Whether a pattern matches a name.
#[derive(Serialize)]
pub(crate) struct Match {
    pub(crate) pattern: String,
    pub(crate) name: String,
    pub(crate) matches: bool,
}

/// The partition of a key.
#[derive(Serialize)]
pub(crate) struct Partition {
    pub(crate) key: String,
    pub(crate) partitions: u16,
    pub(crate) partition: u16,
}

pub(crate) fn text() -> Result<String, Failure> {
    let longest = ["n".repeat(256), "é".repeat(128), ["t"; 128].join(".") + "t"];
    let too_long = ["n".repeat(257), "é".repeat(129), ["t"; 129].join(".")];
    let plain = [
        "a",
        "news",
        "poll.42.votes",
        "$sys.audit",
        "a.$b",
        "größe.ö",
        "日本",
        "a-b_c:d/e",
        "A",
        "\u{feff}a",
        "\u{200b}",
    ];
    let broken = [
        "",
        ".",
        "..",
        ".a",
        "a.",
        "a..b",
        " ",
        "a b",
        "a.\t",
        "a\n",
        "a\u{0}",
        "a\u{7f}",
        "a\u{85}",
        "a\u{a0}b",
        "a\u{2003}b",
        "a\u{2028}b",
        "\u{3000}",
    ];
    let wild = ["*", ">", "a.*", "*.b", "a.*.c", "*.*", "a.>", "*.>", "a.*.>", "$sys.>", "$sys.*"];
    let badly_wild = ["a*", "*a", "**", ">>", "*>", "a>", "a.b*", "a.>.b", ">.a", ">.>", "a.**"];
    let names_valid: Vec<String> = owned(&plain).chain(longest).collect();
    let unusable: Vec<String> = owned(&broken).chain(too_long).collect();
    let names_invalid: Vec<String> =
        unusable.iter().cloned().chain(owned(&wild)).chain(owned(&badly_wild)).collect();
    let patterns_valid: Vec<String> = names_valid.iter().cloned().chain(owned(&wild)).collect();
    let patterns_invalid: Vec<String> = unusable.into_iter().chain(owned(&badly_wild)).collect();
    check(&names_valid, |raw| Name::parse(raw).is_ok())?;
    check(&names_invalid, |raw| Name::parse(raw).is_err())?;
    check(&patterns_valid, |raw| Pattern::parse(raw).is_ok())?;
    check(&patterns_invalid, |raw| Pattern::parse(raw).is_err())?;
    let mut text = format!("{{\n\"protocol\": {VERSION}");
    text.push_str(&lines("names_valid", &names_valid)?);
    text.push_str(&lines("names_invalid", &names_invalid)?);
    text.push_str(&lines("patterns_valid", &patterns_valid)?);
    text.push_str(&lines("patterns_invalid", &patterns_invalid)?);
    text.push_str(&lines("matches", &matches()?)?);
    text.push_str(&lines("partitions", &partitions())?);
    text.push_str("\n}\n");
    Ok(text)
}

fn owned<'a>(texts: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    texts.iter().map(|text| (*text).to_owned())
}

fn check(texts: &[String], holds: impl Fn(&str) -> bool) -> Result<(), Failure> {
    match texts.iter().find(|text| !holds(text)) {
        Some(text) => Err(format!("{text:?} is not what the list says").into()),
        None => Ok(()),
    }
}

fn partitions() -> Vec<Partition> {
    let keys = ["a", "user-1", "user-2", "größe", "日本", &"k".repeat(256)].map(str::to_owned);
    let of = |key: &String, partitions| {
        let partition = partition_of(key, partitions);
        Partition { key: key.clone(), partitions, partition }
    };
    keys.iter().flat_map(|key| [2, 3, 7, 16].map(|partitions| of(key, partitions))).collect()
}

fn matches() -> Result<Vec<Match>, Failure> {
    let cases = [
        ("a", "a", true),
        ("a", "A", false),
        ("a", "b", false),
        ("a", "a.b", false),
        ("a.b", "a", false),
        ("a.b", "a.b", true),
        ("ö", "o\u{308}", false),
        ("*", "a", true),
        ("*", "a.b", false),
        ("*", "$sys", false),
        ("*.audit", "$sys.audit", false),
        ("$sys.*", "$sys.audit", true),
        ("$sys", "$sys", true),
        ("a.*", "a", false),
        ("a.*", "a.b", true),
        ("a.*", "a.b.c", false),
        ("a.*", "ab.c", false),
        ("a.*", "a.$b", true),
        ("*.b", "a.b", true),
        ("*.b", "a.c", false),
        ("a.*.c", "a.b.c", true),
        ("a.*.c", "a.c", false),
        ("a.*.c", "a.b.b.c", false),
        ("*.*", "a.b", true),
        ("*.*", "a", false),
        (">", "a", true),
        (">", "a.b.c", true),
        (">", "$sys", false),
        (">", "$sys.audit", false),
        ("a.>", "a", false),
        ("a.>", "a.b", true),
        ("a.>", "a.b.c.d", true),
        ("a.>", "b.a", false),
        ("*.>", "a", false),
        ("*.>", "a.b.c", true),
        ("*.>", "$sys.audit", false),
        ("a.*.>", "a.b", false),
        ("a.*.>", "a.b.c.d", true),
        ("$sys.>", "$sys.audit.log", true),
        ("$sys.>", "$sys", false),
    ];
    let checked = |(pattern, name, expected): (&str, &str, bool)| {
        if Pattern::parse(pattern)?.matches(&Name::parse(name)?) != expected {
            return Err(format!("{pattern} and {name}: not {expected}").into());
        }
        Ok(Match { pattern: pattern.to_owned(), name: name.to_owned(), matches: expected })
    };
    cases.into_iter().map(checked).collect()
}
