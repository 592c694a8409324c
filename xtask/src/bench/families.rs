//! IPv6 against IPv4: who measures which, and whether the one is as good as the other.

use std::fmt::{self, Write as _};

use clap::{Args, ValueEnum};
use serde::Serialize;
use uplinkd_model::Family;

/// What IPv6 may take of what IPv4 takes.
pub(super) const RATIO_MAX: f64 = 1.2;

/// Options of commands that measure both families.
#[derive(Clone, Debug, Args)]
pub(super) struct FamilyArgs {
    /// Which families.
    #[arg(long, value_delimiter = ',', default_value = "ipv4,ipv6")]
    families: Vec<Choice>,
    /// Count it as a failure when IPv6 takes more than 1.2 times what IPv4 takes.
    #[arg(long)]
    even: bool,
}

impl FamilyArgs {
    /// The families that are wanted, IPv4 first.
    pub(super) fn families(&self) -> Vec<Family> {
        let wanted = |f: &Family| self.families.iter().any(|c| c.family() == *f);
        let all = [Family::V4, Family::V6];
        all.into_iter().filter(wanted).collect()
    }

    /// Whether these comparisons make a failure of the run.
    pub(super) fn is_failed_by(&self, all: &[Comparison]) -> bool {
        self.even && all.iter().any(|c| c.verdict() == Verdict::Missed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    Ipv4,
    Ipv6,
}

impl Choice {
    fn family(self) -> Family {
        match self {
            Self::Ipv4 => Family::V4,
            Self::Ipv6 => Family::V6,
        }
    }
}

/// One figure of both families, measured in the same run. Infinity is "never".
#[derive(Clone, Debug, Serialize)]
pub(super) struct Comparison {
    /// Of what, with the unit.
    pub(super) what: String,
    pub(super) ipv4: f64,
    pub(super) ipv6: f64,
    /// Figures that are no farther apart than this cannot be told apart: such as two instants
    /// of a thing that is looked at every ten milliseconds.
    pub(super) resolution: f64,
}

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// At most [`RATIO_MAX`] times as much; nothing against nothing is as good as it gets.
    Holds,
    /// More than that, but by less than can be measured.
    Indistinct,
    /// More than that, or what neither family ever came to.
    Missed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Indistinct => "too close to tell",
            Self::Missed => "**missed**",
        })
    }
}

impl Comparison {
    pub(super) fn verdict(&self) -> Verdict {
        let is_both_never = self.ipv4.is_infinite() && self.ipv6.is_infinite();
        if !is_both_never && self.ipv6 <= RATIO_MAX * self.ipv4 {
            Verdict::Holds
        } else if self.ipv6 - self.ipv4 <= self.resolution {
            Verdict::Indistinct
        } else {
            Verdict::Missed
        }
    }

    /// In words: there is none of nothing.
    fn ratio(&self) -> String {
        if self.ipv4 > 0.0 && self.ipv4.is_finite() && self.ipv6.is_finite() {
            format!("{:.2}", self.ipv6 / self.ipv4)
        } else {
            "–".to_owned()
        }
    }
}

/// All of them for people.
pub(super) fn table(all: &[Comparison]) -> String {
    let mut text =
        "| IPv6 : IPv4 | IPv4 | IPv6 | ratio | shall be |\n|---|---:|---:|---:|---|\n".to_owned();
    for one in all {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | ≤ {RATIO_MAX} ×: {} |",
            one.what,
            number(one.ipv4),
            number(one.ipv6),
            one.ratio(),
            one.verdict()
        );
    }
    text
}

/// Three digits, as far as there are.
fn number(value: f64) -> String {
    match value {
        v if v.is_infinite() => "never".to_owned(),
        0.0 => "0".to_owned(),
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(ipv4: f64, ipv6: f64) -> Comparison {
        Comparison {
            what: "outage, ms".to_owned(),
            ipv4,
            ipv6,
            resolution: 5.0,
        }
    }

    #[test]
    fn nothing_against_nothing_holds_and_has_no_ratio() {
        let none = compare(0.0, 0.0);
        assert_eq!(none.verdict(), Verdict::Holds);
        assert!(table(&[none]).contains("| 0 | 0 | – | ≤ 1.2 ×: holds |"));
        // The near miss: something against nothing has no ratio either, but does not hold.
        let some = compare(0.0, 6.0);
        assert_eq!(some.verdict(), Verdict::Missed);
        assert_eq!(some.ratio(), "–");
    }

    #[test]
    fn a_fifth_more_holds_and_a_little_above_does_not() {
        assert_eq!(compare(400.0, 480.0).verdict(), Verdict::Holds);
        assert_eq!(compare(400.0, 481.0).verdict(), Verdict::Missed);
        assert_eq!(compare(400.0, 100.0).verdict(), Verdict::Holds);
    }

    #[test]
    fn what_is_closer_than_one_can_see_is_no_miss() {
        assert_eq!(compare(8.0, 13.0).verdict(), Verdict::Indistinct);
        assert_eq!(compare(8.0, 13.1).verdict(), Verdict::Missed);
    }

    #[test]
    fn never_is_worse_than_anything_and_no_success_for_both() {
        let never = f64::INFINITY;
        assert_eq!(compare(400.0, never).verdict(), Verdict::Missed);
        assert_eq!(compare(never, never).verdict(), Verdict::Missed);
        assert_eq!(compare(never, 400.0).verdict(), Verdict::Holds);
    }
}
