//! No text makes the reader panic, and every place it names lies within the text.

use proptest::prelude::*;
use uplinkd_config::{OutletCodes, Slots, parse, render, sample, to_json};

/// Reads a text to the end and looks at everything that comes of it.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let is_toml = text.parse::<toml::Table>().is_ok();
    let found = match parse("u.toml", text) {
        Ok(parsed) => {
            prop_assert!(is_toml, "taken, but not TOML");
            let config = parsed.to_config(&Slots::default(), &OutletCodes::default());
            prop_assert!(!config.uplinks.is_empty());
            parsed.warnings().to_vec()
        }
        Err(found) => {
            prop_assert!(!found.is_empty(), "refused without a word");
            found
        }
    };
    for diagnostic in &found {
        let notes = diagnostic.notes.iter().map(|n| &n.span);
        for span in notes.chain([&diagnostic.span]) {
            prop_assert!(text.get(span.clone()).is_some(), "{diagnostic:?}");
        }
    }
    let shown = render(&found, "u.toml", text, false);
    prop_assert!(!shown.contains('\u{1b}'), "an escape got through");
    render(&found, "u.toml", text, true);
    to_json(&found, "u.toml", text);
    Ok(())
}

/// The sample with every optional key in use, LF or CRLF.
fn whole_sample() -> impl Strategy<Value = String> {
    let text: String = sample()
        .lines()
        .map(|l| match l.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{l}\n"),
        })
        .collect();
    prop_oneof![Just(text.clone()), Just(text.replace('\n', "\r\n"))]
}

/// Pieces that mean something, or break something.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "[",
            "]",
            "{",
            "}",
            "\"",
            "'",
            "=",
            ".",
            ",",
            "#",
            "\n",
            "\r\n",
            "\r",
            "\t",
            "ä",
            "✓",
            "\u{feff}",
            "\u{0}",
            "\u{1b}[31m",
            "[[uplink]]",
            "[uplink.isp1]",
            "uplink",
            "interface",
            "\"eth1\"",
            "weight = -1",
            "0x",
            "99999999999999999999",
            "1e9",
            "true",
            "\"\"\"",
            "1979-05-27",
            "fe80::1",
            "[probe]\n",
            "[reserve]\n",
            "quorum = 9\n",
            "targets = [1]\n",
            "[group.g]\ntiers = [[\"isp1\"]]\n",
            "[[policy]]\nuse = \"isp1\"\n",
            "[policy.match]\n",
            "match = { source = [\"10.0.0.0/8\", { file = \"n\" }], not = { dport = \"1-2\" } }\n",
            "schedule = \"mon-fri 22:00-06:00\"\n",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        survives(&text)?;
    }

    #[test]
    fn pieces_of_toml_never_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        survives(&pieces.concat())?;
    }

    #[test]
    fn a_mutated_sample_never_panics(
        text in whole_sample(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..30_usize, piece()), 1..5),
    ) {
        let mut text = text;
        for (at, length, piece) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary(start + length);
            text.replace_range(start..end.max(start), &piece);
        }
        survives(&text)?;
    }

    #[test]
    fn a_sample_cut_anywhere_never_panics(text in whole_sample(), at in any::<prop::sample::Index>()) {
        let at = text.floor_char_boundary(at.index(text.len() + 1));
        survives(&text[..at])?;
        survives(&text[at..])?;
    }
}
