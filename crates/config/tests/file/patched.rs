//! A text of which only the changed policies are read comes to what a reading of the whole does.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::Index};
use uplinkd_config::{Parsed, Sources, read};

const HEAD: &str = r#"# Two lines and a phone.
lan = ["lan0", "guest"]

[uplink.isp1]
interface = "wan1"

[uplink.isp2]
interface = "wan2"

[uplink.phone]
interface = "wan3"

[group.default]
tiers = [["isp1"], ["isp2", "phone"]]

[group.both]
tiers = [["isp1", "isp2"], ["phone"]]

"#;
const TAIL: &str = "  # The end.\n[reserve]\nproto = 178\n[probe]\ninterval = \"2s\"\n";

/// Policies that can stand anywhere, some with a name and some that are no good.
const POLICIES: [&str; 14] = [
    "[[policy]]\nmatch = { destination = \"100.1.2.1\" }\nuse = \"isp2\"\n\n",
    "[[policy]]\nmatch = { destination = \"100.1.2.2\", protocol = \"tcp\", dport = [443, 80] }\nuse = \"both\"\n",
    "[[policy]]\nname = \"calls\"\nmatch = { domain = [\"zoom.us\"] }\nuse = \"phone\"\notherwise = \"block\"\n# after\n",
    "[[policy]]\nname = \"calls\"\nmatch = { source = \"10.0.0.0/8\" }\nuse = \"isp2\"\n",
    "# before\n[[policy]]\nname = \"mail\"\nuse = \"isp1\"\n[policy.match]\nmark = \"0x1\"\n[policy.match.not]\ninterface = \"guest\"\n",
    "[[policy]]\nmatch = { destination = { file = \"nets.txt\" } }\nuse = \"block\"\n",
    "[[policy]]\nmatch = { destination = [{ file = \"more.txt\" }, { file = \"nets.txt\" }] }\nuse = \"main\"\n",
    "[[policy]]\nmatch = { user = \"backup\" }\nuse = \"default\"\n\n\n",
    "  [[policy]]\r\n  name = '''mail'''\n  match = { icmp = \"echo-request\" }\n  use = \"isp2\"\n  ",
    "[[policy]]\nname = \"policy-3\"\nmatch = { dscp = 46 }\nuse = \"isp2\"\notherwise = \"both\"\n",
    "[[policy]]\nmatch = { destination = \"nonsense\" }\nuse = \"isp2\"\n",
    "[[policy]]\nmatch = { interface = \"wan1\" }\nuse = \"nobody\"\n",
    "[[policy]]\nname = \"\"\"\n[[policy]]\n\"\"\"\nuse = \"isp2\"\n",
    "[[policy]]\nmatch = { destination = \"100.1.2.1\" }\nuse = \"isp2\" # \"\"\"\n[group.more]\ntiers = [[\"isp2\"]]\n",
];
/// How many of these are good and may stand together.
const GOOD: usize = 10;
/// What is written by mistake.
const SLIPS: [&str; 14] = [
    "",
    "\n",
    " ",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "#",
    "[",
    "]",
    "x",
    "[[policy]]\n",
    "[probe]\n",
    "é",
];

fn sources() -> Sources {
    let files = [
        ("nets.txt", "192.0.2.0/24\n"),
        ("more.txt", "2001:db8::/32\n"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), Ok(text.to_owned())));
    Sources {
        files: BTreeMap::from(files),
        users: BTreeMap::from([("backup".to_owned(), 34)]),
        groups: BTreeMap::new(),
    }
}

fn whole(text: &str) -> Option<Parsed> {
    read("uplinkd.toml", text).check(&sources()).ok()
}

fn good(text: &str) -> Parsed {
    match read("uplinkd.toml", text).check(&sources()) {
        Ok(parsed) => parsed,
        Err(found) => panic!(
            "{}",
            uplinkd_config::render(&found, "uplinkd.toml", text, false)
        ),
    }
}

fn text(policies: &[&str], tail: &str) -> String {
    [HEAD, &policies.concat(), tail].concat()
}

/// What somebody does to a file.
#[derive(Clone, Debug)]
enum Edit {
    /// A policy becomes another one.
    Replace(Index, usize),
    /// A word of one policy becomes another.
    Lead(Index, usize),
    Insert(Index, usize),
    Remove(Index),
    /// Some characters give way to others, anywhere.
    Slip(Index, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), 0..POLICIES.len()).prop_map(|(at, what)| Edit::Replace(at, what)),
        4 => (index(), 0..5_usize).prop_map(|(at, what)| Edit::Lead(at, what)),
        1 => (index(), 0..POLICIES.len()).prop_map(|(at, what)| Edit::Insert(at, what)),
        1 => index().prop_map(Edit::Remove),
        6 => (index(), 0..3_usize, 0..SLIPS.len()).prop_map(|(at, n, s)| Edit::Slip(at, n, s)),
    ]
}

/// The text after an edit. Policies are told apart by their headers, in comments or not.
fn edited(text: &str, edit: &Edit) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (n, part) in text.split("[[policy]]").enumerate() {
        let header = if n == 0 { "" } else { "[[policy]]" };
        parts.push(format!("{header}{part}"));
    }
    let policies = parts.len() - 1;
    match edit {
        Edit::Slip(at, count, slip) => {
            let mut at = at.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let rest: String = text[at..].chars().skip(*count).collect();
            return format!("{}{}{rest}", &text[..at], SLIPS[*slip]);
        }
        Edit::Insert(at, what) => parts.insert(1 + at.index(policies + 1), POLICIES[*what].into()),
        Edit::Replace(_, _) | Edit::Lead(_, _) | Edit::Remove(_) if policies == 0 => {}
        Edit::Replace(at, what) => parts[1 + at.index(policies)] = POLICIES[*what].into(),
        Edit::Lead(at, what) => {
            let part = &mut parts[1 + at.index(policies)];
            let to = ["isp1", "isp2", "both", "block", "elsewhere"][*what];
            if let Some(begin) = part.find("use = \"") {
                let begin = begin + 7;
                let end = part[begin..].find('"').map_or(begin, |n| begin + n);
                part.replace_range(begin..end, to);
            }
        }
        Edit::Remove(at) => drop(parts.remove(1 + at.index(policies))),
    }
    parts.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 3000 } else { 30_000 }))]

    #[test]
    fn what_is_read_in_part_is_what_the_whole_says(
        policies in vec(0..GOOD, 0..9),
        has_tail in any::<bool>(),
        edits in vec(edit(), 1..6),
    ) {
        let policies: Vec<_> = policies.into_iter().map(|n| POLICIES[n]).collect();
        let mut old = text(&policies, if has_tail { TAIL } else { "" });
        let Some(mut before) = whole(&old) else { return Ok(()) };
        for edit in &edits {
            let new = edited(&old, edit);
            let is = whole(&new);
            if let Some(patched) = before.patched(&old, &new, &sources()) {
                prop_assert_eq!(Some(&patched), is.as_ref(), "{}\n=>\n{}", old, new);
            }
            if let Some(is) = is {
                (before, old) = (is, new);
            }
        }
    }
}

#[test]
fn a_change_of_one_policy_is_read_without_the_others() {
    let policies = [0, 1, 2, 3, 5, 7, 8, 9].map(|n| POLICIES[n]);
    let policies: Vec<_> = policies
        .iter()
        .map(|p| p.replace("name = \"calls\"\nmatch = { source", "match = { source"))
        .collect();
    let policies: Vec<_> = policies.iter().map(String::as_str).collect();
    for tail in ["", TAIL] {
        let old = text(&policies, tail);
        let mut before = good(&old);
        let mut now = old.clone();
        for (from, to) in [
            ("100.1.2.2", "100.1.2.3"),
            ("[443, 80]", "[443, 80, 8080]"),
            (
                "domain = [\"zoom.us\"]",
                "domain = [\"zoom.us\", \"*.example.net\"]",
            ),
            ("name = \"calls\"", "name = \"meetings\""),
            ("use = \"both\"", "use = \"isp2\""),
            ("dscp = 46", "dscp = 40"),
            ("# after\n", ""),
            ("\"echo-request\"", "\"echo-reply\""),
        ] {
            let new = now.replacen(from, to, 1);
            assert_ne!(new, now, "{from}");
            let is = good(&new);
            let patched = before.patched(&now, &new, &sources());
            // The second group is first named by this policy.
            if from == "use = \"both\"" {
                assert_eq!(patched, None);
            } else {
                assert_eq!(patched.as_ref(), Some(&is), "{from}");
            }
            (before, now) = (is, new);
        }
    }
}

#[test]
fn what_is_unusual_is_left_to_a_reading_of_the_whole() {
    let policies = [1, 0, 2, 9].map(|n| POLICIES[n]);
    let old = text(&policies, TAIL);
    let before = good(&old);
    for (from, to, why) in [
        ("\"lan0\"", "\"lan1\"", "a change of the head"),
        ("\"2s\"", "\"3s\"", "a change of the tail"),
        ("100.1.2.1", "100.1.2.300", "a mistake"),
        ("\"zoom.us\"", "\"zoom.us", "a mistake in the TOML"),
        ("\"calls\"", "\"policy-2\"", "a name that another has"),
        ("use = \"both\"", "use = \"main\"", "an outlet that is new"),
        (
            "# after",
            "[group.x]\ntiers = [[\"isp1\"]]",
            "a table that is no policy",
        ),
        (
            "\n# after\n[[policy]]",
            "# after[[policy]]",
            "a header that is none any more",
        ),
        ("# after", POLICIES[0], "one more policy"),
        (POLICIES[0], "", "one policy less"),
        (
            "\"100.1.2.1\"",
            "{ file = \"nets.txt\" }",
            "a list that nobody has read",
        ),
    ] {
        let new = old.replacen(from, to, 1);
        assert_ne!(new, old, "{why}");
        assert_eq!(before.patched(&old, &new, &sources()), None, "{why}");
    }
}

#[test]
fn what_stands_between_policies_or_swallows_a_header_is_not_overlooked() {
    let swallowed = text(&[POLICIES[2], POLICIES[0]], "");
    let between = text(
        &[POLICIES[0], "[reserve]\nproto = 179\n\n", POLICIES[1]],
        "",
    );
    let behind = text(&[POLICIES[0], POLICIES[1]], "[reserve]\nproto = 179\n");
    for (old, from, to, is_patched) in [
        (&swallowed, "\n# after\n", "# after", false),
        (&swallowed, "\n# after\n", "# after\n", true),
        // A policy is only read with all that it may be held against.
        (&between, "100.1.2.2", "100.1.2.3", false),
        (&behind, "100.1.2.2", "100.1.2.3", true),
    ] {
        let new = old.replacen(from, to, 1);
        assert_ne!(new, *old);
        let patched = good(old).patched(old, &new, &sources());
        assert_eq!(patched.is_some(), is_patched, "{old}\n=>\n{new}");
        if is_patched {
            assert_eq!(patched, whole(&new));
        }
    }
}
