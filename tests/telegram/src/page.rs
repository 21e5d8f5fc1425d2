//! The page that shows the chat: static files, made live by `/control/state`.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, html};

const POLICY: &str =
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'";

pub(crate) async fn page() -> Response {
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Chat" }
                link rel="stylesheet" href="/chat.css";
                script src="/chat.js" defer {}
            }
            body {
                header {
                    h1 id="bot" { "Telegram, played" }
                    p { "A fake of the Bot API on this machine. Nothing leaves it." }
                    label { "I am " select id="user" {} }
                    label { "in " select id="chat" {} }
                }
                main id="log" role="log" aria-live="polite" {}
                p id="toast" role="status" {}
                form id="form" autocomplete="off" {
                    input id="text" list="commands" aria-label="Message" placeholder="/apps" required;
                    datalist id="commands" {}
                    button { "Send" }
                }
            }
        }
    };
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], body).into_response()
}

pub(crate) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("assets/chat.css"))
}

pub(crate) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/chat.js"))
}
