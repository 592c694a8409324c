//! What the policies say of a packet, straight from the words of the model.

use std::collections::BTreeSet;

use uplinkd_model::{
    Classifier, Family,
    classify::{Condition, Field, Stage, interface_number},
};

/// A packet that begins a connection.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) family: Family,
    /// The interface that it comes in by; none: the router's own.
    pub(crate) interface: Option<&'static str>,
    pub(crate) mac: u64,
    pub(crate) source: u128,
    pub(crate) destination: u128,
    pub(crate) protocol: u8,
    pub(crate) ports: (u16, u16),
    pub(crate) icmp_type: u8,
    pub(crate) dscp: u8,
    pub(crate) mark: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Flow {
    fn value(&self, field: Field) -> Option<u128> {
        let has_ports = [6, 17].contains(&self.protocol);
        let is_own = self.interface.is_none();
        match field {
            Field::Interface => self.interface.map(interface_number),
            Field::Mac => (!is_own).then_some(self.mac.into()),
            Field::Source => Some(self.source),
            Field::Destination => Some(self.destination),
            Field::Protocol => Some(self.protocol.into()),
            Field::SourcePort => has_ports.then_some(self.ports.0.into()),
            Field::DestinationPort => has_ports.then_some(self.ports.1.into()),
            Field::IcmpType => (!has_ports).then_some(self.icmp_type.into()),
            Field::Dscp => Some(self.dscp.into()),
            Field::User => is_own.then_some(self.user.into()),
            Field::Group => is_own.then_some(self.group.into()),
        }
    }

    fn holds(&self, condition: &Condition, domain: &BTreeSet<u128>) -> bool {
        let among = |field, values: &uplinkd_model::policy::Spans| {
            self.value(field).is_some_and(|v| values.contains(v))
        };
        match condition {
            Condition::Among { field, values } => among(*field, values),
            Condition::NotInterface(names) => {
                !self.interface.is_some_and(|i| names.iter().any(|n| n == i))
            }
            Condition::NotMac(values) => !among(Field::Mac, values),
            Condition::NotUser(values) => !among(Field::User, values),
            Condition::NotGroup(values) => !among(Field::Group, values),
            Condition::Mark { any_of, not } => any_of.iter().any(|m| m.matches(self.mark)) != *not,
            Condition::Domain { not, .. } => domain.contains(&self.destination) != *not,
            Condition::Cgroup { .. } => unreachable!("these have a test of their own"),
        }
    }
}

/// The outlet of the first stage that takes the flow; zero where none does.
pub(crate) fn outlet(classifier: &Classifier, flow: &Flow, domain: &BTreeSet<u128>) -> u16 {
    for stage in classifier.of(flow.family) {
        let found = match stage {
            Stage::Map(map) => {
                map.entries
                    .iter()
                    .find(|entry| {
                        map.fields.iter().zip(&entry.key).all(|(field, span)| {
                            flow.value(*field).is_some_and(|v| span.contains(v))
                        })
                    })
                    .map(|e| e.outlet)
            }
            Stage::Rule(rule) => rule
                .conditions
                .iter()
                .all(|c| flow.holds(c, domain))
                .then_some(rule.outlet),
        };
        if let Some(outlet) = found {
            return outlet;
        }
    }
    0
}
