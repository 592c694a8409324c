//! Days and hours, in minutes of the week.

use uplinkd_model::policy::{MINUTES_PER_WEEK, Span, Spans};

use super::{Refusal, Values, did_you_mean};
use crate::reader::Found;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;
const HINT: &str = "write \"mon-fri 08:00-18:00\", \"sat,sun\" or \"22:00-06:00\"";

/// The minutes of the week that the times of a condition take.
pub(super) fn times(values: &Values<'_>, found: &mut Found) -> Option<Spans> {
    let times = values.each_word(found, times_of)?;
    Some(Spans::new(times.into_iter().flatten()))
}

/// Days, hours, or days and then hours. Hours that end before they begin end on the next day.
fn times_of(text: &str) -> Result<Vec<Span>, Refusal> {
    let words: Vec<_> = text.split_whitespace().collect();
    let is_hours = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let (days, hours) = match words[..] {
        [one] if is_hours(one) => (vec![true; DAYS.len()], hours_of(one)?),
        [one] => (days_of(one)?, (0, DAY)),
        [days, hours] => (days_of(days)?, hours_of(hours)?),
        [] => return Err(Refusal::new("it says no time", HINT)),
        [..] => {
            let hint = format!("{HINT}; several times are a list");
            return Err(Refusal::new("that is more than days and hours", hint));
        }
    };
    let mut spans = Vec::new();
    for (day, _) in (0_u16..).zip(&days).filter(|(_, is_in)| **is_in) {
        let (begin, end) = (day * DAY + hours.0, day * DAY + hours.1);
        let last = end - 1;
        if last < MINUTES_PER_WEEK {
            spans.push(Span::new(begin, last));
        } else {
            // The night from Sunday to Monday ends at the beginning of the week.
            spans.push(Span::new(begin, MINUTES_PER_WEEK - 1));
            spans.push(Span::new(0_u16, last - MINUTES_PER_WEEK));
        }
    }
    Ok(spans)
}

fn days_of(text: &str) -> Result<Vec<bool>, Refusal> {
    let day = |word: &str| {
        let lower = word.to_lowercase();
        DAYS.iter().position(|d| *d == lower).ok_or_else(|| {
            let hint = match DAYS.iter().find(|d| lower.starts_with(**d)) {
                Some(short) => format!("write \"{short}\""),
                None => did_you_mean(word, DAYS, HINT),
            };
            Refusal::new(format!("`{}` is no day", super::tamed(word)), hint)
        })
    };
    let mut days = vec![false; DAYS.len()];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // From Friday to Monday leads over the end of the week.
        let length = (last + DAYS.len() - first) % DAYS.len();
        for offset in 0..=length {
            days[(first + offset) % DAYS.len()] = true;
        }
    }
    Ok(days)
}

/// Begin and end in minutes of the day; the end is the first minute outside, and lies on the next
/// day where the hours lead across midnight.
fn hours_of(text: &str) -> Result<(u16, u16), Refusal> {
    let Some((begin, end)) = text.split_once('-') else {
        return Err(Refusal::new("the hours have no end", HINT));
    };
    let (begin, end) = (minute_of(begin)?, minute_of(end)?);
    if begin == end || begin == DAY {
        return Err(Refusal::new(
            "the hours end where they begin",
            "for whole days write the days alone, such as \"mon-fri\", or \"00:00-24:00\"",
        ));
    }
    Ok((begin, if end < begin { end + DAY } else { end }))
}

fn minute_of(text: &str) -> Result<u16, Refusal> {
    let is_two_digits = |part: &str, from: usize| {
        (from..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    let minute = text.split_once(':').and_then(|(hours, minutes)| {
        if !is_two_digits(hours, 1) || !is_two_digits(minutes, 2) {
            return None;
        }
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
    });
    minute.ok_or_else(|| {
        let reason = format!("`{}` is no time of day", super::tamed(text));
        Refusal::new(
            reason,
            "write hours and minutes of 24 hours, such as \"08:00-18:30\"",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(text: &str) -> Vec<(u128, u128)> {
        let Ok(spans) = times_of(text) else {
            panic!("{text} was refused")
        };
        let spans = Spans::new(spans);
        spans.as_slice().iter().map(|s| (s.first, s.last)).collect()
    }

    #[test]
    fn hours_end_before_their_end() {
        assert_eq!(minutes("mon 08:00-18:00"), [(480, 1079)]);
        assert_eq!(minutes("mon 8:00-08:01"), [(480, 480)]);
        assert_eq!(minutes("00:00-24:00"), [(0, 10079)]);
    }

    #[test]
    fn nights_belong_to_the_day_they_begin_on() {
        assert_eq!(minutes("mon 22:00-06:00"), [(1320, 1799)]);
        assert_eq!(minutes("sun 22:00-06:00"), [(0, 359), (9960, 10079)]);
        assert_eq!(minutes("sun 22:00-00:00"), [(9960, 10079)]);
        assert_eq!(minutes("22:00-06:00").len(), 8);
    }

    #[test]
    fn days_are_lists_and_ranges_over_the_end_of_the_week() {
        assert_eq!(minutes("sat,sun"), [(7200, 10079)]);
        assert_eq!(minutes("sun-Mon"), [(0, 1439), (8640, 10079)]);
        assert_eq!(minutes("mon-sun"), [(0, 10079)]);
        assert_eq!(minutes("mon,wed-wed"), [(0, 1439), (2880, 4319)]);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "08:00",
            "8-18",
            "25:00-26:00",
            "08:60-09:00",
            "08:00-08:00",
            "24:00-06:00",
            "mon 08:00-18:00 x",
            "08:00-18:00 mon",
            "monday",
            "mon-",
            "mon,,tue",
            "+8:00-09:00",
            "24:01-06:00",
        ] {
            assert!(times_of(bad).is_err(), "{bad}");
        }
    }
}
