//! `tidewire demo --lan`: the demo on the network, with TLS and accounts, and a poll in which
//! phones vote.
//!
//! One code is scanned by many, so its token says nothing about who votes: it lets whoever has it
//! vote in one poll, for any voter, and each page names a random voter of its own.

mod qr;

use std::fs::write;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidewire_client::{Error, Name};
use tidewire_protocol::tally::{TallyKind, TallyRules};
use tokio::time::sleep;

use super::connections::Endpoint;
use crate::auth::{Algorithm, Claims, Grant, Issue, issue, made};
use crate::config::{ApiKeyConfig, AuthConfig, Config, RoleConfig, TokenKeyConfig};
use crate::transport::certificate_for;

/// The poll of the guests; `web/vote.js` names it too.
const POLL: &str = "poll.lan";
const POLL_OPTIONS: [&str; 5] = ["Apple", "Banana", "Cherry", "Mango", "Pear"];
/// How long an invitation lasts.
const INVITATION_S: u64 = 3600;
/// When the next one is shown, so that whoever scans the newest code has a while.
pub(super) const INVITED_ANEW: Duration = Duration::from_secs(2700);
/// Voters that guests may make in the poll, if the election does not need more: each takes memory.
const GUESTS_MAX: usize = 1000;
/// Random bytes of the key for tokens.
const SECRET_BYTES: usize = 32;
/// An address of documentation (RFC 5737), which every default route leads to. Nothing is sent there.
const FAR_AWAY: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Who may do what: the demo itself, guests, and everybody.
const DEMO: &str = "demo";
const GUEST: &str = "guest";
const BOARD: &str = "board";

/// What the demo needs to be on the network.
#[derive(Debug)]
pub(super) struct Lan {
    /// Where phones find it.
    address: IpAddr,
    listen: IpAddr,
    certificate: PathBuf,
    key: PathBuf,
    token_key: PathBuf,
    secret: String,
    /// What the demo's own connections show, and what the server holds of it.
    own_key: String,
    own_key_sha256: String,
}

impl Lan {
    /// Finds the address unless one is given, and makes a certificate and keys in this directory.
    ///
    /// # Errors
    /// When there is no address, or a file cannot be written.
    pub(super) fn prepare(listen: IpAddr, directory: &Path) -> Result<Self, String> {
        let address = if listen.is_unspecified() { own_address()? } else { listen };
        let names = ["localhost", "127.0.0.1", &address.to_string()].map(str::to_owned);
        let made_certificate = certificate_for(&names).map_err(|error| error.to_string())?;
        let (certificate_pem, key_pem) =
            (made_certificate.certificate_pem, made_certificate.key_pem);
        let no_randomness = |_unspecified| "the system has no random bytes for keys".to_owned();
        let mut random = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut random).map_err(no_randomness)?;
        let secret = URL_SAFE_NO_PAD.encode(random);
        let (own_key, own_key_sha256) = made().map_err(no_randomness)?;
        let put = |name: &str, text: &str| {
            let path = directory.join(name);
            let written = write(&path, text);
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok::<_, String>(path)
        };
        Ok(Self {
            address,
            listen,
            certificate: put("lan.crt", &certificate_pem)?,
            key: put("lan.key", &key_pem)?,
            token_key: put("token.key", &secret)?,
            secret,
            own_key,
            own_key_sha256,
        })
    }

    /// Puts the server of an election with so many ballots on the network, with accounts; its admin
    /// listener stays where it is.
    pub(super) fn configure(&self, config: &mut Config, ballots: u64) {
        config.listen.set_ip(self.listen);
        config.limits.voters_max = usize::try_from(ballots).unwrap_or(usize::MAX).max(GUESTS_MAX);
        config.tls.certificate = Some(self.certificate.clone());
        config.tls.key = Some(self.key.clone());
        config.auth = AuthConfig {
            anonymous_roles: Some(vec![BOARD.to_owned()]),
            role: roles(),
            token_key: vec![TokenKeyConfig {
                id: None,
                algorithm: Algorithm::Hs256,
                file: self.token_key.clone(),
                issuer: None,
                roles: Some(vec![GUEST.to_owned()]),
                may_bring_rules: false,
                tenant: None,
            }],
            api_key: vec![ApiKeyConfig {
                name: DEMO.to_owned(),
                sha256: self.own_key_sha256.clone(),
                issuer: None,
                roles: vec![DEMO.to_owned()],
                tenant: None,
            }],
            ..AuthConfig::default()
        };
    }

    /// The credential of the demo's own connections.
    pub(super) fn own_key(&self) -> &str {
        &self.own_key
    }

    /// Opens the poll.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub(super) async fn open_poll(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let options = POLL_OPTIONS.map(str::to_owned).to_vec();
        let client = endpoint.websocket("tidewire-demo-poll").await?;
        let poll = Name::parse(POLL).map_err(Error::from)?;
        client.create_tally(&poll, TallyRules::new(TallyKind::Single, options)).await.map(drop)
    }

    /// Says where the page is, and how guests come to vote.
    ///
    /// # Errors
    /// When the token cannot be signed.
    pub(super) fn invite(&self, port: u16, say: impl Fn(&str)) -> Result<(), String> {
        let at = SocketAddr::new(self.address, port);
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let url = format!("https://{at}/vote.html#token={}", self.guest_token(now_s)?);
        say(&format!("Tidewire demo: open https://{at}/ in a browser"));
        say(
            "Vote from a phone in the same network. Its browser will warn of the certificate, which",
        );
        say(
            "the demo made itself. iPhones and iPads refuse the live connection with it all the same.",
        );
        say("Whoever sees this address can vote, for an hour:");
        say(&url);
        // A code is for eyes, and nothing but a terminal shows it to them.
        if std::io::stderr().is_terminal() {
            say(&qr::drawn(&url)?);
        }
        Ok(())
    }

    /// Invites again and again: an invitation ends, and the page stays up. Returns what went wrong.
    pub(super) async fn keep_inviting(
        &self,
        port: u16,
        every: Duration,
        say: impl Fn(&str),
    ) -> String {
        loop {
            sleep(every).await;
            if let Err(error) = self.invite(port, &say) {
                return error;
            }
        }
    }

    fn guest_token(&self, now_s: u64) -> Result<String, String> {
        let claims = Claims {
            sub: GUEST.to_owned(),
            iss: None,
            aud: None,
            exp: now_s.saturating_add(INVITATION_S),
            nbf: None,
            iat: Some(now_s),
            jti: None,
            roles: vec![GUEST.to_owned()],
            permissions: Vec::new(),
        };
        let (algorithm, key) = (Algorithm::Hs256, self.secret.as_bytes());
        issue(&Issue { algorithm, key, key_id: None, claims })
    }
}

fn roles() -> Vec<RoleConfig> {
    let grant = |names: &str, allow: &[&str]| Grant {
        names: names.to_owned(),
        allow: allow.iter().map(|operation| (*operation).to_owned()).collect(),
    };
    let role = |name: &str, acts_for_others, rules| RoleConfig {
        name: name.to_owned(),
        acts_for_others,
        rules,
    };
    let casting = ["publish", "subscribe", "history", "vote", "admin"];
    vec![
        role(DEMO, true, vec![grant(super::NAMES, &casting), grant(POLL, &["admin"])]),
        role(GUEST, true, vec![grant(POLL, &["subscribe", "vote"])]),
        // The page asks for the last status, which is from before.
        role(BOARD, false, vec![grant(super::NAMES, &["subscribe", "history"])]),
    ]
}

/// The address from which this machine speaks to others. Connecting a UDP socket looks up the
/// route and sends nothing.
fn own_address() -> Result<IpAddr, String> {
    let looked_up = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(FAR_AWAY)?;
        socket.local_addr()
    });
    match looked_up {
        Ok(local) if !local.ip().is_loopback() && !local.ip().is_unspecified() => Ok(local.ip()),
        Ok(_) => Err("this machine has no address in a network; give one as --lan=ADDRESS".into()),
        Err(error) => Err(format!(
            "this machine's address in the network cannot be found ({error}); give it as --lan=ADDRESS"
        )),
    }
}

#[cfg(test)]
mod tests;
