//! What becomes of a connection that exists.

use std::fmt::Write as _;

use uplinkd_api::{ConnectionStatus, ExplainConnection};

use super::{
    explain::{decision, policies, rules},
    words::{STRONG, escape, paragraph, styled},
};

/// The connection, where its next packet goes, where it would go anew.
pub(crate) fn text(explain: &ExplainConnection) -> String {
    let mut out = String::new();
    paragraph(&mut out, 0, &connection(&explain.connection));
    let mut sentence = String::new();
    paragraph(&mut sentence, 0, &escape(&explain.text));
    out.push_str(&styled(STRONG, &sentence));
    out.push_str("\nIts next packet:\n\n");
    rules(&mut out, &explain.now);
    decision(&mut out, &explain.now);
    if let Some(anew) = &explain.anew {
        out.push_str("\nIf it began now:\n\n");
        policies(&mut out, anew);
        rules(&mut out, anew);
        decision(&mut out, anew);
    }
    out
}

fn connection(connection: &ConnectionStatus) -> String {
    let port = |port: Option<u16>| port.map(|p| format!(" port {p}")).unwrap_or_default();
    let mut text = format!(
        "{} from {}{} to {}{}",
        escape(&connection.protocol),
        connection.from,
        port(connection.sport),
        connection.to,
        port(connection.dport),
    );
    if let Some(source) = connection.nat_source {
        let _ = write!(text, ", seen from outside as {source}");
    }
    if let Some(destination) = connection.nat_destination {
        let _ = write!(text, ", answered by {destination}");
    }
    match (&connection.uplink, connection.inbound) {
        (Some(uplink), false) => {
            let _ = write!(text, ", on uplink {}", escape(uplink));
        }
        (Some(uplink), true) => {
            let _ = write!(text, ", came in by uplink {}", escape(uplink));
        }
        (None, _) => text.push_str(", on no uplink of ours"),
    }
    if let Some(outlet) = &connection.outlet {
        let _ = write!(text, ", sent to {} by a policy", escape(outlet));
    }
    let _ = write!(text, " (mark {}).", escape(&connection.mark));
    text
}

#[cfg(test)]
mod tests {
    use uplinkd_api::{
        Decision, DecisionKind, Explain, ExplainPolicy, ExplainQuery, ExplainUplink,
    };

    use super::*;

    fn explain(uplink: &str, policies: Vec<ExplainPolicy>) -> Explain {
        Explain {
            query: ExplainQuery::to("1.1.1.1".parse().unwrap()),
            policies,
            policies_before: 0,
            policies_not_asked: None,
            steps: Vec::new(),
            decision: Decision {
                kind: DecisionKind::Uplink,
                table: None,
                policy: None,
                group: None,
                tier: None,
                uplinks: vec![ExplainUplink {
                    uplink: uplink.to_owned(),
                    share: 1.0,
                    nat_address: None,
                }],
                last_resort: false,
            },
            kernel_says: None,
            text: format!("leaves by {uplink}"),
        }
    }

    #[test]
    fn a_connection_shows_where_it_is_and_where_it_would_be() {
        let shown = ExplainConnection {
            query: "tcp 192.168.1.20:40000 1.1.1.1:443".parse().unwrap(),
            connection: ConnectionStatus {
                protocol: "tcp".to_owned(),
                from: "192.168.1.20".parse().unwrap(),
                to: "1.1.1.1".parse().unwrap(),
                sport: Some(40000),
                dport: Some(443),
                nat_source: Some("192.0.2.7".parse().unwrap()),
                nat_destination: None,
                mark: "0x21000000".to_owned(),
                uplink: Some("isp1".to_owned()),
                inbound: false,
                outlet: Some("calls".to_owned()),
            },
            now: explain("isp1", vec![]),
            anew: Some(explain(
                "isp2",
                vec![ExplainPolicy {
                    policy: "voip".to_owned(),
                    matched: false,
                    why: "protocol udp does not hold".to_owned(),
                }],
            )),
            text: "stays on isp1; anew it would leave by isp2".to_owned(),
        };
        assert_eq!(
            anstream::adapter::strip_str(&text(&shown)).to_string(),
            "\
tcp from 192.168.1.20 port 40000 to 1.1.1.1 port 443, seen from outside as
192.0.2.7, on uplink isp1, sent to calls by a policy (mark 0x21000000).
stays on isp1; anew it would leave by isp2

Its next packet:

leaves by isp1
  isp1 for 100% of new connections, with its own source address

If it began now:

   policy voip
      protocol udp does not hold

leaves by isp2
  isp2 for 100% of new connections, with its own source address
"
        );
    }
}
