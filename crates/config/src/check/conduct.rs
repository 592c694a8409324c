//! How a group treats its members.

use toml::Spanned;
use uplinkd_model::{
    Member,
    policy::{Balance, Conduct, YieldAt},
};

use crate::{
    check::{
        quality::{self, OFF},
        word,
    },
    diagnostic::Diagnostic,
    parsed::ParsedUplink,
    quote::quoted,
    raw::{RawGroup, RawYieldAt},
    reader::Found,
};

/// Checks it. `tiers` are the group's, of these uplinks.
pub(super) fn check(
    raw: &RawGroup,
    tiers: &[Vec<Member>],
    uplinks: &[ParsedUplink],
    whose: &str,
    found: &mut Found,
) -> Conduct {
    let members: Vec<_> = tiers.iter().flatten().collect();
    let is_member = |u: &&ParsedUplink| members.iter().any(|m| m.uplink == u.name);
    let members: Vec<_> = uplinks.iter().filter(is_member).collect();
    let yield_at = raw.yield_at.as_ref().and_then(|limits| {
        if members.len() == 1 && raw.is_complete {
            found.push(
                Diagnostic::warning(limits.span(), format!("nobody in {whose} can yield"))
                    .label("there is no other uplink to yield to")
                    .hint("remove it, or add an uplink to the tier or a further tier"),
            );
        }
        self::yield_at(limits, &members, whose, found)
    });
    let overflow_at = raw.overflow_at.as_ref();
    let overflow_at = overflow_at
        .filter(|text| text.get_ref() != OFF)
        .and_then(|text| {
            if tiers.len() == 1 && raw.is_complete {
                found.push(
                    Diagnostic::warning(
                        text.span(),
                        format!("{whose} has nothing to overflow into"),
                    )
                    .label("there is no further tier")
                    .hint("remove it, or add a tier"),
                );
            }
            quality::percent(
                text,
                &format!("the part at which tiers of {whose} overflow"),
                found,
            )
        });
    let while_budget = raw.while_budget.as_ref().is_some_and(|b| *b.get_ref());
    if let Some(wish) = raw.while_budget.as_ref().filter(|_| while_budget)
        && raw.is_complete
        && members.iter().all(|u| u.budget.is_none())
    {
        found.push(
            Diagnostic::warning(wish.span(), format!("no uplink of {whose} has a budget"))
                .label("nothing can be used up")
                .hint("remove it, or add `[uplink.NAME.budget]` to one of them"),
        );
    }
    Conduct {
        yield_at,
        while_budget,
        balance: balance(raw, tiers, whose, found),
        overflow_at,
    }
}

fn balance(raw: &RawGroup, tiers: &[Vec<Member>], whose: &str, found: &mut Found) -> Balance {
    let Some(text) = &raw.balance else {
        return Balance::default();
    };
    let words = [
        ("weights", Balance::Weights),
        ("least-used", Balance::LeastUsed),
        ("lowest-latency", Balance::LowestLatency),
    ];
    let balance = word(text, &words, &format!("the balance of {whose}"), "", found);
    if balance.is_some_and(|b| b != Balance::Weights)
        && raw.is_complete
        && tiers.iter().all(|tier| tier.len() < 2)
    {
        found.push(
            Diagnostic::warning(text.span(), format!("{whose} has nothing to balance"))
                .label("no tier has two uplinks")
                .hint("remove it, or put uplinks into one tier: `[[\"isp1\", \"isp2\"]]`"),
        );
    }
    balance.unwrap_or_default()
}

fn yield_at(
    raw: &Spanned<RawYieldAt>,
    members: &[&ParsedUplink],
    whose: &str,
    found: &mut Found,
) -> Option<YieldAt> {
    let RawYieldAt { loss, rtt } = raw.get_ref();
    if loss.is_none() && rtt.is_none() {
        found.push(
            Diagnostic::error(raw.span(), format!("{whose} does not say when to yield"))
                .label("neither `loss` nor `rtt` is in it")
                .hint("write for example `yield_at = { loss = \"2%\", rtt = \"150ms\" }`"),
        );
        return None;
    }
    let is_set = |text: &&Spanned<String>| text.get_ref() != OFF;
    let loss = loss.as_ref().filter(is_set).map(|text| {
        let what = format!("the loss at which members of {whose} yield");
        quality::percent(text, &what, found)
    });
    let rtt = rtt.as_ref().filter(is_set).map(|text| {
        let what = format!("the round-trip time at which members of {whose} yield");
        let limit = quality::round_trip(text, &what, found)?;
        let access = |u: &ParsedUplink| [u.ipv4.clone(), u.ipv6.clone()];
        let is_blind = |u: &&&ParsedUplink| {
            let mut families = access(u).into_iter().flatten();
            families.any(|a| limit >= a.probe.timeout)
        };
        if let Some(uplink) = members.iter().find(is_blind) {
            let name = quoted(uplink.name.as_str());
            found.push(
                Diagnostic::error(text.span(), format!("{what} can never be seen on {name}"))
                    .label("as long as an answer may take there, or longer")
                    .hint("choose a shorter time, or a longer `timeout` for the uplink's probes"),
            );
            return None;
        }
        Some(limit)
    });
    let (loss, rtt) = (
        loss.map_or(Some(None), |l| l.map(Some)),
        rtt.map_or(Some(None), |r| r.map(Some)),
    );
    Some(YieldAt {
        loss: loss?,
        rtt: rtt?,
    })
}
