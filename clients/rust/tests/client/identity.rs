//! A certificate made for one test.

use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self { certificate: cert.der().clone(), key: signing_key, pem: cert.pem() }
    }

    pub(crate) fn server_config(&self, protocol: &[u8]) -> rustls::ServerConfig {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        digest.as_ref().try_into().unwrap()
    }
}
