//! What the kernel need not tell us at all: a filter at the socket, so that a full routing feed on the
//! same machine costs us nothing and makes no message of interest be dropped.
//!
//! Ordinary routes of others in `main` never concern us. What may (a default route, one in another
//! table, one that refuses) is let through and judged by [`super::Filter`].

use nix::libc::{BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
use socket2::SockFilter;
use uplinkd_model::{Reserve, TableId};

use crate::wire::{message, route as rt};

/// Length of `struct nlmsghdr`, and where the message's kind is in it.
const HEADER: u32 = 16;
const KIND: u32 = 4;
/// Fields of `struct rtmsg`.
const PREFIX_LENGTH: u32 = HEADER + 1;
const TABLE: u32 = HEADER + 4;
const PROTO: u32 = HEADER + 5;
const ROUTE_TYPE: u32 = HEADER + 7;

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum Verdict {
    Pass,
    GoOn,
}

/// A program for `SO_ATTACH_FILTER` on a socket that reads notifications, each of which comes in a
/// datagram of its own.
pub(super) fn program(reserve: &[Reserve]) -> Vec<SockFilter> {
    use Verdict::{GoOn, Pass};
    // The filter reads in the network's order, the message is in the machine's.
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    let main = u8::try_from(TableId::MAIN.0).expect("`main` is a table that a byte can name");
    let mut steps = vec![
        load(BPF_H, KIND),
        // A new route goes on at the loading of its length.
        compare(kind(message::NEW_ROUTE), 1, 0),
    ];
    let mut checks = vec![
        (None, kind(message::DELETE_ROUTE), GoOn, Pass),
        (Some(PREFIX_LENGTH), 0, Pass, GoOn),
        // 252 stands for all tables that a byte cannot name.
        (Some(TABLE), u32::from(main), GoOn, Pass),
        (Some(ROUTE_TYPE), u32::from(rt::UNICAST), GoOn, Pass),
    ];
    let protos = reserve.iter().map(|r| u32::from(r.proto.0));
    checks.extend(protos.map(|proto| (Some(PROTO), proto, Pass, GoOn)));
    let length = |check: &(Option<u32>, u32, Verdict, Verdict)| 1 + usize::from(check.0.is_some());
    for (n, (field, value, equal, other)) in checks.iter().enumerate() {
        steps.extend(field.map(|f| load(BPF_B, f)));
        // Over what is left of the checks and the refusal behind them.
        let rest: usize = checks[n + 1..].iter().map(length).sum();
        let to = |verdict: &Verdict| match verdict {
            Pass => u8::try_from(rest + 1).expect("there are few protocol numbers"),
            GoOn => 0,
        };
        steps.push(compare(*value, to(equal), to(other)));
    }
    steps.extend([0, u32::MAX].map(answer));
    steps
}

fn load(size: u32, at: u32) -> SockFilter {
    instruction(BPF_LD | size | BPF_ABS, 0, 0, at)
}

fn compare(value: u32, equal: u8, other: u8) -> SockFilter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, equal, other, value)
}

/// How many bytes of the message are let through.
fn answer(bytes: u32) -> SockFilter {
    instruction(BPF_RET | BPF_K, 0, 0, bytes)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> SockFilter {
    let code = u16::try_from(code).expect("all codes fit");
    SockFilter::new(code, jt, jf, k)
}
