//! The words of services: a message as the body of a request.

use serde_json::{Value, json};
use uplinkd_api::Level;
use uplinkd_model::notify::{Template, Url};

use crate::{message::Message, secret::Secret};

/// What is sent where.
#[derive(Debug)]
pub(crate) struct Request {
    /// Path and query. Never shown: it may be a secret.
    pub(crate) path: String,
    pub(crate) body: Value,
    /// For a header, where the token is not in the path.
    pub(crate) bearer: Option<Secret>,
}

/// Puts a message into a service's words.
///
/// # Errors
/// What the URL or the token lacks for it.
pub(crate) fn request(
    template: Template,
    url: &Url,
    to: Option<&str>,
    token: Option<Secret>,
    message: &Message,
) -> Result<Request, String> {
    let path = url.path.clone();
    let (path, body) = match template {
        Template::Json => (path, as_json(message)),
        Template::Ntfy => {
            // As JSON at the root, since headers take no more than ASCII.
            let (place, query) = match path.split_once('?') {
                Some((place, query)) => (place, format!("?{query}")),
                None => (path.as_str(), String::new()),
            };
            let (root, topic) = place.rsplit_once('/').unwrap_or(("", place));
            if topic.is_empty() {
                return Err("the URL names no topic of ntfy: https://ntfy.sh/TOPIC".to_owned());
            }
            let (priority, tag) = match message.level {
                Level::Warn => (4, "warning"),
                Level::Info => (3, "information_source"),
            };
            let body = json!({
                "topic": topic, "title": message.title, "message": message.text,
                "priority": priority, "tags": [tag],
            });
            (format!("{root}/{query}"), body)
        }
        Template::Telegram => {
            let token = token.ok_or("the bot has no token")?;
            let root = path.trim_end_matches('/');
            let text = format!("{}\n\n{}", message.title, message.text);
            let body = json!({
                "chat_id": to.unwrap_or_default(), "text": text,
                "link_preview_options": { "is_disabled": true },
            });
            let path = format!("{root}/bot{}/sendMessage", token.expose());
            return Ok(Request {
                path,
                body,
                bearer: None,
            });
        }
        Template::Slack => {
            // The three signs that steer its markup.
            let escaped = |text: &str| {
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                text.replace('>', "&gt;")
            };
            let text = format!("*{}*\n{}", escaped(&message.title), escaped(&message.text));
            (path, json!({ "text": text }))
        }
    };
    Ok(Request {
        path,
        body,
        bearer: token,
    })
}

fn as_json(message: &Message) -> Value {
    let events: Vec<_> = message.events.iter().map(|e| json!(**e)).collect();
    let level = json!(message.level);
    json!({
        "host": message.host, "title": message.title, "text": message.text, "level": level,
        "dropped": message.dropped, "events": events,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::message::tests::{event, message};

    fn sent(template: Template, url: &str, token: Option<&str>) -> Result<Request, String> {
        let url = Url::parse(url).unwrap();
        let told = message(vec![event("isp1 <down> & out", Level::Warn)], 2);
        let token = token.map(|word| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), word).unwrap();
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
            Secret::of(file.path()).unwrap()
        });
        request(template, &url, Some("42"), token, &told)
    }

    #[test]
    fn each_service_gets_its_own_words() {
        let json = sent(Template::Json, "https://a.example/x?y", Some("tk")).unwrap();
        assert_eq!(json.path, "/x?y");
        assert_eq!(json.bearer.unwrap().expose(), "tk");
        assert_eq!(json.body["dropped"], 2);
        assert_eq!(json.body["level"], "warn");
        assert_eq!(json.body["events"][0]["detail"]["uplink"], "isp1");

        let ntfy = sent(Template::Ntfy, "https://a.example/push/gate?a=b", None).unwrap();
        assert_eq!((ntfy.path.as_str(), ntfy.bearer), ("/push/?a=b", None));
        assert_eq!(ntfy.body["topic"], "gate");
        assert_eq!(ntfy.body["priority"], 4);
        assert_eq!(ntfy.body["title"], "gate: isp1 <down> & out");

        let telegram = sent(Template::Telegram, "https://a.example/", Some("1:tk")).unwrap();
        assert_eq!(telegram.path, "/bot1:tk/sendMessage");
        assert!(telegram.bearer.is_none());
        assert_eq!(telegram.body["chat_id"], "42");

        let slack = sent(Template::Slack, "https://a.example/T/B", None).unwrap();
        let text = slack.body["text"].as_str().unwrap();
        assert!(
            text.starts_with("*gate: isp1 &lt;down&gt; &amp; out*\n"),
            "{text}"
        );
    }

    #[test]
    fn what_a_service_needs_and_has_not_is_named() {
        let refused = sent(Template::Ntfy, "https://a.example/", None).unwrap_err();
        assert!(refused.contains("names no topic"), "{refused}");
        assert!(sent(Template::Telegram, "https://a.example/", None).is_err());
    }
}
