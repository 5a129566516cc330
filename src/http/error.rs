//! Errors as outsiders see them: `{"error":{"code","message"}}`, in our own words; no input is echoed, and nothing redirects or is gone.
//! (Operators are told what of their own input is wrong.)

use std::borrow::Cow;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    message: Cow<'static, str>,
    /// Headers that tell how to go on.
    hints: Vec<(HeaderName, &'static str)>,
}

impl Problem {
    /// Seconds after which a sender that met a passing trouble should try again.
    const RETRY_AFTER_S: &str = "5";

    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), hints: Vec::new() }
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
    }

    /// The router adds `Allow`.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path does not take this method; see Allow")
    }

    /// What is left of the body is not read, so nothing can follow it.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is larger than the limit").closing()
    }

    /// The body did not arrive in time.
    pub(super) fn body_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not arrive in time").closing()
    }

    pub(super) fn body_broken() -> Self {
        Self::bad_request("body_broken", "the body ended early or is framed wrongly").closing()
    }

    /// With `Retry-After`.
    pub(super) fn come_back(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self::new(status, code, message).with(header::RETRY_AFTER, Self::RETRY_AFTER_S)
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.hints.push((name, value));
        self
    }

    /// Ends the connection after the answer.
    pub(super) fn closing(self) -> Self {
        self.with(header::CONNECTION, "close")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let message = serde_json::Value::from(self.message);
        let body = format!(r#"{{"error":{{"code":"{}","message":{message}}}}}"#, self.code);
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        for (name, value) in self.hints {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
