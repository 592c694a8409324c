//! The ratios that matter, each out of figures of the same round.

use serde::Serialize;

use super::{
    router::Kind,
    traffic::{Load, Measured, Middle},
    wish::{FEW, MANY, Policies},
};

/// One cost over another.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ratio {
    /// What is compared.
    pub(super) what: String,
    pub(super) value: Middle,
    /// What its median shall not exceed.
    pub(super) limit: Option<f64>,
}

impl Ratio {
    /// Whether it is as it shall be.
    pub(super) fn holds(&self) -> bool {
        self.limit.is_none_or(|limit| self.value.median <= limit)
    }
}

/// As wished: what 10,000 policies may make of the cost of a new connection with 10.
const NEW_MAX: f64 = 1.2;
/// An established connection shall cost the same whatever there is; this is for noise.
const ESTABLISHED_MAX: f64 = 1.1;

/// A router, and what is sent through it.
type Point = (Kind, Load);

/// All ratios.
pub(super) fn all(measured: &Measured) -> Vec<Ratio> {
    let uplinkd = |uplinks, policies| Kind::Uplinkd { uplinks, policies };
    let two = |policies| uplinkd(2, policies);
    let list = |count| Kind::List(Policies::Addresses(count));
    let many = two(Policies::Addresses(MANY));
    let none = two(Policies::None);
    let few_then_many = |policies: fn(usize) -> Policies| -> [Point; 2] {
        // With many policies the traffic goes to all of their destinations, and finds no cache warm.
        [
            (two(policies(MANY)), Load::NewMany),
            (two(policies(FEW)), Load::NewFew),
        ]
    };
    let on = |load| move |kinds: [Kind; 2]| kinds.map(|k| (k, load));
    let (established, new) = (on(Load::Established), on(Load::NewMany));
    let wishes: [(&str, [Point; 2], Option<f64>); 12] = [
        (
            "new: 10,000 address policies : 10",
            few_then_many(Policies::Addresses),
            Some(NEW_MAX),
        ),
        (
            "new: 10,000 prefix policies : 10",
            few_then_many(Policies::Prefixes),
            Some(NEW_MAX),
        ),
        (
            "new: 10,000 policies with ports : 10",
            few_then_many(Policies::Mixed),
            None,
        ),
        (
            "new: 7 uplinks : 2",
            new([uplinkd(7, Policies::Addresses(MANY)), many]),
            None,
        ),
        (
            "new: uplinkd without policies : masquerade",
            new([none, Kind::Masquerade]),
            None,
        ),
        (
            "new: uplinkd with 10,000 : masquerade",
            new([many, Kind::Masquerade]),
            None,
        ),
        (
            "new: rule list of 10,000 : uplinkd with 10,000",
            new([list(MANY), many]),
            None,
        ),
        (
            "new: rule list of 10,000 : rule list of 10",
            new([list(MANY), list(FEW)]),
            None,
        ),
        (
            "established: 10,000 policies : none",
            established([many, none]),
            Some(ESTABLISHED_MAX),
        ),
        (
            "established: 7 uplinks : 2",
            established([uplinkd(7, Policies::Addresses(MANY)), many]),
            Some(ESTABLISHED_MAX),
        ),
        (
            "established: uplinkd with 10,000 : masquerade",
            established([many, Kind::Masquerade]),
            None,
        ),
        (
            "established: uplinkd with 10,000 : rule list",
            established([many, list(MANY)]),
            None,
        ),
    ];
    wishes
        .into_iter()
        .map(|(what, [over, under], limit)| Ratio {
            what: what.to_owned(),
            value: Middle::of(
                measured
                    .router(over.0, over.1)
                    .zip(measured.router(under.0, under.1))
                    .map(|(over, under)| over / under),
            ),
            limit,
        })
        .collect()
}
