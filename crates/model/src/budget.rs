//! How many bytes an uplink may carry in a time, and what is remembered of what it carried.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{ids::UplinkName, probe::Counters, probe::Permille};

/// A day of the local calendar: how many days it is after 1 January 1970.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Day(pub i32);

/// How many bytes, both directions together, an uplink may carry in a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// How many.
    pub limit: u64,
    /// In which time.
    pub period: Period,
    /// From which parts of the limit on people are told, rising.
    pub warn_at: Vec<Permille>,
    /// What becomes of the uplink at the limit.
    pub at_limit: AtLimit,
}

/// A time over which bytes are counted. It begins and ends at midnight, local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// From this day of each month on; in a month that has no such day, from its last.
    Month(u8),
    /// From Monday on.
    Week,
    /// Each day by itself.
    Day,
    /// So many days up to and including today.
    Rolling(u16),
}

/// What becomes of an uplink that has used up its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtLimit {
    /// It serves only where no other uplink does.
    #[default]
    LastResort,
    /// It carries nothing but what came in by it, and probes.
    Off,
    /// It is only told.
    Keep,
}

/// What is remembered of an uplink's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The interface as the file named it.
    pub interface: String,
    /// The run of the kernel in which the counters were read.
    pub boot: String,
    /// The interface's index there.
    pub index: u32,
    /// Bytes that had come in and left, by the interface's counters.
    pub counted: (u64, u64),
    /// Bytes of each day, both directions together.
    pub days: BTreeMap<i32, u64>,
    /// The highest level that was told of, and the period's first day then.
    pub told: Option<(Permille, i32)>,
    /// What was counted between the last two times that it was written down: what a loss of power may have
    /// hidden.
    pub recent: u64,
    /// It was written at a stop, so that nothing is hidden.
    pub is_closed: bool,
}

/// The records of all uplinks that ever had a budget, by name.
pub type Ledger = BTreeMap<UplinkName, Record>;

impl Record {
    /// The counters at the last reading.
    pub fn counters(&self) -> Counters {
        Counters {
            rx_bytes: self.counted.0,
            tx_bytes: self.counted.1,
            ..Counters::default()
        }
    }
}

impl Period {
    /// The first day of the period that a day lies in.
    pub fn begins(self, day: Day) -> Day {
        match self {
            Self::Day => day,
            // The first of January 1970 was a Thursday.
            Self::Week => Day(day.0 - (day.0 + 3).rem_euclid(7)),
            Self::Rolling(days) => Day(day.0 - i32::from(days.max(1)) + 1),
            Self::Month(reset) => {
                let (year, month, of_month) = day.date();
                let this = reset_of(year, month, reset);
                if of_month >= this {
                    return Day::of(year, month, this);
                }
                let (year, month) = before(year, month);
                Day::of(year, month, reset_of(year, month, reset))
            }
        }
    }

    /// The day on which something of what is counted is forgotten.
    pub fn ends(self, day: Day) -> Day {
        match self {
            Self::Day | Self::Rolling(_) => Day(day.0 + 1),
            Self::Week => Day(self.begins(day).0 + 7),
            Self::Month(reset) => {
                let (year, month, of_month) = day.date();
                let this = reset_of(year, month, reset);
                if of_month < this {
                    return Day::of(year, month, this);
                }
                let (year, month) = if month == 12 {
                    (year + 1, 1)
                } else {
                    (year, month + 1)
                };
                Day::of(year, month, reset_of(year, month, reset))
            }
        }
    }
}

fn before(year: i32, month: u8) -> (i32, u8) {
    if month == 1 {
        (year - 1, 12)
    } else {
        (year, month - 1)
    }
}

/// The day of a month on which counting begins.
fn reset_of(year: i32, month: u8, reset: u8) -> u8 {
    reset.clamp(1, length(year, month))
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many days a month has.
fn length(year: i32, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Day {
    /// The day of a date: year, month and day of the month, both from 1.
    pub fn of(year: i32, month: u8, day: u8) -> Self {
        let leaps =
            |before: i32| before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
        let years = 365 * (year - 1970) + leaps(year - 1) - leaps(1969);
        let months: i32 = (1..month).map(|m| i32::from(length(year, m))).sum();
        Self(years + months + i32::from(day) - 1)
    }

    /// Its date.
    pub fn date(self) -> (i32, u8, u8) {
        // At most a year early, for centuries before and after.
        let mut year = 1969 + self.0.div_euclid(366);
        while Self::of(year + 1, 1, 1) <= self {
            year += 1;
        }
        let mut month = 1;
        while month < 12 && Self::of(year, month + 1, 1) <= self {
            month += 1;
        }
        let day = self.0 - Self::of(year, month, 1).0 + 1;
        (year, month, u8::try_from(day).unwrap_or(1))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Bytes as people read them: `1.5 GB`, in powers of a thousand, as providers count.
pub fn in_words(bytes: u64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let amount = bytes as f64;
    match units.into_iter().find(|(factor, _)| amount >= *factor) {
        Some((factor, unit)) => format!("{:.1} {unit}", amount / factor),
        None => format!("{bytes} B"),
    }
}

/// Numbers above are a slip of the pen: a million terabytes.
const SIZE_MOST: f64 = 1e18;

/// Bytes as people write them: `50GB` in powers of a thousand, `50GiB` in powers of 1024; none where it is
/// neither.
pub fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(end);
    let unit = unit.to_ascii_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, 1024_f64),
        None => (unit.strip_suffix('b')?, 1000.0),
    };
    let power = match prefix {
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let bytes = number.trim().parse::<f64>().ok()? * base.powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within its bounds"
    )]
    (1.0..=SIZE_MOST).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_over_four_centuries() {
        assert_eq!(Day::of(1970, 1, 1), Day(0));
        assert_eq!(Day::of(2000, 3, 1), Day(11_017));
        assert_eq!(Day(20_785).to_string(), "2026-11-28");
        let mut expected = (1900, 1, 1);
        let first = Day::of(1900, 1, 1).0;
        for number in first..first + 146_097 {
            let day = Day(number);
            assert_eq!(day.date(), expected);
            let (year, month, of_month) = expected;
            assert_eq!(Day::of(year, month, of_month), day);
            expected = match (of_month == length(year, month), month) {
                (false, _) => (year, month, of_month + 1),
                (true, 12) => (year + 1, 1, 1),
                (true, _) => (year, month + 1, 1),
            };
        }
        assert_eq!(expected, (2300, 1, 1));
    }

    #[test]
    fn a_month_begins_on_its_last_day_where_it_has_no_such_day() {
        let month = Period::Month(31);
        let begins = |y, m, d| month.begins(Day::of(y, m, d)).to_string();
        assert_eq!(begins(2026, 2, 27), "2026-01-31");
        assert_eq!(begins(2026, 2, 28), "2026-02-28");
        assert_eq!(begins(2028, 2, 28), "2028-01-31");
        assert_eq!(begins(2026, 4, 30), "2026-04-30");
        assert_eq!(begins(2026, 1, 5), "2025-12-31");
        assert_eq!(month.ends(Day::of(2026, 1, 31)).to_string(), "2026-02-28");
        assert_eq!(
            Period::Month(1).ends(Day::of(2026, 12, 9)).to_string(),
            "2027-01-01"
        );
    }

    #[test]
    fn periods_follow_each_other_without_a_gap() {
        let periods = (1..=31)
            .map(Period::Month)
            .chain([Period::Week, Period::Day]);
        for period in periods {
            for number in 20_000..22_000 {
                let day = Day(number);
                let (begins, ends) = (period.begins(day), period.ends(day));
                assert!(begins <= day && day < ends, "{period:?} {day}");
                assert_eq!(period.begins(ends), ends, "{period:?} {day}");
                assert_eq!(period.begins(Day(ends.0 - 1)), begins, "{period:?} {day}");
            }
        }
        // The 23rd of November 2026 was a Monday.
        assert_eq!(
            Period::Week.begins(Day::of(2026, 11, 28)).to_string(),
            "2026-11-23"
        );
        assert_eq!(Period::Rolling(30).begins(Day(100)), Day(71));
    }

    #[test]
    fn bytes_are_told_in_powers_of_a_thousand() {
        assert_eq!(in_words(999), "999 B");
        assert_eq!(in_words(1_500_000_000), "1.5 GB");
    }

    #[test]
    fn sizes_are_powers_of_a_thousand_unless_they_say_otherwise() {
        assert_eq!(bytes_of("50GB"), Some(50_000_000_000));
        assert_eq!(bytes_of(" 1.5 tb "), Some(1_500_000_000_000));
        assert_eq!(bytes_of("2GiB"), Some(2_147_483_648));
        assert_eq!(bytes_of("500kB"), Some(500_000));
        for bad in [
            "50", "GB", "50G", "0MB", "-1GB", "50gbit", "1e30GB", "nanGB",
        ] {
            assert_eq!(bytes_of(bad), None, "{bad}");
        }
    }
}
