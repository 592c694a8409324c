//! The OpenAPI document: made of the routes as they are served, and of the types that they answer with.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use uplinkd_api::{ApiError, path};
use utoipa::{
    IntoResponses, OpenApi, ToSchema as _,
    openapi::{
        Ref, RefOr, Response as Described,
        content::ContentBuilder,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::routes::documented;

const ABOUT: &str = "\
What uplinkd does and why, and the little that can be told it while it runs.

Over the daemon's Unix socket nobody logs in: the kernel names the peer. Over TCP, where `[api]` in \
the file says so, a token of the token file is sent as `Authorization: Bearer TOKEN`, or the cookie of a \
session that was begun with one.

Within /v1 fields and paths are added, never renamed or removed: ignore what you do not know.";

/// What the routes are added to.
#[derive(OpenApi)]
#[openapi(components(schemas(ApiError)))]
struct Frame;

/// The document without its paths.
pub(crate) fn frame() -> utoipa::openapi::OpenApi {
    let mut frame = Frame::openapi();
    frame.info.title = "uplinkd".to_owned();
    frame.info.description = Some(ABOUT.to_owned());
    // Of the API, not of the program: it changes where something is added.
    frame.info.version = "1".to_owned();
    frame.info.license = None;
    frame.info.contact = None;
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    frame
        .components
        .get_or_insert_default()
        .add_security_scheme("token", token);
    frame.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
    frame
}

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(|| {
    let mut document = documented().into_openapi();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            // Not one may be without, and what success means the summary says.
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    response.description = "What was asked for.".to_owned();
                }
            }
        }
    }
    document
});

/// The document as JSON, as it is served and as it stands in `docs/openapi.json`.
pub fn openapi_json() -> String {
    // Names and texts: they always become JSON.
    let mut document = serde_json::to_value(&*DOCUMENT).unwrap_or_default();
    name_formats(&mut document);
    format!("{document:#}\n")
}

/// Gives integers without a sign the names of their formats in the OpenAPI registry: the library writes
/// `u-int32` for `uint32`.
fn name_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(format)) = fields.get_mut("format")
                && let Some(bits) = format.strip_prefix("u-int")
            {
                *format = format!("uint{bits}");
            }
            fields.values_mut().for_each(name_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(name_formats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The paths that are served.
pub(crate) fn known_paths() -> impl Iterator<Item = &'static str> {
    DOCUMENT.paths.paths.keys().map(String::as_str)
}

/// This document
#[utoipa::path(
    get, path = path::OPENAPI, tag = "about",
    responses((status = 200, body = Object, description = "An OpenAPI 3.1 document."), Always),
)]
pub(crate) async fn document() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(openapi_json);
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, TEXT.as_str()).into_response()
}

/// Sets of refusals that a route may answer with, each beside those of the sets before it.
macro_rules! refusals {
    ($($(#[$about:meta])* $name:ident: $($before:ident)? { $($status:literal $why:literal,)* })*) => {$(
        $(#[$about])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Described>> {
                #[allow(unused_mut, reason = "the first has none before it")]
                let mut all = BTreeMap::new();
                $(all.extend($before::responses());)?
                $(all.insert($status.to_owned(), refusal($status, $why).into());)*
                all
            }
        }
    )*};
}

refusals! {
    /// Any request.
    Always: {
        "401" "Over TCP: no token, or a wrong one.",
        "403" "Whoever asks may not, or a browser asks for another site.",
        "431" "Its head is longer than 16 KiB.",
        "503" "The daemon is too busy, or stopping.",
    }
    /// A request with parameters.
    Asked: Always {
        "400" "Something in it is not written as it has to be.",
    }
    /// A request about something that has a name.
    Named: Asked {
        "404" "What it speaks of is not there.",
        "422" "It can be read, but there can be no such thing.",
    }
    /// A request about a session.
    Session: Always {
        "409" "There are no sessions here.",
        "413" "It has a body, and none is wanted.",
    }
    /// A request about what was.
    Remembered: Named {
        "409" "Too many ask for that already.",
        "500" "What is remembered cannot be read.",
    }
    /// A request that changes something.
    Changing: Named {
        "409" "It is there, but not in a state for that.",
        "413" "It has a body, and none is wanted.",
    }
}

fn refusal(status: &str, why: &str) -> Described {
    let refusal = Described::builder().description(why);
    // Refused before anybody has looked at it, and without words.
    if status == "431" {
        return refusal.build();
    }
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ApiError::name())))
        .build();
    refusal.content("application/json", body).build()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    /// Set it to have the file written.
    const UPDATE: &str = "UPDATE_DOCS";

    #[test]
    fn the_document_in_the_repository_is_the_one_that_is_served() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        if env::var_os(UPDATE).is_some() {
            fs::write(&file, openapi_json()).unwrap();
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == openapi_json(),
            "docs/openapi.json is not what the code says: `{UPDATE}=1 cargo test -p uplinkd-web openapi`"
        );
    }

    #[test]
    fn every_route_is_in_the_document() {
        let routes = include_str!("routes.rs");
        // What is added by `route` is served, but not described.
        assert!(!routes.contains(concat!(".rou", "te(")));
        for known in [path::STATUS, path::BUDGET, path::OPENAPI] {
            assert!(known_paths().any(|path| path == known), "{known}");
        }
    }

    /// All places of the document that others of it are named at.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let named = fields.get("$ref").and_then(Value::as_str);
                found.extend(named.map(str::to_owned));
                fields.values().for_each(|v| references(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn nothing_is_named_that_is_not_there() {
        let document: Value = serde_json::from_str(&openapi_json()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for name in found {
            let place = name.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{name}");
        }
    }

    #[test]
    fn every_operation_says_what_it_is_and_how_it_fails() {
        for (path, item) in &DOCUMENT.paths.paths {
            for operation in [&item.get, &item.post, &item.delete].into_iter().flatten() {
                assert!(operation.summary.is_some(), "{path}");
                assert!(
                    operation.responses.responses.contains_key("503"),
                    "{path}: which refusals?"
                );
            }
        }
    }
}
