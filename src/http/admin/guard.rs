//! Who may use the admin API: whoever has the token; without one, whoever is on this machine, but no page of a stranger in a browser there.
//!
//! A browser would carry requests of any page to a loopback address. Three things keep them out: no answer has a CORS header, so no other
//! page can read one; whatever changes something needs a header that another page cannot send without asking first; and without a token
//! the Host must be an address or `localhost`, so that a name which a stranger points at loopback (DNS rebinding) is nobody here.

use std::{net::IpAddr, sync::Arc};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use axum::{
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;

use super::Api;
use crate::{http::Problem, swap::Swap};

/// Says that a request was made on purpose, where there is no JSON to say so.
const ON_PURPOSE: &str = "x-claimr-relay";

/// Knows the admin token.
pub struct Guard {
    /// Its hash, so that comparing takes the same time whatever is sent, however long.
    token: Swap<Option<digest::Digest>>,
}

impl Guard {
    /// A guard that asks for `token`; without one, for nothing but that no stranger's page asks.
    pub fn new(token: Option<&SecretString>) -> Self {
        Self { token: Swap::new(hash_of(token)) }
    }

    /// Asks for another token from now on.
    pub fn replace(&self, token: Option<&SecretString>) {
        self.token.set(hash_of(token));
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        match self.token.get().as_ref() {
            Some(token) => check_token(token, headers)?,
            None => check_host(headers)?,
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD);
        if changes && !is_json(headers) && !headers.contains_key(ON_PURPOSE) {
            let message = "send Content-Type: application/json, or the header X-Claimr-Relay: 1; pages of strangers cannot";
            return Err(Problem::new(StatusCode::FORBIDDEN, "not_on_purpose", message));
        }
        Ok(())
    }
}

fn hash_of(token: Option<&SecretString>) -> Option<digest::Digest> {
    token.map(|token| hash(token.expose_secret().as_bytes()))
}

fn hash(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

fn check_token(token: &digest::Digest, headers: &HeaderMap) -> Result<(), Problem> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let sent = match (lines.next(), lines.next()) {
        (Some(line), None) => line.as_bytes().split_at_checked("bearer ".len()),
        _ => None,
    };
    let sent = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer ")).map(|(_, token)| token);
    let good = sent.is_some_and(|sent| verify_slices_are_equal(hash(sent).as_ref(), token.as_ref()).is_ok());
    if good {
        return Ok(());
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "admin_token", "send Authorization: Bearer and the admin.token");
    Err(problem.with(header::WWW_AUTHENTICATE, "Bearer"))
}

fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let message = "without admin.token the Host must be an IP address or localhost";
    Err(Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", message))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json")
}

/// Stands before every route of the admin API.
pub(super) async fn watch(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let mut response = match api.guard.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a JSON body of at most `bytes_max`.
pub(super) async fn json<T: DeserializeOwned>(api: &Api, body: Body, bytes_max: usize) -> Result<T, Problem> {
    serde_json::from_slice(&bytes(api, body, bytes_max).await?).map_err(|error| invalid(error.to_string()))
}

/// Reads a body of at most `bytes_max`.
pub(super) async fn bytes(api: &Api, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let reading = axum::body::to_bytes(body, bytes_max);
    let body = tokio::time::timeout(api.read_timeout, reading)
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not arrive in time"))?;
    body.map_err(|_| Problem::too_large())
}

/// The part of a path that names something; refused in our own words if it is no text.
pub(super) fn segment(part: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    part.map(|Path(text)| text).map_err(|rejection| invalid(rejection.body_text()))
}

/// What an operator sent is wrong.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::bad_request("request_invalid", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "admin-token-0123456789abcdef01234";

    fn code(guard: &Guard, method: &Method, headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        guard.check(method, &map).map_err(|problem| problem.code)
    }

    #[test]
    fn only_the_token_opens() {
        let guard = Guard::new(Some(&TOKEN.into()));
        let right = format!("Bearer {TOKEN}");
        for (line, outcome) in [
            (right.as_str(), Ok(())),
            (&right.replacen("Bearer", "bearer", 1), Ok(())),
            (TOKEN, Err("admin_token")),
            (&right[..right.len() - 1], Err("admin_token")),
            (&format!("{right}x"), Err("admin_token")),
            ("Bearer", Err("admin_token")),
            ("Bearer ", Err("admin_token")),
            ("Basic abc", Err("admin_token")),
            ("", Err("admin_token")),
        ] {
            assert_eq!(code(&guard, &Method::GET, &[("authorization", line), ("host", "evil.example")]), outcome, "{line}");
        }
        assert_eq!(code(&guard, &Method::GET, &[]), Err("admin_token"));
        assert_eq!(code(&guard, &Method::GET, &[("authorization", &right), ("authorization", &right)]), Err("admin_token"));
    }

    #[test]
    fn another_token_opens_from_the_moment_it_replaces_the_first() {
        let guard = Guard::new(Some(&TOKEN.into()));
        let (old, new) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}2"));
        let local = |line| code(&guard, &Method::GET, &[("authorization", line), ("host", "localhost")]);
        guard.replace(Some(&new["Bearer ".len()..].into()));
        assert_eq!((local(&old), local(&new)), (Err("admin_token"), Ok(())));
        guard.replace(None);
        assert_eq!(local(&old), Ok(()));
    }

    #[test]
    fn without_a_token_a_strangers_name_is_nobody() {
        let guard = Guard::new(None);
        for (host, outcome) in [
            ("127.0.0.1:8081", Ok(())),
            ("[::1]:8081", Ok(())),
            ("[::1]", Ok(())),
            ("localhost", Ok(())),
            ("LOCALHOST:8081", Ok(())),
            ("evil.example:8081", Err("host_not_allowed")),
            ("127.0.0.1.evil.example", Err("host_not_allowed")),
            ("localhost.evil.example", Err("host_not_allowed")),
            ("", Err("host_not_allowed")),
        ] {
            assert_eq!(code(&guard, &Method::GET, &[("host", host)]), outcome, "{host}");
        }
    }

    #[test]
    fn a_change_needs_what_a_strangers_page_cannot_send() {
        let guard = Guard::new(None);
        for (header, outcome) in [
            (("content-type", "application/json"), Ok(())),
            (("content-type", "Application/JSON; charset=utf-8"), Ok(())),
            (("x-claimr-relay", "1"), Ok(())),
            (("content-type", "text/plain"), Err("not_on_purpose")),
            (("content-type", "application/x-www-form-urlencoded"), Err("not_on_purpose")),
            (("accept", "*/*"), Err("not_on_purpose")),
        ] {
            for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
                assert_eq!(code(&guard, &method, &[("host", "localhost"), header]), outcome, "{method} {header:?}");
            }
            assert_eq!(code(&guard, &Method::GET, &[("host", "localhost"), header]), Ok(()));
        }
    }
}
