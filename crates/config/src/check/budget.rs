//! How much an uplink may carry in a time.

use std::time::Duration;

use toml::Spanned;
use uplinkd_model::{
    Budget,
    budget::{AtLimit, Period, bytes_of},
};

use crate::{
    check::{bounded, duration, quality, word},
    diagnostic::Diagnostic,
    keys,
    quote::quoted,
    raw::{RawBudget, WordOrTable},
    reader::Found,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROLLING: duration::Limits = duration::Limits {
    least: DAY,
    // What texts of durations call a year.
    most: Duration::from_secs(31_557_600),
    hint: "\"30d\" is usual; whole days are counted",
};
/// Checks it; none where something is wrong with it.
pub(super) fn check(raw: &RawBudget, whose: &str, found: &mut Found) -> Option<Budget> {
    if !raw.has_limit {
        found.push(
            Diagnostic::error(
                raw.key.clone(),
                format!("the budget of {whose} has no limit"),
            )
            .label("`limit` is missing")
            .hint("add `limit = \"50GB\"`"),
        );
    }
    let limit = raw.limit.as_ref();
    let limit = limit.map(|text| size(text, &format!("the limit of {whose}"), found));
    let period = period(raw, whose, found);
    let warn_at = match &raw.warn_at {
        None => Some(Vec::new()),
        Some(texts) => {
            let what = format!("the part of its budget at which {whose} is told of");
            let read = |text| quality::percent(text, &what, found);
            let levels: Option<Vec<_>> = texts.items.iter().map(read).collect();
            levels.filter(|_| texts.is_complete).map(|mut levels| {
                levels.sort_unstable();
                levels.dedup();
                levels
            })
        }
    };
    let at_limit = raw
        .at_limit
        .as_ref()
        .map_or(Some(AtLimit::default()), |text| {
            let words = [
                ("last-resort", AtLimit::LastResort),
                ("off", AtLimit::Off),
                ("keep", AtLimit::Keep),
            ];
            word(text, &words, &format!("`at_limit` of {whose}"), "", found)
        });
    let usual = || {
        keys::BUDGET
            .get("warn_at")
            .map(|_| [750, 950].map(uplinkd_model::Permille))
    };
    Some(Budget {
        limit: limit??,
        period: period?,
        warn_at: match raw.warn_at {
            None => usual().into_iter().flatten().collect(),
            Some(_) => warn_at?,
        },
        at_limit: at_limit?,
    })
}

fn period(raw: &RawBudget, whose: &str, found: &mut Found) -> Option<Period> {
    let what = format!("the period of the budget of {whose}");
    let reset = raw.reset_day.as_ref().map(|day| {
        let what = format!("the reset day of {whose}");
        let day = bounded::<u8>(day, keys::DAY_OF_MONTH, &what, "", found);
        day.unwrap_or(1)
    });
    let period = match &raw.period {
        None => Period::Month(reset.unwrap_or(1)),
        Some(WordOrTable::Word(text)) => {
            let words = [
                ("month", Period::Month(reset.unwrap_or(1))),
                ("week", Period::Week),
                ("day", Period::Day),
            ];
            word(text, &words, &what, "or `{ rolling = \"30d\" }`", found)?
        }
        Some(WordOrTable::Table(table)) => {
            let Some(text) = table.get_ref() else {
                found.push(
                    Diagnostic::error(table.span(), format!("{what} does not say how long it is"))
                        .label("`rolling` is missing")
                        .hint("write `{ rolling = \"30d\" }`"),
                );
                return None;
            };
            let time = duration::check(text, &ROLLING, &what, found)?;
            let days = time.as_secs().div_ceil(DAY.as_secs());
            Period::Rolling(u16::try_from(days).ok()?)
        }
    };
    if let Some(day) = raw
        .reset_day
        .as_ref()
        .filter(|_| !matches!(period, Period::Month(_)))
    {
        found.push(
            Diagnostic::error(
                day.span(),
                format!("{whose} has a reset day without a month"),
            )
            .label("only a month begins on a day that you choose")
            .hint("remove it, or set `period = \"month\"`"),
        );
        return None;
    }
    Some(period)
}

/// Bytes as text with a unit.
fn size(text: &Spanned<String>, what: &str, found: &mut Found) -> Option<u64> {
    let bytes = bytes_of(text.get_ref());
    if bytes.is_none() {
        found.push(
            Diagnostic::error(
                text.span(),
                format!("{what} cannot be {}", quoted(text.get_ref())),
            )
            .label("not a number of bytes")
            .hint("write bytes with a unit: \"500MB\", \"50GB\", \"1.5TB\", or \"50GiB\" in powers of 1024"),
        );
    }
    bytes
}
