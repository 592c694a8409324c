//! Where a connection would go, rule by rule.

use std::fmt::Write as _;

use uplinkd_api::{DecisionKind, Explain, ExplainQuery, KernelSays};

use super::words::{BAD, FAINT, GOOD, STRONG, escape, paragraph, percent, styled};

/// The question, the rules, the decision, the kernel's own answer.
pub(crate) fn text(explain: &Explain) -> String {
    let mut out = String::new();
    paragraph(&mut out, 0, &question(&explain.query));
    out.push('\n');
    for step in &explain.steps {
        let rule = escape(&step.rule);
        let _ = if step.matched {
            writeln!(out, "{} {}", styled(GOOD, "=>"), styled(STRONG, &rule))
        } else {
            writeln!(out, "   {rule}")
        };
        paragraph(&mut out, 6, &escape(&step.why));
    }
    if !explain.steps.is_empty() {
        out.push('\n');
    }
    let mut decision = String::new();
    paragraph(&mut decision, 0, &escape(&explain.text));
    out.push_str(&if explain.decision.kind == DecisionKind::Unreachable {
        styled(BAD, &decision)
    } else {
        styled(STRONG, &decision)
    });
    for exit in &explain.decision.uplinks {
        let mut line = format!(
            "{} for {} of new connections",
            escape(&exit.uplink),
            percent(exit.share)
        );
        match exit.nat_address {
            Some(address) => {
                let _ = write!(line, ", seen from outside as {address}");
            }
            None => line.push_str(", with its own source address"),
        }
        paragraph(&mut out, 2, &line);
    }
    if let Some(kernel) = &explain.kernel_says {
        let mut line = String::new();
        paragraph(&mut line, 0, &kernel_says(kernel));
        out.push_str(&styled(FAINT, &line));
    }
    out
}

fn question(query: &ExplainQuery) -> String {
    let from = match (query.from, &query.iif) {
        (None, None) => "the router itself".to_owned(),
        (Some(from), None) => from.to_string(),
        (None, Some(iif)) => format!("something behind {}", escape(iif)),
        (Some(from), Some(iif)) => format!("{from} behind {}", escape(iif)),
    };
    let mut text = format!("From {from} to {}", query.to);
    if let Some(protocol) = query.protocol {
        let _ = write!(text, ", {protocol}");
    }
    if let Some(port) = query.sport {
        let _ = write!(text, ", source port {port}");
    }
    if let Some(port) = query.dport {
        let _ = write!(text, ", destination port {port}");
    }
    if let Some(mark) = query.mark {
        let _ = write!(text, ", mark {mark:#x}");
    }
    if !query.if_down.is_empty() {
        let _ = write!(
            text,
            ", if {} were down",
            escape(&query.if_down.join(" and "))
        );
    }
    text.push(':');
    text
}

fn kernel_says(kernel: &KernelSays) -> String {
    let mut text = "The kernel itself answers:".to_owned();
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, " {word} {}", escape(&value));
        }
    };
    add("via", kernel.gateway.map(|v| v.to_string()));
    add("dev", kernel.device.clone());
    add("src", kernel.source.map(|v| v.to_string()));
    add("table", kernel.table.map(|v| v.to_string()));
    text
}

#[cfg(test)]
mod tests {
    use uplinkd_api::{Decision, ExplainStep, ExplainUplink, Protocol};

    use super::*;

    #[test]
    fn the_rule_that_decides_is_marked_without_colour_too() {
        let explain = Explain {
            query: ExplainQuery {
                from: Some("192.168.1.20".parse().unwrap()),
                protocol: Some(Protocol::Tcp),
                dport: Some(443),
                iif: Some("br-lan".to_owned()),
                if_down: vec!["isp2".to_owned()],
                ..ExplainQuery::to("1.1.1.1".parse().unwrap())
            },
            steps: vec![
                ExplainStep {
                    rule: "2010: from all fwmark 0x1000000/0xf000000 lookup 11001".to_owned(),
                    matched: false,
                    why: "a new connection has no mark yet".to_owned(),
                },
                ExplainStep {
                    rule: "32000: from all lookup 15192".to_owned(),
                    matched: true,
                    why: "group default".to_owned(),
                },
            ],
            decision: Decision {
                kind: DecisionKind::Group,
                table: Some(15192),
                group: Some("default".to_owned()),
                uplinks: vec![ExplainUplink {
                    uplink: "isp1".to_owned(),
                    share: 1.0,
                    nat_address: Some("192.0.2.7".parse().unwrap()),
                }],
                last_resort: false,
            },
            kernel_says: Some(KernelSays {
                device: Some("eth1".to_owned()),
                gateway: Some("192.0.2.1".parse().unwrap()),
                source: None,
                table: Some(15192),
            }),
            text: "It leaves by group default.".to_owned(),
        };
        assert_eq!(
            anstream::adapter::strip_str(&text(&explain)).to_string(),
            "\
From 192.168.1.20 behind br-lan to 1.1.1.1, tcp, destination port 443, if isp2
were down:

   2010: from all fwmark 0x1000000/0xf000000 lookup 11001
      a new connection has no mark yet
=> 32000: from all lookup 15192
      group default

It leaves by group default.
  isp1 for 100% of new connections, seen from outside as 192.0.2.7
The kernel itself answers: via 192.0.2.1 dev eth1 table 15192
"
        );
    }
}
