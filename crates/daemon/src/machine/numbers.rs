//! Numbers and names that we claim, and who else uses them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use uplinkd_config::{Diagnostic, Field, Parsed, ReserveField};
use uplinkd_model::{Config, Observed, Reserve, TableId};

use super::{Problem, is_ours};

/// Rules of others that look at bits of ours, or at the whole mark.
pub(super) fn marks(
    found: &mut Vec<Problem>,
    parsed: &Parsed,
    claims: &[Reserve],
    observed: &Observed,
) {
    let ours = claims[0].mark_mask;
    let span = || parsed.span_of_reserve(ReserveField::MarkMask);
    // A rule often has its like in the other family, and a full tunnel several with one mark.
    let mut seen = BTreeSet::new();
    for rule in observed.rules.iter().filter(|r| !is_ours(claims, r)) {
        let Some(mark) = rule.mark.filter(|m| !seen.contains(m)) else {
            continue;
        };
        let uses_our_bits =
            mark.value & ours != 0 || (mark.mask & ours != 0 && mark.mask != u32::MAX);
        if uses_our_bits {
            let message = format!("mark mask {ours:#x} clashes with a rule of somebody else");
            found.push(Problem::fatal(
                Diagnostic::error(span(), message)
                    .label(format!("found: {rule}"))
                    .hint("set reserve.mark_mask to a run of at least 4 bits that nobody else uses, such as \"0x00ff0000\""),
            ));
        } else if mark.mask == u32::MAX {
            let message = format!(
                "somebody else compares the whole mark of a packet: {} {rule}",
                rule.family.flag()
            );
            found.push(Problem::local(
                Diagnostic::warning(span(), message)
                    .hint(format!("packets with the mark {:#x} are left to that rule: no policy sees them, and they are not pinned; a rule with a mask without our bits would let both work", mark.value)),
            ));
        } else {
            continue;
        }
        seen.insert(mark);
    }
}

/// A layout of the mark that is not the one of an earlier configuration: connections that live since
/// then bear marks that would be read as something else.
pub(super) fn layout(
    found: &mut Vec<Problem>,
    parsed: &Parsed,
    reserve: &Reserve,
    earlier: &[Reserve],
) {
    let Some(before) = earlier.iter().find(|e| e.marks() != reserve.marks()) else {
        return;
    };
    let words = |r: &Reserve| {
        format!(
            "{:#010x} with {} bits for uplinks",
            r.mark_mask, r.mark_uplink_bits
        )
    };
    let message = format!(
        "the mark is laid out otherwise than before: {} instead of {}",
        words(reserve),
        words(before)
    );
    let span = parsed.span_of_reserve(if before.mark_mask == reserve.mark_mask {
        ReserveField::MarkUplinkBits
    } else {
        ReserveField::MarkMask
    });
    found.push(Problem::local(Diagnostic::warning(span, message).hint(
        "marks of living connections would be read wrongly, so a reload refuses it: stop uplinkd, run \
         `uplinkd clean` and start again",
    )));
}

/// Objects of others inside what we claim: our own could not be made beside them.
pub(super) fn foreign_in_reserve(
    found: &mut Vec<Problem>,
    parsed: &Parsed,
    claims: &[Reserve],
    observed: &Observed,
) {
    let reserve = &claims[0];
    let mut report = |field: ReserveField, name: &str, object: String| {
        found.push(Problem::fatal(
            Diagnostic::error(
                parsed.span_of_reserve(field),
                format!("{object} belongs to somebody else but lies in our range"),
            )
            .hint(format!(
                "free it, or move reserve.{name} to a range that nobody uses"
            )),
        ));
    };
    for nexthop in observed.nexthops.values() {
        if reserve.has_nexthop(nexthop.id) && !claims.iter().any(|c| c.owns_nexthop(nexthop)) {
            report(
                ReserveField::NexthopIds,
                "nexthop_ids",
                format!("nexthop {nexthop}"),
            );
        }
    }
    for route in &observed.routes {
        if reserve.has_table(route.table) && !claims.iter().any(|c| c.owns_route(route)) {
            report(ReserveField::Tables, "tables", format!("route {route}"));
        }
    }
}

/// Names of our tables that `ip` knows as something else.
pub(super) fn table_names(found: &mut Vec<Problem>, parsed: &Parsed, config: &Config, dir: &Path) {
    let known = known_tables(dir);
    for uplink in &config.uplinks {
        let table = config.reserve.table_service(uplink.slot);
        if let Some(other) = known.get(uplink.name.as_str()).filter(|t| **t != table) {
            found.push(Problem::fatal(
                Diagnostic::error(
                    parsed.span_of(&uplink.name, Field::Name),
                    format!(
                        "`ip` knows table {} by the name {} already",
                        other, uplink.name
                    ),
                )
                .hint("name the uplink otherwise, or remove that line below /etc/iproute2"),
            ));
        }
    }
}

/// The names in `rt_tables` and `rt_tables.d`, ours left out.
fn known_tables(dir: &Path) -> BTreeMap<String, TableId> {
    let mut files = vec![dir.join("rt_tables")];
    let more = fs::read_dir(dir.join("rt_tables.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    files.extend(more.filter(|p| p.file_name().is_none_or(|n| n != Reserve::TABLE_NAMES_FILE)));
    let lines = files.iter().filter_map(|f| fs::read_to_string(f).ok());
    let mut known = BTreeMap::new();
    for text in lines {
        for line in text
            .lines()
            .map(|l| l.split('#').next().unwrap_or_default())
        {
            let mut words = line.split_whitespace();
            if let (Some(Ok(id)), Some(name)) = (words.next().map(str::parse::<u32>), words.next())
            {
                known.insert(name.to_owned(), TableId(id));
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_layout_of_the_mark_is_said_and_another_change_is_not() {
        let text = "uplink.isp1.interface = \"wan1\"\nreserve.mark_uplink_bits = 4\n";
        let parsed = uplinkd_config::parse("t", text).unwrap();
        let said = |earlier: &[Reserve]| {
            let mut found = Vec::new();
            layout(&mut found, &parsed, parsed.reserve(), earlier);
            found
        };
        let same = Reserve {
            tables: 100_000,
            ..parsed.reserve().clone()
        };
        assert!(said(&[]).is_empty());
        assert!(said(std::slice::from_ref(&same)).is_empty());
        let found = said(&[same, Reserve::default()]);
        assert_eq!(
            found[0].diagnostic.message,
            "the mark is laid out otherwise than before: 0xff000000 with 4 bits for uplinks \
             instead of 0xff000000 with 3 bits for uplinks"
        );
        assert_eq!(&text[found[0].diagnostic.span.clone()], "4");
        assert!(!found[0].is_fatal && !found[0].is_error());
    }
}
