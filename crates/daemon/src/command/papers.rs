//! What is made of the command line itself: completions and the manual.

use std::{fs, path::Path};

use anstream::print;
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{args::Cli, exit::Exit};

/// Prints what a shell needs to complete our commands.
pub fn completions(shell: Shell) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "uplinkd", &mut text);
    print!("{}", String::from_utf8_lossy(&text));
    Exit::Yes
}

/// Writes the pages of the manual into a folder.
///
/// # Errors
/// When the folder cannot be written.
pub fn manual(folder: &Path) -> anyhow::Result<Exit> {
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("cannot write the manual to {}", folder.display()))?;
    Ok(Exit::Yes)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_hidden_ones_have_none() {
        let dir = tempfile::tempdir().unwrap();
        manual(&dir.path().join("man")).unwrap();
        let page = |name: &str| fs::read_to_string(dir.path().join("man").join(name));
        assert!(page("uplinkd-check.1").unwrap().contains("file\\-only"));
        let all = Cli::command();
        for command in all.get_subcommands() {
            let name = format!("uplinkd-{}.1", command.get_name());
            assert_eq!(page(&name).is_ok(), !command.is_hide_set(), "{name}");
        }
        assert!(page("uplinkd.1").unwrap().contains("EXIT CODES"));
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "uplinkd", &mut text);
            let text = String::from_utf8(text).unwrap();
            for word in ["check", "plan", "resolver", "file-only"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }
}
