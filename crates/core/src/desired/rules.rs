//! The rules, in the order in which they are asked.
//!
//! | priority | rule | why there |
//! |---|---|---|
//! | first + 0 | `lookup main suppress_prefixlength 0` | connected and specific routes of others win |
//! | first + 10 | `oif DEVICE lookup path` | what is bound to a device leaves by it, whatever its health |
//! | first + 20 | `fwmark INBOUND lookup path` | what came in by an uplink is answered by it, likewise |
//! | first + 25 | `fwmark INBOUND prohibit`, of all uplinks | what cannot be answered by its uplink is not answered by another, whose provider would see a stranger's address |
//! | first + 30 | `fwmark UPLINK lookup service` | pinned connections stay; before the `from` rules, since a marked packet may bear another uplink's address |
//! | last + 0 … 19 | copies of rules of others | they come before the default group as they came before `main` |
//! | last + 20 | `fwmark OUTLET lookup outlet` | what a policy led somewhere, also when the uplink it was pinned to has failed |
//! | last + 29 | `iif LAN from PREFIX lookup default group`, of an uplink that is drained | new connections leave by others, translated; the rule behind stays, by which a later run knows the prefix |
//! | last + 30 | `from ADDRESS lookup service` | the router's own traffic of an address; behind the rules of VPN software, whose networks may talk to that address |
//! | last + 30 | `iif LAN from PREFIX lookup service` | what has an address of an uplink's delegated prefix goes by it, while it is in service; behind the outlets, so that policies may lead it elsewhere |
//! | last + 31 | the same for prefixes that the provider is about to take back | |
//! | last + 40 | `iif LAN lookup default group` | everything else is shared out |

use std::collections::BTreeSet;

use ipnet::IpNet;
use uplinkd_model::{
    Family, Outlet, OutletKind, Rule, TableId,
    kernel_state::{RuleAction, is_first_name},
};

use super::{Inputs, mirrors, outlets};
use crate::facts::LinkState;

/// How far behind the first of the last block the rules of the outlets begin: what comes before are
/// copies of others' rules.
pub(crate) const OUTLETS: u32 = 20;

pub(super) fn rules(inputs: &Inputs<'_>, family: Family) -> BTreeSet<Rule> {
    let reserve = &inputs.config.reserve;
    let (first, last) = (reserve.rule_priority, reserve.rule_priority_last);
    let lookup =
        |priority: u32, table: TableId| Rule::lookup(family, priority, table, reserve.proto);

    let mut rules = mirrors::rules(inputs, family);
    rules.insert(specific_routes(inputs, family));
    let lines = inputs.lines.iter().filter(|l| l.family == family);
    let mut present = lines.filter(|l| *l.link != LinkState::Absent).peekable();
    if present.peek().is_some() {
        rules.insert(unanswerable(inputs, family));
    }
    for line in present {
        let uplink = line.uplink;
        let is_named = is_first_name(&uplink.interface);
        let (service, path) = (
            reserve.table_service(uplink.slot),
            reserve.table_path(uplink.slot),
        );
        // A pattern that nothing fits yet is no name for the kernel.
        rules.extend(is_named.then(|| Rule {
            oif: Some(uplink.interface.clone()),
            ..lookup(first + 10, path)
        }));
        rules.insert(Rule {
            mark: Some(reserve.mark_in(uplink.slot)),
            ..lookup(first + 20, path)
        });
        rules.insert(Rule {
            mark: Some(reserve.mark_out(uplink.slot)),
            ..lookup(first + 30, service)
        });
        let usable = line.link.usable();
        for address in usable.map(|l| l.addresses.as_slice()).unwrap_or_default() {
            rules.insert(Rule {
                from: Some(IpNet::from(address.addr())),
                ..lookup(last + 30, service)
            });
        }
    }
    let outlets = inputs.config.outlets.iter();
    rules.extend(outlets.filter_map(|outlet| of_outlet(inputs, family, outlet)));
    if family == Family::V6 {
        rules.extend(by_prefix(inputs));
    }
    let default = lookup(last + 40, reserve.table_outlet(0));
    rules.extend(of_lan(inputs, &default));
    rules
}

/// A line that has just come back may bring packets before its routes are there.
fn unanswerable(inputs: &Inputs<'_>, family: Family) -> Rule {
    let reserve = &inputs.config.reserve;
    let priority = reserve.rule_priority + 25;
    Rule {
        mark: Some(reserve.mark_in_any()),
        action: RuleAction::Prohibit,
        ..Rule::lookup(family, priority, TableId::MAIN, reserve.proto)
    }
}

/// A rule for what comes from the LAN or is the router's own.
fn of_lan(inputs: &Inputs<'_>, rule: &Rule) -> Vec<Rule> {
    let lan = &inputs.config.lan;
    if lan.is_empty() {
        return vec![rule.clone()];
    }
    // `iif lo` is how a rule says "the router's own".
    let named = lan.iter().map(String::as_str).filter(|n| is_first_name(n));
    let interfaces = named.chain(["lo"]);
    let of = |iif: &str| Rule {
        iif: Some(iif.to_owned()),
        ..rule.clone()
    };
    interfaces.map(of).collect()
}

/// The rules by which an address of a delegated prefix leaves by the uplink that the prefix belongs
/// to. They stay while its line is down: its table is empty then.
fn by_prefix(inputs: &Inputs<'_>) -> BTreeSet<Rule> {
    let reserve = &inputs.config.reserve;
    let lines = inputs.lines.iter().filter(|l| l.family == Family::V6);
    let present = lines.filter(|l| *l.link != LinkState::Absent);
    let rules = present.flat_map(|line| {
        let table = reserve.table_service(line.uplink.slot);
        let prefixes = inputs.prefixes.all_of(&line.uplink.name).iter();
        let service = inputs.service.of(Family::V6);
        let is_drained = service.drained.contains(&line.uplink.name);
        prefixes.enumerate().flat_map(move |(n, prefix)| {
            let last = reserve.rule_priority_last;
            let rule = |priority, table| {
                let rule = Rule {
                    from: Some(IpNet::V6(*prefix)),
                    ..Rule::lookup(Family::V6, priority, table, reserve.proto)
                };
                of_lan(inputs, &rule)
            };
            // The prefix of now comes first, by which a later run knows it from those on their way out.
            let mut rules = rule(last + if n == 0 { 30 } else { 31 }, table);
            if is_drained {
                rules.extend(rule(last + 29, reserve.table_outlet(0)));
            }
            rules
        })
    });
    rules.collect()
}

/// The rules for a family that no uplink has: those of the outlets that refuse, and what must come
/// before these.
pub(super) fn refusals(inputs: &Inputs<'_>, family: Family) -> BTreeSet<Rule> {
    let outlets = inputs.config.outlets.iter();
    let mut rules: BTreeSet<_> = outlets
        .filter(|outlet| outlets::refuses(outlet))
        .filter_map(|outlet| of_outlet(inputs, family, outlet))
        .collect();
    if !rules.is_empty() {
        rules.insert(specific_routes(inputs, family));
        rules.extend(mirrors::rules(inputs, family));
    }
    rules
}

fn specific_routes(inputs: &Inputs<'_>, family: Family) -> Rule {
    let reserve = &inputs.config.reserve;
    Rule {
        suppress_prefix_length: Some(0),
        ..Rule::lookup(family, reserve.rule_priority, TableId::MAIN, reserve.proto)
    }
}

/// The rule of an outlet; none for the default group, which needs no mark.
fn of_outlet(inputs: &Inputs<'_>, family: Family, outlet: &Outlet) -> Option<Rule> {
    if outlet.code == 0 {
        return None;
    }
    let reserve = &inputs.config.reserve;
    let priority = reserve.rule_priority_last + OUTLETS;
    let table = reserve.table_outlet(outlet.code);
    Some(Rule {
        mark: Some(reserve.mark_outlet(outlet.code)),
        action: match &outlet.kind {
            OutletKind::Uplinks(_) => RuleAction::Lookup(table),
            OutletKind::Block => RuleAction::Prohibit,
            OutletKind::Main => RuleAction::Lookup(TableId::MAIN),
        },
        ..Rule::lookup(family, priority, table, reserve.proto)
    })
}
