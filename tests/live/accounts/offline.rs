//! What is made, checked and refused before anybody connects.

use super::*;

#[test]
fn api_keys_are_made_checked_and_explained_offline() {
    let made = tidewire().args(["auth", "key", "shop", "--role", "backend"]).output().unwrap();
    let key = out(&made).trim().to_owned();
    let config = err(&made);
    let snippet = config.split_once("[[auth.api_key]]").unwrap().1;
    let accounts =
        Accounts::start(&format!("{ROLES}\n[[auth.api_key]]{snippet}").replace(ROLES, ""));
    assert!(accounts.run(&key, &["pub", "news", "x"]).status.success());
    assert!(!accounts.run("", &["pub", "news", "x"]).status.success());
    let file = accounts.files.path().join("tidewire.toml");
    let file = file.to_str().unwrap();
    let auth = |args: &[&str]| {
        let offline = [&["auth"], args, &["--config", file]].concat();
        tidewire().args(offline).output().unwrap()
    };
    let checked = out(&auth(&["check", "--token", &key]));
    assert!(
        checked.contains("subject  shop")
            && checked.contains("role 'backend' may vote and be present in the name of others"),
        "{checked}"
    );
    let viewer = accounts.viewer();
    let explain =
        |op: &str, name: &str| auth(&["explain", "--token", &viewer, "--op", op, "--name", name]);
    let allowed = out(&explain("publish", "user.ann.inbox"));
    assert_eq!(
        allowed.trim(),
        "allowed: rule 2 of role 'viewer' allows publish, subscribe, history on 'user.ann.>'"
    );
    let denied = explain("publish", "secret.a");
    assert_eq!(denied.status.code(), Some(1));
    let live = accounts.run(&viewer, &["pub", "secret.a", "x"]);
    let sentence =
        "'ann' may not publish 'secret.a': rule 1 of role 'viewer' allows nothing on 'secret.>'";
    assert!(err(&denied).contains(sentence), "{}", err(&denied));
    assert!(err(&live).contains(sentence), "the same as live: {}", err(&live));
    let hashed = tidewire()
        .args(["auth", "hash"])
        .stdin(std::process::Stdio::from(std::fs::File::open(file).unwrap()))
        .output()
        .unwrap();
    assert!(err(&hashed).contains("holds no API key"), "{}", err(&hashed));
}

#[test]
fn nothing_is_open_to_others_by_mistake() {
    let refused = |listen: &str, admin: &str, config: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let path = file.path().to_str().unwrap();
        let args = ["serve", "--config", path, "--listen", listen, "--admin-listen", admin];
        let output = tidewire().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        err(&output)
    };
    let (here, everywhere) = ("127.0.0.1:0", "0.0.0.0:0");
    let said = refused(everywhere, here, "");
    assert!(said.contains("needs accounts ([auth]), or insecure"), "{said}");
    let said = refused(here, everywhere, "");
    assert!(said.contains("admin_listen") && said.contains("keep it on loopback"), "{said}");
    let missing = "[[auth.token_key]]\nalgorithm = \"EdDSA\"\nfile = \"/nowhere\"\n";
    let said = refused(everywhere, here, missing);
    assert!(said.contains("auth.token_key[0].file: cannot read /nowhere"), "{said}");
}
