//! What no route may see: requests that are too long, or that two readers could read in two ways.
//!
//! hyper accepts a missing or double Host and codings before `chunked`; a proxy in front of us may not agree with it about what such a
//! request is. (What hyper drops before anybody can see it is refused by the listener.) Whoever sends such a request is told once: the
//! connection ends with the answer.

use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, Version, header, uri::Authority};

use super::Problem;

/// The bounds of a request's head.
#[derive(Clone, Copy, Debug)]
pub struct EdgeLimits {
    /// Header fields; above it 431.
    pub header_fields_max: usize,
    /// Bytes of the target; above it 414.
    pub uri_bytes_max: usize,
}

pub(super) fn check<B>(request: &Request<B>, limits: EdgeLimits) -> Result<(), Problem> {
    check_head(request, limits).map_err(Problem::closing)
}

fn check_head<B>(request: &Request<B>, limits: EdgeLimits) -> Result<(), Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    if target_bytes(uri) > limits.uri_bytes_max {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", "the request target is longer than the limit"));
    }
    if headers.len() > limits.header_fields_max {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "too_many_headers", "the request has more header fields than the limit"));
    }
    check_host(request.version(), uri.authority(), headers)?;
    check_framing(headers)
}

/// What a target takes: nearly always a path and perhaps a query, but a client may write a whole URL.
fn target_bytes(uri: &Uri) -> usize {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    scheme + authority + uri.path().len() + uri.query().map_or(0, |query| query.len() + 1)
}

/// A host in the target goes before the one in the header (RFC 9112, section 3.2.2), but not everybody in front of us may know that.
fn check_host(version: Version, in_target: Option<&Authority>, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let plain = |host: &[u8]| !host.is_empty() && host.iter().all(|b| b.is_ascii_graphic() && !b"/?#@\\".contains(b));
    let same = |host: &HeaderValue| in_target.is_none_or(|t| t.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()));
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if plain(host.as_bytes()) && same(host) => Ok(()),
        // Health checks of load balancers speak it, and it has no Host.
        (None, _) if version == Version::HTTP_10 => Ok(()),
        _ => Err(Problem::bad_request(
            "host_invalid",
            "a request has exactly one Host, and it is a host, the same as in its target",
        )),
    }
}

fn check_framing(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(coding) = headers.get(header::TRANSFER_ENCODING) else { return Ok(()) };
    let alone = headers.get_all(header::TRANSFER_ENCODING).iter().count() == 1;
    if !alone || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Problem::bad_request(
            "framing_invalid",
            "a body is framed by Content-Length or by chunked, and by no other coding",
        ));
    }
    Ok(())
}
