//! `[notify]` as it is written.

use std::ops::Range;

use toml::Spanned;

use crate::{
    diagnostic::Diagnostic,
    keys,
    quote::quoted,
    reader::{Found, Reader, Texts, describe},
};

/// `[notify]`.
#[derive(Default)]
pub(crate) struct RawNotify {
    pub(crate) events: Option<Texts>,
    pub(crate) together: Option<Spanned<String>>,
    pub(crate) per_hour: Option<Spanned<i128>>,
    pub(crate) hooks: Option<RawHooks>,
    /// In the order of the file.
    pub(crate) webhooks: Vec<RawWebhook>,
    pub(crate) mail: Option<RawMail>,
}

/// `[notify.hooks]`.
pub(crate) struct RawHooks {
    /// Where the table's name stands.
    pub(crate) key: Range<usize>,
    pub(crate) events: Option<Texts>,
    pub(crate) dir: Option<Spanned<String>>,
    pub(crate) user: Option<Spanned<String>>,
    pub(crate) timeout: Option<Spanned<String>>,
}

/// `[notify.webhook.NAME]`.
pub(crate) struct RawWebhook {
    pub(crate) name: Spanned<String>,
    pub(crate) events: Option<Texts>,
    pub(crate) template: Option<Spanned<String>>,
    pub(crate) url: Option<Spanned<String>>,
    pub(crate) url_file: Option<Spanned<String>>,
    pub(crate) token_file: Option<Spanned<String>>,
    pub(crate) to: Option<Spanned<String>>,
    pub(crate) ca: Option<Spanned<String>>,
}

/// `[notify.mail]`.
pub(crate) struct RawMail {
    /// Where the table's name stands.
    pub(crate) key: Range<usize>,
    pub(crate) events: Option<Texts>,
    pub(crate) to: Option<Texts>,
    /// Whether `to` is there, readable or not.
    pub(crate) has_to: bool,
    pub(crate) from: Option<Spanned<String>>,
    pub(crate) sendmail: Option<Spanned<String>>,
    pub(crate) user: Option<Spanned<String>>,
}

impl RawNotify {
    pub(super) fn read(top: &Reader<'_>, found: &mut Found) -> Self {
        let Some((_, table)) = top.table("notify", found) else {
            return Self::default();
        };
        let reader = Reader::open(table, &keys::NOTIFY, "notify", found);
        Self {
            events: reader.texts("events", found),
            together: reader.text("together", found),
            per_hour: reader.integer("per_hour", found),
            hooks: reader.table("hooks", found).map(|(key, table)| {
                let reader = Reader::open(table, &keys::HOOKS, "notify.hooks", found);
                RawHooks {
                    key,
                    events: reader.texts("events", found),
                    dir: reader.text("dir", found),
                    user: reader.text("user", found),
                    timeout: reader.text("timeout", found),
                }
            }),
            webhooks: webhooks(&reader, found),
            mail: reader.table("mail", found).map(|(key, table)| {
                let reader = Reader::open(table, &keys::MAIL, "notify.mail", found);
                RawMail {
                    key,
                    events: reader.texts("events", found),
                    to: reader.texts("to", found),
                    has_to: reader.key_span("to").is_some(),
                    from: reader.text("from", found),
                    sendmail: reader.text("sendmail", found),
                    user: reader.text("user", found),
                }
            }),
        }
    }
}

fn webhooks(notify: &Reader<'_>, found: &mut Found) -> Vec<RawWebhook> {
    let Some((_, table)) = notify.table("webhook", found) else {
        return Vec::new();
    };
    let mut webhooks = Vec::new();
    for (name, value) in table.iter() {
        let name = Spanned::new(name.span(), name.get_ref().to_string());
        let Some(table) = value.get_ref().as_table() else {
            let key = quoted(name.get_ref());
            let is = describe(value.get_ref());
            let message = format!("{key} in [notify.webhook] is {is}, not a webhook");
            found.push(
                Diagnostic::error(value.span(), message)
                    .label("expected a table")
                    .hint("every webhook has a name: write `[notify.webhook.phone]`, and its keys below it"),
            );
            continue;
        };
        let header = format!("notify.webhook.{}", name.get_ref().escape_debug());
        let reader = Reader::open(table, &keys::WEBHOOK, &header, found);
        webhooks.push(RawWebhook {
            events: reader.texts("events", found),
            template: reader.text("template", found),
            url: reader.text("url", found),
            url_file: reader.text("url_file", found),
            token_file: reader.text("token_file", found),
            to: reader.text("to", found),
            ca: reader.text("ca", found),
            name,
        });
    }
    webhooks.sort_by_key(|w| w.name.span().start);
    webhooks
}
