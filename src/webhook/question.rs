//! What an application is asked, and what it answers.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewire_core::access::Identity;

use crate::config::WebhookOperation;

/// Longest answer in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// What of a reason is passed on, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// Who wants to do what. This is all that the application is told, but for the time and the node, so an
/// answer holds for whoever asks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Question<'a> {
    pub(crate) operation: WebhookOperation,
    /// The name, or the pattern, that it is about; nothing for a connection.
    pub(crate) name: Option<&'a str>,
    /// Whose vote it is, if it is another's.
    pub(crate) voter: Option<&'a str>,
    /// Who it is; nothing without a credential.
    pub(crate) identity: Option<Who<'a>>,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) address: IpAddr,
}

/// A person or a program, as tokens name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Who<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
}

impl<'a> From<&'a Identity> for Who<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self { issuer: &identity.issuer, subject: &identity.subject }
    }
}

/// The body of a request.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    question: &'a Question<'a>,
    node: &'a str,
    time_ms: u64,
}

/// A question that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    operation: WebhookOperation,
    name: Option<Box<str>>,
    voter: Option<Box<str>>,
    /// Issuer and subject.
    identity: Option<(Box<str>, Box<str>)>,
    tenant: Option<Box<str>>,
    address: IpAddr,
}

impl Question<'_> {
    /// As it is sent: JSON.
    pub(super) fn body(&self, node: &str, time_ms: u64) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Body { question: self, node, time_ms })
    }

    pub(super) fn kept(&self) -> Kept {
        Kept {
            operation: self.operation,
            name: self.name.map(Into::into),
            voter: self.voter.map(Into::into),
            identity: self.identity.map(|who| (who.issuer.into(), who.subject.into())),
            tenant: self.tenant.map(Into::into),
            address: self.address,
        }
    }
}

impl Kept {
    fn question(&self) -> Question<'_> {
        let identity = self.identity.as_ref();
        Question {
            operation: self.operation,
            name: self.name.as_deref(),
            voter: self.voter.as_deref(),
            identity: identity.map(|(issuer, subject)| Who { issuer, subject }),
            tenant: self.tenant.as_deref(),
            address: self.address,
        }
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.question() == other.question()
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.question().hash(state);
    }
}

impl hashbrown::Equivalent<Kept> for Question<'_> {
    fn equivalent(&self, kept: &Kept) -> bool {
        *self == kept.question()
    }
}

/// What an application answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    /// How long it holds, if the application says so.
    pub(super) remember_ms: Option<u64>,
}

/// Whether somebody may do what was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// And why not, in the application's words, if it has any.
    Refused(Option<Box<str>>),
}

#[derive(Deserialize)]
struct AnswerBody {
    allow: bool,
    // What else it says may be wrong: yes and no count all the same.
    reason: Option<Value>,
    remember_ms: Option<Value>,
}

impl Answer {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// When it is no JSON object with a boolean `allow`.
    pub(super) fn read(body: &[u8]) -> serde_json::Result<Self> {
        let AnswerBody { allow, reason, remember_ms } = serde_json::from_slice(body)?;
        let verdict = match allow {
            true => Verdict::Allowed,
            false => Verdict::Refused(reason.as_ref().and_then(Value::as_str).map(plain)),
        };
        let remember_ms = remember_ms.map(|asked| asked.as_u64().unwrap_or_default());
        Ok(Self { verdict, remember_ms })
    }
}

/// The beginning of a text, without what could disturb a terminal.
fn plain(reason: &str) -> Box<str> {
    let mut text = String::new();
    for character in reason.chars().filter(|character| !character.is_control()) {
        if text.len() + character.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        text.push(character);
    }
    text.into()
}

#[cfg(test)]
pub(in crate::webhook) mod tests {
    use super::*;
    use std::hash::BuildHasher;

    pub(in crate::webhook) fn question(name: &str) -> Question<'_> {
        Question {
            operation: WebhookOperation::Publish,
            name: Some(name),
            voter: None,
            identity: Some(Who { issuer: "local", subject: "ann" }),
            tenant: None,
            address: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn a_question_that_is_kept_is_found_by_the_same_one_only() {
        let state = std::hash::RandomState::new();
        let asked = question("a.b");
        let others = [
            Question { name: Some("a.c"), ..asked },
            Question { voter: Some("a.b"), ..asked },
            Question { operation: WebhookOperation::Vote, ..asked },
            Question { identity: None, ..asked },
            Question { identity: Some(Who { issuer: "ann", subject: "local" }), ..asked },
            Question { tenant: Some("a"), ..asked },
            Question { address: [127, 0, 0, 2].into(), ..asked },
        ];
        let kept = asked.kept();
        assert_eq!(state.hash_one(asked), state.hash_one(&kept));
        assert!(hashbrown::Equivalent::equivalent(&asked, &kept));
        for other in others {
            assert!(!hashbrown::Equivalent::equivalent(&other, &kept), "{other:?}");
        }
    }

    #[test]
    fn it_is_sent_as_json_with_all_there_is_to_say() {
        let sent: Value =
            serde_json::from_slice(&question("a.b").body("node-1", 5).unwrap()).unwrap();
        let expected = serde_json::json!({
            "operation": "publish", "name": "a.b", "voter": null,
            "identity": { "issuer": "local", "subject": "ann" }, "tenant": null,
            "address": "127.0.0.1", "node": "node-1", "time_ms": 5,
        });
        assert_eq!(sent, expected);
    }

    #[test]
    fn answers_are_read_and_their_reasons_made_plain() {
        let answer = |text: &str| Answer::read(text.as_bytes());
        let allowed = answer(r#"{"allow":true,"remember_ms":7,"more":[1]}"#).unwrap();
        assert_eq!(allowed, Answer { verdict: Verdict::Allowed, remember_ms: Some(7) });
        let refused = |text: &str| match answer(text).unwrap().verdict {
            Verdict::Refused(reason) => reason,
            Verdict::Allowed => panic!("{text}"),
        };
        assert_eq!(refused(r#"{"allow":false}"#), None);
        assert_eq!(
            refused(r#"{"allow":false,"reason":"no\u001b[31m\n money"}"#).as_deref(),
            Some("no[31m money")
        );
        let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "ä".repeat(1_000));
        assert_eq!(refused(&long).unwrap().len(), REASON_BYTES_MAX);
        let odd = answer(r#"{"allow":false,"reason":{"code":1},"remember_ms":-1.5}"#).unwrap();
        assert_eq!(odd, Answer { verdict: Verdict::Refused(None), remember_ms: Some(0) });
        for text in
            ["", "true", "{}", r#"{"allow":1}"#, r#"{"allow":"true"}"#, "[]", r#"{"allow":true} x"#]
        {
            assert!(answer(text).is_err(), "{text}");
        }
    }
}
