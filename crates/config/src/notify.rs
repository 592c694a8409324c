//! `[notify]`: who is told of what, and how.

use std::{collections::BTreeSet, ops::Range, path::PathBuf, time::Duration};

use toml::Spanned;
use uplinkd_model::notify::{
    Address, Channel, Hooks, Mail, Means, Notify, Template, Topic, Url, Wanted, Webhook,
};

use crate::{
    check::{Limits, bounded, duration, is_name, word},
    diagnostic::Diagnostic,
    draft::resolved,
    keys,
    quote::quoted,
    raw::{RawHooks, RawMail, RawNotify, RawWebhook},
    reader::{Found, Texts},
};

const DIR: &str = "/etc/uplinkd/hooks.d";
const SENDMAIL: &str = "/usr/sbin/sendmail";
const HOOK_LIMIT: Duration = Duration::from_secs(10);
/// The longest address of e-mail that there can be (RFC 5321).
const MAIL_ADDRESS_MAX: usize = 254;

/// `[notify]`, and where the text names the files that it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) notify: Notify,
    pub(crate) files: Vec<(PathBuf, Range<usize>)>,
}

impl Checked {
    pub(crate) fn check(path: &str, raw: &RawNotify, found: &mut Found) -> Self {
        let usual = Notify::default();
        let wanted = wanted(raw.events.as_ref(), "[notify]", found).unwrap_or_else(Wanted::usual);
        let together = raw.together.as_ref().and_then(|text| {
            let limits = Limits {
                least: Duration::ZERO,
                most: Duration::from_secs(3600),
                hint: "a few seconds are enough for what an outage brings with it",
            };
            duration(text, &limits, "`notify.together`", found)
        });
        let per_hour = raw.per_hour.as_ref().and_then(|number| {
            let hint = "what has to wait is told together, in one message";
            bounded(number, keys::PER_HOUR, "`notify.per_hour`", hint, found)
        });
        let mut check = Check {
            path,
            wanted,
            files: Vec::new(),
        };
        let mut channels = Vec::new();
        channels.extend(raw.hooks.as_ref().map(|raw| check.hooks(raw, found)));
        for raw in &raw.webhooks {
            channels.extend(check.webhook(raw, found));
        }
        channels.extend(raw.mail.as_ref().and_then(|raw| check.mail(raw, found)));
        Self {
            notify: Notify {
                together: together.unwrap_or(usual.together),
                per_hour: per_hour.unwrap_or(usual.per_hour),
                channels,
            },
            files: check.files,
        }
    }
}

struct Check<'c> {
    path: &'c str,
    /// What a channel tells that does not say so itself.
    wanted: Wanted,
    files: Vec<(PathBuf, Range<usize>)>,
}

impl Check<'_> {
    fn wanted(&self, events: Option<&Texts>, place: &str, found: &mut Found) -> Wanted {
        wanted(events, place, found).unwrap_or_else(|| self.wanted.clone())
    }

    /// A file that the text names.
    fn file(&mut self, text: &Spanned<String>) -> PathBuf {
        let path = PathBuf::from(resolved(self.path, text.get_ref()));
        self.files.push((path.clone(), text.span()));
        path
    }

    fn hooks(&mut self, raw: &RawHooks, found: &mut Found) -> Channel {
        let place = "[notify.hooks]";
        let limit = raw.timeout.as_ref().and_then(|text| {
            let limits = Limits {
                least: Duration::from_millis(100),
                most: Duration::from_secs(60),
                hint: "what takes longer can go on by itself: `setsid -f`",
            };
            duration(text, &limits, "`timeout` in [notify.hooks]", found)
        });
        let dir = match &raw.dir {
            Some(dir) => self.file(dir),
            None => {
                self.files.push((DIR.into(), raw.key.clone()));
                DIR.into()
            }
        };
        Channel {
            name: Channel::HOOKS.to_owned(),
            wanted: self.wanted(raw.events.as_ref(), place, found),
            means: Means::Hooks(Hooks {
                dir,
                user: raw.user.as_ref().and_then(|u| user(u, place, found)),
                limit: limit.unwrap_or(HOOK_LIMIT),
            }),
        }
    }

    fn webhook(&mut self, raw: &RawWebhook, found: &mut Found) -> Option<Channel> {
        let name = raw.name.get_ref();
        let place = format!("[notify.webhook.{}]", name.escape_debug());
        if let Some(diagnostic) = bad_name(&raw.name) {
            found.push(diagnostic);
        }
        let template = raw.template.as_ref().map_or(Some(Template::Json), |text| {
            let what = format!("`template` in {place}");
            word(text, &Template::WORDS, &what, "", found)
        });
        let wanted = self.wanted(raw.events.as_ref(), &place, found);
        let address = self.address(raw, template, &place, found);
        let token_file = raw.token_file.as_ref().map(|f| self.file(f));
        let authorities = raw.ca.as_ref().map(|f| self.file(f));
        let template = template?;
        for_telegram(raw, template, &place, found);
        if let (Template::Ntfy, Some(Address::Url(url)), Some(text)) =
            (template, &address, &raw.url)
            && url.path.split('?').next().is_none_or(|p| p.ends_with('/'))
        {
            found.push(
                Diagnostic::error(text.span(), format!("`url` in {place} names no topic"))
                    .label("nobody subscribes to that")
                    .hint("add the topic: `url = \"https://ntfy.sh/my-router\"`"),
            );
        }
        Some(Channel {
            name: name.clone(),
            wanted,
            means: Means::Webhook(Webhook {
                address: address?,
                template,
                to: raw.to.as_ref().map(|t| t.get_ref().clone()),
                token_file,
                authorities,
            }),
        })
    }

    fn address(
        &mut self,
        raw: &RawWebhook,
        template: Option<Template>,
        place: &str,
        found: &mut Found,
    ) -> Option<Address> {
        match (&raw.url, &raw.url_file) {
            (Some(_), Some(file)) => {
                let message = format!("{place} has both `url` and `url_file`");
                found.push(
                    Diagnostic::error(file.span(), message)
                        .label("which one?")
                        .hint("leave one of them out; the file is for URLs that are a secret"),
                );
                None
            }
            (None, Some(file)) => Some(Address::File(self.file(file))),
            (Some(text), None) => {
                let read = Url::parse(text.get_ref());
                if let Ok(url) = &read
                    && !url.is_secure
                    && raw.token_file.is_some()
                {
                    let message = format!("the token of {place} is sent without encryption");
                    found.push(
                        Diagnostic::warning(text.span(), message)
                            .label("http")
                            .hint("write https:// unless it stays on this machine or in the LAN"),
                    );
                }
                read.map(Address::Url)
                    .map_err(|why| {
                        found.push(
                            Diagnostic::error(text.span(), format!("`url` in {place} {why}"))
                                .label("not a URL that can be told something")
                                .hint("write for example `url = \"https://ntfy.sh/my-router\"`"),
                        );
                    })
                    .ok()
            }
            (None, None) if template == Some(Template::Telegram) => {
                Url::parse(Template::TELEGRAM).ok().map(Address::Url)
            }
            (None, None) => {
                found.push(
                    Diagnostic::error(raw.name.span(), format!("{place} has no `url`"))
                        .label("where is it?")
                        .hint("add `url = \"https://…\"`, or `url_file` where the URL is a secret"),
                );
                None
            }
        }
    }

    fn mail(&mut self, raw: &RawMail, found: &mut Found) -> Option<Channel> {
        let place = "[notify.mail]";
        if !raw.has_to {
            found.push(
                Diagnostic::error(raw.key.clone(), format!("{place} has nobody to write to"))
                    .label("`to` is missing")
                    .hint("add `to = [\"ops@example.org\"]`"),
            );
        }
        let to = raw.to.as_ref().map_or(&[][..], |to| &to.items);
        if let Some(empty) = raw
            .to
            .as_ref()
            .filter(|t| t.items.is_empty() && t.is_complete)
        {
            found.push(
                Diagnostic::error(empty.span.clone(), format!("`to` in {place} names nobody"))
                    .label("empty")
                    .hint("write `to = [\"ops@example.org\"]`, or leave [notify.mail] out"),
            );
        }
        let to: Vec<_> = to
            .iter()
            .filter_map(|t| mail_address(t, "to", found))
            .collect();
        let from = raw
            .from
            .as_ref()
            .and_then(|f| mail_address(f, "from", found));
        let program = raw.sendmail.as_ref();
        if let Some(relative) = program.filter(|p| !p.get_ref().starts_with('/')) {
            let message = format!("`sendmail` in {place} is not the path of a program");
            found.push(
                Diagnostic::error(relative.span(), message)
                    .label("begins without /")
                    .hint("write the whole path: `sendmail = \"/usr/bin/msmtp\"`"),
            );
        }
        let program = match program {
            Some(program) => self.file(program),
            None => {
                self.files.push((SENDMAIL.into(), raw.key.clone()));
                SENDMAIL.into()
            }
        };
        let wanted = self.wanted(raw.events.as_ref(), place, found);
        (!to.is_empty()).then(|| Channel {
            name: Channel::MAIL.to_owned(),
            wanted,
            means: Means::Mail(Mail {
                to,
                from,
                program,
                user: raw.user.as_ref().and_then(|u| user(u, place, found)),
            }),
        })
    }
}

/// The topics that are named; none where nothing is written.
fn wanted(events: Option<&Texts>, place: &str, found: &mut Found) -> Option<Wanted> {
    let events = events?;
    if events.items.is_empty() && events.is_complete {
        found.push(
            Diagnostic::error(
                events.span.clone(),
                format!("`events` in {place} names none"),
            )
            .label("empty")
            .hint("leave a channel out that shall tell nothing, or write `events = [\"all\"]`"),
        );
    }
    let mut words = Topic::WORDS
        .map(|(word, topic)| (word, Some(topic)))
        .to_vec();
    words.push((keys::EVERYTHING, None));
    let what = format!("an entry of `events` in {place}");
    let mut topics = BTreeSet::new();
    let mut is_everything = false;
    for item in &events.items {
        match word(item, &words, &what, "", found) {
            Some(Some(topic)) => drop(topics.insert(topic)),
            Some(None) => is_everything = true,
            None => {}
        }
    }
    Some(match is_everything {
        true => Wanted::All,
        false => Wanted::Topics(topics),
    })
}

fn bad_name(name: &Spanned<String>) -> Option<Diagnostic> {
    let word = name.get_ref();
    let (label, hint) = match word.as_str() {
        Channel::HOOKS | Channel::MAIL => (
            "the name of another channel",
            "give it the name of who is told, such as \"phone\"",
        ),
        word if is_name(word) => return None,
        _ => (
            "not a name",
            "a letter, then up to 31 letters, digits, `-` and `_`",
        ),
    };
    let message = format!("a webhook cannot be named {}", quoted(word));
    Some(
        Diagnostic::error(name.span(), message)
            .label(label)
            .hint(hint),
    )
}

/// Telegram has to know the chat and the bot; nobody else asks for a chat.
fn for_telegram(raw: &RawWebhook, template: Template, place: &str, found: &mut Found) {
    match (template, &raw.to) {
        (Template::Telegram, None) => found.push(
            Diagnostic::error(raw.name.span(), format!("{place} has no chat to write to"))
                .label("`to` is missing")
                .hint("add `to = \"123456789\"`, with the number of the chat"),
        ),
        (Template::Telegram, Some(_)) => {}
        (Template::Json | Template::Ntfy | Template::Slack, Some(to)) => found.push(
            Diagnostic::error(to.span(), format!("`to` has no meaning in {place}"))
                .label("only template \"telegram\" passes it on")
                .hint("leave it out: with this template the URL says who is told"),
        ),
        (Template::Json | Template::Ntfy | Template::Slack, None) => {}
    }
    if template == Template::Telegram && raw.token_file.is_none() {
        found.push(
            Diagnostic::error(raw.name.span(), format!("{place} has no bot to write as"))
                .label("`token_file` is missing")
                .hint("put the bot's token into a file, and add `token_file = \"/etc/uplinkd/telegram.token\"`"),
        );
    }
}

/// Whom programs run as: anybody but root.
fn user(text: &Spanned<String>, place: &str, found: &mut Found) -> Option<String> {
    let word = text.get_ref();
    if word == "root" {
        found.push(
            Diagnostic::error(text.span(), format!("`user` in {place} cannot be root"))
                .label("what is told of events needs no rights")
                .hint(
                    "let a program without rights leave word where a service of its own with rights looks",
                ),
        );
        return None;
    }
    Some(word.clone())
}

/// An address of e-mail that can be nothing else where it stands in a header.
fn mail_address(text: &Spanned<String>, key: &str, found: &mut Found) -> Option<String> {
    let word = text.get_ref();
    let is_sign = |c: char| c.is_ascii_graphic() && !",;:<>()[]\\\"".contains(c);
    let parts: Vec<_> = word.split('@').collect();
    let is_good = word.len() <= MAIL_ADDRESS_MAX
        && word.chars().all(is_sign)
        && parts.len() <= 2
        && parts.iter().all(|p| !p.is_empty());
    if !is_good {
        let message = format!(
            "`{key}` in [notify.mail] cannot be {}: that is no address",
            quoted(word)
        );
        found.push(
            Diagnostic::error(text.span(), message)
                .label("not an address")
                .hint("write the bare address, such as \"ops@example.org\", each as a text of its own"),
        );
        return None;
    }
    Some(word.clone())
}
