//! Certificates of clients, from one handshake to the next.

use std::io::{Read, Write};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

use super::*;

/// Who issues certificates to clients.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// The settings of a client with a certificate of this CA, which keeps its sessions.
    fn client(&self, server: &Tls) -> Arc<ClientConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut roots = RootCertStore::empty();
        for certificate in &server.resolver.0.load().certified.cert {
            roots.add(certificate.clone()).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key.into());
        Arc::new(config.unwrap())
    }
}

/// Shakes hands with the newest settings, tickets and a byte of each side included.
fn shake_hands(
    server: &Tls,
    client: &Arc<ClientConfig>,
) -> Result<ServerConnection, rustls::Error> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&server.settings().tcp)).unwrap();
    for round in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        if !client.is_handshaking() && !server.is_handshaking() && round > 4 {
            return Ok(server);
        }
        if !client.is_handshaking() {
            client.writer().write_all(b".").unwrap();
        }
        drop(server.reader().read(&mut [0; 16]));
    }
    panic!("the handshake does not end");
}

#[test]
fn a_resumed_session_has_its_certificate_until_others_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.pem");
    let (first, second) = (Ca::new(), Ca::new());
    std::fs::write(&file, &first.pem).unwrap();
    let tls = TlsConfig { client_ca: Some(file.clone()), ..TlsConfig::default() };
    let server = Tls::load(&Config { tls, ..Config::default() }).unwrap();
    let client = first.client(&server);
    let full = shake_hands(&server, &client).unwrap();
    assert_eq!(full.handshake_kind(), Some(HandshakeKind::Full));
    let shown = full.peer_certificates().unwrap().to_vec();
    let resumed = shake_hands(&server, &client).unwrap();
    assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(resumed.peer_certificates(), Some(shown.as_slice()));

    let roots = server.settings().roots;
    let certificate = ClientCertificate::read(&shown, roots).unwrap();
    server.check_client(&certificate).unwrap();
    server.reload().unwrap();
    assert_eq!(server.settings().roots, roots, "the same again changes nothing");
    assert!(!server.is_outdated());

    // Both are trusted, then the second one only.
    std::fs::write(&file, format!("{}{}", first.pem, second.pem)).unwrap();
    server.reload().unwrap();
    assert_eq!(server.settings().roots, roots + 1);
    server.check_client(&certificate).unwrap();
    let again = shake_hands(&server, &client).unwrap();
    assert_eq!(again.handshake_kind(), Some(HandshakeKind::Full));
    std::fs::write(&file, &second.pem).unwrap();
    server.reload().unwrap();
    assert!(shake_hands(&server, &client).is_err());
    shake_hands(&server, &second.client(&server)).unwrap();
    let refusal = server.check_client(&certificate).unwrap_err();
    assert!(refusal.message.contains("is not trusted"), "{refusal:?}");

    // What is no certificate changes nothing.
    std::fs::write(&file, "no certificate").unwrap();
    let error = server.reload().unwrap_err().to_string();
    assert!(error.contains("tls.client_ca"), "{error}");
    assert_eq!(server.settings().roots, roots + 2);
}
