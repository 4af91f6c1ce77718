//! Keeps pages in browsers away from the admin listener: it has no accounts, and a browser on the same
//! machine reaches it on behalf of any page.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refuse;

/// Lets requests pass that no page of another site can have made.
pub(super) async fn keep_out(
    State(by_address): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    if is_of_another_site(by_address, request.headers()) {
        let message = "pages of other sites have no business here: call it by its address, without \
                       an Origin of another";
        return refuse(StatusCode::FORBIDDEN, "forbidden", message);
    }
    next.run(request).await
}

/// Whether it names another origin, or comes from a page of another site, which a browser says; or,
/// if it has to come `by_address`, names the host by a name that somebody may have pointed here
/// (DNS rebinding).
fn is_of_another_site(by_address: bool, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let is_other = |origin: &str| {
        origin.split_once("://").is_none_or(|(_scheme, authority)| authority != host)
    };
    let is_site = |site: &str| !matches!(site, "same-origin" | "none");
    by_address && !is_address(host)
        || text(header::ORIGIN).is_some_and(is_other)
        || headers.get("sec-fetch-site").is_some_and(|site| site.to_str().is_ok_and(is_site))
}

/// Whether a host, with or without a port, is an address or `localhost`.
pub(crate) fn is_address(host: &str) -> bool {
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
            is_of_another_site(true, &headers)
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
        assert!(is_of_another_site(true, &HeaderMap::new()));
        assert!(!is_of_another_site(false, &HeaderMap::new()), "a probe by HTTP/1.0");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("node-1.example:7173"));
        assert!(!is_of_another_site(false, &headers), "where others than this machine reach it");
        for (site, is_other) in [("none", false), ("same-origin", false), ("cross-site", true)] {
            headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            assert_eq!(is_of_another_site(false, &headers), is_other, "{site}");
        }
    }
}
