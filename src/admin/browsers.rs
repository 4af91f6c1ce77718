//! Keeps pages in browsers away from the admin listener: it has no accounts, and a browser on the same
//! machine reaches it on behalf of any page.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refuse;

/// Lets requests pass that no page of another site can have made.
pub(super) async fn keep_out(request: Request, next: Next) -> Response {
    if is_of_another_site(request.headers()) {
        let message = "pages of other sites have no business here: call it by its address, without \
                       an Origin of another";
        return refuse(StatusCode::FORBIDDEN, "forbidden", message);
    }
    next.run(request).await
}

/// Whether it names another origin, or a host by a name that somebody may have pointed here (DNS
/// rebinding).
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(host) = text(header::HOST) else { return true };
    let is_other = |origin: &str| {
        origin.split_once("://").is_none_or(|(_scheme, authority)| authority != host)
    };
    !is_address(host) || text(header::ORIGIN).is_some_and(is_other)
}

/// Whether a host, with or without a port, is an address or `localhost`.
fn is_address(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_is_told_apart_from_an_operator() {
        let is_other = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_of_another_site(&headers)
        };
        for host in ["127.0.0.1:7173", "[::1]:7173", "localhost:7173", "localhost", "10.0.0.1"] {
            assert!(!is_other(host, None), "{host}");
        }
        assert!(!is_other("127.0.0.1:7173", Some("http://127.0.0.1:7173")));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:7171", ""] {
            assert!(is_other("127.0.0.1:7173", Some(origin)), "{origin}");
        }
        for host in ["evil.example", "evil.example:7173", "127.0.0.1.evil.example", ""] {
            assert!(is_other(host, None), "{host}");
        }
        assert!(is_of_another_site(&HeaderMap::new()));
    }
}
