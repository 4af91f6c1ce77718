use super::super::{Loaded, Source};
use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Loaded::read(None, variables, Vec::new()).map_err(|error| error.to_string())
}

fn refused(name: &str, value: &str) -> String {
    read(&[(name, value)]).err().unwrap()
}

#[test]
fn each_key_has_one_variable_that_is_nobody_elses() {
    let names: Vec<String> = variables().collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name} is two keys");
        assert!(OTHERS.iter().all(|(other, _)| other != name), "{name} is also another's");
        assert!(!is_of_others(name, "tcp://10.0.0.7:1"), "{name} looks like one of Kubernetes");
    }
    for name in ["TIDEWIRE_LISTEN", "TIDEWIRE_LIMITS_NAMES_MAX", "TIDEWIRE_AUTH_ANONYMOUS_ROLES"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    assert!(names.iter().all(|name| !name.contains("POLICY") && !name.contains("API_KEY")));
}

#[test]
fn variables_set_keys_of_each_kind() {
    let loaded = read(&[
        ("TIDEWIRE_LISTEN", "127.0.0.1:1"),
        ("TIDEWIRE_DATA_DIR", "/a b"),
        ("TIDEWIRE_INSECURE", "1"),
        ("TIDEWIRE_LIMITS_NAMES_MAX", " 10_000 "),
        ("TIDEWIRE_HTTP_ALLOWED_ORIGINS", "https://a.example, https://b.example"),
        ("TIDEWIRE_PROXY_TRUSTED", "[\"10.0.0.0/8\", \"::1\"]"),
        ("TIDEWIRE_PROXY_FORWARDED", "forwarded"),
        ("TIDEWIRE_AUTH_ANONYMOUS_ROLES", ""),
        ("HOME", "/root"),
    ])
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:1");
    assert_eq!(config.data_dir.as_deref(), Some(std::path::Path::new("/a b")));
    assert!(config.insecure);
    assert_eq!(config.limits.names_max, 10_000);
    assert_eq!(config.http.allowed_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.proxy.trusted.len(), 2);
    assert_eq!(config.auth.anonymous_roles.as_deref(), Some([].as_slice()));
    let source = loaded.source("limits.names_max").unwrap();
    assert_eq!(source, Source::Variable("TIDEWIRE_LIMITS_NAMES_MAX"));
    assert_eq!(loaded.source("cores"), None);
}

#[test]
fn a_bad_value_is_refused_with_what_was_expected() {
    let number = "limits.connections_max: expected a whole number from 1 to 10000000";
    for value in ["many", "", "1.5", "-", "1\nx = 2", "\"1\""] {
        let shown = value.replace('\n', " ");
        let said = format!("TIDEWIRE_LIMITS_CONNECTIONS_MAX={shown}: {number}");
        assert_eq!(refused("TIDEWIRE_LIMITS_CONNECTIONS_MAX", value), said);
    }
    let said = "TIDEWIRE_LIMITS_CONNECTIONS_MAX=-1: ".to_owned() + number;
    assert_eq!(refused("TIDEWIRE_LIMITS_CONNECTIONS_MAX", "-1"), said);
    assert_eq!(
        refused("TIDEWIRE_LIMITS_CONNECTIONS_MAX", "0"),
        "TIDEWIRE_LIMITS_CONNECTIONS_MAX=0: limits.connections_max: must be 1 to 10000000, not 0"
    );
    assert_eq!(
        refused("TIDEWIRE_INSECURE", "yes"),
        "TIDEWIRE_INSECURE=yes: insecure: expected true or false"
    );
    assert_eq!(
        refused("TIDEWIRE_LISTEN", "here"),
        "TIDEWIRE_LISTEN=here: listen: invalid socket address syntax"
    );
    assert_eq!(
        refused("TIDEWIRE_LISTEN", ""),
        "TIDEWIRE_LISTEN=: listen: expected text such as \"127.0.0.1:7171\""
    );
    assert_eq!(
        refused("TIDEWIRE_PROXY_TRUSTED", "proxy.example"),
        "TIDEWIRE_PROXY_TRUSTED=proxy.example: proxy.trusted: 'proxy.example' is no network: write \
         it as 10.0.0.0/8 or ::1/128"
    );
    assert_eq!(
        refused("TIDEWIRE_HTTP_ALLOWED_ORIGINS", "a,,b"),
        "TIDEWIRE_HTTP_ALLOWED_ORIGINS=a,,b: http.allowed_origins: expected a list such as [\"a\", \
         \"b\"]"
    );
}

#[test]
fn a_mistyped_variable_is_refused_and_those_of_others_are_not() {
    assert_eq!(
        refused("TIDEWIRE_LIMIT_CONNECTIONS_MAX", "1"),
        "TIDEWIRE_LIMIT_CONNECTIONS_MAX: no such variable: did you mean \
         TIDEWIRE_LIMITS_CONNECTIONS_MAX?"
    );
    assert_eq!(
        refused("TIDEWIRE_TOKENN", "secret"),
        "TIDEWIRE_TOKENN: no such variable: did you mean TIDEWIRE_TOKEN?"
    );
    assert!(refused("TIDEWIRE_QQQQ", "1").contains("lists of tables stand in the file only"));
    assert!(refused("TIDEWIRE_PORT", "7171").contains("no such variable"));
    let others = OTHERS.iter().map(|(name, _)| (*name, "x"));
    let kubernetes = [
        ("TIDEWIRE_SERVICE_HOST", "10.0.0.7"),
        ("TIDEWIRE_SERVICE_PORT_QUIC", "7171"),
        ("TIDEWIRE_PORT", "tcp://10.0.0.7:7171"),
        ("TIDEWIRE_PORT_7171_TCP_ADDR", "10.0.0.7"),
        ("TIDEWIRE_ADMIN_PORT_7173_TCP", "tcp://10.0.0.7:7173"),
    ];
    read(&others.chain(kubernetes).collect::<Vec<_>>()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let path = OsString::from_vec(b"/a\xff".to_vec());
    let error = settings([("TIDEWIRE_DATA_DIR".into(), path)]).err().unwrap();
    assert_eq!(error.to_string(), "TIDEWIRE_DATA_DIR=/a\u{fffd}: data_dir: is not UTF-8");
}
