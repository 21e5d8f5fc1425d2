//! Requests that another site makes a browser send: refused before anything is read.
//!
//! The cookie is `SameSite=Strict`; beside it, an unsafe request needs a proof of its origin and either JSON (which no
//! form can send) or a token in its form. Called by [`super::Caller`] and [`super::CookieForm`].

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq as _;

use super::token;

/// Whether a request comes from our own pages: `Origin` names us, or the browser says `Sec-Fetch-Site: same-origin`.
/// Neither header means no browser of ours, so no cookie counts.
#[must_use]
pub(crate) fn same_origin(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site")
        && site != "same-origin"
    {
        return false;
    }
    match text(header::ORIGIN.as_str()) {
        Some(origin) => match public_url {
            Some(url) => origin.eq_ignore_ascii_case(origin_of(url)) || is_host(origin, text("host"), url),
            None => is_host(origin, text("host"), "http://"),
        },
        None => text("sec-fetch-site") == Some("same-origin"),
    }
}

/// The token that a form carries: derived from the session, so nothing is stored.
#[must_use]
pub(super) fn form_token(session_token: &str) -> String {
    token::hashed("csrf", session_token)[..32].to_owned()
}

/// Whether a form's token belongs to the session.
#[must_use]
pub(super) fn is_form_token(session_token: &str, given: &str) -> bool {
    form_token(session_token).as_bytes().ct_eq(given.as_bytes()).into()
}

/// A local name (`localhost` and `127.0.0.1` are two) may differ from the public one only where there is no TLS.
fn is_host(origin: &str, host: Option<&str>, public_url: &str) -> bool {
    let Some(host) = host else { return false };
    public_url.starts_with("http://")
        && origin.strip_prefix("http://").is_some_and(|it| it.eq_ignore_ascii_case(host))
}

fn origin_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find('/').map_or(url.len(), |at| after_scheme + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().expect("name"), value.parse().expect("value")))
            .collect()
    }

    #[test]
    fn only_our_own_pages_pass() {
        let cases: &[(&[(&'static str, &'static str)], Option<&str>, bool)] = &[
            (&[("origin", "http://localhost:8080"), ("host", "localhost:8080")], None, true),
            (&[("origin", "http://evil.example"), ("host", "localhost:8080")], None, false),
            (&[("origin", "null"), ("host", "localhost:8080")], None, false),
            (&[("host", "localhost:8080")], None, false),
            (&[("host", "localhost:8080"), ("sec-fetch-site", "same-origin")], None, true),
            (&[("host", "localhost:8080"), ("sec-fetch-site", "same-site")], None, false),
            (&[("host", "localhost:8080"), ("sec-fetch-site", "none")], None, false),
            (
                &[
                    ("origin", "http://localhost:8080"),
                    ("host", "localhost:8080"),
                    ("sec-fetch-site", "cross-site"),
                ],
                None,
                false,
            ),
            (&[("origin", "https://ci.example"), ("host", "10.0.0.1")], Some("https://ci.example/ui"), true),
            (&[("origin", "http://ci.example"), ("host", "ci.example")], Some("https://ci.example"), false),
            (&[("origin", "https://ci.example.evil"), ("host", "x")], Some("https://ci.example"), false),
            (&[("origin", "http://10.0.0.1"), ("host", "10.0.0.1")], Some("http://ci.example"), true),
        ];
        for (pairs, url, passes) in cases {
            assert_eq!(same_origin(&headers(pairs), *url), *passes, "{pairs:?} {url:?}");
        }
    }

    #[test]
    fn a_form_token_belongs_to_one_session() {
        let token = form_token("session one");
        assert!(is_form_token("session one", &token));
        assert!(!is_form_token("session two", &token));
        assert!(!is_form_token("session one", ""));
    }
}
