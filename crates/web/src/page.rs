//! The dashboard: files that are compiled in, the same for everybody.
//!
//! They hold no secret, so that they are given out before anybody has shown a token: the page asks for one.
//! All but the first have a path that changes with their content, and are kept by browsers for good; the
//! first is asked for again each time, and costs a line where it is still the same.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher as _},
    io::Write as _,
    sync::LazyLock,
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use uplinkd_api::ApiError;

use crate::{routes::Refusal, shared::Shared};

/// Nothing but our own files, and nothing that stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
/// The page itself.
const FIRST: &str = "index.html";
/// What stands in the page for the folder of all other files.
const FOLDER: &str = "{folder}";
/// A year: for a path that belongs to one content.
const FOR_GOOD: &str = "private, max-age=31536000, immutable";
/// Kept, but asked for again.
const ASK_AGAIN: &str = "no-cache";

/// Files of the folder `page`, with their contents.
macro_rules! files {
    ($($name:literal,)*) => {
        &[$(($name, include_bytes!(concat!("../page/", $name)))),*]
    };
}

/// All there are; a test sees to it.
const CONTENTS: &[(&str, &[u8])] = files![
    "api.js",
    "app.js",
    "charts.js",
    "dom.js",
    "icon.svg",
    "index.html",
    "lab.js",
    "orders.js",
    "policies.js",
    "style.css",
    "timeline.js",
    "uplinks.js",
    "words.js",
    "vendor/LICENSE-uplot",
    "vendor/uplot.css",
    "vendor/uplot.js",
];

/// A file as it is sent.
struct File {
    kind: &'static str,
    caching: &'static str,
    tag: String,
    plain: Bytes,
    gzip: Bytes,
}

/// All files by their paths.
static FILES: LazyLock<BTreeMap<String, File>> = LazyLock::new(read_files);

/// The paths of the page. What [`is_open`] does not know there wants a token like all else.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(file))
        .route("/page/{version}/{*name}", get(file))
}

/// Compresses all files, which takes some milliseconds the first time.
pub(crate) fn prepare() {
    LazyLock::force(&FILES);
}

/// Whether a request is for a file of the page, which nobody needs a token for.
pub(crate) fn is_open(request: &Request) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    is_read && FILES.contains_key(request.uri().path())
}

/// A body in gzip, for who takes that.
pub(crate) fn gzip(plain: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.expect("memory takes what is written to it")
}

/// Whether whoever asks takes gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|c| c.eq_ignore_ascii_case("gzip"));
        let is_refused = |part: &str| {
            let weight = part.strip_prefix("q=").map(str::parse::<f32>);
            weight.is_some_and(|w| w.is_ok_and(|w| w <= 0.0))
        };
        is_gzip && !parts.any(is_refused)
    })
}

async fn file(request: Request) -> Result<Response, Refusal> {
    let Some(file) = FILES.get(request.uri().path()) else {
        return Err(Refusal(
            StatusCode::NOT_FOUND,
            ApiError::new("the page has no such file").with_hint("load the page anew"),
        ));
    };
    let is_compressed = takes_gzip(request.headers());
    let tag = match is_compressed {
        true => format!("\"{}-gzip\"", file.tag),
        false => format!("\"{}\"", file.tag),
    };
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
    let mut known = known
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let is_known = known.any(|k| k.trim().trim_start_matches("W/") == tag);
    let mut response = match (is_known, is_compressed) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, true) => file.gzip.clone().into_response(),
        (false, false) => file.plain.clone().into_response(),
    };
    let headers = response.headers_mut();
    if is_compressed && !is_known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in [
        (header::CONTENT_TYPE, file.kind),
        (header::CACHE_CONTROL, file.caching),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

fn read_files() -> BTreeMap<String, File> {
    let folder = format!("page/{}", tag_of(CONTENTS));
    let files = CONTENTS.iter().map(|(name, content)| {
        let is_first = *name == FIRST;
        let (path, caching) = match is_first {
            true => ("/".to_owned(), ASK_AGAIN),
            false => (format!("/{folder}/{name}"), FOR_GOOD),
        };
        let plain = match std::str::from_utf8(content) {
            Ok(text) if is_first => Bytes::from(text.replace(FOLDER, &folder)),
            _ => Bytes::from_static(content),
        };
        let file = File {
            kind: kind(name),
            caching,
            tag: tag_of(&plain),
            gzip: gzip(&plain, Compression::best()).into(),
            plain,
        };
        (path, file)
    });
    files.collect()
}

/// Tells contents of one build from those of another. Nobody gains by making two alike.
fn tag_of(content: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let mut tag = String::new();
    // Writing to a string never fails.
    let _ = write!(tag, "{:016x}", hasher.finish());
    tag
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn names(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                names(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name);
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_compiled_in() {
        let mut there = BTreeSet::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        names(&folder, "", &mut there);
        let compiled: BTreeSet<_> = CONTENTS
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        assert_eq!(compiled, there);
    }

    #[test]
    fn nothing_of_ours_makes_text_into_code_or_asks_another_host() {
        for (name, content) in CONTENTS {
            let text = std::str::from_utf8(content).unwrap();
            if name.starts_with("vendor/") {
                continue;
            }
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                " style=",
                " onclick=",
                "javascript:",
                "https://",
            ] {
                assert!(!text.contains(word), "{name}: {word}");
            }
        }
    }

    #[test]
    fn everything_that_the_page_loads_is_there() {
        let page = std::str::from_utf8(&FILES["/"].plain).unwrap();
        let quoted = page.split('"').filter(|word| word.starts_with("page/"));
        let mut count = 0;
        for path in quoted {
            assert!(FILES.contains_key(&format!("/{path}")), "{path}");
            count += 1;
        }
        assert!(count >= 3, "{count}");
    }

    #[test]
    fn gzip_is_for_who_takes_it() {
        let takes = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            takes_gzip(&headers)
        };
        for yes in ["gzip", "br, GZIP;q=0.5", "deflate,gzip"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0.0", "xgzip"] {
            assert!(!takes(no), "{no}");
        }
    }
}
