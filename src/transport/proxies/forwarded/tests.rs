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
    for line in ["", "192.0.2.1,", "192.0.2.256", "a.example", "fe80::1%eth0", "\"192.0.2.1\""] {
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
