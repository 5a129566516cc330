//! The admin token: without it nothing under `/admin` answers. Where none is configured, the listener is on loopback, and whoever is on the
//! machine may do everything.

use std::sync::Arc;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{super::Problem, Admin};
use crate::swap::Swap;

/// The token in force, as a digest: comparing digests tells nothing about the length either.
pub struct AdminToken(Swap<Option<digest::Digest>>);

impl AdminToken {
    /// Absent: everybody who reaches the listener may use it.
    pub fn new(token: Option<&SecretString>) -> Self {
        Self(Swap::new(digest_of(token)))
    }

    /// Puts another token in force.
    pub fn replace(&self, token: Option<&SecretString>) {
        self.0.set(digest_of(token));
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = *self.0.get() else { return true };
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        let given = line.to_str().ok().and_then(|text| text.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim());
        let given = digest::digest(&digest::SHA256, given.as_bytes());
        verify_slices_are_equal(given.as_ref(), wanted.as_ref()).is_ok()
    }
}

fn digest_of(token: Option<&SecretString>) -> Option<digest::Digest> {
    token.map(|token| digest::digest(&digest::SHA256, token.expose_secret().as_bytes()))
}

/// Lets through what has the token.
pub(super) async fn check(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if admin.token.allows(request.headers()) {
        return next.run(request).await;
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "admin_token", "the admin API wants its bearer token (admin.token)");
    problem.with(header::WWW_AUTHENTICATE, "Bearer").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens_and_without_one_everybody_may_enter() {
        let token = AdminToken::new(Some(&"0123456789abcdef0123456789abcdef".into()));
        for (line, good) in [
            ("Bearer 0123456789abcdef0123456789abcdef", true),
            ("bearer 0123456789abcdef0123456789abcdef", true),
            ("Bearer 0123456789abcdef0123456789abcdee", false),
            ("Bearer 0123456789abcdef0123456789abcde", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic 0123456789abcdef0123456789abcdef", false),
            ("0123456789abcdef0123456789abcdef", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::AUTHORIZATION, line.parse().unwrap());
            assert_eq!(token.allows(&headers), good, "{line}");
            headers.append(header::AUTHORIZATION, line.parse().unwrap());
            assert!(!token.allows(&headers), "twice: {line}");
        }
        assert!(!token.allows(&HeaderMap::new()));
        token.replace(None);
        assert!(token.allows(&HeaderMap::new()));
    }
}
