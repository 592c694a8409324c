//! Whose the router's own connections are: users, groups, control groups, systemd units.

use std::collections::BTreeMap;

use uplinkd_model::policy::{Span, Spans};

use super::{Refusal, Values, did_you_mean};
use crate::{raw::RawItem, reader::Found};

/// The last number means "no such account" to the kernel.
const ACCOUNT_MAX: i128 = u32::MAX as i128 - 1;

/// The kernel's longest path of a control group is longer; nobody writes one.
const PATH_MAX: usize = 512;

pub(super) fn users(
    values: &Values<'_>,
    known: &BTreeMap<String, u32>,
    found: &mut Found,
) -> Option<Spans> {
    accounts(values, known, "user", found)
}

pub(super) fn groups(
    values: &Values<'_>,
    known: &BTreeMap<String, u32>,
    found: &mut Found,
) -> Option<Spans> {
    accounts(values, known, "group", found)
}

fn accounts(
    values: &Values<'_>,
    known: &BTreeMap<String, u32>,
    kind: &str,
    found: &mut Found,
) -> Option<Spans> {
    let numbered = |number: i128| {
        let number = u32::try_from(number)
            .ok()
            .filter(|n| i128::from(*n) <= ACCOUNT_MAX);
        number.ok_or_else(|| {
            Refusal::new(
                format!("numbers of {kind}s are 0 to {ACCOUNT_MAX}"),
                format!("`id` shows the numbers of a {kind}"),
            )
        })
    };
    let one = |item: &RawItem| match item {
        RawItem::Number(number) => numbered(*number),
        RawItem::Text(word) | RawItem::File(word) => match (known.get(word), word.parse()) {
            (Some(number), _) => Ok(*number),
            (None, Ok(number)) => numbered(number),
            (None, Err(_)) => Err(Refusal::new(
                format!("this machine has no {kind} of that name"),
                did_you_mean(
                    word,
                    known.keys().map(String::as_str),
                    &format!("write its number where the {kind} is made later"),
                ),
            )),
        },
    };
    let numbers = values.each(found, one)?;
    Some(Spans::new(numbers.into_iter().map(Span::one)))
}

pub(super) fn cgroups(values: &Values<'_>, found: &mut Found) -> Option<Vec<String>> {
    let one = |word: &str| {
        let hint =
            "write its path below the root of the hierarchy: \"system.slice/backup.service\"";
        let path = word.strip_prefix("/sys/fs/cgroup").unwrap_or(word);
        let path = path.trim_matches('/');
        let is_bad = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.is_empty() {
            return Err(Refusal::new("the root holds everything", hint));
        }
        if path.split('/').any(is_bad) || path.contains(is_odd) || path.len() > PATH_MAX {
            return Err(Refusal::new("that is no path of a control group", hint));
        }
        Ok(path.to_owned())
    };
    values.each_word(found, one).map(distinct)
}

pub(super) fn units(values: &Values<'_>, found: &mut Found) -> Option<Vec<String>> {
    values.each_word(found, unit).map(distinct)
}

/// What neither systemd nor nft takes in a path.
fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '"'
}

fn distinct(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths.dedup();
    paths
}

/// The control group that systemd's manager of the machine gives a unit by default.
fn unit(name: &str) -> Result<String, Refusal> {
    let suffixes = ["service", "scope", "socket", "slice", "mount", "swap"];
    let Some((stem, suffix)) = name.rsplit_once('.').filter(|(_, s)| suffixes.contains(s)) else {
        let hint = match name.contains(['/', '.']) {
            true => "write the unit as `systemctl` shows it, or its path as `cgroup`".to_owned(),
            false => format!("write \"{name}.service\""),
        };
        return Err(Refusal::new("that is no unit's full name", hint));
    };
    if stem.is_empty() || name.contains('/') || name.contains(is_odd) {
        let hint = "write the unit as `systemctl` shows it, such as \"backup.service\"";
        return Err(Refusal::new("that is no unit's name", hint));
    }
    if suffix == "slice" {
        return slice(stem);
    }
    Ok(match stem.split_once('@') {
        Some((template, _)) => {
            let template = template.replace('-', "\\x2d");
            format!("system.slice/system-{template}.slice/{name}")
        }
        None => format!("system.slice/{name}"),
    })
}

/// Slices lie in each other as the dashes in their names say.
fn slice(stem: &str) -> Result<String, Refusal> {
    if stem == "-" || stem.split('-').any(str::is_empty) {
        let hint = "write a slice such as \"user.slice\" or \"user-1000.slice\"";
        return Err(Refusal::new(
            "that slice holds everything or cannot be",
            hint,
        ));
    }
    let ends = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .chain([stem.len()]);
    let path: Vec<_> = ends.map(|end| format!("{}.slice", &stem[..end])).collect();
    Ok(path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_lie_where_systemd_puts_them() {
        for (name, path) in [
            ("backup.service", "system.slice/backup.service"),
            ("a.b.service", "system.slice/a.b.service"),
            ("user.slice", "user.slice"),
            ("user-1000.slice", "user.slice/user-1000.slice"),
            (
                "getty@tty1.service",
                "system.slice/system-getty.slice/getty@tty1.service",
            ),
            (
                "wg-quick@wg0.service",
                "system.slice/system-wg\\x2dquick.slice/wg-quick@wg0.service",
            ),
        ] {
            assert_eq!(unit(name).ok().as_deref(), Some(path));
        }
        for bad in [
            "backup",
            "a/b.service",
            ".service",
            "-.slice",
            "a--b.slice",
            "a b.service",
            "",
        ] {
            assert!(unit(bad).is_err(), "{bad}");
        }
    }
}
