//! Pages that are compiled in: the demo of `dev` and the operator's inspector. What they share is in `page/`.
//!
//! A page may run the scripts and styles that are served beside it and nothing else: no inline code, no other host, no frame around it.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::IntoResponse as _,
    routing::get,
};

/// A file of a page.
#[derive(Clone, Copy)]
pub(super) struct File {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

impl File {
    /// A page.
    pub(super) const fn html(path: &'static str, content: &'static str) -> Self {
        Self { path, kind: "text/html; charset=utf-8", content }
    }

    /// A style sheet.
    pub(super) const fn css(path: &'static str, content: &'static str) -> Self {
        Self { path, kind: "text/css; charset=utf-8", content }
    }

    /// A script.
    pub(super) const fn js(path: &'static str, content: &'static str) -> Self {
        Self { path, kind: "text/javascript; charset=utf-8", content }
    }
}

/// The look that the pages have in common: colours, type, and the parts that both are built from.
pub(super) const THEME_CSS: &str = include_str!("page/theme.css");
/// Chooses between light and dark before anything is painted, and lets the reader choose.
pub(super) const THEME_JS: &str = include_str!("page/theme.js");
/// Makes elements and short texts.
pub(super) const DOM_JS: &str = include_str!("page/dom.js");

/// Serves `files` with a policy that lets their scripts connect to `connect` and to the server they came from.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(files: &[File], connect: &[String]) -> Router<S> {
    let connect: String = connect.iter().flat_map(|source| [" ", source]).collect();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{connect}; \
         base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    );
    // Sources are our own addresses, which are visible ASCII; a policy that could not be sent would be no policy, so then nothing may run.
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    files.iter().fold(Router::new(), |router, file| {
        let (file, policy) = (*file, policy.clone());
        router.route(file.path, get(async move || (headers(file.kind, policy), file.content).into_response()))
    })
}

fn headers(kind: &'static str, policy: HeaderValue) -> [(HeaderName, HeaderValue); 5] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A newer gateway on the same port must not meet the older one's scripts.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}
