//! Limits of loss and round-trip time, and the rates of lines.

use std::time::Duration;

use toml::Spanned;
use uplinkd_model::{Limits, Permille, Rates};

use crate::{
    check::duration,
    diagnostic::Diagnostic,
    quote::quoted,
    raw::{RawLimits, RawRates},
    reader::Found,
};

/// The word for no limit at all.
pub(super) const OFF: &str = "off";
/// Rates above are a slip of the pen: a terabit a second.
const RATE_MOST: f64 = 1e12;
const RTT: duration::Limits = duration::Limits {
    least: Duration::from_millis(1),
    most: Duration::from_secs(60),
    hint: "\"300ms\" is where calls begin to suffer; \"off\" sets no limit",
};

/// Limits of loss over those that hold otherwise; none where something is wrong with them.
pub(super) fn loss(
    raw: &RawLimits,
    otherwise: Limits<Permille>,
    whose: &str,
    found: &mut Found,
) -> Option<Limits<Permille>> {
    limits(raw, otherwise, "loss", whose, found, percent)
}

/// A round-trip time that sets a limit.
pub(super) fn round_trip(
    text: &Spanned<String>,
    what: &str,
    found: &mut Found,
) -> Option<Duration> {
    duration::check(text, &RTT, what, found)
}

/// The same of round-trip times.
pub(super) fn rtt(
    raw: &RawLimits,
    otherwise: Limits<Duration>,
    timeout: Duration,
    whose: &str,
    found: &mut Found,
) -> Option<Limits<Duration>> {
    let read = |raw: &Spanned<String>, what: &str, found: &mut Found| {
        let limit = round_trip(raw, what, found)?;
        if limit >= timeout {
            found.push(
                Diagnostic::error(raw.span(), format!("{what} can never be seen"))
                    .label("as long as an answer may take, or longer")
                    .hint("choose a shorter time, or a longer `timeout`"),
            );
            return None;
        }
        Some(limit)
    };
    limits(raw, otherwise, "round-trip time", whose, found, read)
}

fn limits<T: Copy + PartialOrd>(
    raw: &RawLimits,
    otherwise: Limits<T>,
    what: &str,
    whose: &str,
    found: &mut Found,
    read: impl Fn(&Spanned<String>, &str, &mut Found) -> Option<T>,
) -> Option<Limits<T>> {
    let mut limit = |raw: &Option<Spanned<String>>, verb: &str, otherwise| match raw {
        None => Some(otherwise),
        Some(raw) if raw.get_ref() == OFF => Some(None),
        Some(raw) => read(raw, &format!("the {what} that {verb} of {whose}"), found).map(Some),
    };
    let degraded = limit(&raw.degraded, "degrades", otherwise.degraded);
    let fail = limit(&raw.fail, "fails", otherwise.fail);
    let limits = Limits {
        degraded: degraded?,
        fail: fail?,
    };
    in_order(raw, limits, what, whose, found)
}

/// A limit for failing below the one for being degraded would never let it be degraded.
fn in_order<T: Copy + PartialOrd>(
    raw: &RawLimits,
    limits: Limits<T>,
    what: &str,
    whose: &str,
    found: &mut Found,
) -> Option<Limits<T>> {
    if let Some((degraded, fail)) = limits.degraded.zip(limits.fail)
        && fail < degraded
    {
        let span = raw.fail.as_ref().or(raw.degraded.as_ref());
        let message = format!("the {what} of {whose} fails it before it degrades it");
        found.push(
            Diagnostic::error(span.map_or(0..0, Spanned::span), message)
                .label("`fail` is below `degraded`")
                .hint("exchange the two, or set `degraded = \"off\"`"),
        );
        return None;
    }
    Some(limits)
}

/// A part, as text with a percent sign.
pub(super) fn percent(text: &Spanned<String>, what: &str, found: &mut Found) -> Option<Permille> {
    let word = text.get_ref();
    let number = word.trim().strip_suffix('%').map(str::trim_end);
    let number = number.and_then(|n| n.parse::<f64>().ok());
    let permille = number.map(|n| (n * 10.0).round());
    match permille {
        Some(n) if (1.0..=1000.0).contains(&n) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within 1 to 1000"
            )]
            Some(Permille(n as u16))
        }
        _ => {
            found.push(
                Diagnostic::error(text.span(), format!("{what} cannot be {}", quoted(word)))
                    .label("not a part in percent")
                    .hint("write \"0.1%\" to \"100%\", or \"off\" for no limit"),
            );
            None
        }
    }
}

/// What a line can carry.
pub(super) fn rates(raw: &RawRates, whose: &str, found: &mut Found) -> Option<Rates> {
    let mut one = |raw: &Option<Spanned<String>>, what: &str| match raw {
        None => Some(None),
        Some(raw) => rate(raw, &format!("the {what} rate of {whose}"), found).map(Some),
    };
    let (down, up) = (one(&raw.down, "down"), one(&raw.up, "up"));
    Some(Rates {
        down: down?,
        up: up?,
    })
}

/// Bits a second as text with a unit, in bytes a second.
fn rate(text: &Spanned<String>, what: &str, found: &mut Found) -> Option<u64> {
    let word = text.get_ref().trim();
    let end = word.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = word.split_at(end.unwrap_or(word.len()));
    let unit = unit.to_ascii_lowercase();
    let factor = match unit.strip_suffix("/s").unwrap_or(&unit) {
        "kbit" => Some(1e3),
        "mbit" => Some(1e6),
        "gbit" => Some(1e9),
        _ => None,
    };
    let number = number.trim().parse::<f64>().ok();
    let bits = number.zip(factor).map(|(number, factor)| number * factor);
    match bits {
        Some(bits) if (1e3..=RATE_MOST).contains(&bits) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within its bounds"
            )]
            Some((bits / 8.0) as u64)
        }
        _ => {
            found.push(
                Diagnostic::error(
                    text.span(),
                    format!("{what} cannot be {}", quoted(text.get_ref())),
                )
                .label("not a rate")
                .hint("write bits a second: \"512kbit\", \"100mbit\", \"1gbit\""),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spanned(text: &str) -> Spanned<String> {
        Spanned::new(0..text.len(), text.to_owned())
    }

    #[test]
    fn percents_are_read_to_a_tenth() {
        let read = |text| percent(&spanned(text), "x", &mut Vec::new());
        assert_eq!(read("10%"), Some(Permille(100)));
        assert_eq!(read("0.1 %"), Some(Permille(1)));
        assert_eq!(read("100%"), Some(Permille(1000)));
        for bad in ["10", "0%", "100.1%", "-1%", "ten%", "%", "nan%"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn rates_are_bits_and_become_bytes() {
        let read = |text| rate(&spanned(text), "x", &mut Vec::new());
        assert_eq!(read("100mbit"), Some(12_500_000));
        assert_eq!(read("1.6 Mbit/s"), Some(200_000));
        assert_eq!(read("512kbit"), Some(64_000));
        assert_eq!(read("1Gbit"), Some(125_000_000));
        for bad in ["100", "100mbps", "mbit", "0kbit", "9999gbit", "-1mbit"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
