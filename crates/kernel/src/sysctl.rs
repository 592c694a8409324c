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
/// Forwarding of IPv4, for all interfaces at once.
const FORWARDING: &str = "net/ipv4/ip_forward";
/// The settings of single interfaces.
const CONF: &str = "net/ipv4/conf";

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

/// Whether the kernel changes other sysctls together with this one.
pub fn drags_others_along(path: &str) -> bool {
    path == FORWARDING
}

/// The sysctls that the kernel changes together with this one, as it does with forwarding: switched
/// on or off, it takes every interface along, and the acceptance of redirects the other way round.
pub fn dragged_along(path: &str) -> Vec<String> {
    if !drags_others_along(path) {
        return Vec::new();
    }
    let entries = fs::read_dir(Path::new(ROOT).join(CONF))
        .into_iter()
        .flatten();
    let interfaces = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let mut paths: Vec<_> = interfaces
        .map(|interface| format!("{CONF}/{interface}/forwarding"))
        .collect();
    paths.sort_unstable();
    paths.push(format!("{CONF}/all/accept_redirects"));
    paths
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
    fn forwarding_takes_others_along() {
        let paths = dragged_along("net/ipv4/ip_forward");
        for path in [
            "default/forwarding",
            "lo/forwarding",
            "all/accept_redirects",
        ] {
            assert!(
                paths.contains(&format!("net/ipv4/conf/{path}")),
                "{paths:?}"
            );
        }
        assert!(dragged_along("net/ipv4/conf/lo/forwarding").is_empty());
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
