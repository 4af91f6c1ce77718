//! What the webhook's application is asked about: who wants to do what.

use std::net::IpAddr;

use tidewire_protocol::frame::{BadFrame, GroupOp};
use tidewire_protocol::options::IdentityInfo;
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal};

use super::accounts::Account;
use super::clock::wall_ms;
use super::{Core, Flow, Whose};
use crate::audit::Entry;
use crate::config::WebhookOperation;
use crate::transport::Connection;
use crate::webhook::{Question, Times, Webhook, Who, carry_out};

/// Who asks for something.
#[derive(Debug, PartialEq)]
pub(crate) struct Asker {
    /// Nothing without a credential.
    identity: Option<IdentityInfo>,
    tenant: Option<String>,
    address: IpAddr,
}

/// What is asked for: the operation, on which name or pattern, and whose vote it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct About<'a> {
    pub(crate) operation: WebhookOperation,
    name: Option<&'a str>,
    voter: Option<&'a str>,
}

impl<'a> About<'a> {
    /// What a request would be asked about.
    pub(crate) fn of(frame: &'a ClientFrame) -> Option<Self> {
        let about = |operation, name| Some(Self { operation, name: Some(name), voter: None });
        match frame {
            ClientFrame::Publish { topic, .. } => about(WebhookOperation::Publish, topic.as_str()),
            ClientFrame::Subscribe { pattern, .. } => {
                about(WebhookOperation::Subscribe, pattern.as_str())
            }
            ClientFrame::Watch { name, .. } | ClientFrame::Get { name, .. } => {
                about(WebhookOperation::Subscribe, name.as_str())
            }
            ClientFrame::Consume { topic, .. } => {
                about(WebhookOperation::Subscribe, topic.as_str())
            }
            // What a group gives up on is published there.
            ClientFrame::Group { op: GroupOp::Create, options, .. } => {
                about(WebhookOperation::Publish, options.dead_letter.as_deref()?)
            }
            ClientFrame::Incr { counter, .. } => about(WebhookOperation::Incr, counter.as_str()),
            ClientFrame::Vote { tally, voter, .. } => {
                let voter = Some(voter.as_str()).filter(|voter| !voter.is_empty());
                let (operation, name) = (WebhookOperation::Vote, Some(tally.as_str()));
                Some(Self { operation, name, voter })
            }
            ClientFrame::Group { .. }
            | ClientFrame::Hello { .. }
            | ClientFrame::Auth { .. }
            | ClientFrame::Ping { .. }
            | ClientFrame::Pong { .. }
            | ClientFrame::Credit { .. }
            | ClientFrame::Unsubscribe { .. }
            | ClientFrame::Producer { .. }
            | ClientFrame::Settle { .. }
            | ClientFrame::Presence { .. }
            | ClientFrame::Tally { .. }
            | ClientFrame::Topic { .. }
            | ClientFrame::Invalidate { .. } => None,
        }
    }
}

impl Asker {
    /// Somebody with this account, or with none.
    fn with(account: Option<&Account>, address: IpAddr) -> Self {
        let tenant = account.and_then(Account::tenant).map(str::to_owned);
        let identity = account.filter(|account| account.is_somebody()).map(Account::info);
        Self { identity, tenant, address }
    }

    /// Whoever has this connection.
    fn of(connection: &Connection) -> Self {
        let identity = connection.identity.borrow();
        Self {
            identity: identity.as_ref().filter(|_| connection.is_somebody.get()).cloned(),
            tenant: connection.tenant(),
            address: connection.peer.address,
        }
    }

    fn question<'a>(&'a self, about: About<'a>) -> Question<'a> {
        let identity = self.identity.as_ref();
        // Who names themselves names nobody else.
        let is_own = |voter: &&str| identity.is_some_and(|who| who.subject == *voter);
        Question {
            operation: about.operation,
            name: about.name,
            voter: about.voter.filter(|voter| !is_own(voter)),
            identity: identity.map(|who| Who { issuer: &who.issuer, subject: &who.subject }),
            tenant: self.tenant.as_deref(),
            address: self.address,
        }
    }
}

impl Core {
    /// Asks whether somebody may connect, if there is an application to ask.
    ///
    /// # Errors
    /// `forbidden` if it refuses; `unavailable` if it does not answer and that refuses.
    pub(crate) async fn decide_to_connect(
        &self,
        account: Option<&Account>,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        let operation = WebhookOperation::Connect;
        let Some(webhook) = self.shared.webhooks.about(operation) else { return Ok(()) };
        let asker = Asker::with(account, address);
        let identity = account.and_then(Account::somebody);
        let flow = self.turns.of(Whose::of(asker.tenant.as_deref(), identity, address));
        let question = asker.question(About { operation, name: None, voter: None });
        match self.decided(&webhook, &question) {
            Some(outcome) => outcome,
            None => Box::pin(self.ask(&webhook, &flow, &question)).await,
        }
    }

    /// Whether a request has to be decided on.
    pub(crate) fn is_to_decide_on(&self, frame: &ClientFrame) -> bool {
        self.shared.webhooks.is_there()
            && About::of(frame)
                .is_some_and(|about| self.shared.webhooks.about(about.operation).is_some())
    }

    /// What is known already: that the application has answered before, or that the rules refuse it anyhow.
    pub(crate) fn decide_at_once(
        &self,
        connection: &Connection,
        frame: &ClientFrame,
    ) -> Option<Result<(), Refusal>> {
        let Some(about) = About::of(frame) else { return Some(Ok(())) };
        let Some(webhook) = self.shared.webhooks.about(about.operation) else {
            return Some(Ok(()));
        };
        let asker = Asker::of(connection);
        self.decided(&webhook, &asker.question(about)).or_else(|| {
            // The dispatcher says so itself.
            let is_refused = self.dispatcher.borrow_mut().refuses(connection.id(), frame);
            is_refused.then_some(Ok(()))
        })
    }

    /// Asks whether a connection may do what it asks for.
    ///
    /// # Errors
    /// `forbidden` if the application refuses; `unavailable` if it does not answer and that refuses.
    pub(crate) async fn decide(
        &self,
        connection: &Connection,
        frame: &ClientFrame,
    ) -> Result<(), Refusal> {
        let Some(about) = About::of(frame) else { return Ok(()) };
        let Some(webhook) = self.shared.webhooks.about(about.operation) else { return Ok(()) };
        let (asker, flow) = (Asker::of(connection), connection.flow());
        self.ask(&webhook, &flow, &asker.question(about)).await?;
        if Asker::of(connection) != asker {
            let message = "who the connection is has changed while this was decided: ask again";
            return Err(Refusal::new(ErrorCode::Unavailable, message).retry_after_ms(1));
        }
        Ok(())
    }

    /// The refusal of a request, which is put on record.
    pub(crate) fn refuse_as_decided(
        &self,
        connection: &Connection,
        frame: &ClientFrame,
        refusal: Refusal,
    ) -> BadFrame {
        if refusal.code == ErrorCode::Forbidden {
            self.shared.audit.record(|| {
                let (code, message) = (refusal.code.name(), refusal.message.clone());
                Entry::done(wall_ms(), "denied").by(Self::who(connection)).refused(code, message)
            });
        }
        BadFrame { req: frame.req().unwrap_or_default(), refusal, wants_reply: false }
    }

    fn decided(&self, webhook: &Webhook, question: &Question<'_>) -> Option<Result<(), Refusal>> {
        let counts = &self.shared.webhooks.counts;
        let verdict = webhook.remembered(counts, self.number.into(), question, self.now_ms())?;
        Some(carry_out(question, verdict))
    }

    async fn ask(
        &self,
        webhook: &Webhook,
        flow: &Flow,
        question: &Question<'_>,
    ) -> Result<(), Refusal> {
        let times = Times { now_ms: &|| self.now_ms(), wall_ms: wall_ms() };
        let counts = &self.shared.webhooks.counts;
        // Who asks much does not keep others from asking.
        let place = flow.asking(webhook.weight());
        webhook.ask(counts, self.number.into(), question, times, place).await
    }
}
