use uplinkd_api::{ReserveStatus, ServingStatus, TierStatus, YieldingStatus};
use uplinkd_model::Reserve;

use super::{super::words::WIDTH, *};

pub(crate) const NOW: f64 = 1_795_373_059.0;

#[test]
fn all_is_well() {
    let status = Status {
        uplinks: vec![
            counted(uplink("isp1", Health::Up, 0.6), 580),
            counted(uplink("isp2", Health::Up, 0.4), 420),
        ],
        groups: vec![group("default", &[("isp1", 0.6), ("isp2", 0.4)])],
        ..status(State::Up, "2 of 2 uplinks are up")
    };
    check(
        &status,
        "\
The internet is up, for 3 h 12 min now, through isp1 (60%) and isp2 (40%).
2 of 2 uplinks are up

UPLINK                HEALTH    SHARE  MEASURED       RTT   LOSS  SINCE
isp1                  up          60%       58%   12.3 ms     0%  3 h 12 min
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer
isp2                  up          40%       42%   12.3 ms     0%  3 h 12 min
    eth-isp2 via 192.0.2.1: 1 of 1 targets answer

GROUP                 SERVED BY
default               isp1 (60%) + isp2 (40%)
    all members are up
",
    );
}

#[test]
fn a_delegated_prefix_stands_beside_the_gateway() {
    let mut uplink = uplink("isp1", Health::Up, 1.0);
    assert!(!details(&uplink, NOW).contains("prefix"));
    uplink.prefix = Some("2001:db8:100::/56".to_owned());
    let words = "eth-isp1 via 192.0.2.1, prefix 2001:db8:100::/56: ";
    assert!(
        details(&uplink, NOW).starts_with(words),
        "{}",
        details(&uplink, NOW)
    );
}

#[test]
fn what_people_want_for_a_while_is_said_with_who_why_and_how_long() {
    let wish = |until: Option<f64>, why: Option<&str>| WishStatus {
        who: "root (uid 0)".to_owned(),
        why: why.map(str::to_owned),
        until: until.map(|left| NOW + left),
    };
    let mut drained = uplink("isp1", Health::Up, 0.0);
    drained.drained = Some(wish(Some(5400.0), Some("new \u{1b}modem")));
    drained.idle = true;
    let said = details(&drained, NOW);
    let words = "; drained for 1 h 30 min more (root (uid 0): new \\u{1b}modem)";
    assert!(said.ends_with(words), "{said}");
    drained.idle = false;
    let said = details(&drained, NOW);
    assert!(
        said.contains("; drained, but serving since nothing else works for"),
        "{said}"
    );
    let mut preferred = uplink("isp2", Health::Up, 1.0);
    preferred.preferred = Some(wish(Some(30.0), None));
    let said = details(&preferred, NOW);
    assert!(
        said.ends_with("; preferred for 30 s more (root (uid 0))"),
        "{said}"
    );
    let mut group = group("default", &[("isp2", 1.0)]);
    group.preferred = true;
    assert_eq!(served_by(&group), "isp2 (100%), preferred for a while");
    let status = Status {
        trial: Some(uplinkd_api::TrialStatus {
            who: "root (uid 0)".to_owned(),
            why: None,
            until: NOW + 59.0,
        }),
        ..status(State::Up, "fine")
    };
    let text = anstream::adapter::strip_str(&text(&status)).to_string();
    let words = "The configuration is on trial (root (uid 0)) and goes back in 59 s: `uplinkctl\n\
                 confirm` keeps it.\n";
    assert!(text.contains(words), "{text}");
}

#[test]
fn one_uplink_is_down_and_says_why() {
    let mut lost = failing(uplink("isp2", Health::Down, 0.0));
    lost.reason =
        "0 of 1 targets answer, 1 needed; the gateway answers, so the fault lies beyond it"
            .to_owned();
    lost.since = NOW - 130.0;
    let status = Status {
        since: NOW - 130.0,
        uplinks: vec![uplink("isp1", Health::Up, 1.0), lost],
        groups: vec![group("default", &[("isp1", 1.0)])],
        ..status(State::Degraded, "1 of 2 uplinks is up; isp2 is down")
    };
    check(
        &status,
        "\
The internet is up, but not fully, for 2 min 10 s now, through isp1 (100%).
1 of 2 uplinks is up; isp2 is down

UPLINK                HEALTH    SHARE  MEASURED       RTT   LOSS  SINCE
isp1                  up         100%         -   12.3 ms     0%  3 h 12 min
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer
isp2                  down         0%         -         -   100%  2 min 10 s
    eth-isp2 via 192.0.2.1: 0 of 1 targets answer, 1 needed; the gateway
    answers, so the fault lies beyond it
    icmp:1.1.1.1 fails (100% lost)

GROUP                 SERVED BY
default               isp1 (100%)
    all members are up
",
    );
}

#[test]
fn everything_is_down_and_the_last_resort_is_named() {
    let mut kept = group("default", &[("isp1", 1.0)]);
    kept.last_resort = true;
    kept.reason = "no member is up; keeping the last good choice".to_owned();
    let mut calls = group("calls", &[]);
    calls.reason = String::new();
    let mut cut = uplink("isp2", Health::Down, 0.0);
    cut.gateway = None;
    cut.targets.clear();
    cut.reason = "no carrier".to_owned();
    let status = Status {
        since: NOW - 7.0,
        last_problem: Some("cannot add rule 2000: Operation not permitted".to_owned()),
        settled: false,
        uplinks: vec![failing(uplink("isp1", Health::Down, 1.0)), cut],
        groups: vec![kept, calls],
        ..status(State::Down, "no uplink is up")
    };
    check(
        &status,
        "\
The internet is DOWN, for 7 s now, still trying isp1 (100%).
no uplink is up
The kernel does not hold all that it should: cannot add rule 2000: Operation not
permitted

UPLINK                HEALTH    SHARE  MEASURED       RTT   LOSS  SINCE
isp1                  down       100%         -         -   100%  3 h 12 min
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer
    icmp:1.1.1.1 fails (100% lost)
isp2                  down         0%         -         -      -  3 h 12 min
    eth-isp2: no carrier

GROUP                 SERVED BY
default               isp1 (100%), as a last resort
    no member is up; keeping the last good choice
calls                 nothing
",
    );
}

#[test]
fn at_the_start_nothing_is_claimed() {
    let mut new = uplink("isp1", Health::Unknown, 0.0);
    new.reason = "probing: 0 of 1 targets needed have answered".to_owned();
    new.since = NOW - 1.0;
    new.in_service = false;
    for target in &mut new.targets {
        (target.state, target.last_rtt_ms, target.sent) = (TargetState::Unknown, None, 0);
    }
    let status = Status {
        since: NOW - 1.0,
        settled: false,
        uplinks: vec![new],
        groups: vec![],
        ..status(State::Starting, "")
    };
    check(
        &status,
        "\
It is not known yet whether the internet is up, for 1 s now.
The kernel is being brought to what it should hold.

UPLINK                HEALTH    SHARE  MEASURED       RTT   LOSS  SINCE
isp1                  unknown      0%         -         -      -  1 s
    eth-isp1 via 192.0.2.1, not in service: probing: 0 of 1 targets needed have
    answered
    icmp:1.1.1.1 not known yet
",
    );
}

#[test]
fn long_names_two_families_and_hostile_text_keep_their_place() {
    let mut v6 = counted(uplink("a-very-long-one", Health::Degraded, 0.001), 1);
    v6.family = Family::V6;
    v6.gateway = Some("2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap());
    v6.reason = "loss 12%\x1b[2J\nok".to_owned();
    v6.since = NOW - 40_000_000.0;
    v6.targets[0].last_rtt_ms = Some(12345.6);
    v6.targets[0].loss = 0.999;
    let mut group6 = group(
        "everything-but-the-kitchen-sink",
        &[("a-very-long-one", 1.0)],
    );
    group6.family = Family::V6;
    let status = Status {
        uplinks: vec![counted(uplink("a-very-long-one", Health::Up, 1.0), 9), v6],
        groups: vec![group("default", &[("a-very-long-one", 1.0)]), group6],
        ..status(State::Up, "fine")
    };
    check(
        &status,
        "\
The internet is up, for 3 h 12 min now, through a-very-long-one (100%) with
IPv4.
fine

UPLINK                HEALTH    SHARE  MEASURED       RTT   LOSS  SINCE
a-very-long-one IPv4  up         100%      100%   12.3 ms     0%  3 h 12 min
    eth-a-very-long-one via 192.0.2.1: 1 of 1 targets answer
a-very-long-one IPv6  degraded    <1%      100%  12346 ms   >99%  462 d 23 h
    eth-a-very-long-one via 2001:db8:1234:5678:9abc:def0:1234:5678: loss
    12%\\u{1b}[2J\\nok

GROUP                 SERVED BY
default IPv4          a-very-long-one (100%)
    all members are up
everything-bu.. IPv6  a-very-long-one (100%)
    all members are up
",
    );
}

#[test]
fn a_family_may_be_down_alone_and_one_that_is_absent_is_no_fault() {
    let mut v6 = failing(uplink("isp1", Health::Down, 0.0));
    v6.family = Family::V6;
    v6.reason = "0 of 2 targets answer, 1 needed".to_owned();
    v6.gateway = Some("fe80::1".parse().unwrap());
    let mut absent = uplink("isp2", Health::Down, 0.0);
    (absent.family, absent.absent) = (Family::V6, true);
    let mut none = group("default", &[]);
    (none.family, none.tier) = (Family::V6, None);
    none.reason = "no uplink is usable".to_owned();
    let status = Status {
        uplinks: vec![
            uplink("isp1", Health::Up, 0.5),
            v6,
            uplink("isp2", Health::Up, 0.5),
            absent,
        ],
        groups: vec![group("default", &[("isp1", 0.5), ("isp2", 0.5)]), none],
        ..status(State::Degraded, "isp1 is down for IPv6")
    };
    check(
        &status,
        "\
The internet is up, but not fully, for 3 h 12 min now, through isp1 (50%) and
isp2 (50%) with IPv4.
isp1 is down for IPv6

UPLINK                HEALTH    SHARE  MEASURED       RTT   LOSS  SINCE
isp1 IPv4             up          50%         -   12.3 ms     0%  3 h 12 min
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer
isp1 IPv6             down         0%         -         -   100%  3 h 12 min
    eth-isp1 via fe80::1: 0 of 2 targets answer, 1 needed
    icmp:1.1.1.1 fails (100% lost)
isp2 IPv4             up          50%         -   12.3 ms     0%  3 h 12 min
    eth-isp2 via 192.0.2.1: 1 of 1 targets answer

GROUP                 SERVED BY
default IPv4          isp1 (50%) + isp2 (50%)
    all members are up
default IPv6          nothing
    no uplink is usable
",
    );
}

#[test]
fn a_group_says_which_tier_serves_and_what_it_waits_for() {
    let tier = |rank: usize, uplinks: &[&str]| TierStatus {
        group: Some("calls".to_owned()),
        rank,
        uplinks: uplinks.iter().map(|u| (*u).to_owned()).collect(),
    };
    let mut calls = group("calls", &[("isp2", 1.0)]);
    calls.tiers = vec![tier(1, &["isp1", "isp3"]), tier(2, &["isp2"])];
    calls.tier = Some(2);
    calls.reason = "tier 1 waits for its time".to_owned();
    calls.waiting = Some(WaitingStatus {
        tier: 1,
        until: Some(NOW + 42.0),
    });
    calls.balance = Some("tier 1 is full".to_owned());
    calls.yielding = vec![YieldingStatus {
        uplink: "isp3".to_owned(),
        reason: "3.1% lost in 60s".to_owned(),
    }];
    let mut by_hand = calls.clone();
    by_hand.yielding.clear();
    by_hand.balance = None;
    by_hand.name = "by-hand".to_owned();
    by_hand.reason = String::new();
    by_hand.waiting = Some(WaitingStatus {
        tier: 1,
        until: None,
    });
    let status = Status {
        uplinks: vec![uplink("isp2", Health::Up, 1.0)],
        groups: vec![calls, by_hand],
        ..status(State::Up, "fine")
    };
    check(
        &status,
        "\
The internet is up, for 3 h 12 min now.
fine

UPLINK                HEALTH    SHARE  MEASURED       RTT   LOSS  SINCE
isp2                  up         100%         -   12.3 ms     0%  3 h 12 min
    eth-isp2 via 192.0.2.1: 1 of 1 targets answer

GROUP                 SERVED BY
calls                 isp2 (100%), tier 2 of 2
    tier 1 waits for its time
    tier 1 is full
    isp3 yields: 3.1% lost in 60s
    tier 1 (isp1, isp3) could serve again, and does so in 42 s: `uplinkctl
    failback calls`
by-hand               isp2 (100%), tier 2 of 2
    tier 1 (isp1, isp3) could serve again, and waits for the word: `uplinkctl
    failback by-hand`
",
    );
}

#[test]
fn an_uplink_that_a_policy_names_is_listed_where_it_does_not_serve() {
    let mut fine = group("isp1", &[("isp1", 1.0)]);
    fine.group = None;
    let mut failed = group("isp2-or-block", &[]);
    (failed.group, failed.tier) = (None, None);
    failed.reason = "nobody in it is up: its traffic is refused".to_owned();
    let mut six = group("default", &[("isp1", 1.0)]);
    six.family = Family::V6;
    let mut v6 = uplink("isp1", Health::Up, 1.0);
    v6.family = Family::V6;
    let status = Status {
        uplinks: vec![uplink("isp1", Health::Up, 1.0), v6],
        groups: vec![group("default", &[("isp1", 1.0)]), six, fine, failed],
        ..status(State::Up, "fine")
    };
    let text = anstream::adapter::strip_str(&text(&status)).to_string();
    assert!(text.contains("now, through isp1 (100%).\n"), "{text}");
    let groups = text.split_once("GROUP ").map(|(_, groups)| groups);
    assert_eq!(
        groups,
        Some(
            "                SERVED BY
default IPv4          isp1 (100%)
    all members are up
default IPv6          isp1 (100%)
    all members are up
isp2-or-block IPv4    nothing
    nobody in it is up: its traffic is refused
"
        )
    );
}

#[test]
fn colour_follows_the_word_it_repeats() {
    let status = Status {
        uplinks: vec![uplink("isp1", Health::Down, 0.0)],
        ..status(State::Down, "")
    };
    let text = text(&status);
    assert!(text.contains(&styled(BAD, "down")), "{text:?}");
}

fn check(status: &Status, expected: &str) {
    let shown = anstream::adapter::strip_str(&text(status)).to_string();
    assert_eq!(shown, expected);
    for line in shown.lines() {
        assert!(line.chars().count() <= WIDTH, "{line:?}");
        assert_eq!(line.trim_end(), line);
    }
}

pub(crate) fn status(state: State, summary: &str) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 1,
        started: NOW - 11_520.0,
        time: NOW,
        state,
        since: NOW - 11_520.0,
        summary: summary.to_owned(),
        settled: true,
        last_problem: None,
        trial: None,
        rolled_back: None,
        notify: Vec::new(),
        uplinks: Vec::new(),
        groups: Vec::new(),
        sysctls: Vec::new(),
        reserve: ReserveStatus::from(&Reserve::default()),
    }
}

pub(crate) fn uplink(name: &str, health: Health, share: f64) -> UplinkStatus {
    UplinkStatus {
        name: name.to_owned(),
        interface: format!("eth-{name}"),
        family: Family::V4,
        health,
        reason: "1 of 1 targets answer".to_owned(),
        since: NOW - 11_520.0,
        absent: false,
        in_service: health != Health::Down,
        weight: 1,
        share,
        connections: None,
        received_bytes: None,
        sent_bytes: None,
        table: 7001,
        mark: "0x1000000/0xf000000".to_owned(),
        gateway: Some("192.0.2.1".parse().unwrap()),
        addresses: vec!["192.0.2.7/24".to_owned()],
        prefix: None,
        deprecated: vec![],
        carrier: Some(true),
        tcp: None,
        budget: None,
        drained: None,
        idle: false,
        preferred: None,
        targets: vec![TargetStatus {
            target: "icmp:1.1.1.1".to_owned(),
            address: Some("1.1.1.1".parse().unwrap()),
            state: TargetState::Pass,
            decides: true,
            refusal: None,
            last_rtt_ms: Some(12.34),
            mean_rtt_ms: Some(12.5),
            deviation_ms: Some(0.4),
            median_rtt_ms: Some(12.4),
            p95_rtt_ms: Some(13.1),
            jitter_ms: Some(0.3),
            loss: 0.0,
            sent: 100,
            lost: 0,
        }],
    }
}

pub(crate) fn counted(mut uplink: UplinkStatus, connections: u64) -> UplinkStatus {
    uplink.connections = Some(connections);
    uplink
}

pub(crate) fn failing(mut uplink: UplinkStatus) -> UplinkStatus {
    for target in &mut uplink.targets {
        (target.state, target.loss, target.last_rtt_ms) = (TargetState::Fail, 1.0, None);
    }
    uplink
}

pub(crate) fn group(name: &str, serving: &[(&str, f64)]) -> GroupStatus {
    GroupStatus {
        connections: None,
        name: name.to_owned(),
        family: Family::V4,
        group: Some(name.to_owned()),
        code: 0,
        table: 15192,
        tiers: vec![TierStatus {
            group: Some(name.to_owned()),
            rank: 1,
            uplinks: serving.iter().map(|(u, _)| (*u).to_owned()).collect(),
        }],
        tier: Some(1),
        waiting: None,
        yielding: vec![],
        balance: None,
        serving: serving
            .iter()
            .map(|(uplink, share)| ServingStatus {
                uplink: (*uplink).to_owned(),
                weight: 1,
                share: *share,
            })
            .collect(),
        last_resort: false,
        reason: "all members are up".to_owned(),
        preferred: false,
    }
}
