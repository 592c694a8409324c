//! Who may ask: whether the tokens can be taken.

use std::io::ErrorKind;

use nix::unistd::geteuid;
use uplinkd_config::{Diagnostic, Parsed};
use uplinkd_notify::secret;

use super::Problem;
use crate::{face::Wish, token_file::Why};

pub(super) fn tokens(found: &mut Vec<Problem>, parsed: &Parsed) {
    let Err(error) = Wish::read(parsed.api()) else {
        return;
    };
    // An ordinary user may check a file whose tokens are not theirs to see.
    let is_for_others = matches!(&error.why, Why::File(secret::Why::Unreadable(e)) if e.kind() == ErrorKind::PermissionDenied);
    if is_for_others && !geteuid().is_root() {
        return;
    }
    let diagnostic = Diagnostic::error(parsed.span_of_token_file(), error.to_string());
    found.push(Problem::fatal(diagnostic.hint(error.hint())));
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use crate::machine::Problem;

    #[test]
    fn tokens_that_others_can_read_keep_the_daemon_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = dir.path().join("tokens");
        fs::write(&tokens, "correct-horse-battery-staple\n").unwrap();
        let text = format!(
            "uplink.isp1.interface = \"a\"\n[api]\nlisten = \"127.0.0.1:8177\"\ntoken_file = \"{}\"\n",
            tokens.display()
        );
        let parsed = uplinkd_config::parse("u.toml", &text).unwrap();
        for (mode, problems) in [(0o600, 0), (0o644, 1)] {
            fs::set_permissions(&tokens, Permissions::from_mode(mode)).unwrap();
            let mut found: Vec<Problem> = Vec::new();
            super::tokens(&mut found, &parsed);
            assert_eq!(found.len(), problems, "{mode:o}");
            if let Some(problem) = found.first() {
                assert!(problem.is_fatal);
                assert_eq!(
                    &text[problem.diagnostic.span.clone()],
                    format!("\"{}\"", tokens.display())
                );
            }
        }
    }
}
