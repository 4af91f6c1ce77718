use std::path::PathBuf;

use super::*;

/// Reads a file of this text; its path in messages is `t.toml`.
fn read(text: &str, variables: &[(&str, &str)], flags: Vec<Setting>) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let loaded = Loaded::read(Some(&path), variables, flags).map_err(|error| error.to_string());
    let folder = format!("{}/", folder.path().display());
    let loaded = loaded.and_then(|loaded| {
        loaded.check().map_err(|error| error.to_string())?;
        Ok(loaded)
    });
    loaded.map_err(|said| said.replace(&folder, ""))
}

fn refused(text: &str) -> String {
    read(text, &[], Vec::new()).err().unwrap()
}

fn flag(flag: &'static str, key: &str, value: &str) -> Setting {
    Setting::flag(flag, key, Value::String(value.to_owned()))
}

#[test]
fn flags_stand_over_variables_over_the_file_over_defaults() {
    let text = "node = \"file\"\ndrain_ms = 1\nheartbeat_ms = 200\n[limits]\nmembers_max = 7\n";
    let variables = [("TIDEWIRE_NODE", "variable"), ("TIDEWIRE_DRAIN_MS", "2")];
    let loaded = read(text, &variables, vec![flag("--node", "node", "flag")]).unwrap();
    let Config { node, drain_ms, heartbeat_ms, cores, limits, .. } = &loaded.config;
    assert_eq!((node.as_str(), *drain_ms, *heartbeat_ms, *cores), ("flag", 2, 200, 0));
    // A section is not replaced as a whole.
    assert_eq!((limits.members_max, limits.names_max), (7, Config::default().limits.names_max));
    let source = |key: &str| match loaded.source(key) {
        Some(Source::File(path, line)) => {
            format!("{}:{line}", PathBuf::from(path).file_name().unwrap().display())
        }
        Some(other) => other.to_string(),
        None => "default".to_owned(),
    };
    assert_eq!(source("node"), "--node");
    assert_eq!(source("drain_ms"), "TIDEWIRE_DRAIN_MS");
    assert_eq!(source("heartbeat_ms"), "t.toml:3");
    assert_eq!(source("limits.members_max"), "t.toml:5");
    assert_eq!(source("cores"), "default");
}

#[test]
fn unknown_keys_and_wrong_types_have_a_place_and_what_is_expected() {
    assert_eq!(
        refused("heartbeat_ms = 1000\nlissten = \"127.0.0.1:1\"\n"),
        "t.toml:2:1: unknown key `lissten`: did you mean `listen`?\n  \
         |\n2 | lissten = \"127.0.0.1:1\"\n  | ^^^^^^^"
    );
    assert_eq!(
        refused("[limits]\nconnections_max = \"many\"\n"),
        "t.toml:2:19: limits.connections_max: string \"many\" instead of a whole number from 1 to \
         10000000\n  |\n2 | connections_max = \"many\"\n  |                   ^^^^^^"
    );
    assert_eq!(
        refused("cores = -1\n"),
        "t.toml:1:9: cores: integer `-1` instead of a whole number from 0 to 64\n  \
         |\n1 | cores = -1\n  |         ^^"
    );
    assert_eq!(
        refused("listen = \"here\"\n"),
        "t.toml:1:10: listen: invalid socket address syntax\n  \
         |\n1 | listen = \"here\"\n  |          ^^^^^^"
    );
    assert_eq!(
        refused("[[policy]]\nnames = \"a\"\ndurability = \"disc\"\n"),
        "t.toml:3:14: unknown value `disc`: did you mean `disk`?\n  \
         |\n3 | durability = \"disc\"\n  |              ^^^^^^"
    );
    assert_eq!(
        refused("\n[[policy]]\npartitions = 2\n"),
        "t.toml:2:1: missing field `names`\n  |\n2 | [[policy]]\n  | ^^^^^^^^^^"
    );
    let said = refused("node = \"a\ncores = 1\n");
    assert!(said.starts_with("t.toml:1:") && said.contains("\n1 | node = \"a\n"), "{said}");
}

#[test]
fn numbers_out_of_bounds_have_a_place() {
    assert_eq!(
        refused("[limits]\nmembers_max = 0 # nobody\n"),
        "t.toml:2:15: limits.members_max: must be 1 to 1000000, not 0\n  \
         |\n2 | members_max = 0 # nobody\n  |               ^"
    );
    assert_eq!(
        refused("[[policy]]\nnames = \"a\"\n[[policy]]\nnames = \"b\"\npartitions = 17\n"),
        "t.toml:5:14: policy[1].partitions: must be 1 to 16, not 17\n  \
         |\n5 | partitions = 17\n  |              ^^"
    );
}

#[test]
fn values_that_do_not_go_together_have_the_place_of_the_one_that_was_set() {
    let rule = "limits.producer_window: at least in_flight_max, 2048: a client repeats so many after \
                its connection was cut";
    assert_eq!(
        refused("[limits]\nin_flight_max = 2048\n"),
        format!("t.toml:2:17: {rule}\n  |\n2 | in_flight_max = 2048\n  |                 ^^^^")
    );
    let by_variable = read("", &[("TIDEWIRE_LIMITS_IN_FLIGHT_MAX", "2048")], Vec::new());
    assert_eq!(by_variable.err().unwrap(), format!("TIDEWIRE_LIMITS_IN_FLIGHT_MAX=2048: {rule}"));
    assert_eq!(
        refused("[[policy]]\nnames = \"a\"\nack = \"disk\"\n"),
        "t.toml:3:7: policy[0].ack: what is in memory is not acknowledged from disk: set durability\n  \
         |\n3 | ack = \"disk\"\n  |       ^^^^^^"
    );
    assert_eq!(
        refused("[[policy]]\nnames = \"a\"\ndurability = \"disk\"\n"),
        "t.toml:3:14: policy[0].durability: \"disk\" needs a data directory: --data-dir, \
         TIDEWIRE_DATA_DIR or data_dir\n  |\n3 | durability = \"disk\"\n  |              ^^^^^^"
    );
    assert_eq!(
        refused("[auth]\njwks_issuer = \"a\"\n"),
        "t.toml:2:15: auth.jwks_issuer: is for jwks_file, which is not there\n  \
         |\n2 | jwks_issuer = \"a\"\n  |               ^^^"
    );
    let exposed = "listen: another address than loopback needs accounts ([auth]), or insecure = true, \
                   with which everybody who reaches it may do everything";
    let listen = flag("--listen", "listen", "0.0.0.0:1");
    let said = read("", &[], vec![listen]).err().unwrap();
    assert_eq!(said, format!("--listen 0.0.0.0:1: {exposed}"));
}

#[test]
fn what_only_accounts_can_tell_has_a_place_too() {
    let text = "[auth]\n[[auth.role]]\nname = \"a\"\nrules = [{ names = \"a..b\", allow = [] }]\n";
    let loaded = read(text, &[], Vec::new()).unwrap();
    let error = crate::auth::Auth::load(&loaded.config.auth).err().unwrap();
    let said = loaded.placed(error.into()).to_string();
    let (line, rest) = said.split_once('\n').unwrap();
    assert!(line.contains("t.toml:4:10: auth.role[0].rules[0]: "), "{said}");
    assert!(rest.contains("\n4 | rules = [{ names") && rest.ends_with('^'), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_said_in_one_line() {
    let error = Loaded::read(Some(Path::new("/nowhere.toml")), [], Vec::new()).err().unwrap();
    let said = error.to_string();
    assert!(said.starts_with("cannot read configuration /nowhere.toml: "), "{said}");
    assert_eq!(error.in_one_line(), said);
}
