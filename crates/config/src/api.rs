//! `[api]`: who may ask the daemon, and who may tell it something.

use std::{net::SocketAddr, ops::Range, path::PathBuf};

use toml::Spanned;

use crate::{
    diagnostic::Diagnostic,
    draft::resolved,
    quote::{meant, quoted},
    raw::RawApi,
    reader::Found,
    sources::Sources,
};

/// Who may ask the daemon, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// Whose members may ask; none: everybody on this machine.
    pub read_group: Option<Group>,
    /// Whose members may change something, beside root and the daemon's own user.
    pub change_group: Option<Group>,
    /// Where to listen for TCP; none: not at all. There is a token file then.
    pub listen: Option<SocketAddr>,
    /// Where the tokens are that are asked for there.
    pub token_file: Option<PathBuf>,
    /// Where the file names it.
    pub(crate) token_file_span: Range<usize>,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the file names it.
    pub name: String,
    /// Its number.
    pub id: u32,
}

/// The number that the kernel shows of every group that it cannot name to us.
const NOGROUP: u32 = 65534;

impl Api {
    pub(crate) fn check(path: &str, raw: &RawApi, sources: &Sources, found: &mut Found) -> Self {
        let read_group = group("read_group", raw.read_group.as_ref(), sources, found);
        let change_group = group("change_group", raw.change_group.as_ref(), sources, found);
        let listen = raw.listen.as_ref().and_then(|text| address(text, found));
        match (&raw.listen, &raw.token_file) {
            (Some(listen), None) => found.push(
                Diagnostic::error(listen.span(), "`listen` in [api] needs a `token_file`")
                    .label("anybody on this machine could ask there")
                    .hint("make one: `(umask 077; head -c 32 /dev/urandom | base64 >/etc/uplinkd/tokens)`"),
            ),
            (None, Some(file)) => found.push(
                Diagnostic::warning(file.span(), "`token_file` in [api] has nothing to guard")
                    .label("nobody listens for TCP")
                    .hint("add `listen = \"127.0.0.1:8177\"`, or leave it out"),
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let file = raw.token_file.as_ref();
        Self {
            read_group,
            change_group,
            listen,
            token_file: file.map(|f| PathBuf::from(resolved(path, f.get_ref()))),
            token_file_span: file.map_or(0..0, Spanned::span),
        }
    }
}

fn group(
    key: &str,
    text: Option<&Spanned<String>>,
    sources: &Sources,
    found: &mut Found,
) -> Option<Group> {
    let text = text?;
    let word = text.get_ref();
    let known = &sources.groups;
    let Some(id) = known.get(word).copied().or_else(|| word.parse().ok()) else {
        let names = known.keys().map(String::as_str);
        let hint = match meant(word, names) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => {
                "make it with `groupadd`, or write its number where it is made later".to_owned()
            }
        };
        let message = format!(
            "`{key}` in [api] names a group {} that is not there",
            quoted(word)
        );
        found.push(
            Diagnostic::error(text.span(), message)
                .label("this machine has no group of that name")
                .hint(hint),
        );
        return None;
    };
    if id == NOGROUP || id == u32::MAX {
        let message = format!("`{key}` in [api] cannot be group {id}");
        found.push(
            Diagnostic::error(text.span(), message)
                .label("is shown of every group that the kernel cannot name here")
                .hint("make a group of its own with `groupadd`"),
        );
        return None;
    }
    Some(Group {
        name: word.clone(),
        id,
    })
}

fn address(text: &Spanned<String>, found: &mut Found) -> Option<SocketAddr> {
    const EXAMPLE: &str = "write \"127.0.0.1:8177\" or \"[::1]:8177\"";
    let word = text.get_ref();
    let (label, hint) = match word.replace("localhost:", "127.0.0.1:").parse() {
        Err(_) => ("no address with a port", EXAMPLE),
        Ok(address) => {
            let address: SocketAddr = address;
            match (address.ip().is_loopback(), address.port()) {
                (true, 0) => ("port 0 is none", EXAMPLE),
                (true, _) => return Some(address),
                (false, _) => (
                    "other machines could ask there, and nothing is encrypted",
                    "only addresses of this machine's own are taken, such as \"127.0.0.1:8177\"; from \
                     elsewhere go by `ssh -L`, or by a proxy that encrypts",
                ),
            }
        }
    };
    let message = format!("`listen` in [api] cannot be {}", quoted(word));
    found.push(
        Diagnostic::error(text.span(), message)
            .label(label)
            .hint(hint),
    );
    None
}
