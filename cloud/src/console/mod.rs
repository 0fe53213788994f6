//! The console: one page for people, of plain files that are part of the program.
//!
//! It shows what the API shows and does what the API does, with the token that its user gives
//! it; there is nothing here that needs a right of its own. The files are served as they lie in
//! `page/`: no build step, nothing loaded from elsewhere, and a policy for the browser
//! ([`CONTENT_SECURITY_POLICY`]) under which neither inline code nor markup from data can run.
//!
//! # What it never does
//! It never puts the token anywhere but into the `Authorization` header and into the tab's
//! session storage, and never decides anything: what may be asked of a robot is decided by the
//! cloud's checks, the robot's rules and its gate.

use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY as CSP, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing};
use nooterra_protocol::codec::Digest;

/// What the browser may do with the page: run and show what this origin serves as files, and
/// talk to this origin. No inline code or style, no `eval`, no frame around it, and no text of
/// the API's can become markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
struct Asset {
    bytes: &'static [u8],
    media_type: &'static str,
    name: &'static str,
}

macro_rules! asset {
    ($name:literal, $media_type:literal) => {
        Asset {
            bytes: include_bytes!(concat!("page/", $name)),
            media_type: $media_type,
            name: $name,
        }
    };
}

/// All of them; `index.html` is served at `/` too.
static ASSETS: &[Asset] = &[
    asset!("index.html", "text/html; charset=utf-8"),
    asset!("api.js", "text/javascript; charset=utf-8"),
    asset!("console.css", "text/css; charset=utf-8"),
    asset!("dom.js", "text/javascript; charset=utf-8"),
    asset!("fleet.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("jobs.js", "text/javascript; charset=utf-8"),
    asset!("live.js", "text/javascript; charset=utf-8"),
    asset!("main.js", "text/javascript; charset=utf-8"),
    asset!("map.js", "text/javascript; charset=utf-8"),
    asset!("robot.js", "text/javascript; charset=utf-8"),
    asset!("skills.js", "text/javascript; charset=utf-8"),
    asset!("strip.js", "text/javascript; charset=utf-8"),
    asset!("timeline.js", "text/javascript; charset=utf-8"),
    asset!("words.js", "text/javascript; charset=utf-8"),
];

/// The page's own routes; everything else is the API's.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", routing::get(index))
        .route("/favicon.ico", routing::get(icon))
        .route("/console/{file}", routing::get(file))
        .with_state(())
}

async fn index(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

async fn icon(headers: HeaderMap) -> Response {
    serve("icon.svg", &headers)
}

async fn file(
    State(()): State<()>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if ASSETS.iter().any(|asset| asset.name == name) {
        serve(&name, &headers)
    } else {
        crate::api::not_found(uri).await.into_response()
    }
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = format!("\"{}\"", Digest::of(asset.bytes));
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, asset.media_type)], asset.bytes).into_response()
    };
    let fixed = [
        // Asked for anew each time, and answered by the tag: a new release shows at once.
        (CACHE_CONTROL, "no-cache"),
        (CSP, CONTENT_SECURITY_POLICY),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    let headers = response.headers_mut();
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    // 64 hexadecimal digits in quotes always are a header's value.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> &'static str {
        let asset = ASSETS.iter().find(|asset| asset.name == name).unwrap();
        std::str::from_utf8(asset.bytes).unwrap()
    }

    #[test]
    fn every_file_beside_the_page_is_served_and_nothing_else() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/page");
        let mut there: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        there.sort();
        served.sort();
        assert_eq!(there, served);
    }

    #[test]
    fn the_page_holds_nothing_that_its_policy_forbids_and_loads_nothing_from_elsewhere() {
        let page = text("index.html");
        for word in ["style=", "<style", " onclick", " onload", "javascript:"] {
            assert!(!page.contains(word), "{word}");
        }
        let ours = page.matches("<script type=\"module\" src=\"/console/").count();
        assert_eq!(page.matches("<script").count(), ours);
        for asset in ASSETS {
            let text = text(asset.name).replace("http://www.w3.org/", "");
            for word in ["http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("]
            {
                assert!(!text.contains(word), "{}: {word}", asset.name);
            }
        }
    }

    #[test]
    fn the_token_is_kept_in_the_tab_only() {
        for asset in ASSETS {
            let text = text(asset.name);
            for word in ["localStorage", "document.cookie", "indexedDB"] {
                assert!(!text.contains(word), "{}: {word}", asset.name);
            }
            assert!(asset.name == "api.js" || !text.contains("sessionStorage"), "{}", asset.name);
        }
    }

    #[test]
    fn what_the_browser_has_already_is_not_sent_again() {
        let first = serve("index.html", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        let again = serve("index.html", &headers);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[CSP], first.headers()[CSP]);
    }
}
