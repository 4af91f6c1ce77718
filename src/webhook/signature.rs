//! Signatures of questions, after the Standard Webhooks specification 1.0 (standardwebhooks.com): HMAC with
//! SHA-256 over `ID.TIMESTAMP.BODY`, by a secret that is written as `whsec_` and base64.

use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::ConfigError;

const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the specification has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs questions.
#[derive(Debug)]
pub(super) struct Signer {
    key: hmac::Key,
}

impl Signer {
    /// Reads the secret.
    ///
    /// # Errors
    /// When there is none in the file.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let refuse =
            |rule: String| ConfigError::Value { key: "webhook.secret_file".to_owned(), rule };
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| refuse(format!("cannot read {shown}: {error}")))?;
        Self::of(text.trim()).ok_or_else(|| {
            refuse(format!(
                "{shown} holds no secret: it is '{PREFIX}' and the base64 of 24 to 64 bytes; make one with \
                 echo \"{PREFIX}$(openssl rand -base64 32)\""
            ))
        })
    }

    fn of(secret: &str) -> Option<Self> {
        let bytes = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
        SECRET_BYTES
            .contains(&bytes.len())
            .then(|| Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    /// The value of the header `webhook-signature`.
    pub(super) fn sign(&self, id: &str, time_s: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{time_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_the_specification_does() {
        // The example of the specification's reference libraries.
        let signer = Signer::of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_has_its_form_and_its_length() {
        for (bytes, is_taken) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
            let secret = format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
            assert_eq!(Signer::of(&secret).is_some(), is_taken, "{bytes}");
        }
        assert!(Signer::of("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_none(), "no prefix");
        assert!(Signer::of("whsec_not base64 at all, not at all").is_none());
    }
}
