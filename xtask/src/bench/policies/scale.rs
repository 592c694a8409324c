//! A large file, as somebody's program may write one: thousands of policies of several kinds, and
//! lists of prefixes in files of their own.

use std::{fmt::Write as _, net::IpAddr};

use uplinkd_lab::addresses::server;
use uplinkd_model::Family;

use super::router;

/// How many uplinks there are.
pub(super) const UPLINKS: usize = 3;
/// The uplinks that the changed policy leads to, in turn.
pub(super) const CHOICES: [usize; 2] = [2, 3];
/// The uplink of the default group.
pub(super) const DEFAULT: usize = 1;
/// The prefixes lie in so many files, each with a policy of its own.
const LISTS: usize = 10;
/// Of three uplinks the default group has only the first, so that the others carry nothing but what
/// policies lead there, and the first shows what they lost.
const GROUPS: &str = "\n[group.default]\ntiers = [[\"isp1\"]]\n\n\
                      [group.both]\ntiers = [[\"isp1\", \"isp2\"]]\n";

/// How large.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) policies: usize,
    pub(super) prefixes: usize,
}

impl Scale {
    /// The configuration. The last policy leads [`marked`] to the given uplink.
    pub(super) fn configuration(self, uplink: usize) -> String {
        let mut text = router::head(UPLINKS) + GROUPS;
        let lists = LISTS.min(self.policies.saturating_sub(1));
        for number in 0..lists {
            let file = list_name(number);
            policy(
                &mut text,
                &format!("destination = {{ file = \"{file}\" }}"),
                number,
            );
        }
        for number in lists..self.policies.saturating_sub(1) {
            policy(&mut text, &clauses(number), number);
        }
        let _ = write!(
            text,
            "\n[[policy]]\nname = \"marked\"\nmatch = {{ destination = \"{}\" }}\nuse = \"isp{uplink}\"\n",
            marked()
        );
        text
    }

    /// The files of prefixes, by name.
    pub(super) fn lists(self) -> Vec<(String, String)> {
        let list = |number: usize| {
            let prefixes = (number..self.prefixes).step_by(LISTS).map(prefix);
            (list_name(number), prefixes.collect())
        };
        (0..LISTS).map(list).collect()
    }
}

/// The address of the policy that is changed.
pub(super) fn marked() -> IpAddr {
    server(Family::V4, 0)
}

fn list_name(number: usize) -> String {
    format!("list-{number}.txt")
}

/// One line of a list, of either family, none next to another.
fn prefix(number: usize) -> String {
    if number.is_multiple_of(4) {
        format!(
            "2a00:{:x}:{:x}::/48\n",
            number >> 15,
            (number << 1) & 0xffff
        )
    } else {
        // From 16.0.0.0 on, every second network of 256 addresses.
        format!(
            "{}.{}.{}.0/24\n",
            16 + (number >> 15),
            (number >> 7) & 0xff,
            (number << 1) & 0xfe
        )
    }
}

/// What a policy looks at: addresses mostly, as in real lists of thousands, some with ports.
fn clauses(number: usize) -> String {
    let (high, low) = (number >> 8, number & 0xff);
    match number / 5 % 5 {
        0 => format!("destination = \"100.{high}.{low}.1\""),
        1 => format!("destination = \"101.{high}.{low}.8/29\""),
        2 => format!("source = \"10.{high}.{low}.1\", protocol = \"tcp\", dport = 443"),
        3 => format!("destination = \"2a10:{high:x}:{low:x}::/48\""),
        _ => format!(
            "source = \"10.0.0.0/8\", destination = \"102.{high}.{low}.16-102.{high}.{low}.27\""
        ),
    }
}

fn policy(text: &mut String, clauses: &str, number: usize) {
    let leads = [
        "isp1",
        "isp2",
        "isp3",
        "both",
        "isp2\"\notherwise = \"block",
    ][number % 5];
    let _ = write!(
        text,
        "\n[[policy]]\nmatch = {{ {clauses} }}\nuse = \"{leads}\"\n"
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SCALE: Scale = Scale {
        policies: 10_000,
        prefixes: 100_000,
    };

    #[test]
    fn it_is_as_large_as_wished() {
        assert_eq!(SCALE.configuration(2).matches("[[policy]]").count(), 10_000);
        let lists = SCALE.lists();
        let prefixes: BTreeSet<_> = lists.iter().flat_map(|(_, text)| text.lines()).collect();
        assert_eq!(prefixes.len(), 100_000);
    }

    #[test]
    fn a_change_is_one_word() {
        let (one, two) = (SCALE.configuration(2), SCALE.configuration(3));
        let changed = one.lines().zip(two.lines()).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 1);
    }
}
