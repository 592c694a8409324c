//! `uplinkd check`: the file, then the machine.

use std::path::Path;

use anstream::{eprintln, println};
use uplinkd_config::{Diagnostic, Parsed};
use uplinkd_flows::Flows;
use uplinkd_kernel::Kernel;
use uplinkd_model::policy::{Clause, Selector};
use uplinkd_policy::Shadow;

use crate::{
    exit::Exit,
    load::{self, LoadError},
    machine,
    state::State,
};

/// Policies that hide another one and are named, where there are many.
const HIDERS_MAX: usize = 3;

/// Reports every finding at once.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn run(file: &Path, state_dir: &Path, file_only: bool, json: bool) -> anyhow::Result<Exit> {
    let loaded = match load::read(file) {
        Ok(loaded) => loaded,
        Err(LoadError::Unreadable(text)) => {
            report(json, &[Diagnostic::error(0..0, text)], file, "");
            return Ok(Exit::Usage);
        }
        Err(LoadError::Mistakes { diagnostics, text }) => {
            report(json, &diagnostics, file, &text);
            return Ok(Exit::Usage);
        }
    };
    let mut diagnostics = loaded.parsed.warnings().to_vec();
    diagnostics.extend(unreachable(&loaded.parsed));
    let mut is_good = true;
    if !file_only {
        // One more finding among the others: `run` refuses to start with it.
        let state = State::load(state_dir).unwrap_or_else(|error| {
            is_good = false;
            diagnostics.push(Diagnostic::error(0..0, format!("{error:#}")));
            State::default()
        });
        let config = loaded.parsed.to_config(&state.slots, &state.outlets);
        let mut kernel = Kernel::open()?;
        for problem in machine::examine(&mut kernel, &loaded.parsed, &config, &state.reserves)? {
            is_good &= !problem.is_error();
            diagnostics.push(problem.diagnostic);
        }
    }
    report(json, &diagnostics, file, &loaded.text);
    if !json {
        let what = if file_only {
            "the file is"
        } else {
            "the file and this machine are"
        };
        if !file_only && let Some(note) = tcp_note(&loaded.parsed) {
            eprintln!("note: {note}");
        }
        match (is_good, diagnostics.is_empty()) {
            (true, true) => println!("{what} fine"),
            (true, false) => println!("{what} usable; see the warnings"),
            (false, _) => eprintln!("this machine is not ready for {}", file.display()),
        }
    }
    Ok(if is_good { Exit::Yes } else { Exit::No })
}

/// Why the TCP connections of uplinks cannot be watched here, where the file does not forbid it. That
/// is no fault: lines are judged without this sign.
fn tcp_note(parsed: &Parsed) -> Option<String> {
    let uplinks = parsed.uplinks().iter();
    let mut families = uplinks.flat_map(|u| u.ipv4.iter().chain(&u.ipv6));
    if !families.any(|access| access.probe.tcp_sign) {
        return None;
    }
    let why = Flows::check().err()?;
    Some(format!(
        "TCP connections cannot be watched here: {why}; lines are judged without this sign"
    ))
}

/// Policies that can never be reached, each with those that hide it.
fn unreachable(parsed: &Parsed) -> Vec<Diagnostic> {
    let policies = parsed.policies();
    let finding = |shadow: Shadow| {
        let name = &policies[shadow.policy].name;
        let at = parsed.span_of_policy(shadow.policy);
        if shadow.by.is_empty() {
            return matches_nothing(parsed, shadow.policy);
        }
        let hiders: Vec<_> = shadow
            .by
            .iter()
            .map(|p| policies[*p].name.as_str())
            .collect();
        let shown = hiders[..hiders.len().min(HIDERS_MAX)].join(", ");
        let more = match hiders.len().saturating_sub(HIDERS_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("policy {name} can never be reached: {shown}{more} take all of it");
        let message = match hiders.as_slice() {
            [only] => format!("policy {name} can never be reached: {only} takes all of it"),
            _ => message,
        };
        let hint = "the first policy that matches decides; move it up, or remove it";
        let finding = Diagnostic::warning(at, message).hint(hint);
        shadow
            .by
            .iter()
            .take(HIDERS_MAX)
            .fold(finding, |finding, p| {
                finding.note(parsed.span_of_policy(*p), "comes first")
            })
    };
    uplinkd_policy::shadows(policies)
        .into_iter()
        .map(finding)
        .collect()
}

/// The finding that nothing can match a policy, with the reason.
fn matches_nothing(parsed: &Parsed, policy: usize) -> Diagnostic {
    let message = format!("policy {} matches nothing", parsed.policies()[policy].name);
    let clauses = parsed.policies()[policy].clauses.iter().enumerate();
    let mut empty = clauses.filter(|(_, c)| holds_for_no_address(c));
    let Some((clause, files)) = empty.find_map(|(clause, _)| {
        let files: Vec<_> = parsed.files_of_clause(policy, clause).collect();
        (!files.is_empty()).then_some((clause, files))
    }) else {
        return Diagnostic::warning(parsed.span_of_policy(policy), message)
            .hint("its own conditions exclude each other");
    };
    let reason = match files.as_slice() {
        [only] => format!("the file {only} is empty"),
        several => format!("the files {} are empty", several.join(", ")),
    };
    Diagnostic::warning(
        parsed.span_of_clause(policy, clause),
        format!("{message}: {reason}"),
    )
    .label("no address")
    .hint("as soon as there is an address in it, the policy counts")
}

/// Whether a clause names addresses, and then none.
fn holds_for_no_address(clause: &Clause) -> bool {
    let (Selector::Source(addresses) | Selector::Destination(addresses)) = &clause.selector else {
        return false;
    };
    !clause.not && addresses.v4.is_empty() && addresses.v6.is_empty()
}

fn report(json: bool, diagnostics: &[Diagnostic], file: &Path, text: &str) {
    if json {
        println!(
            "{}",
            uplinkd_config::to_json(diagnostics, &file.display().to_string(), text)
        );
        return;
    }
    load::show(diagnostics, file, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_can_never_be_reached_is_reported_with_the_one_that_hides_it() {
        let text = "[uplink.isp1]\ninterface = \"wan1\"\n\
                    [[policy]]\nname = \"all\"\nuse = \"isp1\"\n\
                    [[policy]]\nname = \"late\"\nmatch = { protocol = \"udp\" }\nuse = \"isp1\"\n";
        let parsed = uplinkd_config::parse("t", text).unwrap();
        let found = unreachable(&parsed);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].message,
            "policy late can never be reached: all takes all of it"
        );
        assert!(text[found[0].span.clone()].contains("late"));
        assert!(text[found[0].notes[0].span.clone()].contains("all"));
    }
    #[test]
    fn a_policy_whose_list_is_empty_is_reported_with_the_list() {
        let text = "[uplink.isp1]\ninterface = \"wan1\"\n\
                    [[policy]]\nname = \"company\"\nuse = \"isp1\"\n\
                    match = { protocol = \"udp\", source = { file = \"nets.txt\" } }\n\
                    [[policy]]\nname = \"never\"\nuse = \"isp1\"\n\
                    match = { dport = 1, not = { dport = 1 } }\n";
        let nets = ("conf/nets.txt".to_owned(), Ok("# none yet\n".to_owned()));
        let sources = uplinkd_config::Sources {
            files: [nets].into(),
            ..Default::default()
        };
        let draft = uplinkd_config::read("conf/uplinkd.toml", text);
        let found = unreachable(&draft.check(&sources).unwrap());
        assert_eq!(
            found[0].message,
            "policy company matches nothing: the file conf/nets.txt is empty"
        );
        assert_eq!(&text[found[0].span.clone()], "{ file = \"nets.txt\" }");
        assert_eq!(found[1].message, "policy never matches nothing");
    }
}
