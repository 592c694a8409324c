//! The keys of a probe target that is written as a table.

use super::{Bounds, Keys, Kind, absent};

/// What a server may answer with.
pub(crate) const STATUS: Bounds = Bounds::new(100, 599);

/// `{ target = "https://…", status = 204 }` in `targets`.
pub(crate) static TARGET: Keys = Keys {
    header: "probe.targets",
    keys: &[
        absent(
            "target",
            Kind::Target,
            r#""https://example.org/health""#,
            "who is asked, as where only that is written",
        ),
        absent(
            "command",
            Kind::Texts,
            r#"["/usr/local/bin/check-line", "--quick"]"#,
            "in place of `target`: a program by its path, and its arguments; exit code 0 is an answer",
        ),
        absent(
            "family",
            Kind::Word(&["ipv4", "ipv6"]),
            r#""ipv4""#,
            "asked on lines of this family only; without it on those of both where it is a name or a program",
        ),
        absent(
            "answer",
            Kind::Addresses,
            r#""192.0.2.1""#,
            "of `dns:SERVER/NAME`: one of these addresses must be in the answer",
        ),
        absent(
            "status",
            Kind::Statuses(STATUS),
            "204",
            "of a page: the status must be this, or one of these; without it 200 to 299",
        ),
        absent(
            "body",
            Kind::Text,
            r#""all is well""#,
            "of a page: text that must be in the first 64 kB of it",
        ),
        absent(
            "name",
            Kind::Text,
            r#""example.org""#,
            "of a page over TLS: the name that the certificate must be for, where it is not the host's",
        ),
        absent(
            "ca",
            Kind::Path,
            r#""/etc/ssl/company.pem""#,
            "of a page over TLS: the certificates that are trusted; without it the system's",
        ),
        absent(
            "timeout",
            Kind::Duration,
            r#""5s""#,
            "of a command: how long it may run; without it 5 s",
        ),
        absent(
            "user",
            Kind::Text,
            r#""nobody""#,
            "of a command: whom it runs as; without it \"nobody\"",
        ),
    ],
    later: &[],
};
