//! Status and events, as they go over the wire. Field names are the contract; the order is not.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uplinkd_model::{Family, Health, Reserve, budget::AtLimit, notice::Notice};
use utoipa::ToSchema;

use crate::schema;

use crate::notify::NotifyStatus;
use crate::operate::{TrialStatus, WishStatus};

/// Everything that a person or a script may want to know at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, unix seconds.
    pub started: f64,
    /// When this was written, unix seconds by the daemon's clock.
    pub time: f64,
    /// Whether there is internet.
    pub state: State,
    /// Since when, unix seconds.
    pub since: f64,
    /// Why, as one sentence for people.
    pub summary: String,
    /// A fresh look at the kernel showed exactly what it should hold.
    pub settled: bool,
    /// What keeps it from settling, or did last.
    pub last_problem: Option<String>,
    /// The configuration in force is on trial, and somebody has to confirm it.
    #[serde(default)]
    pub trial: Option<TrialStatus>,
    /// The configuration of before was put back, and the file is not what is in force: why.
    #[serde(default)]
    pub rolled_back: Option<String>,
    /// Who is told of what happens, in the order of the file.
    #[serde(default)]
    pub notify: Vec<NotifyStatus>,
    /// The uplinks, in the order of the file; one entry for each family that is in use.
    pub uplinks: Vec<UplinkStatus>,
    /// The groups that are in use and the uplinks that policies name, `default` first; one entry
    /// for each family that is in use.
    pub groups: Vec<GroupStatus>,
    /// Sysctls that matter to us.
    pub sysctls: Vec<SysctlStatus>,
    /// The numbers that we claim in the kernel.
    pub reserve: ReserveStatus,
}

/// Whether there is internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not known yet; traffic is left as it was.
    Starting,
    /// Every uplink that should serve is up.
    Up,
    /// There is internet, but not as the file wants it.
    Degraded,
    /// No uplink is up.
    Down,
}

/// One uplink in one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UplinkStatus {
    /// Its name, which is also the name of its routing table.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// The family: `ipv4` or `ipv6`.
    #[schema(value_type = schema::Family)]
    pub family: Family,
    /// `unknown`, `up`, `degraded` or `down`.
    #[schema(value_type = schema::Health)]
    pub health: Health,
    /// Why, for people.
    pub reason: String,
    /// Since when it has this health, unix seconds.
    pub since: f64,
    /// The interface has nothing of this family and the file does not ask for it. No fault: the
    /// family is used as soon as it is there.
    #[serde(default)]
    pub absent: bool,
    /// New connections may use it, unless it is `idle`.
    pub in_service: bool,
    /// Its weight in the group `default` now.
    pub weight: u16,
    /// Its part of new connections of the group `default` now, by weight, 0 to 1.
    pub share: f64,
    /// Connections that are on it now, counted by their mark, at most a second ago; none where nobody
    /// counted.
    pub connections: Option<u64>,
    /// Bytes that its interface has received by now, both families together; none where there is no
    /// such interface.
    #[serde(default)]
    pub received_bytes: Option<u64>,
    /// Bytes that its interface has sent by now, likewise.
    #[serde(default)]
    pub sent_bytes: Option<u64>,
    /// Its routing table's number.
    pub table: u32,
    /// The mark of its connections under the mask, as `0x…/0x…`.
    pub mark: String,
    /// Its gateway; none on a point-to-point line, or where none is known.
    #[schema(value_type = Option<schema::Address>)]
    pub gateway: Option<IpAddr>,
    /// Its addresses with prefix length.
    pub addresses: Vec<String>,
    /// The IPv6 prefix that its provider routes to it for the networks behind it; none where none is
    /// known, and for IPv4.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The networks of the LAN in its prefixes that hosts are told to avoid, by router advertisements.
    #[serde(default)]
    pub deprecated: Vec<String>,
    /// The far end is there; none where there is no such interface.
    pub carrier: Option<bool>,
    /// Who is asked whether it works.
    pub targets: Vec<TargetStatus>,
    /// What its TCP connections did over the last minute; none where nobody watches them.
    #[serde(default)]
    pub tcp: Option<TcpStatus>,
    /// What it has used of its budget, both families together; none without one.
    #[serde(default)]
    pub budget: Option<BudgetStatus>,
    /// Somebody wants no new connections by it.
    #[serde(default)]
    pub drained: Option<WishStatus>,
    /// It takes none now: it is drained, and another one serves.
    #[serde(default)]
    pub idle: bool,
    /// Somebody wants new connections by it alone, while it is up.
    #[serde(default)]
    pub preferred: Option<WishStatus>,
}

/// What the TCP connections that leave by an uplink did over the last minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TcpStatus {
    /// Their mean round-trip time in milliseconds; none where none was measured.
    pub rtt_ms: Option<f64>,
    /// Segments that left with anything to acknowledge.
    pub sent: u64,
    /// Those of them that had left before.
    pub sent_again: u64,
}

/// What an uplink has used of its budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetStatus {
    /// Bytes used in this period.
    pub used: u64,
    /// Bytes that it has.
    pub limit: u64,
    /// The period's first day, as a date.
    pub since: String,
    /// The first day of the next period.
    pub until: String,
    /// It is used up.
    pub spent: bool,
    /// What becomes of the uplink then: `last-resort`, `off` or `keep`.
    #[schema(value_type = schema::AtLimit)]
    pub at_limit: AtLimit,
}

/// A target of an uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetStatus {
    /// As the file names it: `gateway`, `icmp:1.1.1.1`, `https://example.org/`.
    pub target: String,
    /// Its address, where it has one at the moment.
    #[schema(value_type = Option<schema::Address>)]
    pub address: Option<IpAddr>,
    /// What its answers say.
    pub state: TargetState,
    /// Its answers decide about health; others only help to explain.
    pub decides: bool,
    /// What was wrong with its newest answer, where one came that was no good.
    #[serde(default)]
    pub refusal: Option<String>,
    /// The newest round-trip time.
    pub last_rtt_ms: Option<f64>,
    /// The mean round-trip time over the window; none without an answer, as the next four.
    #[serde(default)]
    pub mean_rtt_ms: Option<f64>,
    /// The standard deviation of round-trip times over the window.
    #[serde(default)]
    pub deviation_ms: Option<f64>,
    /// The median round-trip time over the window.
    #[serde(default)]
    pub median_rtt_ms: Option<f64>,
    /// The round-trip time that 19 of 20 answers in the window did not exceed.
    #[serde(default)]
    pub p95_rtt_ms: Option<f64>,
    /// The mean difference between one round-trip time and the next.
    #[serde(default)]
    pub jitter_ms: Option<f64>,
    /// Lost probes in the window, 0 to 1.
    pub loss: f64,
    /// Probes with a result since the start.
    pub sent: u64,
    /// Those of them that were lost.
    pub lost: u64,
}

/// What a target's answers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Too few results yet.
    Unknown,
    /// It answers.
    Pass,
    /// It does not.
    Fail,
}

/// One group, or one uplink that policies name, in one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupStatus {
    /// Its name, which is also the name of its routing table: `default`, `calls`, `isp2-or-block`.
    pub name: String,
    /// The family.
    #[schema(value_type = schema::Family)]
    pub family: Family,
    /// The group that policies name; none where they name an uplink.
    #[serde(default)]
    pub group: Option<String>,
    /// Its number in the mark; 0 is the default group's.
    #[serde(default)]
    pub code: u16,
    /// Its routing table's number.
    #[serde(default)]
    pub table: u32,
    /// Its preference levels, best first.
    #[serde(default)]
    pub tiers: Vec<TierStatus>,
    /// Which of them serves, from 1; none where none does.
    #[serde(default)]
    pub tier: Option<usize>,
    /// A better level could serve again, but its turn has not come.
    #[serde(default)]
    pub waiting: Option<WaitingStatus>,
    /// Uplinks in it that are in service and leave new connections to others, where these are well.
    #[serde(default)]
    pub yielding: Vec<YieldingStatus>,
    /// Why its shares are what they are, for people, where they follow the lines.
    #[serde(default)]
    pub balance: Option<String>,
    /// Who serves it now; empty where nobody does.
    pub serving: Vec<ServingStatus>,
    /// No uplink is up; those that serve are only kept for want of anything better.
    pub last_resort: bool,
    /// Why it is served so, for people.
    pub reason: String,
    /// Connections that policies led there and that are there now, at most a second ago; none for the
    /// default group, which takes what no policy did, and where nobody counted.
    #[serde(default)]
    pub connections: Option<u64>,
    /// Somebody wants its new connections by one uplink, which carries them, whatever the tiers.
    #[serde(default)]
    pub preferred: bool,
}

/// A preference level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TierStatus {
    /// The group that it belongs to; none for an uplink that a policy names.
    pub group: Option<String>,
    /// Its rank in that group, from 1.
    pub rank: usize,
    /// Its members.
    pub uplinks: Vec<String>,
}

/// A return to a better level that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingStatus {
    /// The level that would serve, from 1.
    pub tier: usize,
    /// When it will, unix seconds; none: when somebody says so (`uplinkctl failback`).
    pub until: Option<f64>,
}

/// An uplink that yields in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct YieldingStatus {
    /// Which one.
    pub uplink: String,
    /// Why, for people.
    pub reason: String,
}

/// An uplink that serves a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServingStatus {
    /// Which one.
    pub uplink: String,
    /// Its weight.
    pub weight: u16,
    /// Its part of new connections, 0 to 1.
    pub share: f64,
}

/// A sysctl that matters to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SysctlStatus {
    /// Its path below `/proc/sys`.
    pub path: String,
    /// Its value now.
    pub value: Option<String>,
    /// What it was before we set it.
    pub was: Option<String>,
    /// We set it.
    pub ours: bool,
}

/// The numbers that we claim in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReserveStatus {
    /// The protocol number on routes, rules and nexthops.
    pub proto: u8,
    /// First and last table.
    pub tables: (u32, u32),
    /// First and last rule priority, at each of the two places.
    pub rule_priorities: [(u32, u32); 2],
    /// First and last nexthop id.
    pub nexthop_ids: (u32, u32),
    /// The bits of marks, as `0x…`.
    pub mark_mask: String,
    /// The nft table, family inet.
    pub nft_table: String,
}

impl From<&Reserve> for ReserveStatus {
    fn from(reserve: &Reserve) -> Self {
        let range = |first: u32, count: u32| (first, first.saturating_add(count - 1));
        Self {
            proto: reserve.proto.0,
            tables: range(reserve.tables, Reserve::TABLES),
            rule_priorities: [reserve.rule_priority, reserve.rule_priority_last]
                .map(|first| range(first, Reserve::PRIORITIES)),
            nexthop_ids: range(reserve.nexthop_ids, Reserve::NEXTHOPS),
            mark_mask: format!("{:#x}", reserve.mark_mask),
            nft_table: reserve.nft_table.clone(),
        }
    }
}

/// What came of a request to return to a better level now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failback {
    /// The group, as it was asked for.
    pub group: String,
    /// What happens now, for people.
    pub text: String,
}

/// What came of setting what an uplink has used of its budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Budgeted {
    /// The uplink, as it was asked for.
    pub uplink: String,
    /// What counts now, for people.
    pub text: String,
}

/// What only the daemon sees, for a report of something that went wrong. Secrets are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Support {
    /// Texts for people, by what they are: `config.toml`, `kernel.txt`, `plan.txt`, `samples.csv`, …
    pub texts: BTreeMap<String, String>,
}

/// Events that the daemon still remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Some after the asked-for id are forgotten already.
    pub incomplete: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Increasing by one. Starts at the unix second in which the daemon started, so that ids of
    /// a later run are higher than those of an earlier one.
    pub id: u64,
    /// When, unix seconds.
    pub time: f64,
    /// Whether a person may need to look.
    pub level: Level,
    /// What kind of thing, a stable word: `health`, `selection`, `drift`, …
    pub kind: String,
    /// What happened, for people.
    pub text: String,
    /// The same for programs; its fields depend on the kind.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// A person may need to look.
    Warn,
}

impl Event {
    /// A notice as an event, at a time in unix seconds. Whoever keeps the log gives it its id.
    pub fn of_notice(notice: &Notice, time: f64) -> Self {
        // A notice is strings, numbers and lists: it always becomes an object with a kind.
        let mut detail = serde_json::to_value(notice).unwrap_or_default();
        let kind = detail
            .as_object_mut()
            .and_then(|fields| fields.remove("kind"))
            .and_then(|kind| kind.as_str().map(str::to_owned))
            .unwrap_or_default();
        Self {
            id: 0,
            time,
            level: if notice.is_warning() {
                Level::Warn
            } else {
                Level::Info
            },
            kind,
            text: notice.to_string(),
            detail,
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// All mistakes of a file as `uplinkd check` shows them, over several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The same as `uplinkd check --json` has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Value>,
}

impl ApiError {
    /// A refusal without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            report: None,
            problems: None,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use uplinkd_model::{Reason, UplinkName};

    use super::*;

    #[test]
    fn a_notice_keeps_its_kind_its_words_and_its_fields() {
        let notice = Notice::Health {
            uplink: UplinkName::new("isp1").unwrap(),
            family: Family::V4,
            from: Health::Up,
            to: Health::Down,
            reason: Reason::NoCarrier,
        };
        let event = Event::of_notice(&notice, 1.5);
        assert_eq!(
            serde_json::to_value(&event).unwrap(),
            serde_json::json!({
                "id": 0, "time": 1.5, "level": "warn", "kind": "health",
                "text": "uplink isp1 (IPv4) went from up to down: no carrier",
                "detail": {
                    "uplink": "isp1", "family": "ipv4", "from": "up", "to": "down",
                    "reason": { "kind": "no-carrier" },
                },
            })
        );
    }

    #[test]
    fn a_notice_without_fields_has_an_empty_detail() {
        let event = Event::of_notice(
            &Notice::LastResort {
                family: Family::V4,
                kept: vec![],
            },
            0.0,
        );
        assert_eq!(event.kind, "last-resort");
        let event = Event::of_notice(&Notice::Started, 0.0);
        assert_eq!((event.kind.as_str(), event.level), ("started", Level::Info));
        assert_eq!(event.detail, serde_json::json!({}));
    }

    #[test]
    fn reserved_ranges_name_the_last_number_that_is_ours() {
        let reserve = ReserveStatus::from(&Reserve::default());
        assert_eq!(reserve.tables, (7000, 23383));
        assert_eq!(reserve.rule_priorities, [(2000, 2099), (32000, 32099)]);
        assert_eq!(reserve.mark_mask, "0xff000000");
    }
}
