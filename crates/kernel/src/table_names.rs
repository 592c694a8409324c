//! The file that tells `ip` the names of our tables.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use uplinkd_model::{Reserve, TableId};

/// The first line, for who finds the file.
const HEADER: &str = "# Written by uplinkd; changes are lost.\n";

fn file(iproute2_dir: &Path) -> PathBuf {
    iproute2_dir
        .join("rt_tables.d")
        .join(Reserve::TABLE_NAMES_FILE)
}

/// The names in our file; none where there is no file.
///
/// # Errors
/// When the file is there but cannot be read.
pub fn read(iproute2_dir: &Path) -> io::Result<BTreeMap<TableId, String>> {
    match fs::read_to_string(file(iproute2_dir)) {
        Ok(text) => Ok(text.lines().filter_map(entry).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(e),
    }
}

/// A number and a name; comments and lines that `ip` would not understand either are passed over.
fn entry(line: &str) -> Option<(TableId, String)> {
    let line = line.split('#').next()?;
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok()?;
    Some((TableId(number), words.next()?.to_owned()))
}

/// Whether a file had to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was changed.
    Changed,
    /// It was so already.
    AlreadySo,
}

/// Puts these names into our file and nothing else; without names there is no file.
///
/// The file is made beside its place and then moved there, so that `ip` never reads half of one.
///
/// # Errors
/// When the directory cannot be written to.
pub fn write(iproute2_dir: &Path, names: &BTreeMap<TableId, String>) -> io::Result<Change> {
    let file = file(iproute2_dir);
    if names.is_empty() {
        return match fs::remove_file(&file) {
            Ok(()) => Ok(Change::Changed),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Change::AlreadySo),
            Err(e) => Err(e),
        };
    }
    let mut text = HEADER.to_owned();
    for (table, name) in names {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{table} {name}");
    }
    if fs::read_to_string(&file).is_ok_and(|found| found == text) {
        return Ok(Change::AlreadySo);
    }
    replace(&file, text.as_bytes(), true)?;
    Ok(Change::Changed)
}

/// Makes a file with this content appear at once in place of the old one, and its directory first.
/// One that is worth nothing after a crash of the machine need not be on the disk by then.
pub(crate) fn replace(file: &Path, content: &[u8], is_lasting: bool) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    // `ip` reads only names that end in `.conf`, so a leftover of a crash does no harm.
    let temporary = file.with_extension("new");
    let mut new = fs::File::create(&temporary)?;
    new.write_all(content)?;
    if is_lasting {
        new.sync_all()?;
    }
    fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_read_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let names: BTreeMap<_, _> = [(7001, "fibre"), (7002, "lte")]
            .map(|(t, n)| (TableId(t), n.to_owned()))
            .into();
        assert_eq!(read(dir.path()).unwrap(), BTreeMap::new());
        assert_eq!(write(dir.path(), &names).unwrap(), Change::Changed);
        assert_eq!(read(dir.path()).unwrap(), names);
        assert_eq!(write(dir.path(), &names).unwrap(), Change::AlreadySo);
        assert_eq!(
            write(dir.path(), &BTreeMap::new()).unwrap(),
            Change::Changed
        );
        assert_eq!(
            write(dir.path(), &BTreeMap::new()).unwrap(),
            Change::AlreadySo
        );
        assert_eq!(
            fs::read_dir(dir.path().join("rt_tables.d"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn lines_that_ip_would_not_understand_are_passed_over() {
        assert_eq!(
            entry("7001 fibre # mine"),
            Some((TableId(7001), "fibre".into()))
        );
        for bad in ["", "# 7 x", "x 7", "7"] {
            assert_eq!(entry(bad), None, "{bad:?}");
        }
    }
}
