//! Clients that show a certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tidewire_client::{Client, ConnectionState, Error, ErrorCode};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::daemon::{Daemon, PATIENCE, Via, tidewire};
use crate::webhook;
use crate::webhook::application::Application;

const BOTH: [Via; 2] = [Via::Wss, Via::Quic];
const SHOP: &str = "spiffe://example/shop";

/// Who issues certificates, into a folder.
struct Ca {
    folder: PathBuf,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(folder: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { folder: folder.to_owned(), pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with this URI in it, valid for so many seconds, and its key.
    fn issue(&self, file: &str, uri: &str, valid_s: i64) -> [PathBuf; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["till.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(valid_s);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = ["crt", "key"].map(|kind| self.folder.join(format!("{file}.{kind}")));
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        files
    }
}

/// A daemon that trusts a CA.
struct Shop {
    files: Arc<tempfile::TempDir>,
    ca: Ca,
    daemon: Daemon,
}

impl Shop {
    fn start() -> Self {
        Self::start_with(|_files| String::new())
    }

    /// The same, with more in front of its configuration.
    fn start_with(more: impl Fn(&Path) -> String) -> Self {
        let files = Arc::new(tempfile::tempdir().unwrap());
        let ca = Ca::new(files.path());
        std::fs::write(files.path().join("clients.pem"), &ca.pem).unwrap();
        let secret = "the secret of these tests, longer than 32 bytes";
        std::fs::write(files.path().join("secret"), secret).unwrap();
        let config = more(files.path()) + &Self::config(files.path(), SHOP);
        let daemon = Daemon::start_in(Arc::clone(&files), &config);
        Self { files, ca, daemon }
    }

    fn config(files: &Path, name: &str) -> String {
        let (clients, secret) = (files.join("clients.pem"), files.join("secret"));
        format!(
            "[tls]\nclient_ca = {clients:?}\n\
             [[auth.certificate]]\nname = {name:?}\nsubject = \"shop\"\nroles = [\"backend\"]\n\
             [[auth.token_key]]\nalgorithm = \"HS256\"\nfile = {secret:?}\n\
             [[auth.role]]\nname = \"backend\"\n\
             rules = [{{ names = \"{{identity}}.>\", allow = [\"publish\"] }}]\n"
        )
    }

    async fn connect(
        &self,
        via: Via,
        [certificate, key]: &[PathBuf; 2],
        token: Option<&str>,
    ) -> Result<Client, Error> {
        let builder =
            self.daemon.builder(via).reconnect(false).client_certificate(certificate, key);
        match token {
            Some(token) => builder.token(token).connect().await,
            None => builder.connect().await,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

async fn ends(client: &Client, says: &str) {
    let is_over = |state: &ConnectionState| {
        matches!(state, ConnectionState::Disconnected { .. } | ConnectionState::Failed { .. })
    };
    let mut states = client.states();
    let state = timeout(PATIENCE, states.wait_for(is_over)).await;
    let state = format!("{:?}", state.unwrap().unwrap());
    assert!(state.contains(says), "{state}");
}

fn subject(client: &Client) -> String {
    client.server_info().identity.unwrap().subject
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_somebody_and_a_token_stands_over_it() {
    let shop = Shop::start();
    let own = shop.ca.issue("own", SHOP, 3_600);
    let other = shop.ca.issue("other", "spiffe://example/other", 3_600);
    let sign = ["auth", "token", "--algorithm", "HS256", "--subject", "ann", "--role", "backend"];
    let token = tidewire().args(sign).arg("--key-file").arg(shop.file("secret")).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    for via in BOTH {
        let client = shop.connect(via, &own, None).await.unwrap();
        assert_eq!(subject(&client), "shop");
        client.publish("shop.a", "x").await.unwrap();
        let refused = client.publish("till.a", "x").await.unwrap_err();
        assert_eq!(refused.code(), "forbidden");
        let ann = shop.connect(via, &own, Some(token.trim())).await.unwrap();
        assert_eq!(subject(&ann), "ann");
        let nonsense = shop.connect(via, &own, Some("nonsense")).await.unwrap_err();
        assert_eq!(nonsense.code(), "unauthenticated");
        // Who it is does not change on a connection.
        let refused = client.authenticate(token.trim()).await.unwrap_err();
        assert_eq!(refused.refusal().unwrap().code, ErrorCode::Forbidden, "{refused}");

        let nobody = shop.connect(via, &other, None).await.unwrap_err().to_string();
        assert!(
            nobody.contains("'spiffe://example/other'") && nobody.contains("'till.example'"),
            "{nobody}"
        );
        let nobody = shop.daemon.connect_as(via, None).await.unwrap_err();
        assert_eq!(nobody.code(), "unauthenticated", "a certificate need not be shown");
    }
    let plain = shop.daemon.builder(Via::Ws).client_certificate(&own[0], &own[1]).connect().await;
    assert_eq!(plain.unwrap_err().code(), "invalid_configuration");

    // The command line says the same, with a server and without one.
    let url = shop.daemon.url(Via::Wss);
    let ca = shop.daemon.data_dir().join("self-signed.crt");
    let mut publish = tidewire();
    publish.args(["pub", "shop.a", "x", "--url", &url, "--ca"]).arg(ca);
    publish.arg("--client-cert").arg(&own[0]).arg("--client-key").arg(&own[1]);
    let published = publish.output().unwrap();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    let check = |certificate: &Path| {
        let config = shop.file("tidewire.toml");
        let mut check = tidewire();
        check.args(["auth", "check", "--config"]).arg(config).arg("--certificate").arg(certificate);
        let output = check.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(check(&own[0]).contains("subject  shop"), "{}", check(&own[0]));
    assert!(check(&other[0]).contains("no account ([[auth.certificate]])"));
    let stranger = Ca::new(shop.files.path()).issue("stranger", SHOP, 3_600);
    assert!(check(&stranger[0]).contains("the handshake would fail"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_verify_ends_the_handshake() {
    let shop = Shop::start();
    let stranger = Ca::new(shop.files.path()).issue("stranger", SHOP, 3_600);
    let expired = shop.ca.issue("expired", SHOP, -60);
    for via in BOTH {
        for files in [&stranger, &expired] {
            let error = shop.connect(via, files, None).await.unwrap_err();
            assert!(error.refusal().is_none(), "{via:?} {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_certificate() {
    let shop = Shop::start();
    for via in BOTH {
        let brief = shop.ca.issue("brief", SHOP, 4);
        let client = shop.connect(via, &brief, None).await.unwrap();
        assert!(client.server_info().identity.unwrap().expires_at_ms.is_some());
        ends(&client, "has expired").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_named_or_not_trusted_any_more_has_to_go() {
    let shop = Shop::start();
    let own = shop.ca.issue("own", SHOP, 3_600);
    let mut clients = Vec::new();
    for via in BOTH {
        clients.push(shop.connect(via, &own, None).await.unwrap());
    }
    // Another account has the name now.
    let config = Shop::config(shop.files.path(), "spiffe://example/other");
    std::fs::write(shop.file("tidewire.toml"), config).unwrap();
    shop.daemon.signal("-HUP");
    for client in &clients {
        ends(client, "no account ([[auth.certificate]])").await;
    }
    let config = Shop::config(shop.files.path(), "TILL.example");
    std::fs::write(shop.file("tidewire.toml"), config).unwrap();
    shop.daemon.signal("-HUP");
    let began = Instant::now();
    while let Err(error) = shop.connect(Via::Quic, &own, None).await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // By the file alone: another CA is trusted.
    let mut clients = Vec::new();
    for via in BOTH {
        clients.push(shop.connect(via, &own, None).await.unwrap());
    }
    let second = Ca::new(shop.files.path());
    let beside = shop.file("clients.new");
    std::fs::write(&beside, &second.pem).unwrap();
    std::fs::rename(&beside, shop.file("clients.pem")).unwrap();
    for client in &clients {
        ends(client, "not trusted any more").await;
    }
    let renewed = second.issue("renewed", SHOP, 3_600);
    for via in BOTH {
        assert!(shop.connect(via, &own, None).await.is_err());
        assert_eq!(subject(&shop.connect(via, &renewed, None).await.unwrap()), "shop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_nobodys_makes_nobody_of_its_owner() {
    let application = Application::start().await;
    let shop = Shop::start_with(|files| {
        let open = "[auth]\nanonymous_roles = ['open']\n[[auth.role]]\nname = 'open'\n\
                    rules = [{ names = '>', allow = ['publish'] }]\n";
        format!("{open}{}remember_ms = 0\n", webhook::section(&application, files))
    });
    let stranger = shop.ca.issue("stranger", "spiffe://example/stranger", 600);
    let secret = shop.file("secret");
    let sign = ["auth", "token", "--algorithm", "HS256", "--subject", "mallory", "--allow"];
    let signed = tidewire().args(sign).arg("publish:>").arg("--key-file").arg(secret).output();
    let mallory = String::from_utf8(signed.unwrap().stdout).unwrap();
    for via in BOTH {
        let client = shop.connect(via, &stranger, None).await.unwrap();
        client.publish("a", "x").await.unwrap();
        let refused = client.authenticate(mallory.trim()).await.unwrap_err();
        let refusal = refused.refusal().unwrap();
        assert_eq!(refusal.code, ErrorCode::Forbidden);
        assert!(refusal.message.starts_with("'mallory' may not connect: "), "{refusal:?}");
        assert_eq!(application.asked(), ["connect - -", "publish a -", "connect - mallory"]);
    }
}
