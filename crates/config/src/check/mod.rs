//! From what is written to what it means; collects every mistake, not the first.
//!
//! Each check takes a value as it is written and gives the checked one, or notes why not. Values
//! that could not be read at all were reported by then and count as left out here.

mod address;
mod interface;
mod probe;
mod reserve;
mod uplink;

use std::{collections::BTreeSet, ops::Range};

use toml::Spanned;
use uplinkd_model::Reserve;

use crate::{
    diagnostic::Diagnostic, keys::Bounds, parsed::Parsed, quote::quoted, raw::RawFile,
    reader::Found,
};

/// Checks the whole file. The result is only worth using where no error was noted.
pub(crate) fn check(path: &str, raw: &RawFile, found: &mut Found) -> Option<Parsed> {
    let lan = interface::lan(&raw.lan, found);
    let (reserve, reserve_spans) = reserve::check(&raw.reserve, found);
    let defaults = probe::Defaults::check(&raw.probe, found);
    let uplinks: Vec<_> = raw
        .uplinks
        .iter()
        .filter_map(|uplink| uplink::check(uplink, &defaults, found))
        .collect();
    if raw.uplinks.is_empty() && raw.is_complete {
        found.push(no_uplinks(raw.uplink_key.clone()));
    }
    interface::used_twice(raw, found);
    if let Some(reserve) = &reserve {
        room_for_uplinks(raw, reserve, found);
    }
    Some(Parsed {
        path: path.to_owned(),
        lan,
        uplinks,
        reserve: reserve?,
        reserve_key: raw.reserve.key.clone(),
        reserve_spans,
        warnings: Vec::new(),
    })
}

fn no_uplinks(key: Option<Range<usize>>) -> Diagnostic {
    Diagnostic::error(key.unwrap_or(0..0), "the file has no uplinks")
        .label("no `[uplink.NAME]` in this file")
        .hint("add one for each provider: `[uplink.isp1]`, and `interface = \"eth1\"` below it")
}

/// Every uplink needs a number of its own in the mark.
fn room_for_uplinks(raw: &RawFile, reserve: &Reserve, found: &mut Found) {
    let names: BTreeSet<_> = raw.uplinks.iter().map(|u| u.name.get_ref()).collect();
    let room = usize::from(reserve.slot_max());
    let Some(first_without) = raw.uplinks.get(room) else {
        return;
    };
    let message = format!(
        "{} uplinks are too many: mark mask {:#010x} has room for {room}",
        names.len(),
        reserve.mark_mask
    );
    let mut diagnostic = Diagnostic::error(first_without.name.span(), message)
        .label(format!("uplink number {}", room + 1))
        .hint("widen `reserve.mark_mask`: half of its bits number the uplinks");
    if let Some(mask) = &raw.reserve.mark_mask {
        diagnostic = diagnostic.note(mask.span(), "the mask");
    }
    found.push(diagnostic);
}

/// A number within its bounds. `what` names the value and whose it is.
fn bounded<T: TryFrom<i128>>(
    value: &Spanned<i128>,
    bounds: Bounds,
    what: &str,
    hint: &str,
    found: &mut Found,
) -> Option<T> {
    let checked = bounds.check(*value.get_ref());
    if checked.is_none() {
        let Bounds { least, most } = bounds;
        let message = format!(
            "{what} must be {least} to {most}, not {}",
            shown(*value.get_ref())
        );
        let mut diagnostic =
            Diagnostic::error(value.span(), message).label(format!("not in {least} to {most}"));
        if !hint.is_empty() {
            diagnostic = diagnostic.hint(hint);
        }
        found.push(diagnostic);
    }
    checked
}

/// A number, unless it was too large to be read.
fn shown(number: i128) -> String {
    match number {
        i128::MAX | i128::MIN => "a number of that size".to_owned(),
        number => number.to_string(),
    }
}

/// How messages name an uplink.
fn uplink_named(name: &Spanned<String>) -> String {
    format!("uplink {}", quoted(name.get_ref()))
}
