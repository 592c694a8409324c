//! What tests of findings have in common.

use std::{fs, path::Path};

use uplinkd_model::Config;

use super::Problem;

/// Puts a file below a root.
pub(super) fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What our file means.
pub(super) fn config(file: &str) -> Config {
    let parsed = uplinkd_config::parse("t", file).unwrap();
    parsed.to_config(&Default::default(), &Default::default())
}

/// Messages and hints.
pub(super) fn texts(found: Vec<Problem>) -> Vec<(String, String)> {
    let text = |p: Problem| (p.diagnostic.message, p.diagnostic.hint.unwrap_or_default());
    found.into_iter().map(text).collect()
}
