//! Results to standard output, talk to standard error.

use std::{
    fs,
    io::{Write, stderr, stdout},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;

/// A line of the result. Nobody reading it is no reason to stop: the JSON is still to come.
pub(crate) fn line(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

/// A line about what is going on.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Writes the raw figures below the target folder and says where.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn json(target: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    let folder = target.join("bench");
    let file = folder.join(name);
    let text = serde_json::to_string_pretty(value).context("cannot write the figures as JSON")?;
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, text + "\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    line(&format!("raw figures: {}", file.display()));
    Ok(())
}
