//! What targets said when all were asked at once.

use std::fmt::Write as _;

use uplinkd_api::{Probed, ProbedFamily, ProbedTarget};

use super::words::{BAD, GOOD, escape, milliseconds, styled};

/// Each target on a line, then the verdict of each family.
pub(crate) fn text(probed: &Probed) -> String {
    let mut out = String::new();
    let width = probed.families.iter().flat_map(|f| &f.targets);
    let width = width.map(|t| escape(&t.target).chars().count()).max();
    for family in &probed.families {
        for target in &family.targets {
            let name = escape(&target.target);
            let width = width.unwrap_or_default();
            let _ = writeln!(out, "{}  {name:width$}  {}", family.family, said(target));
        }
        let _ = writeln!(out, "{}", verdict(&probed.uplink, family));
    }
    if probed.families.is_empty() {
        let _ = writeln!(out, "{} has neither IPv4 nor IPv6", escape(&probed.uplink));
    }
    out
}

fn said(target: &ProbedTarget) -> String {
    let mut said = match (target.rtt_ms, &target.problem) {
        (Some(ms), _) => milliseconds(ms),
        (None, Some(problem)) => styled(BAD, &escape(problem)),
        (None, None) => "not asked".to_owned(),
    };
    if let Some(address) = target.address
        && !target.target.contains(&address.to_string())
    {
        let _ = write!(said, "  ({address})");
    }
    if !target.decides {
        said.push_str("  (does not decide)");
    }
    said
}

fn verdict(uplink: &str, family: &ProbedFamily) -> String {
    let deciding = family.targets.iter().filter(|t| t.decides);
    let answering = deciding.clone().filter(|t| t.rtt_ms.is_some()).count();
    let word = match family.up {
        true => styled(GOOD, "works"),
        false => styled(BAD, "does not work"),
    };
    let quorum = family.quorum;
    format!(
        "{} ({}) {word}: {answering} of {} answered, {quorum} needed; its health is {}: {}",
        escape(uplink),
        family.family,
        deciding.count(),
        family.health,
        escape(&family.reason)
    )
}

#[cfg(test)]
mod tests {
    use uplinkd_model::{Family, Health};

    use super::*;

    #[test]
    fn each_target_has_a_line_and_each_family_a_verdict() {
        let target = |name: &str, rtt_ms, problem: Option<&str>, decides| ProbedTarget {
            target: name.to_owned(),
            address: Some("192.0.2.1".parse().unwrap()),
            decides,
            rtt_ms,
            problem: problem.map(str::to_owned),
        };
        let probed = Probed {
            uplink: "isp1".to_owned(),
            up: true,
            families: vec![ProbedFamily {
                family: Family::V4,
                up: true,
                quorum: 1,
                health: Health::Up,
                reason: "1 of 2 targets answer".to_owned(),
                targets: vec![
                    target("gateway", Some(0.42), None, false),
                    target("icmp:192.0.2.1", None, Some("no answer\u{1b}"), true),
                    target("icmp:9.9.9.9", Some(12.0), None, true),
                ],
            }],
        };
        let plain = anstream::adapter::strip_str(&text(&probed)).to_string();
        let lines: Vec<_> = plain.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("IPv4  gateway         "), "{plain}");
        assert!(
            lines[0].ends_with("(192.0.2.1)  (does not decide)"),
            "{plain}"
        );
        assert!(lines[1].ends_with("no answer\\u{1b}"), "{plain}");
        assert_eq!(
            lines[3],
            "isp1 (IPv4) works: 1 of 2 answered, 1 needed; its health is up: 1 of 2 targets answer"
        );
    }
}
