//! What we claim in the kernel: nothing of the kernel's own, nothing of other software.

use std::{collections::BTreeMap, ops::Range};

use toml::Spanned;
use uplinkd_model::{Proto, Reserve};

use crate::{
    check::{bounded, shown},
    diagnostic::Diagnostic,
    keys,
    parsed::ReserveField as Field,
    quote::quoted,
    raw::RawReserve,
    reader::Found,
};

/// Protocol numbers of other software, from `linux/rtnetlink.h` and FRR's `rt_netlink.h`.
const PROTOS: [(u8, u8, &str); 14] = [
    (8, 8, "gated"),
    (9, 9, "router advertisements (the kernel)"),
    (10, 10, "mrt"),
    (11, 11, "zebra"),
    (12, 12, "bird"),
    (13, 13, "dnrouted"),
    (14, 14, "xorp"),
    (15, 15, "ntk"),
    (16, 16, "dhcp clients"),
    (17, 17, "mrouted"),
    (18, 18, "keepalived"),
    (42, 42, "babeld"),
    (99, 99, "openr"),
    (186, 198, "FRR"),
];

/// Tables of family inet that others make: ours is replaced as a whole, and theirs would be lost.
const NFT_TABLES_OF_OTHERS: [&str; 8] = [
    "filter",
    "firewalld",
    "fw4",
    "mangle",
    "nat",
    "raw",
    "security",
    "libvirt_network",
];

/// Words that nft 1.0.6 does not take as a table's name, found by asking it.
const NFT_KEYWORDS: &str = "accept add ah all and arp auto-merge bridge cgroup chain comment comp \
    constant continue counter cpu create ct day dccp define delete describe device devices dnat \
    drop dst dup dynamic ecn element elements eq esp ether exists expires export exthdr fib flags \
    flow flowtable flush frag fwd gc-interval ge get goto gt handle hbh hook hour ibriport ibrname \
    icmp icmpv6 igmp iif iifgroup iifname iiftype import include index inet insert interval ip ip6 \
    ipsec jhash jump le limit list log lt map mark masquerade meta meter mh missing monitor ne \
    netdev nftrace not notrack numgen obriport obrname offload oif oifgroup oifname oiftype or osf \
    pkttype policy position priority queue quota random redefine redirect reject rename replace \
    reset return rt rt0 rt2 rtclassid rule ruleset sctp secmark set size skgid skuid snat socket \
    srh symhash synproxy table tcp th time timeout tproxy type typeof udp udplite undefine update \
    vlan vmap xor xt";

/// The longest nft name that we take; the kernel's own limit is 255.
const NFT_NAME_MAX: usize = 64;

/// Checks `[reserve]`; none where something is wrong with it.
pub(super) fn check(
    raw: &RawReserve,
    found: &mut Found,
) -> (Option<Reserve>, BTreeMap<Field, Range<usize>>) {
    let default = Reserve::default();
    let errors_before = found.len();
    let mark_mask = or(&raw.mark_mask, default.mark_mask, |v| mark_mask(v, found));
    let bits_by_default = Reserve::uplink_bits_by_default(mark_mask);
    let reserve = Reserve {
        proto: or(&raw.proto, default.proto, |v| proto(v, found)),
        tables: or(&raw.tables, default.tables, |v| {
            let hint = "16384 tables are taken from there on; 253 to 255 are the kernel's own";
            bounded(v, keys::TABLES, "`reserve.tables`", hint, found)
        }),
        rule_priority: or(&raw.rule_priority, default.rule_priority, |v| {
            priority(v, "`reserve.rule_priority`", found)
        }),
        rule_priority_last: or(&raw.rule_priority_last, default.rule_priority_last, |v| {
            priority(v, "`reserve.rule_priority_last`", found)
        }),
        nexthop_ids: or(&raw.nexthop_ids, default.nexthop_ids, |v| {
            let hint =
                "1048576 ids are taken from there on; low ones are given out by other software";
            bounded(v, keys::NEXTHOP_IDS, "`reserve.nexthop_ids`", hint, found)
        }),
        mark_mask,
        mark_uplink_bits: or(&raw.mark_uplink_bits, bits_by_default, |v| {
            mark_uplink_bits(v, mark_mask, found)
        }),
        nft_table: or(&raw.nft_table, default.nft_table, |v| nft_table(v, found)),
    };
    if found.len() == errors_before {
        priorities_apart(raw, &reserve, found);
    }
    let is_sound = found.len() == errors_before;
    (is_sound.then_some(reserve), spans(raw))
}

/// The checked value where one is written and good, else the default.
fn or<R, T>(raw: &Option<R>, default: T, check: impl FnOnce(&R) -> Option<T>) -> T {
    raw.as_ref().and_then(check).unwrap_or(default)
}

fn spans(raw: &RawReserve) -> BTreeMap<Field, Range<usize>> {
    let span = |value: &Option<Spanned<i128>>| value.as_ref().map(Spanned::span);
    [
        (Field::Proto, span(&raw.proto)),
        (Field::Tables, span(&raw.tables)),
        (Field::RulePriority, span(&raw.rule_priority)),
        (Field::RulePriorityLast, span(&raw.rule_priority_last)),
        (Field::NexthopIds, span(&raw.nexthop_ids)),
        (Field::MarkMask, span(&raw.mark_mask)),
        (Field::MarkUplinkBits, span(&raw.mark_uplink_bits)),
        (Field::NftTable, raw.nft_table.as_ref().map(Spanned::span)),
    ]
    .into_iter()
    .filter_map(|(field, span)| Some((field, span?)))
    .collect()
}

fn proto(value: &Spanned<i128>, found: &mut Found) -> Option<Proto> {
    let hint = "0 to 4 mean something to the kernel and to `ip`; 177 is the default";
    let number: u8 = bounded(value, keys::PROTO, "`reserve.proto`", hint, found)?;
    let owner = PROTOS
        .iter()
        .find(|(first, last, _)| (*first..=*last).contains(&number));
    let Some((_, _, owner)) = owner else {
        return Some(Proto(number));
    };
    found.push(
        Diagnostic::error(
            value.span(),
            format!("`reserve.proto` cannot be {number}: that is the number of {owner}"),
        )
        .label("taken")
        .hint("their routes would be taken for ours; choose one that nobody uses, such as 177"),
    );
    None
}

fn priority(value: &Spanned<i128>, what: &str, found: &mut Found) -> Option<u32> {
    let hint =
        "100 priorities are taken from there on; rule 0 and those from 32766 are the kernel's own";
    bounded(value, keys::PRIORITY, what, hint, found)
}

/// The early rules must be asked before the last resort, whose range must be another one.
fn priorities_apart(raw: &RawReserve, reserve: &Reserve, found: &mut Found) {
    let (early, last) = (reserve.rule_priority, reserve.rule_priority_last);
    if early + Reserve::PRIORITIES <= last {
        return;
    }
    let message = if early.abs_diff(last) < Reserve::PRIORITIES {
        format!(
            "the priorities from {early} and from {last} overlap: each range has {} of them",
            Reserve::PRIORITIES
        )
    } else {
        format!("`reserve.rule_priority` {early} lies behind `reserve.rule_priority_last` {last}")
    };
    // At least one of them is written, since the defaults are well apart.
    let (place, other) = match (&raw.rule_priority, &raw.rule_priority_last) {
        (Some(early), last) => (early.span(), last.as_ref().map(Spanned::span)),
        (None, Some(last)) => (last.span(), None),
        (None, None) => (0..0, None),
    };
    let mut diagnostic = Diagnostic::error(place, message)
        .label("too near, or on the wrong side")
        .hint(format!(
            "let `rule_priority_last` lie {} or more above `rule_priority`",
            Reserve::PRIORITIES
        ));
    if let Some(other) = other {
        diagnostic = diagnostic.note(other, "the other one");
    }
    found.push(diagnostic);
}

fn mark_mask(value: &Spanned<i128>, found: &mut Found) -> Option<u32> {
    let mask = u32::try_from(*value.get_ref()).ok();
    let reason = match mask {
        Some(mask) if Reserve::mark_mask_is_usable(mask) => return Some(mask),
        Some(mask) if mask.count_ones() < 4 => format!("{mask:#010x} has fewer than 4 bits"),
        Some(mask) => format!("the bits of {mask:#010x} do not stand side by side"),
        None => format!("{} does not fit into 32 bits", shown(*value.get_ref())),
    };
    found.push(
        Diagnostic::error(
            value.span(),
            format!("`reserve.mark_mask` is not usable: {reason}"),
        )
        .label("needs one run of 4 bits or more")
        .hint("write a mask such as \"0xff000000\" (room for 7 uplinks and 15 places that policies lead to) or \"0x00fff000\" (31 and 63)"),
    );
    None
}

/// Some bits must be left: one for connections from outside, and one for where policies lead.
fn mark_uplink_bits(value: &Spanned<i128>, mask: u32, found: &mut Found) -> Option<u32> {
    let hint = "3 bits number 7 uplinks, 4 bits 15";
    let what = "`reserve.mark_uplink_bits`";
    let bits = bounded(value, keys::MARK_UPLINK_BITS, what, hint, found)?;
    let most = mask.count_ones() - 2;
    if bits <= most {
        return Some(bits);
    }
    found.push(
        Diagnostic::error(
            value.span(),
            format!("{what} {bits} leaves too little of mark mask {mask:#010x}"),
        )
        .label(format!("at most {most} with this mask"))
        .hint("one bit is for connections from outside and one or more for where policies lead; widen `reserve.mark_mask`"),
    );
    None
}

fn nft_table(name: &Spanned<String>, found: &mut Found) -> Option<String> {
    let word = name.get_ref();
    let mut letters = word.chars();
    let is_identifier = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && word.len() <= NFT_NAME_MAX;
    let (reason, label) = if !is_identifier {
        (
            format!("a letter first, then letters, digits, `_` and `-`, at most {NFT_NAME_MAX}"),
            "not a name that nft takes",
        )
    } else if NFT_KEYWORDS.split(' ').any(|keyword| keyword == word) {
        (
            "the word means something else to nft".to_owned(),
            "a keyword",
        )
    } else if NFT_TABLES_OF_OTHERS.contains(&word.as_str()) {
        (
            "other software uses that table, and would lose what is in it".to_owned(),
            "taken",
        )
    } else {
        return Some(word.clone());
    };
    found.push(
        Diagnostic::error(
            name.span(),
            format!("`reserve.nft_table` cannot be {}: {reason}", quoted(word)),
        )
        .label(label)
        .hint("choose a name that nobody else uses, such as \"uplinkd\""),
    );
    None
}
