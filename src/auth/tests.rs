use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tidewire_core::access::Operation;
use tidewire_protocol::Name;

use super::*;
use crate::config::{ApiKeyConfig, CertificateConfig, RoleConfig, TokenKeyConfig};

/// The time of these tests, and a token's hour.
const NOW_S: u64 = 1_790_000_000;
const NOW_MS: u64 = NOW_S * 1000;

struct Keys {
    folder: tempfile::TempDir,
    private: Vec<(Algorithm, Vec<u8>)>,
}

impl Keys {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
        let rsa =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let pairs = [
            (Algorithm::EdDsa, pair(&rcgen::PKCS_ED25519)),
            (Algorithm::Es256, pair(&rcgen::PKCS_ECDSA_P256_SHA256)),
            (Algorithm::Rs256, rsa.unwrap()),
        ];
        let mut private = Vec::new();
        for (algorithm, pair) in pairs {
            let file = folder.path().join(algorithm.as_str());
            std::fs::write(file, pair.public_key_pem()).unwrap();
            private.push((algorithm, pair.serialize_pem().into_bytes()));
        }
        let secret = b"a secret of more than 32 bytes, as it should be\n".to_vec();
        std::fs::write(folder.path().join("HS256"), &secret).unwrap();
        // The line's end is no part of it.
        private.push((Algorithm::Hs256, secret.trim_ascii_end().to_vec()));
        Self { folder, private }
    }

    fn file(&self, algorithm: Algorithm) -> PathBuf {
        self.folder.path().join(algorithm.as_str())
    }

    fn sign(&self, algorithm: Algorithm, key_id: Option<&str>, claims: Claims) -> String {
        let (_, key) = self.private.iter().find(|(known, _)| *known == algorithm).unwrap();
        let key_id = key_id.map(str::to_owned);
        issue(&Issue { algorithm, key, key_id, claims }).unwrap()
    }

    /// Accounts with one key for each of these algorithms, whose id is the algorithm's name.
    fn auth(&self, algorithms: &[Algorithm]) -> Auth {
        Auth::load(&self.config(algorithms)).unwrap()
    }

    fn config(&self, algorithms: &[Algorithm]) -> AuthConfig {
        let key = |algorithm: &Algorithm| TokenKeyConfig {
            id: Some(algorithm.as_str().to_owned()),
            algorithm: *algorithm,
            file: self.file(*algorithm),
            issuer: None,
            roles: None,
            may_bring_rules: true,
            tenant: None,
        };
        let rules = vec![
            grant("secret.>", &[]),
            grant("user.{identity}.>", &["publish", "subscribe"]),
            grant("poll.>", &["subscribe", "vote"]),
        ];
        let role = |name: &str, rules, acts_for_others| RoleConfig {
            name: name.to_owned(),
            acts_for_others,
            rules,
        };
        AuthConfig {
            token_key: algorithms.iter().map(key).collect(),
            role: vec![
                role("viewer", rules, false),
                role("backend", vec![grant(">", &["publish", "admin", "vote"])], true),
            ],
            ..AuthConfig::default()
        }
    }
}

fn grant(names: &str, allow: &[&str]) -> Grant {
    let allow = allow.iter().map(|operation| (*operation).to_owned()).collect();
    Grant { names: names.to_owned(), allow }
}

fn claims() -> Claims {
    Claims {
        sub: "ann".to_owned(),
        exp: NOW_S + 3600,
        roles: vec!["viewer".to_owned()],
        ..Claims::default()
    }
}

fn authenticate(auth: &Auth, shown: &str) -> Result<Option<Proven>, Refusal> {
    auth.authenticate(&Credential::of(Some(shown), None), NOW_MS)
}

fn refused(auth: &Auth, token: &str) -> String {
    let refusal = authenticate(auth, token).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Unauthenticated);
    refusal.message
}

const ALL: [Algorithm; 4] =
    [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256];

#[test]
fn tokens_of_every_algorithm_are_taken_and_say_who_it_is() {
    let keys = Keys::make();
    let auth = keys.auth(&ALL);
    for algorithm in ALL {
        let token = keys.sign(algorithm, Some(algorithm.as_str()), claims());
        let proven = authenticate(&auth, &token).unwrap().unwrap();
        assert_eq!(&*proven.identity.subject, "ann");
        assert_eq!(&*proven.identity.issuer, LOCAL_ISSUER);
        assert_eq!(proven.expires_at_ms, Some((NOW_S + 3600) * 1000 + 5_000));
        let access = auth.access(&proven).unwrap();
        let may = |operation, name: &str| {
            access.permissions.explain(operation, &Name::parse(name).unwrap()).is_allowed
        };
        assert!(may(Operation::Publish, "user.ann.inbox"));
        assert!(!may(Operation::Publish, "user.bob.inbox"));
        assert!(!may(Operation::Subscribe, "secret.a"));
        assert!(!access.permissions.lists[0].acts_for_others);
    }
}

/// The parts of a token, as JSON and bytes.
fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut json =
        || serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap();
    let (header, claims) = (json(), json());
    (header, claims, parts.next().unwrap().to_owned())
}

fn joined(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn no_token_is_taken_without_its_own_keys_signature() {
    let keys = Keys::make();
    let auth = keys.auth(&[Algorithm::EdDsa, Algorithm::Rs256]);
    let token = keys.sign(Algorithm::EdDsa, Some("EdDSA"), claims());
    let (header, said, signature) = parts(&token);
    assert!(authenticate(&auth, &token).is_ok());

    let mut other = said.clone();
    other["sub"] = "bob".into();
    assert!(refused(&auth, &joined(&header, &other, &signature)).contains("signature is wrong"));
    for alg in ["none", "None", "nOnE", "", "HS256", "RS256", "ES256", "PS256"] {
        for signature in ["", signature.as_str()] {
            let mut header = header.clone();
            header["alg"] = alg.into();
            let message = refused(&auth, &joined(&header, &said, signature));
            assert!(
                message.contains("cannot be read") || message.contains("for EdDSA only"),
                "{alg}: {message}"
            );
        }
    }
    // The public key, which everybody has, taken for a secret.
    let public = std::fs::read(keys.file(Algorithm::Rs256)).unwrap();
    let key_id = Some("RS256".to_owned());
    let confused = Issue { algorithm: Algorithm::Hs256, key: &public, key_id, claims: claims() };
    assert!(refused(&auth, &issue(&confused).unwrap()).contains("for RS256 only"));
    // Another's key.
    let token = Keys::make().sign(Algorithm::EdDsa, Some("EdDSA"), claims());
    assert!(refused(&auth, &token).contains("signature is wrong"));
    let token = keys.sign(Algorithm::EdDsa, Some("gone"), claims());
    assert!(refused(&auth, &token).contains("'gone' is not known"));
    let token = keys.sign(Algorithm::EdDsa, None, claims());
    assert!(refused(&auth, &token).contains("does not name its key"));
    // A key that the token brings itself is not looked at.
    let mut header = header;
    header["jwk"] = json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" });
    assert!(refused(&auth, &joined(&header, &said, &signature)).contains("signature"));
    for garbage in ["a", "a.b", "a.b.c", "....", "\u{0}", &"x".repeat(20_000)] {
        refused(&auth, garbage);
    }
}

#[test]
fn claims_that_do_not_hold_are_refused() {
    let keys = Keys::make();
    let config =
        AuthConfig { audience: Some("tidewire".to_owned()), ..keys.config(&[Algorithm::EdDsa]) };
    let auth = Auth::load(&config).unwrap();
    let with = |change: &dyn Fn(&mut Claims)| {
        let mut claims = Claims { aud: Some("tidewire".to_owned()), ..claims() };
        change(&mut claims);
        keys.sign(Algorithm::EdDsa, Some("EdDSA"), claims)
    };
    assert!(authenticate(&auth, &with(&|_| ())).is_ok());
    let expired = refused(&auth, &with(&|claims| claims.exp = NOW_S - 5));
    assert_eq!(expired, "the token has expired, 5 s ago");
    assert!(authenticate(&auth, &with(&|claims| claims.exp = NOW_S - 4)).is_ok());
    let early = refused(&auth, &with(&|claims| claims.nbf = Some(NOW_S + 60)));
    assert_eq!(early, "the token is not valid yet, for another 60 s");
    assert!(refused(&auth, &with(&|claims| claims.aud = None)).contains("'aud'"));
    let other = with(&|claims| claims.aud = Some("another".to_owned()));
    assert!(refused(&auth, &other).contains("somebody else"));
    assert!(refused(&auth, &with(&|claims| claims.sub = String::new())).contains("'sub'"));
    assert!(refused(&auth, &with(&|claims| claims.sub = "x".repeat(257))).contains("'sub'"));
    let unknown = with(&|claims| claims.roles = vec!["root".to_owned()]);
    let proven = authenticate(&auth, &unknown).unwrap().unwrap();
    assert!(auth.access(&proven).unwrap_err().message.contains("no role 'root'"));
    for bad in [grant("a..b", &["publish"]), grant("a", &["fly"]), grant("a{identity}", &[])] {
        let token = with(&|claims| claims.permissions = vec![bad.clone()]);
        let proven = authenticate(&auth, &token).unwrap().unwrap();
        assert!(auth.access(&proven).unwrap_err().message.starts_with("rule 1 of the token"));
    }
}

#[test]
fn a_key_speaks_for_its_issuer_only() {
    let keys = Keys::make();
    let mut config = keys.config(&[Algorithm::EdDsa, Algorithm::Es256]);
    config.token_key[0].issuer = Some("https://id.example".to_owned());
    let auth = Auth::load(&config).unwrap();
    let by = |algorithm: Algorithm, iss: Option<&str>| {
        let claims = Claims { iss: iss.map(str::to_owned), ..claims() };
        keys.sign(algorithm, Some(algorithm.as_str()), claims)
    };
    let token = by(Algorithm::EdDsa, Some("https://id.example"));
    let proven = authenticate(&auth, &token).unwrap().unwrap();
    assert_eq!(&*proven.identity.issuer, "https://id.example");
    for iss in [None, Some("https://evil.example"), Some("local")] {
        assert!(refused(&auth, &by(Algorithm::EdDsa, iss)).contains("only"));
    }
    // Who may speak for nobody else cannot claim to.
    let token = by(Algorithm::Es256, Some("https://id.example"));
    let proven = authenticate(&auth, &token).unwrap().unwrap();
    assert_eq!(&*proven.identity.issuer, LOCAL_ISSUER);
}

#[test]
fn an_api_key_is_known_by_its_hash() {
    let (key, sha256) = made().unwrap();
    assert_eq!(hash_of(&key).as_deref(), Some(sha256.as_str()));
    assert_eq!(hash_of(&key[..40]), None);
    let keys = Keys::make();
    let api_key = ApiKeyConfig {
        name: "shop".to_owned(),
        sha256: sha256.to_uppercase(),
        issuer: None,
        roles: vec!["backend".to_owned()],
        tenant: None,
    };
    let config = AuthConfig { api_key: vec![api_key], ..keys.config(&[]) };
    let auth = Auth::load(&config).unwrap();
    let proven = authenticate(&auth, &key).unwrap().unwrap();
    assert_eq!((&*proven.identity.subject, proven.expires_at_ms), ("shop", None));
    assert!(auth.access(&proven).unwrap().permissions.lists[0].acts_for_others);
    assert!(refused(&auth, &made().unwrap().0).contains("not known"));
    assert!(authenticate(&auth, "").unwrap_err().message.contains("token is needed"));
    // Without it the connection is not known any more.
    let without = Auth::load(&keys.config(&[Algorithm::EdDsa])).unwrap();
    assert!(authenticate(&without, &key).is_err());

    let mut bad = config.clone();
    bad.api_key[0].roles = vec!["root".to_owned()];
    let error = Auth::load(&bad).unwrap_err().to_string();
    assert!(
        error.contains("auth.api_key[0].roles") && error.contains("viewer, backend"),
        "{error}"
    );
    let mut bad = config;
    bad.api_key[0].sha256.pop();
    assert!(Auth::load(&bad).unwrap_err().to_string().contains("64 hexadecimal"));
}

#[test]
fn a_key_confines_whoever_it_lets_in_to_its_tenant() {
    let keys = Keys::make();
    let (key, sha256) = made().unwrap();
    let api_key = ApiKeyConfig {
        name: "shop".to_owned(),
        sha256,
        issuer: None,
        roles: vec!["backend".to_owned()],
        tenant: Some("globex".to_owned()),
    };
    let mut config =
        AuthConfig { api_key: vec![api_key], ..keys.config(&[Algorithm::EdDsa, Algorithm::Es256]) };
    config.token_key[0].tenant = Some("acme".to_owned());
    let auth = Auth::load(&config).unwrap();
    // It claims all that a token can.
    let claims = Claims {
        roles: vec!["backend".to_owned()],
        permissions: vec![grant(">", &["publish", "subscribe", "admin"])],
        ..claims()
    };
    let acme = keys.sign(Algorithm::EdDsa, Some("EdDSA"), claims.clone());
    let of_none = keys.sign(Algorithm::Es256, Some("ES256"), claims);
    let may = |shown: &str, name: &str| {
        let proven = authenticate(&auth, shown).unwrap().unwrap();
        let access = auth.access(&proven).unwrap();
        access.permissions.explain(Operation::Publish, &Name::parse(name).unwrap()).is_allowed
    };
    assert!(may(&acme, "acme.orders") && !may(&acme, "globex.orders") && !may(&acme, "acme"));
    assert!(may(&key, "globex.orders") && !may(&key, "acme.orders") && !may(&key, "other"));
    assert!(may(&of_none, "acme.orders") && may(&of_none, "globex.orders"));
    config.api_key[0].tenant = Some("a.>".to_owned());
    let error = Auth::load(&config).unwrap_err().to_string();
    assert!(error.contains("auth.api_key[0].tenant"), "{error}");
}

#[test]
fn who_shows_nothing_is_anonymous_where_that_is_allowed() {
    let keys = Keys::make();
    let config = AuthConfig {
        anonymous_roles: Some(vec!["viewer".to_owned()]),
        ..keys.config(&[Algorithm::EdDsa])
    };
    let auth = Auth::load(&config).unwrap();
    let proven = authenticate(&auth, "").unwrap().unwrap();
    let access = auth.access(&proven).unwrap();
    let may = |operation, name: &str| {
        access.permissions.explain(operation, &Name::parse(name).unwrap()).is_allowed
    };
    assert!(may(Operation::Subscribe, "poll.a"));
    assert!(!may(Operation::Publish, "user.anonymous.inbox"), "it is nobody's name");
    let nobody = Auth::load(&AuthConfig::default()).unwrap();
    assert_eq!(authenticate(&nobody, "").unwrap(), None);
    assert!(!nobody.has_accounts());
}

#[test]
fn the_keys_of_a_set_are_those_for_signatures_with_an_algorithm() {
    let keys = Keys::make();
    let token = keys.sign(Algorithm::EdDsa, Some("ed"), claims());
    let public = std::fs::read_to_string(keys.file(Algorithm::EdDsa)).unwrap();
    let der: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    let x = URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
    let secret = URL_SAFE_NO_PAD.encode([7; 32]);
    let path: &Path = &keys.folder.path().join("jwks");
    let load = |set: Value| {
        std::fs::write(path, set.to_string()).unwrap();
        let jwks_file = Some(path.to_owned());
        Auth::load(&AuthConfig { jwks_file, ..keys.config(&[]) })
    };
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "ed", "x": x });
    let symmetric = json!({ "kty": "oct", "alg": "HS256", "kid": "s", "k": secret });
    let auth = load(json!({ "keys": [ed, symmetric] })).unwrap();
    assert!(authenticate(&auth, &token).is_ok());
    let secret = Issue {
        algorithm: Algorithm::Hs256,
        key: &[7; 32],
        key_id: Some("s".to_owned()),
        claims: claims(),
    };
    assert!(refused(&auth, &issue(&secret).unwrap()).contains("'s' is not known"));

    let mut nameless = ed.clone();
    nameless.as_object_mut().unwrap().remove("alg");
    let error = load(json!({ "keys": [nameless] })).unwrap_err().to_string();
    assert!(error.contains("holds no key for signatures"), "{error}");
    assert!(load(json!({ "keys": [ed, ed] })).unwrap_err().to_string().contains("two keys"));
    assert!(load(json!([])).unwrap_err().to_string().contains("no JSON Web Key Set"));
}

#[test]
fn keys_that_are_none_are_refused_with_their_place() {
    let keys = Keys::make();
    let mut config = keys.config(&[Algorithm::EdDsa]);
    config.token_key[0].algorithm = Algorithm::Rs256;
    let error = Auth::load(&config).unwrap_err().to_string();
    assert!(error.contains("auth.token_key[0].file") && error.contains("RS256"), "{error}");
    config.token_key[0].file = "/nowhere".into();
    assert!(Auth::load(&config).unwrap_err().to_string().contains("cannot read /nowhere"));
    let short = keys.folder.path().join("short");
    std::fs::write(&short, "too short\n").unwrap();
    let key = &mut config.token_key[0];
    (key.id, key.algorithm, key.file) = (None, Algorithm::Hs256, short);
    assert!(Auth::load(&config).unwrap_err().to_string().contains("at least 32 bytes"));
    let mut config = keys.config(&[]);
    config.role[1].name = "viewer".to_owned();
    assert!(Auth::load(&config).unwrap_err().to_string().contains("auth.role[1].name"));
}

#[test]
fn a_key_gives_no_more_than_it_is_trusted_with() {
    let keys = Keys::make();
    let mut config = keys.config(&[Algorithm::EdDsa, Algorithm::Es256]);
    config.token_key[0].roles = Some(vec!["viewer".to_owned()]);
    config.token_key[0].may_bring_rules = false;
    let auth = Auth::load(&config).unwrap();
    let by = |algorithm: Algorithm, roles: &[&str], permissions: Vec<Grant>| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let claims = Claims { roles, permissions, ..claims() };
        keys.sign(algorithm, Some(algorithm.as_str()), claims)
    };
    let (own, both) = (vec![grant("a", &["publish"])], ["viewer", "backend"]);
    assert!(authenticate(&auth, &by(Algorithm::EdDsa, &["viewer"], vec![])).is_ok());
    assert!(authenticate(&auth, &by(Algorithm::EdDsa, &[], vec![])).is_ok());
    let message = refused(&auth, &by(Algorithm::EdDsa, &both, vec![]));
    assert_eq!(message, "the token's key may not give role 'backend'");
    assert!(refused(&auth, &by(Algorithm::EdDsa, &[], own.clone())).contains("may not"));
    assert!(authenticate(&auth, &by(Algorithm::Es256, &both, own)).is_ok());
    config.token_key[0].roles = Some(vec!["root".to_owned()]);
    let error = Auth::load(&config).unwrap_err().to_string();
    assert!(error.contains("auth.token_key[0].roles"), "{error}");
}

#[test]
fn a_certificate_is_of_the_account_that_it_names() {
    let keys = Keys::make();
    let account = |name: &str, subject: Option<&str>, role: &str| CertificateConfig {
        name: name.to_owned(),
        subject: subject.map(str::to_owned),
        issuer: None,
        roles: vec![role.to_owned()],
        tenant: None,
    };
    let certificate = vec![
        account("spiffe://example/shop", Some("shop"), "backend"),
        account("Till.example", None, "viewer"),
    ];
    let config = AuthConfig { certificate, ..keys.config(&[Algorithm::EdDsa]) };
    let auth = Auth::load(&config).unwrap();
    let until_s = i64::try_from(NOW_S + 60).unwrap();
    let made = |uris: &[&str], dns: &[&str]| Arc::new(certificate::tests::made(uris, dns, until_s));
    let who = |auth: &Auth, token: Option<&str>, shown: &Arc<ClientCertificate>, now_ms| {
        auth.authenticate(&Credential::of(token, Some(shown)), now_ms)
    };
    let shop = made(&["spiffe://example/shop"], &["till.example"]);
    let proven = who(&auth, None, &shop, NOW_MS).unwrap().unwrap();
    assert_eq!((&*proven.identity.subject, &*proven.identity.issuer), ("shop", "local"));
    assert_eq!(proven.expires_at_ms, Some((NOW_S + 60) * 1000));
    assert!(auth.access(&proven).unwrap().permissions.lists[0].acts_for_others);
    let late = who(&auth, None, &shop, (NOW_S + 62) * 1000).unwrap_err();
    assert_eq!(late.message, "the client's certificate has expired, 2 s ago");
    let till = who(&auth, Some(""), &made(&[], &["other", "TILL.example"]), NOW_MS);
    assert_eq!(&*till.unwrap().unwrap().identity.subject, "Till.example");

    // A token stands over it, also one that is none.
    let token = keys.sign(Algorithm::EdDsa, None, claims());
    let proven = who(&auth, Some(&token), &shop, NOW_MS).unwrap().unwrap();
    assert_eq!(&*proven.identity.subject, "ann");
    assert!(who(&auth, Some("nonsense"), &shop, NOW_MS).is_err());

    // Who is not named shows nothing, and is told what it has shown.
    let other = made(&["spiffe://example/shop/2"], &["a.till.example"]);
    let refusal = who(&auth, None, &other, NOW_MS).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Unauthenticated);
    let names = "it has 'spiffe://example/shop/2', 'a.till.example'; a token is needed";
    assert!(refusal.message.contains(names), "{refusal:?}");
    let open = AuthConfig { anonymous_roles: Some(Vec::new()), ..config.clone() };
    let nobody = who(&Auth::load(&open).unwrap(), None, &other, NOW_MS).unwrap().unwrap();
    assert!(!nobody.is_somebody);

    // Without its account a connection is not known any more.
    let without = AuthConfig { certificate: Vec::new(), ..config.clone() };
    assert!(who(&Auth::load(&without).unwrap(), None, &shop, NOW_MS).is_err());
    for (at, bad) in [
        account("*.example", None, "viewer"),
        account("", Some("a"), "viewer"),
        account("a", Some(""), "viewer"),
        account("a", None, "root"),
    ]
    .into_iter()
    .enumerate()
    {
        let bad = AuthConfig { certificate: vec![bad], ..config.clone() };
        let error = Auth::load(&bad).unwrap_err().to_string();
        let key = ["name", "name", "subject", "roles"][at];
        assert!(error.contains(&format!("auth.certificate[0].{key}")), "{error}");
    }
}
