//! Hooks: the programs of a folder, in the order of their names.
//!
//! A hook is run only where nobody but root and the daemon's own user can have written it. It gets the
//! event as JSON on standard input and its fields in the environment, has nothing else of ours, runs as
//! nobody or as ourselves without any rights, and ends in time.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::unistd::geteuid;
use serde_json::Value;
use tracing::debug;
use uplinkd_api::Event;
use uplinkd_model::notify::Hooks;
use uplinkd_probe::{bounded, in_words, program};

/// Programs that are run for each event. More are refused.
const HOOKS_MAX: usize = 50;
/// The longest value in a hook's environment, in bytes; standard input has it whole.
const VALUE_MAX: usize = 8192;
/// Group or others may write.
const MODE_OPEN: u32 = 0o022;

/// What was found in a folder of hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The file's name, harmless to show.
    pub name: String,
    path: PathBuf,
    /// Why it is not run; none: it is.
    refused: Option<String>,
}

impl Hook {
    /// Why it is not run, for people.
    pub fn problem(&self) -> Option<String> {
        let why = self.refused.as_ref()?;
        Some(format!("hook {} is not run: {why}", self.name))
    }
}

/// What became of one hook.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) name: String,
    pub(crate) problem: Option<String>,
    pub(crate) took: Duration,
}

/// The programs of a folder by name. Hidden files are passed over.
///
/// # Errors
/// Where the folder cannot be read, or others can put programs into it.
pub fn listed(dir: &Path) -> Result<Vec<Hook>, String> {
    listed_as(dir, geteuid().as_raw())
}

fn listed_as(dir: &Path, user: u32) -> Result<Vec<Hook>, String> {
    let told = |e: &io::Error| format!("cannot read {}: {}", dir.display(), in_words(e));
    let about = fs::metadata(dir).map_err(|e| told(&e))?;
    if let Some(why) = open_to_others(&about, user) {
        return Err(format!("hooks of {} are not run: {why}", dir.display()));
    }
    let mut hooks = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| told(&e))? {
        let entry = entry.map_err(|e| told(&e))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        hooks.push(Hook {
            refused: refused(&name, &path, user),
            name: bounded(&name),
            path,
        });
    }
    hooks.sort_by(|a, b| a.path.cmp(&b.path));
    for hook in hooks.iter_mut().skip(HOOKS_MAX) {
        hook.refused = Some(format!("{HOOKS_MAX} hooks are enough"));
    }
    Ok(hooks)
}

fn refused(name: &str, path: &Path, user: u32) -> Option<String> {
    // As run-parts: what editors and packages leave behind has other signs.
    let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.chars().all(is_sign) {
        return Some("its name has other signs than letters, digits, `-` and `_`".to_owned());
    }
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => return Some(in_words(&error)),
    };
    if !about.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    let mode = about.permissions().mode();
    open_to_others(&about, user).or_else(|| {
        let is_executable = mode & 0o111 != 0;
        (!is_executable).then(|| "it is not executable; `chmod +x` makes it so".to_owned())
    })
}

/// Why others could change it.
fn open_to_others(about: &fs::Metadata, user: u32) -> Option<String> {
    let (owner, mode) = (about.uid(), about.mode());
    if owner != 0 && owner != user {
        return Some(format!(
            "it belongs to user {owner}, and not to root or to whom the daemon runs as"
        ));
    }
    let is_open = mode & MODE_OPEN != 0;
    is_open.then(|| format!("others may write it (mode {:04o})", mode & 0o7777))
}

/// Tells an event to all hooks, one after the other.
///
/// # Errors
/// Where the folder is none to run programs of.
pub(crate) async fn run(hooks: &Hooks, event: &Event, dropped: u64) -> Result<Vec<Ran>, String> {
    let mut all = Vec::new();
    for hook in listed(&hooks.dir)? {
        let began = Instant::now();
        let problem = match hook.refused {
            Some(why) => Some(format!("not run: {why}")),
            None => run_one(hooks, &hook.path, event, dropped).await.err(),
        };
        all.push(Ran {
            name: hook.name,
            problem,
            took: began.elapsed(),
        });
    }
    Ok(all)
}

async fn run_one(hooks: &Hooks, path: &Path, event: &Event, dropped: u64) -> Result<(), String> {
    let mut command = program::command(&path.to_string_lossy(), hooks.user.as_deref())?;
    command.envs(environment(event, dropped));
    let mut input = serde_json::to_vec(event).unwrap_or_default();
    input.push(b'\n');
    let ended = program::run(command, input, hooks.limit).await?;
    if !ended.status.success() {
        return Err(ended.told());
    }
    if let Some(words) = ended.last_words() {
        debug!(hook = %path.display(), words, "hook");
    }
    Ok(())
}

/// The event's fields, and those of its detail that are one word.
fn environment(event: &Event, dropped: u64) -> Vec<(String, String)> {
    let mut fields = vec![("DROPPED".to_owned(), dropped.to_string())];
    let mut add = |value: &Value| {
        for (name, value) in value.as_object().into_iter().flatten() {
            let name = name.to_ascii_uppercase();
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            // The event's own come first.
            if !fields.iter().any(|(known, _)| *known == name) {
                fields.push((name, harmless(&text)));
            }
        }
    };
    add(&serde_json::to_value(event).unwrap_or_default());
    add(&event.detail);
    let named = fields.into_iter();
    named
        .map(|(name, value)| (format!("UPLINKD_{name}"), value))
        .collect()
}

/// A value that can stand in an environment: without zeros, and not too long.
fn harmless(text: &str) -> String {
    let mut value = text.replace('\0', " ");
    let mut end = VALUE_MAX.min(value.len());
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.truncate(end);
    value
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::symlink};

    use tokio::task::LocalSet;
    use uplinkd_api::Level;

    use super::*;
    use crate::message::tests::event;

    fn put(dir: &Path, name: &str, mode: u32, text: &str) {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn run_here(dir: &Path, limit: Duration) -> Vec<Ran> {
        let hooks = Hooks {
            dir: dir.to_owned(),
            user: None,
            limit,
        };
        let event = event("isp1 is down", Level::Warn);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        LocalSet::new()
            .block_on(&runtime.unwrap(), run(&hooks, &event, 3))
            .unwrap()
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn hooks_run_by_name_with_the_event_on_both_ways() {
        let dir = folder();
        let seen = "read line; echo \"$UPLINKD_UPLINK,$UPLINKD_TO,$UPLINKD_KIND,$UPLINKD_ID,$UPLINKD_DROPPED,$UPLINKD_LEVEL $HOME$CARGO $line\"; exit 1";
        put(dir.path(), "20-b", 0o755, seen);
        put(dir.path(), "10-a", 0o755, "exit 0");
        put(dir.path(), ".hidden", 0o755, "exit 0");
        let ran = run_here(dir.path(), LONG);
        let names: Vec<_> = ran.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["10-a", "20-b"]);
        assert_eq!(ran[0].problem, None);
        let said = ran[1].problem.as_deref().unwrap();
        let expected = "exit code 1: isp1,down,health,7,3,warn  {\"id\":7,";
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn what_others_could_have_written_is_refused_with_the_reason() {
        let dir = folder();
        put(dir.path(), "10-open", 0o777, "exit 0");
        put(dir.path(), "20-dead", 0o644, "exit 0");
        put(dir.path(), "30-old.bak", 0o755, "exit 0");
        symlink("/nowhere", dir.path().join("40-lost")).unwrap();
        fs::create_dir(dir.path().join("50-dir")).unwrap();
        let ran = run_here(dir.path(), LONG);
        let said: Vec<_> = ran.into_iter().filter_map(|r| r.problem).collect();
        assert_eq!(
            said,
            [
                "not run: others may write it (mode 0777)",
                "not run: it is not executable; `chmod +x` makes it so",
                "not run: its name has other signs than letters, digits, `-` and `_`",
                "not run: no such file or directory",
                "not run: it is not a regular file",
            ]
        );
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = listed(dir.path()).unwrap_err();
        assert!(
            refused.contains("others may write it (mode 0777)"),
            "{refused}"
        );
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let owner = fs::metadata(dir.path()).unwrap().uid();
        if owner != 0 {
            assert!(listed_as(dir.path(), owner + 1).is_err());
        }
        assert!(
            listed(&dir.path().join("none"))
                .unwrap_err()
                .contains("no such file")
        );
    }

    #[test]
    fn one_that_hangs_is_ended_and_the_next_one_is_run() {
        let dir = folder();
        put(dir.path(), "10-hangs", 0o755, "sleep 1000");
        put(dir.path(), "20-next", 0o755, "exit 0");
        let ran = run_here(dir.path(), Duration::from_millis(300));
        let said = ran[0].problem.as_deref().unwrap();
        assert_eq!(said, "still running after 300ms, and ended");
        assert_eq!(ran[1].problem, None);
    }

    #[test]
    fn a_value_in_the_environment_is_bounded_and_has_no_zero() {
        assert_eq!(harmless("a\0b"), "a b");
        assert!(harmless(&"ä".repeat(9999)).len() <= VALUE_MAX);
    }
}
