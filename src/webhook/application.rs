//! The application that is asked: how a question reaches it over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tidewire_client::Trust;

use super::question::{ANSWER_BYTES_MAX, Answer, Question};
use super::signature::Signer;
use crate::config::{ConfigError, WebhookConfig};

/// How long a connection that nobody needs is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Random bytes of a question's id.
const ID_BYTES: usize = 16;

/// Where questions go.
pub(super) struct Application {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    signer: Signer,
    /// The name of this server's node.
    node: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it did not answer within {0} ms")]
    TimedOut(u64),
    #[error("it answered with the status {0}, and not with 200")]
    Status(StatusCode),
    #[error("its answer is not understood: {0}")]
    Answer(String),
    #[error("too many questions wait for an answer already")]
    Busy,
    #[error("it is left alone for {0} ms, after failures in a row")]
    LeftAlone(u64),
}

impl Application {
    /// Of a configuration that has been validated and names one.
    ///
    /// # Errors
    /// When its secret or what is to be trusted cannot be read.
    pub(super) fn of(config: &WebhookConfig, uri: Uri, node: &str) -> Result<Self, ConfigError> {
        let secret = config.secret_file.as_deref().unwrap_or(std::path::Path::new(""));
        let signer = Signer::read(secret)?;
        let trust = config.ca_file.clone().map_or(Trust::System, Trust::CaFile);
        let tls = trust.tls_config().map_err(|error| ConfigError::Value {
            key: "webhook.ca_file".to_owned(),
            rule: error.to_string(),
        })?;
        let timeout = Duration::from_millis(config.timeout_ms);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(usize::try_from(config.in_flight_max).unwrap_or(usize::MAX))
            .build(connector.wrap_connector(http));
        Ok(Self { client, uri, signer, node: node.to_owned() })
    }

    /// Asks, however long the answer takes.
    pub(super) async fn ask(
        &self,
        question: &Question<'_>,
        wall_ms: u64,
    ) -> Result<Answer, NoAnswer> {
        let request = self.request(question, wall_ms).map_err(NoAnswer::Unreachable)?;
        let answered = self.client.request(request).await;
        let answered = answered.map_err(|error| NoAnswer::Unreachable(causes(&error)))?;
        if answered.status() != StatusCode::OK {
            return Err(NoAnswer::Status(answered.status()));
        }
        let body = Limited::new(answered.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| NoAnswer::Answer(causes(&*error)))?.to_bytes();
        Answer::read(&body).map_err(|error| NoAnswer::Answer(error.to_string()))
    }

    fn request(
        &self,
        question: &Question<'_>,
        wall_ms: u64,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut random = [0; ID_BYTES];
        aws_lc_rs::rand::fill(&mut random).map_err(|_unspecified| "no random bytes".to_owned())?;
        let id = format!("msg_{:032x}", u128::from_ne_bytes(random));
        let body = question.body(&self.node, wall_ms).map_err(|error| error.to_string())?;
        let time_s = wall_ms / 1_000;
        Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("tidewire/", env!("CARGO_PKG_VERSION")))
            .header("webhook-signature", self.signer.sign(&id, time_s, &body))
            .header("webhook-timestamp", time_s)
            .header("webhook-id", id)
            .body(Full::new(body.into()))
            .map_err(|error| error.to_string())
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}
