//! `POST /v1/ticket?poll=NAME`: a ticket for a poll, for somebody without an account.

use std::net::IpAddr;

use http::header;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tidewire_protocol::Name;

use super::{Reply, put, text};
use crate::server::{Core, network, wall_ms};

/// Where tickets are given out.
pub(super) const PATH: &str = "/v1/ticket";

/// Answers whoever asks from this address. Pages of which origins may do so was looked at.
pub(super) fn give(core: &Core, address: IpAddr, request: &Request<Incoming>) -> Reply {
    if *request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "a ticket is asked for with POST\n");
    }
    let asked = request.uri().query().and_then(|query| query.strip_prefix("poll="));
    let Some(asked) = asked else {
        return text(StatusCode::BAD_REQUEST, "say for which poll: /v1/ticket?poll=NAME\n");
    };
    let poll = match percent_decoded(asked).as_deref().map(Name::parse) {
        Some(Ok(poll)) => poll,
        Some(Err(refusal)) => {
            return text(StatusCode::BAD_REQUEST, format!("{}\n", refusal.message));
        }
        None => {
            return text(StatusCode::BAD_REQUEST, "poll: the name is not encoded as in a URL\n");
        }
    };
    let shared = &core.shared;
    let auth = shared.accounts.auth.load();
    let Some(rule) = auth.ticket_rule(&poll) else {
        let said = format!("there are no tickets for '{poll}': no [[auth.ticket]] has its name\n");
        return text(StatusCode::NOT_FOUND, said);
    };
    if shared.load.is_full() {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server's memory is used up: try later\n",
        );
    }
    let now_ms = wall_ms();
    if let Err(wait_ms) = shared.accounts.tickets.take(network(address), &poll, rule, now_ms) {
        let wait_s = wait_ms.div_ceil(1000);
        let said = format!(
            "this address has its {} tickets for '{poll}': there is another one in {wait_s} s\n",
            rule.address_tickets_max
        );
        let mut reply = text(StatusCode::TOO_MANY_REQUESTS, said);
        put(reply.headers_mut(), header::RETRY_AFTER, &wait_s.to_string());
        return reply;
    }
    let signed = shared.accounts.ticket_key.sign(&poll, auth.audience(), now_ms, rule.lifetime_ms);
    match signed {
        Ok(token) => {
            let body = json!({ "token": token, "expires_ms": now_ms + rule.lifetime_ms });
            let mut reply = text(StatusCode::OK, body.to_string());
            put(reply.headers_mut(), header::CONTENT_TYPE, "application/json");
            put(reply.headers_mut(), header::CACHE_CONTROL, "no-store");
            reply
        }
        Err(error) => {
            tracing::error!(%error, "no ticket could be signed");
            text(StatusCode::INTERNAL_SERVER_ERROR, "no ticket could be signed\n")
        }
    }
}

/// The text that `%XX` and other characters stand for (RFC 3986, section 2.1).
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits =
                    [rest.next()?, rest.next()?].map(|digit| char::from(digit).to_digit(16));
                let [high, low] = digits;
                u8::try_from(high? * 16 + low?).ok()?
            }
            b'&' | b'+' => return None,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_or_refused() {
        assert_eq!(percent_decoded("poll.gr%C3%BC%C3%9fe").as_deref(), Some("poll.grüße"));
        for wrong in ["a%", "a%2", "a%zz", "a%FF", "a&poll=b", "a+b"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }
}
