//! The inspector: `/` of the admin listener. One timeline for each webhook, over the JSON of `/admin/v1`.
//!
//! The page itself holds nothing that is secret; what it shows it asks the admin API for, with the operator's token where one is set.

use axum::Router;

use super::page::{self, File};

const FILES: &[File] = &[
    File::html("/", include_str!("inspector/inspector.html")),
    File::css("/inspector.css", include_str!("inspector/inspector.css")),
    File::js("/inspector.js", include_str!("inspector/inspector.js")),
    File::js("/inspector/api.js", include_str!("inspector/api.js")),
    File::js("/inspector/deliveries.js", include_str!("inspector/deliveries.js")),
    File::js("/inspector/timeline.js", include_str!("inspector/timeline.js")),
    File::js("/inspector/views.js", include_str!("inspector/views.js")),
    File::css("/theme.css", page::THEME_CSS),
    File::js("/theme.js", page::THEME_JS),
    File::js("/dom.js", page::DOM_JS),
];

/// The page's routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    page::routes(FILES, &[])
}
