//! `[api]`.

use super::{Keys, Kind, absent};

pub(crate) static API: Keys = Keys {
    header: "api",
    keys: &[
        absent(
            "read_group",
            Kind::Text,
            r#""adm""#,
            "whose members may ask; everybody on this machine without it",
        ),
        absent(
            "change_group",
            Kind::Text,
            r#""netadmin""#,
            "whose members may change something, beside root and the daemon's own user",
        ),
        absent(
            "listen",
            Kind::Listen,
            r#""127.0.0.1:8177""#,
            "an address of this machine's own for TCP, beside the socket",
        ),
        absent(
            "token_file",
            Kind::Path,
            r#""/etc/uplinkd/tokens""#,
            "who may ask by TCP: a token on each line, `read` before those that may only read",
        ),
    ],
    later: &[],
};
