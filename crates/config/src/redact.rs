//! The file without its secrets, for reports that leave the machine; and texts of any kind without what
//! looks like one.
//!
//! Of the file only values of kinds that cannot be a secret are shown: numbers, words, names, addresses,
//! interfaces, paths. A key of a kind that is not in [`is_open`], or that is not known at all, is named
//! without its value, and comments are left out. So a new kind of key is hidden until somebody says
//! that it may be seen.

use toml::{Table, Value};

use crate::keys::{Key, Keys, Kind, TOP};

/// What stands where something was left out.
pub const LEFT_OUT: &str = "(left-out)";

/// Keys of any text whose values are names of this machine's own.
const OPEN_TEXTS: [&str; 4] = ["read_group", "change_group", "user", "name"];

/// Ends of names that mean a secret, whatever the kind says; the path of a file with secrets is none.
const SECRET_ENDS: [&str; 8] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "credentials",
    "authorization",
];

/// The text of a file, written anew without secrets and comments; none where it is no TOML.
pub fn without_secrets(text: &str) -> Option<String> {
    let parsed: Table = text.parse().ok()?;
    toml::to_string_pretty(&table(parsed, Some(&TOP))).ok()
}

fn table(before: Table, keys: Option<&Keys>) -> Table {
    let mut after = Table::new();
    for (name, value) in before {
        let value = match keys.and_then(|keys| keys.get(&name)) {
            Some(key) => known(value, key),
            None => left_out(),
        };
        after.insert(name, value);
    }
    after
}

fn known(value: Value, key: &Key) -> Value {
    let is_secret = SECRET_ENDS.iter().any(|end| key.name.ends_with(end));
    if is_secret && !matches!(key.kind, Kind::Path) {
        return left_out();
    }
    shown(value, key)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not named here is left out, kinds of later versions too"
)]
fn shown(value: Value, key: &Key) -> Value {
    match (key.kind, value) {
        (
            Kind::Table(keys) | Kind::WordOrTable(_, keys) | Kind::Delegated(keys),
            Value::Table(inner),
        ) => Value::Table(table(inner, Some(keys))),
        (Kind::Named(keys, _), Value::Table(named)) => {
            let each = |(name, value)| match value {
                Value::Table(inner) => (name, Value::Table(table(inner, Some(keys)))),
                _ => (name, left_out()),
            };
            Value::Table(named.into_iter().map(each).collect())
        }
        (Kind::Listed(keys) | Kind::Targets(keys) | Kind::Tiers(keys), Value::Array(items)) => {
            Value::Array(items.into_iter().map(|i| item(i, key, keys)).collect())
        }
        // Where it is helps, and no more of it: many are a secret as a whole.
        (Kind::Target | Kind::Url, Value::String(text)) => Value::String(hide_secrets(&text)),
        (Kind::Text, value) if OPEN_TEXTS.contains(&key.name) => value,
        // Who gets a letter is nobody's business.
        (Kind::Texts, _) if key.name == "to" => left_out(),
        // A program's arguments can be anything; which program it is helps.
        (Kind::Texts, Value::Array(words)) => {
            let program = words.into_iter().take(1);
            Value::Array(program.chain([left_out()]).collect())
        }
        (kind, value) if is_open(kind) => value,
        (_, _) => left_out(),
    }
}

/// One of a list of tables, targets, or tiers with members.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not named here is left out"
)]
fn item(value: Value, key: &Key, keys: &'static Keys) -> Value {
    match value {
        Value::Table(inner) => Value::Table(table(inner, Some(keys))),
        Value::Array(members) => {
            Value::Array(members.into_iter().map(|m| item(m, key, keys)).collect())
        }
        Value::String(text) if !matches!(key.kind, Kind::Listed(_)) => {
            Value::String(hide_secrets(&text))
        }
        _ => left_out(),
    }
}

/// Kinds whose values cannot be a secret.
fn is_open(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Interface
            | Kind::Interfaces
            | Kind::Integer(_)
            | Kind::Weight(_)
            | Kind::Percents
            | Kind::Size
            | Kind::Truth
            | Kind::Duration
            | Kind::DurationOrOff
            | Kind::PercentOrOff
            | Kind::Rate
            | Kind::Word(_)
            | Kind::Words(_)
            | Kind::WordOrTable(_, _)
            | Kind::Gateway(_)
            | Kind::Nat(_)
            | Kind::Delegated(_)
            | Kind::Prefix
            | Kind::Addresses
            | Kind::Statuses(_)
            | Kind::MarkMask
            | Kind::NftName
            | Kind::UplinkName
            | Kind::PolicyName
            | Kind::Destination
            | Kind::Path
            | Kind::Listen
            | Kind::Values(_)
    )
}

fn left_out() -> Value {
    Value::String(LEFT_OUT.to_owned())
}

/// Words before `=`, `:` or a space that mean a secret behind it, in any text.
const SECRET_WORDS: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "bearer",
];

/// Any text without what looks like a secret: of addresses of pages everything but scheme, host and port;
/// what follows words such as `password=`; and arguments of commands, to the end of their line or quote.
pub fn hide_secrets(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| hide_words(&hide_arguments(&hide_in_pages(line))))
        .collect()
}

/// Where an address in a text ends.
fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '\\')
}

fn hide_in_pages(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        safe.push_str(before);
        let end = after.find(ends_address).unwrap_or(after.len());
        let (address, behind) = after.split_at(end);
        safe.push_str(&page(address));
        rest = behind;
    }
    safe.push_str(rest);
    safe
}

/// What may be seen of an address behind its scheme.
fn page(address: &str) -> String {
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let (authority, path) = address.split_at(end);
    // An `@` behind the authority may belong to a password with a slash in it.
    if path.contains('@') {
        return LEFT_OUT.to_owned();
    }
    let shown = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{LEFT_OUT}@{host}"),
        None => authority.to_owned(),
    };
    // Punctuation of the sentence around it is no path.
    match path.trim_end_matches([',', ';', ':', ')', '.', '/']) {
        "" => format!("{shown}{path}"),
        _ => format!("{shown}/{LEFT_OUT}"),
    }
}

fn hide_arguments(line: &str) -> String {
    const BEFORE: &str = "command /";
    let mut safe = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(BEFORE) {
        let (before, after) = rest.split_at(at + BEFORE.len());
        safe.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | '\\'))
            .unwrap_or(after.len());
        let (program, behind) = after.split_at(end);
        safe.push_str(program);
        let is_hidden = behind.trim_start().starts_with(LEFT_OUT);
        rest = match behind.starts_with(' ') && !is_hidden {
            true => {
                safe.push(' ');
                safe.push_str(LEFT_OUT);
                let end = behind.find(['"', '\n']).unwrap_or(behind.len());
                &behind[end..]
            }
            false => behind,
        };
    }
    safe.push_str(rest);
    safe
}

fn hide_words(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut safe = String::with_capacity(line.len());
    let mut at = 0;
    while let Some((begin, end)) = next_secret(line, &lower, at) {
        safe.push_str(&line[at..begin]);
        safe.push_str(LEFT_OUT);
        at = end;
    }
    safe.push_str(&line[at..]);
    safe
}

/// The next value behind one of the words, from a place on.
fn next_secret(line: &str, lower: &str, from: usize) -> Option<(usize, usize)> {
    let found = SECRET_WORDS.iter().filter_map(|word| {
        let mut from = from;
        loop {
            let at = from + lower[from..].find(word)?;
            let behind = at + word.len();
            match value_behind(line, behind, *word == "bearer") {
                Some(value) => return Some(value),
                None => from = behind,
            }
        }
    });
    found.min()
}

/// Where the value is that stands behind a word, `=` or `:`, with quotes or without.
fn value_behind(line: &str, at: usize, takes_space: bool) -> Option<(usize, usize)> {
    let rest = &line[at..];
    let after = rest.trim_start_matches(['"', '\'', '\\']);
    let after = after.trim_start_matches(' ');
    let after = match after.strip_prefix(['=', ':']) {
        Some(after) => after,
        None if takes_space && rest.starts_with(' ') => after,
        None => return None,
    };
    let value = after.trim_start_matches([' ', '"', '\'', '\\']);
    // `Authorization: Bearer …` and `Basic …`: the word is no secret, what follows is.
    let value =
        ["bearer ", "basic "]
            .iter()
            .fold(value, |value, scheme| match value.get(..scheme.len()) {
                Some(word) if word.eq_ignore_ascii_case(scheme) => {
                    value[scheme.len()..].trim_start()
                }
                _ => value,
            });
    let begin = line.len() - value.len();
    // In quotes up to the next one, behind a colon up to the end of what is said, else one word.
    let before = after[..after.len() - value.len()].chars().rev();
    let quote = before
        .take_while(|c| *c != ' ')
        .find(|c| matches!(c, '"' | '\''));
    let is_said = rest[..rest.len() - after.len()].ends_with(':');
    let ends = |c: char| match quote {
        Some(quote) => c == quote,
        None => {
            matches!(c, '"' | '\'' | ',' | '&' | ';' | '}' | '\\' | '\n')
                || (c.is_whitespace() && !is_said)
        }
    };
    let end = begin + value.find(ends).unwrap_or(value.len());
    let is_value = end > begin && !value.starts_with(LEFT_OUT) && !value.starts_with(['[', '{']);
    is_value.then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_helps_and_loses_what_could_be_a_secret() {
        let text = r#"
            # the password is comment-secret
            lan = ["br-lan"]
            pager_token = "unknown-secret"
            [uplink.isp1]
            interface = "eth1"
            weight = 3
            [uplink.isp1.probe]
            targets = ["gateway", "icmp:1.1.1.1", "https://user:userinfo-secret@example.org:8443/path-secret?k=query-secret",
                       { target = "http://example.org/", body = "body-secret" },
                       { command = ["/bin/check", "--key", "argument-secret"] }]
            [group.calls]
            tiers = [["isp1"]]
            [[policy]]
            name = "voip"
            match = { protocol = "udp", dport = ["5060"], not = { source = "192.0.2.0/24" } }
            use = "calls"
            [api]
            token_file = "/etc/uplinkd/tokens"
            listen = "127.0.0.1:8177"
            [notify]
            events = ["uplink", "trouble"]
            slack = "https://hooks.example.org/webhook-secret"
            [notify.webhook.phone]
            url = "https://ntfy.example.org/topic-secret"
            url_file = "/etc/uplinkd/url"
            to = "chat-secret"
            [notify.mail]
            to = ["someone-secret@example.org"]
            from = "other-secret@example.org"
            [[notify.more]]
            password = "listed-secret"
        "#;
        let shown = without_secrets(text).unwrap();
        assert!(!shown.contains("secret"), "{shown}");
        for word in [
            "br-lan",
            "weight = 3",
            "icmp:1.1.1.1",
            "(left-out)@example.org:8443/(left-out)",
            "/bin/check",
            "voip",
            "192.0.2.0/24",
            "5060",
            "/etc/uplinkd/tokens",
            "127.0.0.1:8177",
            "isp1",
            "notify",
            "trouble",
            "https://ntfy.example.org/(left-out)",
            "/etc/uplinkd/url",
            "pager_token",
        ] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
        assert_eq!(without_secrets("not = [toml"), None);
    }

    #[test]
    fn texts_lose_what_looks_like_a_secret_and_nothing_else() {
        for (text, safe) in [
            ("asked https://example.org/.", "asked https://example.org/."),
            (
                "see https://example.org:8443/a/b?c, and",
                "see https://example.org:8443/(left-out) and",
            ),
            ("http://u:p@h/x", "http://(left-out)@h/(left-out)"),
            ("http://u:p/w@h/x", "http://(left-out)"),
            (
                r#"{"target":"https://h/p","n":1}"#,
                r#"{"target":"https://h/(left-out)","n":1}"#,
            ),
            (r#"{"password": "a b"}"#, r#"{"password": "(left-out)"}"#),
            ("password: a b c, d", "password: (left-out), d"),
            ("password=a&token=b", "password=(left-out)&token=(left-out)"),
            (
                "Authorization: Bearer abc",
                "Authorization: Bearer (left-out)",
            ),
            ("with bearer abc", "with bearer (left-out)"),
            ("the token file /etc/t", "the token file /etc/t"),
            ("token_file = \"/etc/t\"", "token_file = \"/etc/t\""),
            (
                "\"command /bin/x --pin 1\", 2",
                "\"command /bin/x (left-out)\", 2",
            ),
            ("command /bin/x fails", "command /bin/x (left-out)"),
            ("1,isp1,command /bin/x,2", "1,isp1,command /bin/x,2"),
        ] {
            assert_eq!(hide_secrets(text), safe, "{text}");
            assert_eq!(hide_secrets(safe), safe, "again: {safe}");
        }
    }
}
