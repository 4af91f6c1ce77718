//! The webhook in the configuration: who is asked over HTTP, and about what.

use std::path::PathBuf;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::access::Operation;

use super::ConfigError;

/// An application that is asked, over HTTP, whether somebody may do what the rules allow.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where the questions go; absent: nobody is asked.
    pub url: Option<String>,
    /// A file with the secret that they are signed with: `whsec_` and the base64 of 24 to 64 bytes.
    pub secret_file: Option<PathBuf>,
    /// Certificates, PEM, that the application's is issued by; absent: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// What it is asked about.
    pub on: Vec<WebhookOperation>,
    /// How long an answer may take, and how long a question waits before it is asked.
    #[schemars(range(min = 50, max = 30_000))]
    pub timeout_ms: u64,
    /// Questions that wait for an answer; more wait for their turn.
    #[schemars(range(min = 1, max = 4_096))]
    pub in_flight_max: u32,
    /// What holds when there is no answer.
    pub when_failed: WhenFailed,
    /// How long an answer holds for the same question.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub remember_ms: u64,
    /// Answers that each core remembers; beyond it, the ones that were not used for longest are forgotten.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub remembered_max: u32,
}

/// What the application may be asked about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum WebhookOperation {
    /// Connecting.
    Connect,
    /// Following or reading a topic, counter, tally or who is present; also by a group or a pattern.
    Subscribe,
    /// Publishing to a topic.
    Publish,
    /// Changing a counter.
    Incr,
    /// Voting.
    Vote,
}

/// What holds when the application does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFailed {
    /// It is refused, to be tried again later.
    #[default]
    Refuse,
    /// The rules alone decide.
    Allow,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: None,
            secret_file: None,
            ca_file: None,
            on: vec![
                WebhookOperation::Connect,
                WebhookOperation::Subscribe,
                WebhookOperation::Publish,
                WebhookOperation::Incr,
                WebhookOperation::Vote,
            ],
            timeout_ms: 1_000,
            in_flight_max: 64,
            when_failed: WhenFailed::Refuse,
            remember_ms: 5_000,
            remembered_max: 10_000,
        }
    }
}

impl WebhookConfig {
    /// The address of the application, if there is one.
    pub(crate) fn uri(&self) -> Option<Uri> {
        self.url.as_ref()?.parse().ok()
    }

    /// Whether the application is asked about what needs this operation.
    pub(crate) fn is_asked_about(&self, operation: Operation) -> bool {
        let asked = match operation {
            Operation::Publish => WebhookOperation::Publish,
            Operation::Subscribe | Operation::History | Operation::Group => {
                WebhookOperation::Subscribe
            }
            Operation::Incr => WebhookOperation::Incr,
            Operation::Vote => WebhookOperation::Vote,
            Operation::Presence | Operation::Admin => return false,
        };
        self.url.is_some() && self.on.contains(&asked)
    }

    pub(super) fn validate(
        &self,
        insecure: bool,
        handshake_timeout_ms: u64,
    ) -> Result<(), ConfigError> {
        let refuse = |key: &str, rule: &str| {
            Err(ConfigError::Value { key: format!("webhook.{key}"), rule: rule.to_owned() })
        };
        if self.url.is_none() {
            if *self != Self::default() {
                return refuse("url", "is missing: without it nobody is asked");
            }
            return Ok(());
        }
        let uri = self.uri();
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        match (scheme, uri.as_ref().and_then(Uri::host)) {
            (Some("https"), Some(_)) => {}
            (Some("http"), Some(host)) if insecure || is_loopback(host) => {}
            (Some("http"), Some(_)) => {
                let rule = "http:// is for this machine only: whoever is in between could answer; use \
                            https://, or insecure = true";
                return refuse("url", rule);
            }
            _ => return refuse("url", "is written as https://HOST/PATH"),
        }
        if self.secret_file.is_none() {
            let rule =
                "is missing: questions are signed, so that the application knows whose they are";
            return refuse("secret_file", rule);
        }
        if self.on.is_empty() {
            return refuse("on", "is empty: leave the url out to ask nobody");
        }
        let longest_ms = 2 * self.timeout_ms;
        if self.on.contains(&WebhookOperation::Connect) && longest_ms >= handshake_timeout_ms {
            return Err(ConfigError::Together {
                key: "webhook.timeout_ms".to_owned(),
                other: "handshake_timeout_ms".to_owned(),
                rule: format!(
                    "is less than half of handshake_timeout_ms ({handshake_timeout_ms}), within \
                     which a connection is let in"
                ),
            });
        }
        Ok(())
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut WebhookConfig);

    fn said(change: impl FnOnce(&mut WebhookConfig)) -> Option<String> {
        let mut config = WebhookConfig {
            url: Some("https://app.example/hook".to_owned()),
            secret_file: Some("secret".into()),
            ..WebhookConfig::default()
        };
        change(&mut config);
        config.validate(false, 10_000).err().map(|error| error.to_string())
    }

    #[test]
    fn it_is_off_or_complete() {
        assert_eq!(said(|_| {}), None);
        assert_eq!(said(|config| *config = WebhookConfig::default()), None);
        let cases: [(&str, Change); 5] = [
            ("webhook.url: is missing", |config| config.url = None),
            ("webhook.secret_file: is missing", |config| config.secret_file = None),
            ("webhook.on: is empty", |config| config.on.clear()),
            ("webhook.timeout_ms: is less than", |config| config.timeout_ms = 5_000),
            ("webhook.url: is written as", |config| config.url = Some("app.example".to_owned())),
        ];
        for (expected, change) in cases {
            let said = said(change).unwrap();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn what_is_not_encrypted_stays_on_this_machine() {
        for (url, is_taken) in [
            ("http://127.0.0.1:8080/", true),
            ("http://localhost/hook", true),
            ("http://[::1]:80/hook", true),
            ("http://10.0.0.1/hook", false),
            ("http://localhost.evil.example/", false),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(
                said(|config| config.url = Some(url.to_owned())).is_none(),
                is_taken,
                "{url}"
            );
        }
        let config = WebhookConfig {
            url: Some("http://10.0.0.1/hook".to_owned()),
            secret_file: Some("secret".into()),
            ..WebhookConfig::default()
        };
        assert!(config.validate(true, 10_000).is_ok(), "insecure = true says so");
    }
}
