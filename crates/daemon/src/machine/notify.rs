//! Who is told of what happens: whether anything can arrive. Never a reason not to route.

use nix::unistd::geteuid;
use uplinkd_config::{Diagnostic, Parsed};

use super::Problem;

pub(super) fn channels(found: &mut Vec<Problem>, parsed: &Parsed) {
    // An ordinary user may check a file whose secrets are not theirs to see.
    let is_trusted = geteuid().is_root();
    for channel in &parsed.notify().channels {
        for (file, why) in uplinkd_notify::doubts(channel) {
            if !is_trusted && why.to_lowercase().contains("permission denied") {
                continue;
            }
            let span = parsed.span_of_notify_file(file);
            let diagnostic = Diagnostic::warning(span, why).hint(HINT);
            found.push(Problem::local(diagnostic));
        }
    }
}

const HINT: &str = "hooks belong to root and only root may write them; files with secrets are for the daemon's \
                    user alone: `chown root:uplinkd`, `chmod 640`; `uplinkctl notify-test` tries all of it";

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;

    #[test]
    fn what_cannot_arrive_is_doubted_at_its_place_and_keeps_nobody_from_routing() {
        let dir = tempfile::tempdir().unwrap();
        let (token, hooks) = (dir.path().join("token"), dir.path().join("hooks"));
        fs::write(&token, "secret-word\n").unwrap();
        fs::create_dir(&hooks).unwrap();
        fs::set_permissions(&hooks, Permissions::from_mode(0o755)).unwrap();
        fs::write(hooks.join("10-x"), "").unwrap();
        let text = format!(
            "uplink.isp1.interface = \"a\"\n[notify.hooks]\ndir = \"{}\"\n\
             [notify.webhook.x]\nurl = \"https://a.example/\"\ntoken_file = \"{}\"\n",
            hooks.display(),
            token.display()
        );
        let parsed = uplinkd_config::parse("u.toml", &text).unwrap();
        for (mode, is_executable, expected) in [(0o600, 0o755, 0), (0o644, 0o644, 2)] {
            fs::set_permissions(&token, Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(hooks.join("10-x"), Permissions::from_mode(is_executable)).unwrap();
            let mut found = Vec::new();
            channels(&mut found, &parsed);
            assert_eq!(found.len(), expected, "{mode:o}: {found:?}");
            assert!(found.iter().all(|p| !p.is_fatal && !p.is_error()));
            let shown: Vec<_> = found
                .iter()
                .map(|p| &text[p.diagnostic.span.clone()])
                .collect();
            let quoted = [&hooks, &token].map(|p| format!("\"{}\"", p.display()));
            assert!(shown.is_empty() || shown == quoted, "{shown:?}");
        }
    }
}
