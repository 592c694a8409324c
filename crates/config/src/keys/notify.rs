//! `[notify]` and the channels below it.

use uplinkd_model::notify::{Template, Topic};

use super::{Bounds, Key, Keys, Kind, Names, absent, optional, required, table};

/// One message an hour, to one a second.
pub(crate) const PER_HOUR: Bounds = Bounds::new(1, 3600);
/// Beside the topics: whatever is in the event log.
pub(crate) const EVERYTHING: &str = "all";

/// The topics, and the word for all of them.
pub(crate) const EVENTS: [&str; Topic::WORDS.len() + 1] = {
    let mut words = [EVERYTHING; Topic::WORDS.len() + 1];
    let mut index = 0;
    while index < Topic::WORDS.len() {
        words[index] = Topic::WORDS[index].0;
        index += 1;
    }
    words
};

pub(crate) const TEMPLATES: [&str; Template::WORDS.len()] = {
    let mut words = [""; Template::WORDS.len()];
    let mut index = 0;
    while index < words.len() {
        words[index] = Template::WORDS[index].0;
        index += 1;
    }
    words
};

const OWN_EVENTS: Key = absent(
    "events",
    Kind::Words(&EVENTS),
    r#"["all"]"#,
    "what this channel tells, instead of what [notify] says",
);

pub(crate) static NOTIFY: Keys = Keys {
    header: "notify",
    keys: &[
        optional(
            "events",
            Kind::Words(&EVENTS),
            r#"["uplink", "budget", "trouble"]"#,
            "what is told",
        ),
        optional(
            "together",
            Kind::Duration,
            r#""5s""#,
            "what happens within this time of a first event is told in one message",
        ),
        optional(
            "per_hour",
            Kind::Integer(PER_HOUR),
            "30",
            "messages in an hour at most, by each webhook and by e-mail; what has to wait is told together",
        ),
        table("hooks", Kind::Table(&HOOKS), "programs that are run"),
        table(
            "webhook",
            Kind::Named(&WEBHOOK, Names::Groups),
            "servers that are told by HTTP, by name",
        ),
        table(
            "mail",
            Kind::Table(&MAIL),
            "e-mail by the system's sendmail",
        ),
    ],
    later: &[],
};

pub(crate) static HOOKS: Keys = Keys {
    header: "notify.hooks",
    keys: &[
        OWN_EVENTS,
        optional(
            "dir",
            Kind::Path,
            r#""/etc/uplinkd/hooks.d""#,
            "the folder of the programs, which are run in the order of their names",
        ),
        absent(
            "user",
            Kind::Text,
            r#""nobody""#,
            "whom they run as, where uplinkd may become others",
        ),
        optional(
            "timeout",
            Kind::Duration,
            r#""10s""#,
            "how long each may run; then it is killed",
        ),
    ],
    later: &[],
};

pub(crate) static WEBHOOK: Keys = Keys {
    header: "notify.webhook.NAME",
    keys: &[
        OWN_EVENTS,
        optional(
            "template",
            Kind::Word(&TEMPLATES),
            r#""json""#,
            "the words of which service",
        ),
        absent(
            "url",
            Kind::Url,
            r#""https://ntfy.sh/my-router""#,
            "where it is",
        ),
        absent(
            "url_file",
            Kind::Path,
            r#""/etc/uplinkd/slack.url""#,
            "the file that the URL stands in, where it is a secret",
        ),
        absent(
            "token_file",
            Kind::Path,
            r#""/etc/uplinkd/ntfy.token""#,
            "the file of what proves who we are",
        ),
        absent(
            "to",
            Kind::Text,
            r#""123456789""#,
            "the chat, for template \"telegram\"",
        ),
        absent(
            "ca",
            Kind::Path,
            r#""/etc/uplinkd/ca.pem""#,
            "certificates to trust instead of the system's",
        ),
    ],
    later: &[],
};

pub(crate) static MAIL: Keys = Keys {
    header: "notify.mail",
    keys: &[
        OWN_EVENTS,
        required("to", Kind::Texts, r#"["ops@example.org"]"#, "who gets it"),
        absent(
            "from",
            Kind::Text,
            r#""router@example.org""#,
            "who it says it is from; without it as sendmail has it",
        ),
        optional(
            "sendmail",
            Kind::Path,
            r#""/usr/sbin/sendmail""#,
            "the program that takes it",
        ),
        absent(
            "user",
            Kind::Text,
            r#""nobody""#,
            "whom it runs as, where uplinkd may become others",
        ),
    ],
    later: &[],
};
