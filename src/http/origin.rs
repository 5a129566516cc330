//! Whose pages may connect: an exact list of origins, for WebSocket, SSE and tickets alike, and the CORS answers that follow from it.
//!
//! A client that sends no Origin is no page, and its token decides alone.

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Problem, Public};

/// The allowed origins.
pub struct Origins(HashSet<String>);

impl Origins {
    /// Takes exact origins, `scheme://host[:port]`.
    pub fn new(allowed: impl IntoIterator<Item = String>) -> Self {
        Self(allowed.into_iter().collect())
    }

    /// The request's origin, if it is allowed; `None` if it names none. Several, `null` or a stranger's are refused with 403.
    pub(super) fn check<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a HeaderValue>, Problem> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(None),
            (Some(origin), None) if origin.to_str().is_ok_and(|text| self.0.contains(text)) => Ok(Some(origin)),
            _ => Err(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", "pages of this origin may not connect")),
        }
    }
}

/// Lets the page of an allowed origin read the answer.
pub(super) fn readable_by(origin: Option<&HeaderValue>, response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
    }
    response
}

/// `OPTIONS`: a stranger's page learns nothing.
pub(super) async fn preflight(State(public): State<Arc<Public>>, headers: HeaderMap) -> Response {
    match public.settings.get().origins.check(&headers) {
        Ok(origin) => {
            let allow = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Cache-Control, Content-Type, Last-Event-ID"),
                (header::ACCESS_CONTROL_MAX_AGE, "7200"),
            ];
            readable_by(origin, (StatusCode::NO_CONTENT, allow))
        }
        Err(problem) => readable_by(None, problem),
    }
}
