//! Sysctls, by their path below `/proc/sys`.
//!
//! The separator is `/`, since an interface's name may contain a dot: `net/ipv4/conf/eth0.7/rp_filter`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Where the kernel shows them.
const ROOT: &str = "/proc/sys";

/// The file of a sysctl.
fn file(path: &str) -> io::Result<PathBuf> {
    let relative = Path::new(path);
    let is_plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    if path.is_empty() || !relative.components().all(is_plain) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a path below /proc/sys",
        ));
    }
    Ok(Path::new(ROOT).join(relative))
}

/// The value of a sysctl, without the line's end. Several numbers keep the tabs between them.
///
/// # Errors
/// When there is none of that name or it cannot be read.
pub fn read(path: &str) -> io::Result<String> {
    Ok(fs::read_to_string(file(path)?)?.trim().to_owned())
}

/// Whether a sysctl exists.
pub fn exists(path: &str) -> bool {
    file(path).is_ok_and(|f| f.is_file())
}

/// The values of those that exist and can be read.
pub fn read_all(paths: &[String]) -> BTreeMap<String, String> {
    let value = |path: &String| Some((path.clone(), read(path).ok()?));
    paths.iter().filter_map(value).collect()
}

/// Sets a sysctl.
///
/// # Errors
/// When there is none of that name, the value is not one that it takes, or the right is missing.
pub fn write(path: &str, value: &str) -> io::Result<()> {
    // Opened without `create`: /proc makes no files, and its error would be a misleading one.
    let mut file = fs::OpenOptions::new().write(true).open(file(path)?)?;
    io::Write::write_all(&mut file, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_tree() {
        for bad in [
            "",
            "/etc/passwd",
            "../etc/passwd",
            "net/../../etc/passwd",
            ".",
        ] {
            let error = file(bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
        let dotted = file("net/ipv4/conf/eth0.7/rp_filter").unwrap();
        assert!(dotted.ends_with("eth0.7/rp_filter"));
    }

    #[test]
    fn what_does_not_exist_is_left_out() {
        let asked = ["net/ipv4/ip_forward", "net/ipv4/no_such"].map(str::to_owned);
        let found = read_all(&asked);
        assert_eq!(found.len(), 1);
        assert!(["0", "1"].contains(&found["net/ipv4/ip_forward"].as_str()));
        assert!(exists("net/ipv4/ip_forward"));
        assert!(!exists("net/ipv4"));
    }
}
