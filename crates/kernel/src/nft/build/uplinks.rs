//! The part of the uplinks: the kernel's entries into the table, pinning, restoring, adopting, NAT.

use std::{collections::BTreeMap, net::IpAddr};

use uplinkd_model::{Family, Nat, classify::interface_number, nft::NftUplink, policy::Span};

use super::{
    Builder, FAMILIES, Whose, address, delegated,
    stray::{STRAY_IN, STRAY_OUT, STRAY_OWN},
};
use crate::nft::{
    answers,
    datatype::Datatype,
    ruleset::{Collection, Elements, Target, digit},
};

impl Builder<'_> {
    /// Everything that is there whatever the policies say.
    pub(super) fn uplinks(&mut self) {
        for (name, set) in FAMILIES.map(answers::set) {
            self.collection(name, set);
        }
        for uplink in &self.table.uplinks {
            self.pinning(uplink);
            self.translation(uplink);
        }
        self.interfaces();
        self.delegated();
        self.adoption();
        self.restoring();
        self.hooks();
    }

    /// The chains that set a connection's or packet's uplink.
    fn pinning(&mut self, uplink: &NftUplink) {
        let (slot, marks) = (uplink.slot, self.table.marks);
        let mask = marks.uplink | marks.inbound;
        let (out, inbound) = (uplink.mark, uplink.mark | marks.inbound);
        let pin = |value| Self::set_mark(Whose::Connection, mask, value);
        let pin_out = [pin(out)].into_iter().chain(self.heard());
        self.chain(format!("pin_out_{slot}"), pin_out.collect());
        // Not the packet itself: it is on its way in, and its mark would lead it out again.
        let pin_in = [pin(inbound), "accept".to_owned()];
        let pin_in = FAMILIES.map(answers::rule).into_iter().chain(pin_in);
        self.chain(format!("pin_in_{slot}"), pin_in.collect());
        // Our own that goes by its line already stays as it is: a program that we do not know of yet may
        // know it by its whole mark, and lead everything else elsewhere (a full tunnel, into itself).
        let goes_already = format!("oifname \"{}\" accept", uplink.interface);
        for (direction, value) in [("out", out), ("in", inbound)] {
            let rules = vec![
                goes_already.clone(),
                Self::set_mark(Whose::Packet, mask, value),
            ];
            self.chain(format!("restore_{direction}_{slot}"), rules);
        }
    }

    /// What becomes of source addresses.
    fn translation(&mut self, uplink: &NftUplink) {
        for (family, nat) in [(Family::V4, uplink.nat4), (Family::V6, uplink.nat6)] {
            let statement = match (nat, family) {
                (Nat::Masquerade | Nat::Auto | Nat::Prefix, _) => "masquerade".to_owned(),
                (Nat::Source(source), Family::V4) => format!("snat ip to {source}"),
                (Nat::Source(source), Family::V6) => format!("snat ip6 to {source}"),
                (Nat::None, _) => continue,
            };
            let name = format!("nat{}_{}", digit(family), uplink.slot);
            let one_to_one = match family {
                Family::V4 => Vec::new(),
                Family::V6 => delegated::outward(uplink, &statement),
            };
            self.chain(name, [one_to_one, vec![statement]].concat());
        }
    }

    /// What is looked up by interface.
    fn interfaces(&mut self) {
        let table = self.table;
        let by_name = |u: &NftUplink| interface_number(&u.interface);
        let uplinks = table.uplinks.iter();
        let names = uplinks.clone().map(|u| (vec![Span::one(by_name(u))], None));
        let names = Collection::set(vec![Datatype::Interface], Elements::Listed(names.collect()));
        self.collection("uplinks", names);
        let pins = uplinks
            .clone()
            .map(|u| (by_name(u), Target::Goto(format!("pin_in_{}", u.slot))));
        let lan = table.lan.iter();
        let lan = lan.map(|name| (interface_number(name), Target::Goto("classify".to_owned())));
        self.map("arrive", Datatype::Interface, pins.chain(lan));
        let leave = uplinks
            .clone()
            .map(|u| (by_name(u), Target::Goto(self.leave_chain(u.slot))));
        let leave: Vec<_> = leave.collect();
        self.map("leave", Datatype::Interface, leave);
        for family in FAMILIES {
            let digit = digit(family);
            let translated = uplinks.clone().filter(|u| nat(u, family) != Nat::None);
            let nat = translated.map(|u| {
                let chain = format!("nat{digit}_{}", u.slot);
                (by_name(u), Target::Goto(chain))
            });
            self.map(format!("nat{digit}"), Datatype::Interface, nat);
            let own = uplinks.clone().flat_map(|u| {
                let addresses = u.addresses.iter().filter(|a| Family::of(**a) == family);
                addresses.map(move |a| {
                    let key = vec![Span::one(by_name(u)), Span::one(address(*a))];
                    (key, None)
                })
            });
            let key = vec![Datatype::Interface, Datatype::Address(family)];
            let own = Collection::set(key, Elements::Listed(own.collect()));
            self.collection(format!("own{digit}"), own);
        }
    }

    /// The addresses by which a connection older than us is recognised.
    fn adoption(&mut self) {
        for direction in ["out", "in"] {
            for family in FAMILIES {
                let entries = adoptions(&self.table.uplinks)
                    .filter(|(a, _)| Family::of(*a) == family)
                    .map(|(a, slot)| {
                        let chain = format!("pin_{direction}_{slot}");
                        (address(a), Target::Jump(chain))
                    });
                let entries: Vec<_> = entries.collect();
                let name = format!("adopt_{direction}{}", digit(family));
                self.map(name, Datatype::Address(family), entries);
            }
        }
        let out = [
            "ct reply ip daddr vmap @adopt_out4",
            "ct reply ip6 daddr vmap @adopt_out6",
        ]
        .map(str::to_owned);
        let inbound = [
            "iifname @uplinks ct direction original ct original ip daddr vmap @adopt_in4",
            "iifname @uplinks ct direction original ct original ip6 daddr vmap @adopt_in6",
        ]
        .map(str::to_owned);
        self.chain("adopt_own", out.to_vec());
        self.chain("adopt", [out, inbound].concat());
    }

    /// The slow way of restoring a packet's mark, beside bits of others.
    fn restoring(&mut self) {
        let marks = self.table.marks;
        let by_uplink = self.table.uplinks.iter().flat_map(|u| {
            let jump = |direction| Target::Jump(format!("restore_{direction}_{}", u.slot));
            [
                (u128::from(u.mark), jump("out")),
                (u128::from(u.mark | marks.inbound), jump("in")),
            ]
        });
        self.map("restore_uplink", Datatype::Mark, by_uplink);
        let outlets = self.table.outlets.iter().filter(|o| o.mark != 0);
        let by_outlet = outlets.map(|o| {
            let chain = format!("restore_outlet_{}", o.code);
            (u128::from(o.mark), Target::Jump(chain))
        });
        self.map("restore_outlet", Datatype::Mark, by_outlet);
        let mut rules: Vec<String> = self.leave_foreign().into_iter().collect();
        let mask = marks.uplink | marks.inbound;
        rules.push(format!("ct mark and {mask:#010x} vmap @restore_uplink"));
        rules.push(format!(
            "ct mark and {:#010x} vmap @restore_outlet",
            marks.outlet
        ));
        self.chain("restore", rules);
    }

    /// A rule that ends the way of packets whose mark is a whole word of somebody else's.
    pub(super) fn leave_foreign(&mut self) -> Option<String> {
        let foreign = &self.table.foreign_marks;
        if foreign.is_empty() {
            return None;
        }
        let keys = foreign.iter().map(|m| (vec![Span::one(*m)], None));
        let set = Collection::set(vec![Datatype::Mark], Elements::Listed(keys.collect()));
        self.collection("foreign", set);
        Some("meta mark @foreign accept".to_owned())
    }

    /// The chains that the kernel enters, and the ways of packets whose connection has no mark of
    /// ours.
    ///
    /// What arrives on an uplink is on its way in, whoever began the connection, and must not be led
    /// out by the uplink again: it is accepted before the mark is restored. Its way may be known only
    /// to a rule that is asked after ours, such as a VPN's with a table of its own.
    fn hooks(&mut self) {
        let marks = self.table.marks;
        let (all, others) = (marks.all(), !marks.all());
        let unmarked = format!("ct mark and {all:#010x} == 0");
        // A packet without a connection has no mark of one either, so that the statement ends there
        // and nothing is set.
        let restore = if others == 0 {
            "meta mark set ct mark accept".to_owned()
        } else {
            format!(
                "meta mark and {others:#010x} == 0 meta mark set ct mark and {all:#010x} accept"
            )
        };
        let words = |rules: &[&str]| rules.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();

        self.hook(
            "prerouting",
            "type filter hook prerouting priority mangle; policy accept;",
            words(&[
                &format!("{unmarked} goto unmarked"),
                "iifname @uplinks accept",
                &restore,
                &format!("ct state invalid goto {STRAY_IN}"),
                "goto restore",
            ]),
        );
        self.chain(
            "unmarked",
            words(&[
                "ct state new goto arrive",
                "ct state established jump adopt",
                "iifname @uplinks accept",
                &format!("{unmarked} accept"),
                &restore,
                "goto restore",
            ]),
        );
        let mut arrive = words(&["iifname vmap @arrive"]);
        if self.table.lan.is_empty() {
            arrive.push("iifname != \"lo\" goto classify".to_owned());
        }
        self.chain("arrive", arrive);

        self.hook(
            "output",
            "type route hook output priority mangle; policy accept;",
            words(&[
                &format!("{unmarked} goto unmarked_own"),
                &restore,
                &format!("ct state invalid goto {STRAY_OWN}"),
                "goto restore",
            ]),
        );
        self.chain(
            "unmarked_own",
            words(&[
                // A socket that chose its own way by a mark of ours, such as our probes.
                &format!("meta mark and {:#010x} != 0 accept", marks.all()),
                "ct state new goto classify_own",
                "ct state established jump adopt_own",
                &format!("{unmarked} accept"),
                &restore,
                "goto restore",
            ]),
        );

        let pinned = format!("ct mark and {:#010x} != 0 accept", marks.uplink);
        self.hook(
            "postrouting",
            "type filter hook postrouting priority mangle; policy accept;",
            words(&[
                &pinned,
                &format!("ct state invalid goto {STRAY_OUT}"),
                "oifname vmap @leave",
            ]),
        );
        // An uplink's own addresses, and those of its prefixes where the file lets them be, are never
        // rewritten when they leave by it, nor are link-local ones, which mean nothing beyond the line.
        self.hook(
            "nat",
            "type nat hook postrouting priority srcnat; policy accept;",
            words(&[
                "oifname . ip saddr @own4 accept",
                "oifname . ip6 saddr @own6 accept",
                "oifname . ip6 saddr @kept6 accept",
                "ip6 saddr fe80::/10 accept",
                "meta nfproto ipv4 oifname vmap @nat4",
                "meta nfproto ipv6 oifname vmap @nat6",
            ]),
        );
    }
}

pub(super) fn nat(uplink: &NftUplink, family: Family) -> Nat {
    match family {
        Family::V4 => uplink.nat4,
        Family::V6 => uplink.nat6,
    }
}

/// The uplinks' addresses, each with its slot. One that two uplinks have says nothing and is left
/// out; such a connection is pinned by the interface it leaves by.
fn adoptions(uplinks: &[NftUplink]) -> impl Iterator<Item = (IpAddr, u16)> {
    let mut slots: BTreeMap<IpAddr, Option<u16>> = BTreeMap::new();
    for uplink in uplinks {
        let translated = [uplink.nat4, uplink.nat6]
            .into_iter()
            .filter_map(|n| match n {
                Nat::Source(address) => Some(address),
                Nat::Masquerade | Nat::None | Nat::Auto | Nat::Prefix => None,
            });
        for address in uplink.addresses.iter().copied().chain(translated) {
            slots
                .entry(address)
                .and_modify(|slot| *slot = slot.filter(|s| *s == uplink.slot))
                .or_insert(Some(uplink.slot));
        }
    }
    slots
        .into_iter()
        .filter_map(|(address, slot)| Some((address, slot?)))
}
