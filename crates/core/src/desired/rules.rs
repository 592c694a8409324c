//! The rules, in the order in which they are asked.
//!
//! | priority | rule | why there |
//! |---|---|---|
//! | first + 0 | `lookup main suppress_prefixlength 0` | connected and specific routes of others win |
//! | first + 10 | `oif DEVICE lookup path` | what is bound to a device leaves by it, whatever its health |
//! | first + 20 | `fwmark INBOUND lookup path` | what came in by an uplink is answered by it, likewise |
//! | first + 30 | `fwmark UPLINK lookup service` | pinned connections stay; before the `from` rules, since a marked packet may bear another uplink's address |
//! | last + 0 | `from ADDRESS lookup service` | the router's own traffic of an address; behind the rules of VPN software, whose networks may talk to that address |
//! | last + 10 | `iif LAN lookup group` | everything else is shared out |

use std::collections::BTreeSet;

use ipnet::IpNet;
use uplinkd_model::{Rule, TableId};

use super::Inputs;
use crate::FAMILY;

pub(super) fn rules(inputs: &Inputs<'_>) -> BTreeSet<Rule> {
    let reserve = &inputs.config.reserve;
    let first = reserve.rule_priority;
    let lookup =
        |priority: u32, table: TableId| Rule::lookup(FAMILY, priority, table, reserve.proto);

    let mut rules = BTreeSet::from([Rule {
        suppress_prefix_length: Some(0),
        ..lookup(first, TableId::MAIN)
    }]);
    for (uplink, link) in inputs.config.uplinks.iter().zip(inputs.links) {
        let (service, path) = (
            reserve.table_service(uplink.slot),
            reserve.table_path(uplink.slot),
        );
        rules.insert(Rule {
            oif: Some(uplink.interface.clone()),
            ..lookup(first + 10, path)
        });
        rules.insert(Rule {
            mark: Some(reserve.mark_in(uplink.slot)),
            ..lookup(first + 20, path)
        });
        rules.insert(Rule {
            mark: Some(reserve.mark_out(uplink.slot)),
            ..lookup(first + 30, service)
        });
        for address in link
            .usable()
            .map(|l| l.addresses.as_slice())
            .unwrap_or_default()
        {
            rules.insert(Rule {
                from: Some(IpNet::from(address.addr())),
                ..lookup(reserve.rule_priority_last, service)
            });
        }
    }
    let last = lookup(reserve.rule_priority_last + 10, reserve.table_group(0));
    if inputs.config.lan.is_empty() {
        rules.insert(last);
    } else {
        // `iif lo` is how a rule says "the router's own".
        for lan in inputs.config.lan.iter().map(String::as_str).chain(["lo"]) {
            rules.insert(Rule {
                iif: Some(lan.to_owned()),
                ..last.clone()
            });
        }
    }
    rules
}
