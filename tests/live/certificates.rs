//! The certificate, while the server runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_client::{Client, Error, Trust};

use crate::daemon::{Daemon, PATIENCE, Via};

/// Writes a new certificate and its key; returns the certificate's SHA-256.
fn write(folder: &Path) -> [u8; 32] {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(names.to_vec()).unwrap().self_signed(&key).unwrap();
    for (name, content) in [("tls.key", key.serialize_pem()), ("tls.crt", certificate.pem())] {
        // As a renewal does it: the file is there as a whole or not at all.
        let beside = folder.join(format!("{name}.new"));
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(&beside, folder.join(name)).unwrap();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
    digest.as_ref().try_into().unwrap()
}

async fn connect(daemon: &Daemon, via: Via, sha256: [u8; 32]) -> Result<Client, Error> {
    let builder = Client::builder(&daemon.url(via)).unwrap().trust(Trust::Fingerprint(sha256));
    builder.reconnect(false).connect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart_and_nobody_is_cut_off() {
    let files = Arc::new(tempfile::tempdir().unwrap());
    let first = write(files.path());
    let (certificate, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
    let config = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    let daemon = Daemon::start_in(Arc::clone(&files), &config);
    let mut before = Vec::new();
    for via in [Via::Wss, Via::Quic] {
        before.push(connect(&daemon, via, first).await.unwrap());
    }
    // By the files alone, and by a signal at once.
    for signal in [None, Some("-HUP")] {
        let second = write(files.path());
        if let Some(signal) = signal {
            daemon.signal(signal);
        }
        let began = Instant::now();
        for via in [Via::Wss, Via::Quic] {
            while connect(&daemon, via, second).await.is_err() {
                assert!(began.elapsed() < PATIENCE, "{via:?} still shows the old one");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let old = connect(&daemon, via, first).await.err().unwrap();
            assert!(matches!(old, Error::Untrusted { .. }), "{old}");
        }
        for client in &before {
            client.ping().await.unwrap();
        }
    }
    // One that cannot be used changes nothing.
    let third = write(files.path());
    let began = Instant::now();
    while connect(&daemon, Via::Wss, third).await.is_err() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(&key, "no key").unwrap();
    daemon.signal("-HUP");
    let began = Instant::now();
    while !daemon.get("/v1/status").contains("\"reloads_rejected\":1") {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connect(&daemon, Via::Wss, third).await.unwrap();
    for client in &before {
        client.ping().await.unwrap();
    }
}
