//! The file as it is written: every key with its place, types checked, values not.

mod notify;
mod policy;
mod target;

use std::ops::Range;

use toml::{Spanned, de::DeTable};
use uplinkd_model::Family;

use crate::{
    diagnostic::Diagnostic,
    keys,
    quote::quoted,
    reader::{Found, Reader, Texts, describe},
};

pub(crate) use notify::{RawHooks, RawMail, RawNotify, RawWebhook};
pub(crate) use policy::{
    RawCondition, RawFailback, RawGroup, RawItem, RawMember, RawPolicy, RawSticky, RawTier,
    RawYieldAt, WordOrTable,
};
pub(crate) use target::{RawOptions, RawTarget, RawTargets};

/// The whole file.
#[derive(Default)]
pub(crate) struct RawFile {
    pub(crate) lan: Vec<Spanned<String>>,
    pub(crate) deprecate: Option<Spanned<bool>>,
    pub(crate) advertise: Option<Spanned<bool>>,
    /// Where the word `uplink` stands first, if it does.
    pub(crate) uplink_key: Option<Range<usize>>,
    /// The uplinks, in the order of the file.
    pub(crate) uplinks: Vec<RawUplink>,
    /// Whether every entry under `uplink` and `group` could be read as one.
    pub(crate) is_complete: bool,
    /// The groups, in the order of the file.
    pub(crate) groups: Vec<RawGroup>,
    /// The policies, in the order of the file.
    pub(crate) policies: Vec<RawPolicy>,
    pub(crate) probe: RawProbe,
    pub(crate) history: RawHistory,
    pub(crate) record: RawRecord,
    pub(crate) notify: RawNotify,
    pub(crate) api: RawApi,
    pub(crate) reserve: RawReserve,
}

/// `[uplink.NAME]`.
pub(crate) struct RawUplink {
    pub(crate) name: Spanned<String>,
    pub(crate) interface: Option<Spanned<String>>,
    pub(crate) weight: Option<RawWeight>,
    pub(crate) rate: RawRates,
    pub(crate) budget: Option<RawBudget>,
    pub(crate) on_degraded: Option<Spanned<String>>,
    pub(crate) ipv4: Option<RawAccess>,
    pub(crate) ipv6: Option<RawAccess>,
    pub(crate) probe: RawProbe,
}

/// A weight: a number, or a word.
pub(crate) enum RawWeight {
    Number(Spanned<i128>),
    Word(Spanned<String>),
}

impl RawWeight {
    pub(crate) fn span(&self) -> Range<usize> {
        match self {
            Self::Number(number) => number.span(),
            Self::Word(word) => word.span(),
        }
    }
}

impl RawUplink {
    /// What is written about a family.
    pub(crate) fn access(&self, family: Family) -> Option<&RawAccess> {
        match family {
            Family::V4 => self.ipv4.as_ref(),
            Family::V6 => self.ipv6.as_ref(),
        }
    }
}

/// `[uplink.NAME.ipv4]` or `[uplink.NAME.ipv6]`.
pub(crate) struct RawAccess {
    /// Where the table's name stands.
    pub(crate) key: Range<usize>,
    pub(crate) is_used: Option<Spanned<bool>>,
    pub(crate) gateway: Option<Spanned<String>>,
    pub(crate) nat: Option<Spanned<String>>,
    /// For IPv6 only.
    pub(crate) prefix: Option<WordOrTable<RawPrefix>>,
}

/// `prefix` of `[uplink.NAME.ipv6]` as a table.
pub(crate) struct RawPrefix {
    pub(crate) within: Option<Spanned<String>>,
}

/// `[probe]` or `[uplink.NAME.probe]`.
#[derive(Default)]
pub(crate) struct RawProbe {
    pub(crate) targets: Option<RawTargets>,
    pub(crate) quorum: Option<Spanned<i128>>,
    pub(crate) profile: Option<Spanned<String>>,
    pub(crate) interval: Option<Spanned<String>>,
    pub(crate) burst: Option<Spanned<String>>,
    pub(crate) timeout: Option<Spanned<String>>,
    pub(crate) fall: Option<Spanned<i128>>,
    pub(crate) rise: Option<Spanned<i128>>,
    pub(crate) window: Option<Spanned<String>>,
    pub(crate) loss: Option<RawLimits>,
    pub(crate) rtt: Option<RawLimits>,
    pub(crate) hold: Option<Spanned<String>>,
    pub(crate) damping: Option<Spanned<String>>,
    pub(crate) tcp_sign: Option<Spanned<bool>>,
}

/// `loss` or `rtt` of `[probe]`.
#[derive(Default)]
pub(crate) struct RawLimits {
    pub(crate) degraded: Option<Spanned<String>>,
    pub(crate) fail: Option<Spanned<String>>,
}

/// `[uplink.NAME.budget]`.
pub(crate) struct RawBudget {
    /// Where the table's name stands.
    pub(crate) key: Range<usize>,
    pub(crate) limit: Option<Spanned<String>>,
    /// Whether `limit` is there, readable or not.
    pub(crate) has_limit: bool,
    pub(crate) period: Option<WordOrTable<Option<Spanned<String>>>>,
    pub(crate) reset_day: Option<Spanned<i128>>,
    pub(crate) warn_at: Option<Texts>,
    pub(crate) at_limit: Option<Spanned<String>>,
}

/// `[uplink.NAME.rate]`.
#[derive(Default)]
pub(crate) struct RawRates {
    pub(crate) down: Option<Spanned<String>>,
    pub(crate) up: Option<Spanned<String>>,
}

/// `[history]`.
#[derive(Default)]
pub(crate) struct RawHistory {
    pub(crate) enabled: Option<Spanned<bool>>,
    pub(crate) size_mb: Option<Spanned<i128>>,
}

/// `[record]`.
#[derive(Default)]
pub(crate) struct RawRecord {
    pub(crate) samples: Option<Spanned<bool>>,
    pub(crate) size_mb: Option<Spanned<i128>>,
}

/// `[api]`.
#[derive(Default)]
pub(crate) struct RawApi {
    pub(crate) read_group: Option<Spanned<String>>,
    pub(crate) change_group: Option<Spanned<String>>,
    pub(crate) listen: Option<Spanned<String>>,
    pub(crate) token_file: Option<Spanned<String>>,
}

/// `[reserve]`.
#[derive(Default)]
pub(crate) struct RawReserve {
    /// Where the table's name stands, if it does.
    pub(crate) key: Option<Range<usize>>,
    pub(crate) proto: Option<Spanned<i128>>,
    pub(crate) tables: Option<Spanned<i128>>,
    pub(crate) rule_priority: Option<Spanned<i128>>,
    pub(crate) rule_priority_last: Option<Spanned<i128>>,
    pub(crate) nexthop_ids: Option<Spanned<i128>>,
    pub(crate) mark_mask: Option<Spanned<i128>>,
    pub(crate) mark_uplink_bits: Option<Spanned<i128>>,
    pub(crate) nft_table: Option<Spanned<String>>,
}

impl RawFile {
    /// Reads the tree; what cannot be read is noted and left out.
    pub(crate) fn read(tree: &DeTable<'_>, found: &mut Found) -> Self {
        let top = Reader::open(tree, &keys::TOP, "", found);
        let mut uplinks = Vec::new();
        let mut is_complete = true;
        if let Some((_, table)) = top.table("uplink", found) {
            for (name, value) in table.iter() {
                let name = Spanned::new(name.span(), name.get_ref().to_string());
                match value.get_ref().as_table() {
                    Some(table) => uplinks.push(RawUplink::read(name, table, found)),
                    None => {
                        is_complete = false;
                        found.push(not_an_uplink(
                            &name,
                            value.span(),
                            describe(value.get_ref()),
                        ));
                    }
                }
            }
            uplinks.sort_by_key(|u| u.name.span().start);
        } else if top.key_span("uplink").is_some() {
            is_complete = false;
        }
        let (groups, are_groups_complete) = RawGroup::read_all(&top, found);
        Self {
            lan: top.texts("lan", found).map_or(Vec::new(), |t| t.items),
            deprecate: top.truth("deprecate", found),
            advertise: top.truth("advertise", found),
            uplink_key: top.key_span("uplink"),
            uplinks,
            is_complete: is_complete && are_groups_complete,
            groups,
            policies: RawPolicy::read_all(&top, found),
            probe: match top.table("probe", found) {
                Some((_, table)) => {
                    let reader = Reader::open(table, &keys::PROBE_ALL, "probe", found);
                    RawProbe::read(&reader, "probe", found)
                }
                None => RawProbe::default(),
            },
            history: match top.table("history", found) {
                Some((_, table)) => {
                    let reader = Reader::open(table, &keys::HISTORY, "history", found);
                    RawHistory {
                        enabled: reader.truth("enabled", found),
                        size_mb: reader.integer("size_mb", found),
                    }
                }
                None => RawHistory::default(),
            },
            record: match top.table("record", found) {
                Some((_, table)) => {
                    let reader = Reader::open(table, &keys::RECORD, "record", found);
                    RawRecord {
                        samples: reader.truth("samples", found),
                        size_mb: reader.integer("size_mb", found),
                    }
                }
                None => RawRecord::default(),
            },
            notify: RawNotify::read(&top, found),
            api: match top.table("api", found) {
                Some((_, table)) => {
                    let reader = Reader::open(table, &keys::API, "api", found);
                    RawApi {
                        read_group: reader.text("read_group", found),
                        change_group: reader.text("change_group", found),
                        listen: reader.text("listen", found),
                        token_file: reader.text("token_file", found),
                    }
                }
                None => RawApi::default(),
            },
            reserve: match top.table("reserve", found) {
                Some((key, table)) => RawReserve::read(key, table, found),
                None => RawReserve::default(),
            },
        }
    }
}

impl RawUplink {
    fn read(name: Spanned<String>, table: &DeTable<'_>, found: &mut Found) -> Self {
        let header = format!("uplink.{}", name.get_ref().escape_debug());
        let reader = Reader::open(table, &keys::UPLINK, &header, found);
        if reader.key_span("interface").is_none() {
            let message = format!("uplink {} has no interface", quoted(name.get_ref()));
            found.push(
                Diagnostic::error(name.span(), message)
                    .label("`interface` is missing")
                    .hint(
                        "add `interface = \"eth1\"`, with the interface that leads to the provider",
                    ),
            );
        }
        let ipv4 = RawAccess::read(&reader, "ipv4", &keys::IPV4, &header, found);
        let ipv6 = RawAccess::read(&reader, "ipv6", &keys::IPV6, &header, found);
        let rate = match reader.table("rate", found) {
            Some((_, table)) => {
                let reader = Reader::open(table, &keys::RATE, &format!("{header}.rate"), found);
                RawRates {
                    down: reader.text("down", found),
                    up: reader.text("up", found),
                }
            }
            None => RawRates::default(),
        };
        let budget = reader.table("budget", found).map(|(key, table)| {
            let header = format!("{header}.budget");
            let reader = Reader::open(table, &keys::BUDGET, &header, found);
            RawBudget {
                key,
                limit: reader.text("limit", found),
                has_limit: reader.key_span("limit").is_some(),
                period: reader.text_or_table("period", found).map(|p| {
                    let header = format!("{header}.period");
                    p.read(&keys::PERIOD, &header, found, |r, found| {
                        r.text("rolling", found)
                    })
                }),
                reset_day: reader.integer("reset_day", found),
                warn_at: reader.texts("warn_at", found),
                at_limit: reader.text("at_limit", found),
            }
        });
        let probe = match reader.table("probe", found) {
            Some((_, table)) => {
                let header = format!("{header}.probe");
                let reader = Reader::open(table, &keys::PROBE, &header, found);
                RawProbe::read(&reader, &header, found)
            }
            None => RawProbe::default(),
        };
        Self {
            interface: reader.text("interface", found),
            weight: reader.weight("weight", found),
            rate,
            budget,
            on_degraded: reader.text("on_degraded", found),
            ipv4,
            ipv6,
            probe,
            name,
        }
    }
}

impl RawAccess {
    fn read(
        uplink: &Reader<'_>,
        family: &'static str,
        keys: &'static keys::Keys,
        header: &str,
        found: &mut Found,
    ) -> Option<Self> {
        let (key, table) = uplink.table(family, found)?;
        let reader = Reader::open(table, keys, &format!("{header}.{family}"), found);
        Some(Self {
            key,
            is_used: reader.truth("use", found),
            gateway: reader.text("gateway", found),
            nat: reader.text("nat", found),
            prefix: keys
                .get("prefix")
                .and_then(|_| reader.text_or_table("prefix", found))
                .map(|p| {
                    let header = format!("{header}.{family}.prefix");
                    p.read(&keys::PREFIX, &header, found, |r, found| RawPrefix {
                        within: r.text("within", found),
                    })
                }),
        })
    }
}

impl RawProbe {
    fn read(reader: &Reader<'_>, header: &str, found: &mut Found) -> Self {
        let mut limits = |key: &'static str, keys| {
            let (_, table) = reader.table(key, found)?;
            let reader = Reader::open(table, keys, &format!("{header}.{key}"), found);
            Some(RawLimits {
                degraded: reader.text("degraded", found),
                fail: reader.text("fail", found),
            })
        };
        let (loss, rtt) = (limits("loss", &keys::LOSS), limits("rtt", &keys::RTT));
        Self {
            targets: RawTargets::read(reader, header, found),
            quorum: reader.integer("quorum", found),
            profile: reader.text("profile", found),
            interval: reader.text("interval", found),
            burst: reader.text("burst", found),
            timeout: reader.text("timeout", found),
            fall: reader.integer("fall", found),
            rise: reader.integer("rise", found),
            window: reader.text("window", found),
            loss,
            rtt,
            hold: reader.text("hold", found),
            damping: reader.text("damping", found),
            tcp_sign: reader.truth("tcp_sign", found),
        }
    }
}

impl RawReserve {
    fn read(key: Range<usize>, table: &DeTable<'_>, found: &mut Found) -> Self {
        let reader = Reader::open(table, &keys::RESERVE, "reserve", found);
        Self {
            key: Some(key),
            proto: reader.integer("proto", found),
            tables: reader.integer("tables", found),
            rule_priority: reader.integer("rule_priority", found),
            rule_priority_last: reader.integer("rule_priority_last", found),
            nexthop_ids: reader.integer("nexthop_ids", found),
            mark_mask: reader.mask("mark_mask", found),
            mark_uplink_bits: reader.integer("mark_uplink_bits", found),
            nft_table: reader.text("nft_table", found),
        }
    }
}

/// Most often a key of an uplink that was written under `[uplink]`, without the uplink's name.
fn not_an_uplink(name: &Spanned<String>, span: Range<usize>, is: &str) -> Diagnostic {
    let key = name.get_ref();
    let message = format!("{} in [uplink] is {is}, not an uplink", quoted(key));
    let hint = if keys::UPLINK.get(key).is_some() {
        "every uplink has a name: write `[uplink.isp1]` instead of `[uplink]`".to_owned()
    } else {
        "write `[uplink.NAME]`, and `interface = \"eth1\"` below it".to_owned()
    };
    Diagnostic::error(span, message)
        .label("expected a table")
        .hint(hint)
}
