//! Policies: what traffic they speak of, and the outlets that they lead to.
//!
//! Every condition is kept as numbers in canonical form ([`Spans`]), so that the same structure can
//! be compiled for the kernel, evaluated for an explanation and compared with another.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Mark, UplinkName},
    intent::Member,
    net::Family,
    probe::Permille,
};

/// Traffic that a user wants treated in a way of its own. The first policy that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name, unique in the file.
    pub name: String,
    /// What must hold, all of it. None: everything.
    pub clauses: Vec<Clause>,
    /// Where matching connections go: an index into [`crate::Config::outlets`].
    pub outlet: usize,
    /// What becomes of existing connections that this policy forbids the uplink they are on.
    pub flows: PolicyFlows,
}

/// What a policy does with connections that are older than it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyFlows {
    /// They stay on the uplink that they began on.
    #[default]
    Keep,
    /// They are released, so that their next packet is judged anew.
    Move,
}

/// One condition of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clause {
    /// What is looked at, and the values that count.
    pub selector: Selector,
    /// The clause holds for what the selector does not take.
    pub not: bool,
    /// The clause as people read it, such as `destination in 10.0.0.0/8, company-nets.txt`.
    pub text: String,
}

/// What a clause looks at. A selector takes a packet whose value is among these.
///
/// Ports speak only of protocols that have them, ICMP types only of ICMP (of the packet's family):
/// a clause on them, negated or not, never holds for other protocols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selector {
    /// The family.
    Family(Family),
    /// The source address, before translation.
    Source(Addresses),
    /// The destination address; of a forwarded port, the one after its translation.
    Destination(Addresses),
    /// The IP protocol number.
    Protocol(Spans),
    /// The source port of TCP, UDP, UDP-Lite, SCTP and DCCP.
    SourcePort(Spans),
    /// Their destination port.
    DestinationPort(Spans),
    /// The interface that the packet came in by; never the router's own traffic.
    Interface(Vec<String>),
    /// The Ethernet source address, as a number of 48 bits.
    Mac(Spans),
    /// The differentiated services code point, 0 to 63.
    Dscp(Spans),
    /// The packet's mark as somebody else set it: one of these, each under its mask.
    Mark(Vec<Mark>),
    /// The user of the router's own traffic, by number.
    User(Spans),
    /// The (primary) group of the router's own traffic, by number.
    Group(Spans),
    /// The control group (version 2) of the router's own traffic, by path below its root, such as
    /// `system.slice/backup.service`; groups below it count.
    Cgroup(Vec<String>),
    /// The ICMP or ICMPv6 type.
    IcmpType {
        /// For IPv4.
        v4: Spans,
        /// For IPv6.
        v6: Spans,
    },
    /// The destination is an address that a resolver found for one of these names.
    Domain {
        /// The names; `*.name` counts like `name`, since resolvers fill sets with all below it.
        names: Vec<String>,
        /// Name of the nft sets that the resolver fills, without the family's digit in front.
        set: String,
        /// How long an address counts after it was last resolved or used.
        timeout: Duration,
    },
    /// The local time, in minutes since Monday 00:00.
    Schedule(Spans),
}

impl Selector {
    /// The names and the set of a selector by domain.
    pub fn domain(&self) -> Option<(&[String], &str)> {
        if let Self::Domain { names, set, .. } = self {
            Some((names, set))
        } else {
            None
        }
    }

    /// The minutes of a selector by local time.
    pub fn schedule(&self) -> Option<&Spans> {
        if let Self::Schedule(minutes) = self {
            Some(minutes)
        } else {
            None
        }
    }
}

/// Protocols that have ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub const PROTOCOLS_WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
/// ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Minutes in a week: a schedule's numbers are below it.
pub const MINUTES_PER_WEEK: u16 = 7 * 24 * 60;

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Addresses {
    /// IPv4, as numbers of 32 bits.
    pub v4: Spans,
    /// IPv6, as numbers of 128 bits.
    pub v6: Spans,
}

impl Addresses {
    /// Those of one family.
    pub fn of(&self, family: Family) -> &Spans {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// An address as the number that [`Spans`] of addresses hold.
pub fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of a number.
pub fn number_address(family: Family, number: u128) -> IpAddr {
    match family {
        // Numbers of IPv4 addresses have 32 bits by construction.
        Family::V4 => IpAddr::V4((number as u32).into()),
        Family::V6 => IpAddr::V6(number.into()),
    }
}

/// Numbers from first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first that counts.
    pub first: u128,
    /// The last that counts, not less than the first.
    pub last: u128,
}

impl Span {
    /// One number.
    pub fn one(number: impl Into<u128>) -> Self {
        let number = number.into();
        Self {
            first: number,
            last: number,
        }
    }

    /// From first to last.
    pub fn new(first: impl Into<u128>, last: impl Into<u128>) -> Self {
        Self {
            first: first.into(),
            last: last.into(),
        }
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u128) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// Whether it is one number only.
    pub fn is_one(&self) -> bool {
        self.first == self.last
    }
}

/// A set of numbers: sorted, no two spans meeting or touching. Cheap to clone, since a list of
/// 100,000 prefixes is shared by all who speak of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Span>", into = "Vec<Span>")]
pub struct Spans(Arc<[Span]>);

impl Default for Spans {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl Spans {
    /// The set of all numbers in the given spans, which may overlap and come in any order. Spans
    /// whose last is before their first are left out.
    pub fn new(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut spans: Vec<_> = spans.into_iter().filter(|s| s.first <= s.last).collect();
        spans.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(before) if before.last == u128::MAX || span.first <= before.last + 1 => {
                    before.last = before.last.max(span.last);
                }
                Some(_) | None => merged.push(span),
            }
        }
        Self(merged.into())
    }

    /// The spans, sorted.
    pub fn as_slice(&self) -> &[Span] {
        &self.0
    }

    /// No number is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u128) -> bool {
        let after = self.0.partition_point(|s| s.first <= number);
        after > 0 && self.0[after - 1].last >= number
    }

    /// All numbers of `0..=max` that are not in it.
    #[must_use]
    pub fn complement(&self, max: u128) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for span in self.0.iter().take_while(|s| s.first <= max) {
            let Some(first) = next else { break };
            if span.first > first {
                gaps.push(Span::new(first, span.first - 1));
            }
            next = span.last.checked_add(1).filter(|n| *n <= max);
        }
        gaps.extend(next.map(|first| Span::new(first, max)));
        Self(gaps.into())
    }

    /// The numbers that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let (first, last) = (x.first.max(y.first), x.last.min(y.last));
            if first <= last {
                both.push(Span { first, last });
            }
            if x.last <= y.last {
                a.next();
            } else {
                b.next();
            }
        }
        Self(both.into())
    }

    /// Whether every number of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|span| {
            let after = self.0.partition_point(|s| s.first <= span.first);
            after > 0 && self.0[after - 1].last >= span.last
        })
    }

    /// Whether some number is in both.
    pub fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() <= other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        few.0.iter().any(|span| {
            let after = many.0.partition_point(|s| s.first <= span.last);
            after > 0 && many.0[after - 1].last >= span.first
        })
    }
}

impl From<Vec<Span>> for Spans {
    fn from(spans: Vec<Span>) -> Self {
        Self::new(spans)
    }
}

impl From<Spans> for Vec<Span> {
    fn from(spans: Spans) -> Self {
        spans.0.to_vec()
    }
}

/// Where policies lead. All policies with the same `use` and `otherwise` share one outlet: its code
/// in the mark, its rule, its table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlet {
    /// Its lasting number, which the mark carries; 0 is the default group's.
    pub code: u16,
    /// Its name, which is also its table's: `calls`, `isp2`, `isp2-or-block`, `block`, `main`.
    pub name: String,
    /// What it is.
    pub kind: OutletKind,
}

/// The kinds of outlets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutletKind {
    /// Uplinks.
    Uplinks(Outflow),
    /// Refused at once, with an ICMP message.
    Block,
    /// Left to the main table.
    Main,
}

/// Uplinks in order of preference, and what comes after them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outflow {
    /// The group that `use` names; none where it names an uplink.
    pub group: Option<String>,
    /// Preference levels, best first: the group's own tiers, then those of the group that
    /// `otherwise` names.
    pub tiers: Vec<OutletTier>,
    /// What serves when no tier has a live member.
    pub end: End,
    /// When it returns to a better tier, and what becomes of connections on the worse one.
    pub failback: Failback,
    /// What keeps to the uplink that it was given first; none: each connection by itself.
    pub sticky: Option<Sticky>,
}

/// One preference level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutletTier {
    /// The group that it belongs to; none for an uplink that a policy names.
    pub group: Option<String>,
    /// Its rank in that group, from 1.
    pub rank: usize,
    /// Who shares its traffic.
    pub members: Vec<Member>,
    /// How that group treats them.
    pub conduct: Conduct,
}

/// How a group treats its members.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Conduct {
    /// From where on a member yields in it; none: while it is degraded, if the uplink says so.
    pub yield_at: Option<YieldAt>,
    /// By what new connections are shared out inside a tier.
    pub balance: Balance,
    /// A member serves in it only as long as there is something left of its budget.
    pub while_budget: bool,
    /// From which part of what it can carry on a tier leaves new connections to the next one; none: never.
    pub overflow_at: Option<Permille>,
}

/// By what new connections are shared out inside a tier.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// By the members' weights.
    #[default]
    Weights,
    /// They go to the member that has most free capacity.
    LeastUsed,
    /// They go to the member of the shortest round-trip time.
    LowestLatency,
}

/// From which loss and round-trip time on a member of a group yields in it, whatever its health: to
/// others of its tier, and with a whole tier over it to the next one. None of both: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct YieldAt {
    /// The part of lost answers, over a minute.
    pub loss: Option<Permille>,
    /// The round-trip time at the median of the probes' window.
    pub rtt: Option<Duration>,
}

/// What serves when no tier of an outlet has a live member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The last good choice is kept (only the default group).
    Keep,
    /// The default group.
    Default,
    /// Nothing: connections are refused at once.
    Block,
}

/// When an outlet returns to a better tier, and what becomes of connections on the worse one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failback {
    /// When.
    pub when: FailbackWhen,
    /// What becomes of connections on the worse tier then.
    pub flows: FailbackFlows,
}

/// When an outlet returns to a better tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailbackWhen {
    /// As soon as one of its members is live.
    #[default]
    AtOnce,
    /// When one of them has been live for so long without a break.
    After(Duration),
    /// When somebody says so.
    ByHand,
}

/// What becomes of connections on the worse tier at failback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailbackFlows {
    /// They stay until they end, and sticky choices of that tier hold for new ones too.
    Keep,
    /// They stay until they end; new ones move, whatever was sticky.
    #[default]
    Drain,
    /// They are released once the new path is in place, so that their next packet moves.
    Move,
}

/// What keeps to the uplink that it was given first, until that uplink fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// What is remembered.
    pub by: StickyBy,
    /// How long after the last new connection.
    pub idle: Duration,
}

/// By what a choice of uplink is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StickyBy {
    /// The source address.
    Source,
    /// Source and destination address.
    SourceDestination,
}

impl Sticky {
    /// How long a choice is remembered where the file does not say.
    pub const IDLE_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
}

impl Outlet {
    /// The uplinks it may lead to, with their tiers; none for `block` and `main`.
    pub fn outflow(&self) -> Option<&Outflow> {
        match &self.kind {
            OutletKind::Uplinks(outflow) => Some(outflow),
            OutletKind::Block | OutletKind::Main => None,
        }
    }
}

impl Outflow {
    /// Everybody who may carry its traffic, in order of preference.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.tiers.iter().flat_map(|t| &t.members)
    }

    /// Whether an uplink is in any of its tiers.
    pub fn has(&self, uplink: &UplinkName) -> bool {
        self.members().any(|m| &m.uplink == uplink)
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(u128, u128)]) -> Spans {
        Spans::new(pairs.iter().map(|(a, b)| Span::new(*a, *b)))
    }

    #[test]
    fn spans_are_canonical_whatever_they_were_made_of() {
        let merged = spans(&[(5, 9), (1, 2), (3, 4), (20, 20), (8, 12), (7, 6)]);
        assert_eq!(merged, spans(&[(1, 12), (20, 20)]));
        let whole = spans(&[(0, u128::MAX), (3, 4)]);
        assert_eq!(whole.as_slice().len(), 1);
    }

    #[test]
    fn set_operations_agree_with_counting() {
        let (a, b) = (
            spans(&[(2, 5), (9, 9), (12, 20)]),
            spans(&[(0, 3), (9, 14)]),
        );
        for n in 0..=25 {
            assert_eq!(a.complement(25).contains(n), !a.contains(n), "{n}");
            let both = a.contains(n) && b.contains(n);
            assert_eq!(a.intersection(&b).contains(n), both, "{n}");
        }
        assert!(a.covers(&spans(&[(3, 4), (13, 20)])));
        assert!(!a.covers(&spans(&[(3, 6)])));
        assert!(a.meets(&spans(&[(6, 9)])));
        assert!(!a.meets(&spans(&[(6, 8), (10, 11)])));
        assert_eq!(Spans::default().complement(7), spans(&[(0, 7)]));
        assert_eq!(
            spans(&[(0, u128::MAX)]).complement(u128::MAX),
            Spans::default()
        );
    }
}
