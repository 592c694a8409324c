//! A connection that exists: where it goes, going by what connection tracking has of it.

use std::net::IpAddr;

use uplinkd_model::{Connection, TableId, UplinkName};

use super::{Decision, ExplainedStep, Flow, PolicyAnswer};
use crate::Controller;

/// What is known of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionExplanation {
    /// The uplink that it is on; none where it is on none of ours.
    pub uplink: Option<UplinkName>,
    /// It came in by that uplink.
    pub is_inbound: bool,
    /// The outlet that led it there, where a policy spoke of it.
    pub outlet: Option<String>,
    /// The source address that the far end sees, where it was translated.
    pub nat: Option<IpAddr>,
    /// What the policies would say if it were new.
    pub policy: PolicyAnswer,
    /// The rules for its next packet (of an inbound connection: for the next answer).
    pub steps: Vec<ExplainedStep>,
    /// Where that goes.
    pub decision: Decision,
}

impl Controller {
    /// Explains a connection that exists. `asked` is as for [`Controller::explain`].
    pub fn explain_connection(
        &self,
        connection: &Connection,
        if_down: &[UplinkName],
        asked: Option<TableId>,
    ) -> ConnectionExplanation {
        let flow = self.next_packet(connection, if_down);
        let reserve = &self.config().reserve;
        let is_inbound = connection.mark & reserve.marks().inbound != 0;
        let uplinks = &self.config().uplinks;
        let on = |slot| reserve.mark_all(slot).matches(connection.mark);
        let outlets = self.config().outlets.iter().filter(|o| o.code != 0);
        let mut led = outlets.filter(|o| reserve.mark_outlet(o.code).matches(connection.mark));
        let policy = if is_inbound {
            let why = "it came in by an uplink, which answers it".to_owned();
            PolicyAnswer::NotAsked { why }
        } else {
            self.judge_by_policies(&self.flow_of(connection))
        };
        let (steps, decision) = self.walk(&self.think(&flow, asked), None);
        let seen = connection.reply.destination;
        ConnectionExplanation {
            uplink: uplinks.iter().find(|u| on(u.slot)).map(|u| u.name.clone()),
            is_inbound,
            outlet: led.next().map(|o| o.name.clone()),
            nat: Some(seen).filter(|a| *a != connection.original.source),
            policy,
            steps,
            decision,
        }
    }

    /// The next packet that we lead out, as a flow: of a connection that came in, the answer.
    pub fn next_packet(&self, connection: &Connection, if_down: &[UplinkName]) -> Flow {
        let marks = self.config().reserve.marks();
        let tuple = if connection.mark & marks.inbound != 0 {
            connection.reply
        } else {
            connection.original
        };
        Flow {
            from: Some(tuple.source),
            protocol: Some(tuple.protocol),
            mark: connection.mark & marks.all(),
            if_down: if_down.to_vec(),
            ..Flow::to(tuple.destination)
        }
    }
}
