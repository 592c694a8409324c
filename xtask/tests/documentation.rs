//! What the documentation shows for copying is a good file, and no key is left unexplained.

use std::{collections::BTreeMap, fs};

use uplinkd_config::{Diagnostic, Sources, json_schema, read, render};

/// What examples may name: files beside the configuration, accounts.
fn sources(files: &[String]) -> Sources {
    let list = "198.51.100.0/24 # headquarters\n2001:db8:77::/48\n203.0.113.9-203.0.113.20\n";
    Sources {
        files: files
            .iter()
            .map(|f| (f.clone(), Ok(list.to_owned())))
            .collect(),
        users: BTreeMap::from([("backup".to_owned(), 34), ("postfix".to_owned(), 102)]),
        groups: BTreeMap::from([("backup".to_owned(), 34)]),
    }
}

/// The document, from the folder above.
fn document(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// The blocks fenced as TOML, with the line that each begins on.
fn fences(document: &str) -> Vec<(usize, String)> {
    let mut fences = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(document.lines()) {
        match &mut open {
            None if line == "```toml" => open = Some((number + 1, String::new())),
            None => {}
            Some(_) if line == "```" => fences.extend(open.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    fences
}

/// The words in backticks that begin like a match, which tables show as examples.
fn matches(document: &str) -> Vec<(usize, String)> {
    let rows = (1..)
        .zip(document.lines())
        .filter(|(_, line)| line.starts_with('|'));
    rows.flat_map(|(number, line)| {
        let words = line.split('`').filter(|w| w.starts_with("match = "));
        words.map(move |w| (number, w.to_owned()))
    })
    .collect()
}

/// Whether a file is good, warnings included: what people copy shall not be criticised.
fn check(what: &str, text: &str) {
    let draft = read("uplinkd.toml", text);
    let files: Vec<_> = draft.files().iter().map(|f| f.path.clone()).collect();
    let words = |diagnostics: &[Diagnostic]| {
        let all: Vec<_> = diagnostics.iter().map(|d| d.message.clone()).collect();
        format!(
            "{what}: {}\n{}",
            all.join("; "),
            render(diagnostics, "uplinkd.toml", text, false)
        )
    };
    match draft.check(&sources(&files)) {
        Ok(parsed) => assert!(parsed.warnings().is_empty(), "{}", words(parsed.warnings())),
        Err(diagnostics) => panic!("{}", words(&diagnostics)),
    }
}

#[test]
fn every_snippet_about_policies_is_a_good_file() {
    let document = document("policies.md");
    let mut fences = fences(&document).into_iter();
    let (_, head) = fences.next().expect("the head of all examples");
    check("the head", &head);
    let mut count = 0;
    for (line, snippet) in fences {
        check(&format!("line {line}"), &format!("{head}\n{snippet}"));
        count += 1;
    }
    assert!(
        count >= 10,
        "ten recipes were promised, {count} snippets found"
    );
}

#[test]
fn every_snippet_about_ipv6_is_a_good_file() {
    let document = document("ipv6.md");
    let mut fences = fences(&document).into_iter();
    let (_, head) = fences.next().expect("the head of all examples");
    check("the head", &head);
    for (line, snippet) in fences {
        check(&format!("line {line}"), &format!("{head}\n{snippet}"));
    }
}

#[test]
fn every_snippet_about_being_told_is_a_good_file() {
    let document = document("notify.md");
    let head = "[uplink.isp1]\ninterface = \"eth1\"\n";
    let fences = fences(&document);
    assert!(fences.len() >= 8, "{} snippets found", fences.len());
    for (line, snippet) in fences {
        check(&format!("line {line}"), &format!("{head}\n{snippet}"));
    }
}

#[test]
fn every_match_has_an_example_that_is_good() {
    let document = document("policies.md");
    let (_, head) = fences(&document).remove(0);
    let examples = matches(&document);
    for (line, example) in &examples {
        let policy = format!("[[policy]]\nname = \"example\"\n{example}\nuse = \"isp2\"\n");
        check(&format!("line {line}"), &format!("{head}\n{policy}"));
    }
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    let keys = &schema["properties"]["policy"]["items"]["properties"]["match"]["properties"];
    let keys = keys
        .as_object()
        .expect("the schema tells the keys of a match");
    assert!(keys.len() > 15);
    for key in keys.keys() {
        let has_example = examples
            .iter()
            .any(|(_, e)| e.contains(&format!("{key} = ")));
        assert!(has_example, "`{key}` has no example");
    }
}
