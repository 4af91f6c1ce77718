//! How a command reaches its server.

use std::path::PathBuf;

use clap::Args;
use tidewire_client::{Client, Error, Name, Pattern, Trust};

use super::CliError;

/// Where the server is and whom to trust.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The server: ws://HOST:PORT, wss://HOST:PORT or quic://HOST:PORT
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TIDEWIRE_URL",
        default_value = "ws://127.0.0.1:7171"
    )]
    pub(crate) url: String,

    /// Trust certificates issued by those in this PEM file (wss and quic)
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "fingerprint")]
    pub(crate) ca: Option<PathBuf>,

    /// Trust the one certificate with this SHA-256; colons are allowed (wss and quic)
    #[arg(long, global = true, value_name = "HEX", value_parser = parse_fingerprint)]
    pub(crate) fingerprint: Option<[u8; 32]>,

    /// Show this certificate, a PEM file, to prove who you are (wss and quic); a token stands over it
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,

    /// The private key of the certificate that is shown, a PEM file
    #[arg(long, global = true, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,

    /// What proves to the server who you are
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "TIDEWIRE_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
}

impl ConnectionArgs {
    /// Connects for one request or a few: a cut is an error.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn connect(&self) -> Result<Client, CliError> {
        self.open(false).await
    }

    /// Connects for something that lasts: a cut is mended.
    ///
    /// # Errors
    /// Why there is no first connection.
    pub(crate) async fn connect_lasting(&self) -> Result<Client, CliError> {
        self.open(true).await
    }

    async fn open(&self, reconnect: bool) -> Result<Client, CliError> {
        let mut builder = Client::builder(&self.url)?
            .client_name(concat!("tidewire-cli/", env!("CARGO_PKG_VERSION")))
            .reconnect(reconnect)
            .trust(self.trust());
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            builder = builder.client_certificate(certificate, key);
        }
        if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        Ok(builder.connect().await?)
    }

    fn trust(&self) -> Trust {
        match (&self.ca, self.fingerprint) {
            (Some(file), _) => Trust::CaFile(file.clone()),
            (None, Some(sha256)) => Trust::Fingerprint(sha256),
            (None, None) => Trust::System,
        }
    }
}

/// Exit code of what the server refused.
const REFUSED: u8 = 1;
/// Exit code of what was asked for wrongly.
const USAGE: u8 = 2;
/// Exit code when there is no connection.
const NOT_CONNECTED: u8 = 3;

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let exit_code = if matches!(error, Error::Config(_)) {
            USAGE
        } else if error.refusal().is_some() || matches!(error, Error::BadReply(_)) {
            REFUSED
        } else {
            NOT_CONNECTED
        };
        Self { exit_code, message: error.to_string() }
    }
}

/// For clap: the name of a topic or cell.
pub(crate) fn parse_name(raw: &str) -> Result<Name, String> {
    Name::parse(raw).map_err(|refusal| refusal.message)
}

/// For clap: a pattern of topics.
pub(crate) fn parse_pattern(raw: &str) -> Result<Pattern, String> {
    Pattern::parse(raw).map_err(|refusal| refusal.message)
}

fn parse_fingerprint(raw: &str) -> Result<[u8; 32], String> {
    let digits: Vec<u32> =
        raw.chars().filter(|c| *c != ':').map_while(|c| c.to_digit(16)).collect();
    let is_hex = digits.len() == raw.chars().filter(|c| *c != ':').count();
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte << 4 | digit)).ok())
        .collect();
    let whole = is_hex && digits.len() == 64;
    bytes.try_into().ok().filter(|_| whole).ok_or_else(|| {
        "a fingerprint is the certificate's SHA-256: 64 hexadecimal digits, with or without colons"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_may_have_colons_and_nothing_else() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        assert_eq!(parse_fingerprint(&plain), Ok([15; 32]));
        assert_eq!(parse_fingerprint(&colons), Ok([15; 32]));
        for bad in ["", "0f", &"0g".repeat(32), &"0f".repeat(33), &format!("{plain} ")] {
            assert!(parse_fingerprint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exit_codes_tell_refusals_from_lost_connections() {
        let refused = tidewire_client::Refusal::new(tidewire_client::ErrorCode::NotFound, "no");
        assert_eq!(CliError::from(Error::Refused(refused)).exit_code, 1);
        assert_eq!(CliError::from(Error::Config(String::new())).exit_code, 2);
        let lost = Error::ConnectionLost { reason: String::new() };
        assert_eq!(CliError::from(lost).exit_code, 3);
    }
}
