//! Policies in few words, and stages in short.

use uplinkd_model::{
    Policy,
    classify::{Classifier, Condition, Field, Stage},
    policy::{Addresses, Clause, Outlet, OutletKind, PolicyFlows, Selector, Span, Spans},
};
use uplinkd_policy::{Shadow, compile};

pub(crate) fn policy(clauses: impl IntoIterator<Item = Clause>) -> Policy {
    Policy {
        name: "p".into(),
        clauses: clauses.into_iter().collect(),
        outlet: 0,
        flows: PolicyFlows::Keep,
    }
}

pub(crate) fn clause(selector: Selector) -> Clause {
    Clause {
        selector,
        not: false,
        text: String::new(),
    }
}

pub(crate) fn not(clause: Clause) -> Clause {
    Clause {
        not: !clause.not,
        ..clause
    }
}

pub(crate) fn source(spans: impl IntoIterator<Item = Span>) -> Clause {
    clause(Selector::Source(ipv4(spans)))
}

pub(crate) fn destination(spans: impl IntoIterator<Item = Span>) -> Clause {
    clause(Selector::Destination(ipv4(spans)))
}

pub(crate) fn ipv4(spans: impl IntoIterator<Item = Span>) -> Addresses {
    Addresses {
        v4: Spans::new(spans),
        v6: Spans::default(),
    }
}

pub(crate) fn interface(name: &str) -> Clause {
    clause(Selector::Interface(vec![name.into()]))
}

pub(crate) fn set<const N: usize>(numbers: [u128; N]) -> Spans {
    Spans::new(numbers.map(Span::one))
}

pub(crate) fn among<const N: usize>(field: Field, numbers: [u128; N]) -> Condition {
    Condition::Among {
        field,
        values: set(numbers),
    }
}

pub(crate) fn shadow(policy: usize, by: &[usize]) -> Shadow {
    Shadow {
        policy,
        by: by.to_vec(),
    }
}

pub(crate) fn outlets() -> Vec<Outlet> {
    let outlet = |code| Outlet {
        code,
        name: String::new(),
        kind: OutletKind::Main,
    };
    [5, 6].map(outlet).into()
}

pub(crate) fn compiled(policies: &[Policy]) -> Classifier {
    compile(policies, &outlets(), 0)
}

/// The stages for IPv4 in short.
pub(crate) fn shapes(classifier: &Classifier) -> Vec<String> {
    let shape = |stage: &Stage| match stage {
        Stage::Rule(_) => "rule".to_owned(),
        Stage::Map(map) => {
            let fields: Vec<_> = map.fields.iter().map(|f| format!("{f:?}")).collect();
            format!("{} x{}", fields.join("+"), map.entries.len())
        }
    };
    classifier.v4.iter().map(shape).collect()
}

pub(crate) fn conditions(stage: &Stage) -> &[Condition] {
    match stage {
        Stage::Rule(rule) => &rule.conditions,
        Stage::Map(map) => panic!("a map: {map:?}"),
    }
}
