//! The policies, in the order in which they are asked.

use std::fmt::Write as _;

use uplinkd_api::{Policies, PolicyStatus};

use super::words::{DOUBTFUL, FAINT, escape, paragraph, styled};

/// The longest name that the file allows.
const NAME_MAX: usize = 32;

/// All of them.
pub(crate) fn text(policies: &Policies) -> String {
    let mut out = String::new();
    if policies.policies.is_empty() {
        out.push_str("There are no policies: everything uses the group default.\n");
        return out;
    }
    let heading = format!("{:NAME_MAX$}  USES", "POLICY");
    let _ = writeln!(out, "{}", styled(FAINT, &heading));
    for policy in &policies.policies {
        one(&mut out, policy);
    }
    out.push_str("\nThe first that matches decides. What none takes uses the group default.\n");
    out
}

fn one(out: &mut String, policy: &PolicyStatus) {
    let _ = write!(
        out,
        "{:NAME_MAX$}  {}",
        escape(&policy.name),
        escape(&policy.outlet)
    );
    if !policy.active {
        out.push_str(&styled(FAINT, ", but not at this hour"));
    }
    out.push('\n');
    let clauses = if policy.clauses.is_empty() {
        "everything".to_owned()
    } else {
        escape(&policy.clauses.join("; "))
    };
    paragraph(out, 4, &clauses);
    match policy.connections {
        None => {}
        Some(1) => paragraph(out, 4, "1 new connection so far"),
        Some(count) => paragraph(out, 4, &format!("{count} new connections so far")),
    }
    if policy.moves_flows {
        paragraph(out, 4, "connections that it forbids their uplink move");
    }
    if !policy.hidden_by.is_empty() {
        let mut line = String::new();
        let by = escape(&policy.hidden_by.join(", "));
        paragraph(
            &mut line,
            4,
            &format!("can never be reached, because of {by}"),
        );
        out.push_str(&styled(DOUBTFUL, &line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, clauses: &[&str], outlet: &str) -> PolicyStatus {
        PolicyStatus {
            name: name.to_owned(),
            clauses: clauses.iter().map(|c| (*c).to_owned()).collect(),
            outlet: outlet.to_owned(),
            moves_flows: false,
            active: true,
            hidden_by: vec![],
            connections: None,
        }
    }

    #[test]
    fn each_policy_says_what_it_takes_and_where_it_leads() {
        let policies = Policies {
            policies: vec![
                PolicyStatus {
                    connections: Some(1207),
                    ..policy(
                        "voip",
                        &["protocol udp", "dport 5060-5061, 10000-20000"],
                        "calls",
                    )
                },
                PolicyStatus {
                    active: false,
                    moves_flows: true,
                    ..policy("backups", &["schedule 01:00-06:00"], "isp2-or-block")
                },
                PolicyStatus {
                    hidden_by: vec!["voip".to_owned()],
                    ..policy("late\x1b", &[], "main")
                },
            ],
        };
        assert_eq!(
            anstream::adapter::strip_str(&text(&policies)).to_string(),
            "\
POLICY                            USES
voip                              calls
    protocol udp; dport 5060-5061, 10000-20000
    1207 new connections so far
backups                           isp2-or-block, but not at this hour
    schedule 01:00-06:00
    connections that it forbids their uplink move
late\\u{1b}                        main
    everything
    can never be reached, because of voip

The first that matches decides. What none takes uses the group default.
"
        );
    }

    #[test]
    fn no_policies_are_said_to_be_none() {
        assert_eq!(
            text(&Policies::default()),
            "There are no policies: everything uses the group default.\n"
        );
    }
}
