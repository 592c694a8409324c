//! A plan, carried out: one outcome for each step.
//!
//! Neighbouring steps of one kind go to the kernel in one datagram. Steps that take something away
//! never share one with steps that put something, since they must not be sent once any of those was
//! refused: what was to replace the old may be missing.

use std::io;

use nix::libc;
use uplinkd_model::{
    Nexthop, NexthopKind, Outcome, Plan, Route, RouteVia, Rule, Step, kernel_state::Device,
};

use crate::{
    Kernel,
    decode::{self, Names},
    encode::{self, Encoded},
    errno::{Meaning, meaning, refused},
    netlink::{KernelError, Message},
    nft::NftError,
    solicit, sysctl,
    table_names::{self, Change},
    wire::{fixed, message, nexthop as nh},
};

/// How a step is carried out; neighbours with the same one are sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Route,
    Netfilter,
    Alone,
}

/// A step that is ready to be sent.
struct Prepared {
    lane: Lane,
    removes: bool,
    message: Option<Message>,
}

impl Kernel {
    /// Carries out a plan in its order. After a refusal, steps that put something are still tried,
    /// and steps that take something away are skipped. Where there is no nft table of ours and none
    /// could be put, rules are skipped as well: they would lead the LAN's traffic out by uplinks
    /// where nobody translates its addresses.
    pub fn execute(&mut self, plan: &Plan) -> Vec<Outcome> {
        let steps: Vec<&Step> = plan.steps.iter().map(|s| &s.step).collect();
        let mut outcomes = Vec::with_capacity(steps.len());
        let mut was_refused = false;
        let mut lacks_nft = false;
        while let Some(rest) = steps.get(outcomes.len()..).filter(|r| !r.is_empty()) {
            let removes = rest[0].removes();
            let is_rule = matches!(rest[0], Step::AddRule(_));
            if removes && was_refused || is_rule && lacks_nft {
                outcomes.push(Outcome::Skipped);
                continue;
            }
            let mut done = self.run(rest);
            if !removes {
                let is_refusal = |o: &Outcome| matches!(o, Outcome::Refused { .. });
                was_refused |= done.iter().any(is_refusal);
                if let (Step::SetNft(table), [Outcome::Refused { .. }]) = (rest[0], &done[..]) {
                    lacks_nft = !self.has_nft_table(&table.name);
                }
            }
            outcomes.append(&mut done);
        }
        outcomes
    }

    /// Carries out the first step and as many after it as can be sent with it; at least one.
    fn run(&mut self, rest: &[&Step]) -> Vec<Outcome> {
        let first = match prepare(rest[0]) {
            Ok(first) => first,
            Err(outcome) => return vec![outcome],
        };
        let (lane, removes) = (first.lane, first.removes);
        let Some(message) = first.message else {
            return vec![self.run_alone(rest[0])];
        };
        let followers = rest[1..]
            .iter()
            .map_while(|s| prepare(s).ok())
            .take_while(|p| p.lane == lane && p.removes == removes)
            .filter_map(|p| p.message);
        let messages: Vec<Message> = std::iter::once(message).chain(followers).collect();
        let socket = match lane {
            Lane::Route => &mut self.route,
            Lane::Netfilter | Lane::Alone => &mut self.netfilter,
        };
        let answers = match socket.request(&messages) {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); messages.len()],
        };
        let outcome = |(step, answer): (&&Step, _)| match meaning(step, answer) {
            Meaning::Settled(outcome) => outcome,
            Meaning::Taken(error) => self.compare(step, &error),
        };
        rest.iter().zip(answers).map(outcome).collect()
    }

    /// Steps that are files or programs.
    fn run_alone(&mut self, step: &Step) -> Outcome {
        match step {
            Step::SetSysctl { path, value } => set_sysctl(path, value),
            Step::SolicitRouters { interface } => {
                // Nothing else depends on it: routers also speak unasked.
                if let Err(error) = solicit::ask(interface) {
                    tracing::warn!(%error, interface, "cannot ask for routers");
                }
                Outcome::Done
            }
            Step::SetNft(table) => match self.put_nft(table) {
                Ok(()) => Outcome::Done,
                Err(error) => nft_refused(&error),
            },
            Step::DeleteNft { name } if !self.has_nft_table(name) => Outcome::AlreadySo,
            Step::DeleteNft { name } => match self.delete_nft(name) {
                Ok(()) => Outcome::Done,
                Err(error) => nft_refused(&error),
            },
            Step::MoveConnections { mark, family } => self.move_connections(*mark, *family),
            Step::DeleteConnections(tuples) => self.delete_connections(tuples),
            Step::ReleasePrefix { mark, prefix } => self.release_prefix(*mark, *prefix),
            Step::ForgetSticky {
                table,
                outlet,
                slots,
            } => match self.forget_sticky(table, *outlet, slots) {
                Ok(()) => Outcome::Done,
                Err(error) => refused(&error),
            },
            Step::NameTables(names) => match table_names::write(&self.iproute2_dir, names) {
                Ok(Change::Changed) => Outcome::Done,
                Ok(Change::AlreadySo) => Outcome::AlreadySo,
                Err(error) => io_refused(&error),
            },
            Step::AddNexthop(_)
            | Step::ReplaceNexthop(_)
            | Step::DeleteNexthop(_)
            | Step::AddRoute(_)
            | Step::ReplaceRoute(_)
            | Step::DeleteRoute(_)
            | Step::AddRule(_)
            | Step::DeleteRule(_)
            | Step::FlushConnections { .. } => {
                // `encode` makes messages of these; a router must not stop over a slip there.
                refused(&KernelError::from_errno(libc::EOPNOTSUPP))
            }
        }
    }

    /// The kernel says that something is there already: the very same, or what is in the way?
    fn compare(&mut self, step: &Step, error: &KernelError) -> Outcome {
        let found = match step {
            Step::AddNexthop(wanted) => self
                .nexthop_at(wanted)
                .map(|found| (same_nexthop(&found, wanted), found.to_string())),
            Step::AddRoute(wanted) => self
                .route_at(wanted)
                .map(|found| (same_route(&found, wanted), found.to_string())),
            Step::AddRule(wanted) => self
                .rule_like(wanted)
                .map(|found| (found == *wanted, found.to_string())),
            Step::SetSysctl { .. }
            | Step::SolicitRouters { .. }
            | Step::ReplaceNexthop(_)
            | Step::DeleteNexthop(_)
            | Step::ReplaceRoute(_)
            | Step::DeleteRoute(_)
            | Step::DeleteRule(_)
            | Step::SetNft(_)
            | Step::DeleteNft { .. }
            | Step::NameTables(_)
            | Step::FlushConnections { .. }
            | Step::MoveConnections { .. }
            | Step::DeleteConnections(_)
            | Step::ReleasePrefix { .. }
            | Step::ForgetSticky { .. } => None,
        };
        match found {
            Some((true, _)) => Outcome::AlreadySo,
            Some((false, words)) => Outcome::Refused {
                errno: error.errno,
                text: format!("{error}; there is: {words}"),
            },
            // It went in the meantime; the next plan will see.
            None => refused(error),
        }
    }

    fn nexthop_at(&mut self, wanted: &Nexthop) -> Option<Nexthop> {
        let message = Message::new(message::GET_NEXTHOP, 0, &[0; fixed::NEXTHOP]);
        let reply = self.route.ask(message.u32(nh::ID, wanted.id.0)).ok()?;
        decode::nexthop(&reply.body, &Names::new())
    }

    fn route_at(&mut self, wanted: &Route) -> Option<Route> {
        let replies = self.routes_in(wanted.family(), wanted.table).ok()?;
        replies
            .iter()
            .filter_map(|r| decode::route(&r.body, &Names::new()))
            .find(|found| found.key() == wanted.key())
    }

    /// The very same rule, or else one that differs only in who put it, which the kernel does not
    /// tell apart.
    fn rule_like(&mut self, wanted: &Rule) -> Option<Rule> {
        let rules = self.rules().ok()?;
        let differs_in_proto_only = |rule: &&Rule| {
            let as_if = Rule {
                proto: wanted.proto,
                ..(*rule).clone()
            };
            as_if == *wanted
        };
        let same = rules.iter().find(|r| *r == wanted);
        same.or_else(|| rules.iter().find(differs_in_proto_only))
            .cloned()
    }
}

fn prepare(step: &Step) -> Result<Prepared, Outcome> {
    let (lane, message) = match encode::step(step) {
        Ok(Encoded::Route(message)) => (Lane::Route, Some(message)),
        Ok(Encoded::Netfilter(message)) => (Lane::Netfilter, Some(message)),
        Ok(Encoded::Elsewhere) => (Lane::Alone, None),
        Err(never) => {
            return Err(Outcome::Refused {
                errno: libc::EOPNOTSUPP,
                text: never.to_string(),
            });
        }
    };
    Ok(Prepared {
        lane,
        removes: step.removes(),
        message,
    })
}

/// The kernel goes by an interface's index; its name is only for people.
fn nameless(device: &Device) -> Device {
    Device {
        index: device.index,
        name: String::new(),
    }
}

fn same_nexthop(a: &Nexthop, b: &Nexthop) -> bool {
    let canonical = |nexthop: &Nexthop| {
        let mut nexthop = nexthop.clone();
        match &mut nexthop.kind {
            NexthopKind::Single { device, .. } => *device = nameless(device),
            NexthopKind::Group(members) => members.sort_unstable(),
            NexthopKind::Other => {}
        }
        nexthop
    };
    let is_known = a.kind != NexthopKind::Other;
    is_known && canonical(a) == canonical(b)
}

fn same_route(a: &Route, b: &Route) -> bool {
    let canonical = |route: &Route| {
        let mut route = route.clone();
        if let RouteVia::Device { device, .. } = &mut route.via {
            *device = nameless(device);
        }
        route
    };
    a.via != RouteVia::Other && canonical(a) == canonical(b)
}

fn set_sysctl(path: &str, value: &str) -> Outcome {
    // Some sysctls do something when written, so that what holds already is left alone.
    if sysctl::read(path).is_ok_and(|found| found == value) {
        return Outcome::AlreadySo;
    }
    match sysctl::write(path, value) {
        Ok(()) => Outcome::Done,
        Err(error) => io_refused(&error),
    }
}

fn io_refused(error: &io::Error) -> Outcome {
    Outcome::Refused {
        errno: error.raw_os_error().unwrap_or(libc::EINVAL),
        text: error.to_string(),
    }
}

fn nft_refused(error: &NftError) -> Outcome {
    let errno = match error {
        NftError::Missing => libc::ENOENT,
        NftError::Run(source) => source.raw_os_error().unwrap_or(libc::EIO),
        NftError::TimedOut { .. } => libc::ETIMEDOUT,
        NftError::Refused { text } if text.contains("Operation not permitted") => libc::EPERM,
        NftError::Elements(error) | NftError::Rules(error) => error.errno,
        NftError::Refused { .. } | NftError::Render(_) => libc::EINVAL,
    };
    let text = match error {
        NftError::Run(source) => format!("{error}: {source}"),
        NftError::Missing
        | NftError::TimedOut { .. }
        | NftError::Refused { .. }
        | NftError::Elements(_)
        | NftError::Rules(_)
        | NftError::Render(_) => error.to_string(),
    };
    Outcome::Refused { errno, text }
}
