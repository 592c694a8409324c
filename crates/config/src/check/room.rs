//! Whether the mark has room for the uplinks and for what policies lead to, and what would make room.

use std::collections::BTreeSet;

use toml::Spanned;
use uplinkd_model::Reserve;

use crate::{
    diagnostic::Diagnostic,
    raw::{RawFile, RawPolicy},
    reader::Found,
};

/// The mask that is proposed where more room is needed.
const WIDE: u32 = 0xffff_0000;

/// What helps where no mask does.
const SHARE: &str = "let more policies share their `use` and `otherwise`";

/// Every uplink needs a number of its own in the mark.
pub(super) fn for_uplinks(raw: &RawFile, reserve: &Reserve, found: &mut Found) {
    let names: BTreeSet<_> = raw.uplinks.iter().map(|u| u.name.get_ref()).collect();
    let room = usize::from(reserve.slot_max());
    let Some(first_without) = raw.uplinks.get(room) else {
        return;
    };
    let message = format!(
        "{} uplinks are too many: {} bits of mark mask {:#010x} have room for {room}",
        names.len(),
        reserve.mark_uplink_bits,
        reserve.mark_mask
    );
    let diagnostic = Diagnostic::error(first_without.name.span(), message)
        .label(format!("uplink number {}", room + 1))
        .hint(more_uplinks(names.len(), raw, reserve));
    found.push(with_mask(diagnostic, raw));
}

fn more_uplinks(count: usize, raw: &RawFile, reserve: &Reserve) -> String {
    let bits = bits_for(count);
    let fits = |reserve: &Reserve| has_outlets(reserve) && usize::from(reserve.slot_max()) >= count;
    if fits(&with_uplink_bits(reserve, bits)) {
        return format!(
            "set `reserve.mark_uplink_bits = {bits}`; policies then have fewer bits for where they lead"
        );
    }
    let Some(wide) = widened(raw, reserve) else {
        return "have fewer uplinks".to_owned();
    };
    if fits(&wide) {
        return format!(
            "widen the mask, such as `reserve.mark_mask = \"{WIDE:#010x}\"` (room for {})",
            wide.slot_max()
        );
    }
    if fits(&with_uplink_bits(&wide, bits)) {
        return both(bits);
    }
    "have fewer uplinks".to_owned()
}

/// The mistake that policies lead to `count` places; `policy` is the first one without room.
pub(super) fn too_few_for_outlets(
    policy: &RawPolicy,
    count: usize,
    raw: &RawFile,
    reserve: &Reserve,
) -> Diagnostic {
    let room = reserve.outlet_max();
    let leads = policy.destination.as_ref().map(Spanned::span);
    let message = format!(
        "policies lead to {count} different places, and mark mask {:#010x} has room for {room}",
        reserve.mark_mask
    );
    let diagnostic = Diagnostic::error(leads.unwrap_or(policy.span.clone()), message)
        .label(format!("number {}", usize::from(room) + 1))
        .hint(more_outlets(count, raw, reserve));
    with_mask(diagnostic, raw)
}

fn more_outlets(count: usize, raw: &RawFile, reserve: &Reserve) -> String {
    let bits = bits_for(raw.uplinks.len());
    let fits = |reserve: &Reserve| {
        has_outlets(reserve)
            && usize::from(reserve.slot_max()) >= raw.uplinks.len()
            && usize::from(reserve.outlet_max()) >= count
    };
    let has_spare_bits = fits(&with_uplink_bits(reserve, bits));
    let wide = widened(raw, reserve);
    match wide {
        Some(wide) if has_spare_bits && fits(&wide) => format!(
            "set `reserve.mark_uplink_bits = {bits}`, or widen the mask: `reserve.mark_mask = \"{WIDE:#010x}\"`"
        ),
        Some(_) | None if has_spare_bits => {
            format!("set `reserve.mark_uplink_bits = {bits}`, or {SHARE}")
        }
        Some(wide) if fits(&wide) => format!(
            "widen the mask, such as `reserve.mark_mask = \"{WIDE:#010x}\"` (room for {}), or {SHARE}",
            wide.outlet_max()
        ),
        Some(wide) if fits(&with_uplink_bits(&wide, bits)) => format!("{}, or {SHARE}", both(bits)),
        Some(_) | None => SHARE.to_owned(),
    }
}

/// The reserve with the mask that is proposed; none where that one would not be wider. What the file
/// does not say follows the mask.
fn widened(raw: &RawFile, reserve: &Reserve) -> Option<Reserve> {
    if reserve.mark_mask.count_ones() >= WIDE.count_ones() {
        return None;
    }
    let bits = match &raw.reserve.mark_uplink_bits {
        Some(_) => reserve.mark_uplink_bits,
        None => Reserve::uplink_bits_by_default(WIDE),
    };
    let wide = Reserve {
        mark_mask: WIDE,
        ..reserve.clone()
    };
    Some(with_uplink_bits(&wide, bits))
}

fn with_uplink_bits(reserve: &Reserve, bits: u32) -> Reserve {
    Reserve {
        mark_uplink_bits: bits,
        ..reserve.clone()
    }
}

/// Whether one bit is left for connections from outside, and one or more for outlets.
fn has_outlets(reserve: &Reserve) -> bool {
    reserve.mark_uplink_bits + 2 <= reserve.mark_mask.count_ones()
}

/// The bits that number so many uplinks.
fn bits_for(uplinks: usize) -> u32 {
    (usize::BITS - uplinks.leading_zeros()).max(1)
}

fn both(bits: u32) -> String {
    format!(
        "set `reserve.mark_mask = \"{WIDE:#010x}\"` and `reserve.mark_uplink_bits = {bits}`, both"
    )
}

fn with_mask(diagnostic: Diagnostic, raw: &RawFile) -> Diagnostic {
    match &raw.reserve.mark_mask {
        Some(mask) => diagnostic.note(mask.span(), "the mask"),
        None => diagnostic,
    }
}
