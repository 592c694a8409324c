//! What goes wrong, and a seeded schedule of it.

use std::time::Duration;

use uplinkd_core::Time;
use uplinkd_model::Family;

use crate::operate::Deed;

/// Something that happens to the router or to the world. Numbers are indices of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The cable goes out or in.
    Carrier(usize, bool),
    /// `ip link set … down` or `up`.
    Admin(usize, bool),
    /// The gateway falls silent or speaks again.
    Gateway(usize, bool),
    /// What lies beyond the gateway falls silent or speaks again.
    Upstream(usize, bool),
    /// So many percent of packets are lost.
    Loss(usize, u8),
    /// A host answers nobody, or everybody again.
    Host(Family, u8, bool),
    /// The provider's address goes or comes back.
    Address(usize, bool),
    /// The provider hands out another address of the same network.
    Renumber(usize),
    /// Another address is there besides, or no longer.
    ExtraAddress(usize, bool),
    /// The provider's gateway has another address, and DHCP says so.
    GatewayMoves(usize),
    /// Somebody's default route goes or comes back.
    Default(usize, bool),
    /// The provider delegates the prefix of this number, in the place of any other, or takes it back.
    Delegate(usize, Option<u8>),
    /// The interface goes or comes back under another index.
    Interface(usize, bool),
    /// Somebody tampers with what is ours.
    Rival(Rival),
    /// The next so many steps are refused with this number.
    Refuse(u8, i32),
    /// Connection tracking cannot be changed for so long.
    FlushRefused(Duration),
    /// No notification arrives for so long, and nobody says so.
    Deaf(Duration),
    /// Notifications are lost for so long, and the socket says so afterwards.
    Overrun(Duration),
    /// The next so many looks fail.
    LookFails(u8),
    /// So many foreign changes, one each 5 ms.
    Noise(u16),
    /// The daemon dies when so many more steps of plans are done, and is started again.
    CrashAfterSteps(u8),
    /// The daemon dies now, and is started again.
    Crash,
    /// The file is read again: other policies, or with true other groups as well.
    Reload(bool),
    /// The wall clock is set so many minutes ahead.
    Clock(u16),
    /// Somebody wants an outlet, by number, to return to its best tier.
    FailBack(u8),
    /// Somebody drains uplinks, or prefers one.
    Operate(Deed),
}

/// A rival's deed. The number picks the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// One rule of ours is removed.
    Rule(u16),
    /// All rules of ours are removed.
    Rules,
    /// A rule of ours is there twice.
    RuleTwice(u16),
    /// A rule with our sign that nobody wants.
    RuleOrphan,
    /// One route of ours is removed.
    Route(u16),
    /// A route with our sign that nobody wants.
    RouteOrphan,
    /// One nexthop or group of ours is removed.
    Nexthop(u16),
    /// A nexthop with our sign that nobody wants.
    NexthopOrphan,
    /// Our nft table is removed.
    Nft,
    /// Our nft table is changed.
    NftAltered,
    /// A sysctl is put back to the kernel's default; nobody is told.
    Sysctl,
    /// Our file of table names is removed; nobody is told.
    Names,
}

/// Which kinds of trouble a history has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavour {
    /// Rivals at work.
    pub rivals: bool,
    /// The kernel refuses, notifications get lost.
    pub hostile: bool,
    /// The daemon dies and is started again.
    pub crashes: bool,
    /// The file is read again.
    pub reloads: bool,
}

/// Draws the kinds of trouble: half of the histories have faults of lines only.
pub fn flavour(luck: &mut fastrand::Rng) -> Flavour {
    let mut some = |part: u8| luck.u8(0..100) < part;
    if some(35) {
        return Flavour {
            rivals: false,
            hostile: false,
            crashes: false,
            reloads: false,
        };
    }
    Flavour {
        rivals: some(40),
        hostile: some(40),
        crashes: some(40),
        reloads: some(40),
    }
}

/// Draws the faults of a history and when they strike, in no order. `until` ends the trouble.
pub fn draw(
    luck: &mut fastrand::Rng,
    flavour: Flavour,
    lines: usize,
    until: Time,
) -> Vec<(Time, Fault)> {
    let mut faults = Vec::new();
    for _ in 0..luck.usize(3..16) {
        let at = Time(Duration::from_millis(
            luck.u64(0..(until.0.as_millis() as u64).max(1)),
        ));
        // Some strike several uplinks at almost one moment.
        let strikes = if luck.u8(0..4) == 0 {
            luck.usize(2..=lines)
        } else {
            1
        };
        for n in 0..strikes {
            let at = at + Duration::from_micros(luck.u64(0..20_000) * n as u64);
            line_fault(luck, lines, at, &mut faults);
        }
        if luck.bool() {
            other_fault(luck, flavour, at, &mut faults);
        }
        match luck.u8(0..8) {
            0 => {
                let later = at + span(luck);
                faults.push((later, Fault::FailBack(luck.u8(..))));
            }
            1 => faults.push((at, Fault::Clock(luck.u16(0..6)))),
            _ => {}
        }
    }
    faults
}

/// How long trouble lasts: a flap, a moment, or a while.
fn span(luck: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(match luck.u8(0..3) {
        0 => luck.u64(100..60_000),
        1 => luck.u64(60_000..2_000_000),
        _ => luck.u64(2_000_000..12_000_000),
    })
}

fn line_fault(luck: &mut fastrand::Rng, lines: usize, at: Time, into: &mut Vec<(Time, Fault)>) {
    let line = luck.usize(0..lines);
    let end = at + span(luck);
    let (strikes, heals) = match luck.u8(0..14) {
        0..=2 => (Fault::Carrier(line, false), Fault::Carrier(line, true)),
        3 => (Fault::Admin(line, false), Fault::Admin(line, true)),
        4 | 5 => (Fault::Gateway(line, false), Fault::Gateway(line, true)),
        6 | 7 => (Fault::Upstream(line, false), Fault::Upstream(line, true)),
        8 => (Fault::Loss(line, luck.u8(5..100)), Fault::Loss(line, 0)),
        9 => {
            let host = luck.u8(1..=3);
            let family = if luck.bool() { Family::V4 } else { Family::V6 };
            (
                Fault::Host(family, host, false),
                Fault::Host(family, host, true),
            )
        }
        10 => (Fault::Address(line, false), Fault::Address(line, true)),
        11 => (Fault::Renumber(line), Fault::GatewayMoves(line)),
        12 => (Fault::Default(line, false), Fault::Default(line, true)),
        _ if luck.bool() => (Fault::Interface(line, false), Fault::Interface(line, true)),
        _ => (
            Fault::ExtraAddress(line, true),
            Fault::ExtraAddress(line, false),
        ),
    };
    into.push((at, strikes));
    into.push((end, heals));
    if luck.u8(0..6) == 0 {
        // Flapping.
        for n in 1..luck.u32(2..8) {
            let next = at + (end - at.0).0 * n * 2;
            into.push((next, strikes));
            into.push((next + (end - at.0).0, heals));
        }
    }
}

fn other_fault(
    luck: &mut fastrand::Rng,
    flavour: Flavour,
    near: Time,
    into: &mut Vec<(Time, Fault)>,
) {
    let at = near + Duration::from_micros(luck.u64(0..60_000));
    if flavour.rivals && luck.bool() {
        for n in 0..luck.u32(1..4) {
            let deed = rival(luck);
            into.push((at + span(luck) * n, Fault::Rival(deed)));
        }
    }
    if flavour.hostile && luck.bool() {
        use crate::kernel::errno::{EBUSY, ENOMEM, EPERM};
        let fault = match luck.u8(0..7) {
            0..=2 => {
                let number = luck.choice([EBUSY, ENOMEM, EPERM]).unwrap_or(EBUSY);
                Fault::Refuse(luck.u8(1..5), number)
            }
            3 => Fault::FlushRefused(span(luck)),
            4 => Fault::Deaf(span(luck)),
            5 => Fault::Overrun(span(luck)),
            _ => Fault::LookFails(luck.u8(1..4)),
        };
        into.push((at, fault));
        if luck.u8(0..4) == 0 {
            into.push((at, Fault::Noise(luck.u16(10..400))));
        }
    }
    if flavour.crashes && luck.bool() {
        let fault = if luck.u8(0..4) == 0 {
            Fault::Crash
        } else {
            Fault::CrashAfterSteps(luck.u8(0..40))
        };
        into.push((at, fault));
    }
    if flavour.reloads && luck.bool() {
        into.push((at, Fault::Reload(luck.bool())));
    }
}

fn rival(luck: &mut fastrand::Rng) -> Rival {
    let n = luck.u16(..);
    match luck.u8(0..12) {
        0 => Rival::Rule(n),
        1 => Rival::Rules,
        2 => Rival::RuleTwice(n),
        3 => Rival::RuleOrphan,
        4 => Rival::Route(n),
        5 => Rival::RouteOrphan,
        6 => Rival::Nexthop(n),
        7 => Rival::NexthopOrphan,
        8 => Rival::Nft,
        9 => Rival::NftAltered,
        10 => Rival::Sysctl,
        _ => Rival::Names,
    }
}
