//! Style sheet, icons and script, from the binary.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("../../assets/style.css");
const ICONS: &str = include_str!("../../assets/icons.svg");
const SCRIPT: &str = include_str!("../../assets/app.js");
const MARK: &str = include_str!("../../assets/mark.svg");

/// A query that changes with the build, so that browsers may keep what they have.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn get(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "icons.svg" => ("image/svg+xml", ICONS),
        "mark.svg" => ("image/svg+xml", MARK),
        "app.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return (StatusCode::NOT_FOUND, "there is no such asset\n").into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=300")], text).into_response()
}

pub(super) async fn favicon() -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "private, max-age=86400")], MARK)
        .into_response()
}
