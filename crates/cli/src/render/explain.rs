//! Where a connection would go, rule by rule.

use std::fmt::Write as _;

use uplinkd_api::{DecisionKind, Explain, ExplainQuery, ExplainStep, KernelSays};

use super::words::{BAD, DOUBTFUL, FAINT, GOOD, STRONG, escape, paragraph, percent, styled};

/// The question, the policies, the rules, the decision, the kernel's own answer.
pub(crate) fn text(explain: &Explain) -> String {
    let mut out = String::new();
    paragraph(&mut out, 0, &question(&explain.query));
    out.push('\n');
    policies(&mut out, explain);
    rules(&mut out, explain);
    decision(&mut out, explain);
    out
}

/// The policies that were asked, or why none was.
pub(super) fn policies(out: &mut String, explain: &Explain) {
    if let Some(why) = &explain.policies_not_asked {
        paragraph(out, 3, &format!("policies are not asked: {}", escape(why)));
        out.push('\n');
    }
    if explain.policies_before > 0 {
        let before = explain.policies_before;
        let _ = writeln!(out, "   {before} policies before these do not take it");
    }
    for policy in &explain.policies {
        step(
            out,
            policy.matched,
            &format!("policy {}", policy.policy),
            &policy.why,
        );
    }
    if !explain.policies.is_empty() {
        out.push('\n');
    }
}

/// The rules that were asked. Of several at one place that do not match, one stands for all.
pub(super) fn rules(out: &mut String, explain: &Explain) {
    let alike = |a: &ExplainStep, b: &ExplainStep| {
        !a.matched && !b.matched && place(&a.rule) == place(&b.rule)
    };
    for rules in explain.steps.chunk_by(alike) {
        let Some(first) = rules.first() else { continue };
        let why = match rules.len() - 1 {
            0 => first.why.clone(),
            1 => format!("{}; likewise the next one", first.why),
            more => format!("{}; likewise the next {more}", first.why),
        };
        step(out, first.matched, &first.rule, &why);
    }
    if !explain.steps.is_empty() {
        out.push('\n');
    }
}

/// Where a rule stands: its priority, as the beginning of `pref 2000 from …`.
fn place(rule: &str) -> Option<&str> {
    rule.split(' ').nth(1)
}

fn step(out: &mut String, matched: bool, what: &str, why: &str) {
    let what = escape(what);
    let _ = if matched {
        writeln!(out, "{} {}", styled(GOOD, "=>"), styled(STRONG, &what))
    } else {
        writeln!(out, "   {what}")
    };
    paragraph(out, 6, &escape(why));
}

/// The decision, who carries it out, and what the kernel says.
pub(super) fn decision(out: &mut String, explain: &Explain) {
    let mut decision = String::new();
    paragraph(&mut decision, 0, &escape(&explain.text));
    let style = match explain.decision.kind {
        DecisionKind::Unreachable | DecisionKind::Blocked => BAD,
        DecisionKind::Depends => DOUBTFUL,
        DecisionKind::Uplink
        | DecisionKind::Group
        | DecisionKind::Main
        | DecisionKind::Local
        | DecisionKind::Foreign => STRONG,
    };
    out.push_str(&styled(style, &decision));
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
        paragraph(out, 2, &line);
    }
    if let Some(kernel) = &explain.kernel_says {
        let mut line = String::new();
        paragraph(&mut line, 0, &kernel_says(kernel));
        out.push_str(&styled(FAINT, &line));
    }
}

fn question(query: &ExplainQuery) -> String {
    let from = match (query.from, &query.iif) {
        (None, None) => "the router itself".to_owned(),
        (Some(from), None) => from.to_string(),
        (None, Some(iif)) => format!("something behind {}", escape(iif)),
        (Some(from), Some(iif)) => format!("{from} behind {}", escape(iif)),
    };
    let mut text = format!("From {from} to {}", query.to);
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(text, ", {word}{}", escape(&value));
        }
    };
    add("", query.protocol.map(|v| v.to_string()));
    add("ICMP type ", query.icmp.map(|v| v.to_string()));
    add("source port ", query.sport.map(|v| v.to_string()));
    add("destination port ", query.dport.map(|v| v.to_string()));
    add("MAC ", query.mac.map(|v| v.to_string()));
    add("DSCP ", query.dscp.map(|v| v.to_string()));
    add("mark ", query.mark.map(|v| format!("{v:#x}")));
    add("user ", query.uid.map(|v| v.to_string()));
    add("group ", query.gid.map(|v| v.to_string()));
    add("control group ", query.cgroup.clone());
    for name in &query.domains {
        add("an address of ", Some(name.clone()));
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
    use uplinkd_api::{Decision, ExplainPolicy, ExplainUplink, Protocol};

    use super::*;

    #[test]
    fn the_rule_that_decides_is_marked_without_colour_too() {
        let explain = Explain {
            query: ExplainQuery {
                from: Some("192.168.1.20".parse().unwrap()),
                protocol: Some(Protocol::TCP),
                dport: Some(443),
                iif: Some("br-lan".to_owned()),
                if_down: vec!["isp2".to_owned()],
                ..ExplainQuery::to("1.1.1.1".parse().unwrap())
            },
            policies: vec![ExplainPolicy {
                policy: "voip".to_owned(),
                matched: false,
                why: "protocol udp does not hold".to_owned(),
            }],
            policies_before: 0,
            policies_not_asked: None,
            steps: vec![
                ExplainStep {
                    rule: "pref 2020 from all fwmark 0x9000000/0xf000000 lookup 11001".to_owned(),
                    matched: false,
                    why: "a new connection has no mark yet".to_owned(),
                },
                ExplainStep {
                    rule: "pref 2020 from all fwmark 0xa000000/0xf000000 lookup 11002".to_owned(),
                    matched: false,
                    why: "a new connection has no mark yet".to_owned(),
                },
                ExplainStep {
                    rule: "pref 32040 from all lookup 15192".to_owned(),
                    matched: true,
                    why: "group default".to_owned(),
                },
            ],
            decision: Decision {
                kind: DecisionKind::Group,
                table: Some(15192),
                policy: None,
                group: Some("default".to_owned()),
                tier: Some(1),
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

   policy voip
      protocol udp does not hold

   pref 2020 from all fwmark 0x9000000/0xf000000 lookup 11001
      a new connection has no mark yet; likewise the next one
=> pref 32040 from all lookup 15192
      group default

It leaves by group default.
  isp1 for 100% of new connections, seen from outside as 192.0.2.7
The kernel itself answers: via 192.0.2.1 dev eth1 table 15192
"
        );
    }

    #[test]
    fn many_policies_are_cut_short_before_the_one_that_matches() {
        let policy = |number: usize| ExplainPolicy {
            policy: format!("p{number}"),
            matched: number == 99,
            why: "because".to_owned(),
        };
        let explain = Explain {
            query: ExplainQuery::to("1.1.1.1".parse().unwrap()),
            policies: (80..100).map(policy).collect(),
            policies_before: 80,
            policies_not_asked: None,
            steps: vec![],
            decision: Decision {
                kind: DecisionKind::Blocked,
                table: None,
                policy: Some("p99".to_owned()),
                group: None,
                tier: None,
                uplinks: vec![],
                last_resort: false,
            },
            kernel_says: None,
            text: "refused".to_owned(),
        };
        let shown = anstream::adapter::strip_str(&text(&explain)).to_string();
        assert!(
            shown.contains("   80 policies before these do not take it\n"),
            "{shown}"
        );
        assert!(
            !shown.contains("policy p79\n") && shown.contains("policy p80\n"),
            "{shown}"
        );
        assert!(shown.contains("=> policy p99\n"), "{shown}");
    }
}
