//! Counters of policies.

use super::*;

/// Policies that are counted, by name; of a map each entry is one's.
fn counting(names: &[&str], mut stages: Vec<Stage>) -> NftTable {
    for stage in &mut stages {
        if let Stage::Map(map) = stage {
            for (n, entry) in map.entries.iter_mut().enumerate() {
                entry.policy = n;
            }
        }
    }
    let mut table = with(stages);
    let counted = names.iter().map(|n| (*n).to_owned()).enumerate();
    Arc::make_mut(&mut table.classifier).counted = counted.collect();
    table
}

#[test]
fn a_rule_counts_as_it_decides_and_a_map_has_one_of_counters_before_it() {
    let lan = Condition::Mark {
        any_of: vec![Mark::new(1, 1)],
        not: false,
    };
    let keys = (0..3_u32).map(|n| vec![Span::new(n * 256, n * 256 + 255)]);
    let stages = vec![rule(vec![lan]), map(&[Field::Source], keys.collect())];
    // The third is not counted.
    let table = counting(&["first", "second-one"], stages);
    let text = render(&table).unwrap();
    for name in ["first", "second-one"] {
        assert!(
            text.contains(&format!("counter policy_{name} {{ packets 0 bytes 0 }}\n")),
            "{text}"
        );
    }
    for chain in ["chain in4 {", "chain own4 {"] {
        assert_eq!(
            lines(&table, chain),
            [
                "meta mark and 0x00000001 == 0x00000001 counter name policy_first goto outlet4_2",
                "counter name ip saddr map @count_map4_source_ranges_1",
                "ip saddr vmap @map4_source_ranges_1",
            ]
        );
    }
    assert_eq!(
        lines(&table, "map count_map4_source_ranges_1 {"),
        [
            "type ipv4_addr : counter",
            "flags interval",
            "elements = {",
            "0.0.0.0-0.0.0.255 : \"policy_first\",",
            "0.0.1.0-0.0.1.255 : \"policy_second-one\",",
            "}",
        ]
    );
    let bad = counting(&["first; flush"], Vec::new());
    let refused = render(&bad).unwrap_err();
    assert_eq!(refused, RenderError::Counter("first; flush".to_owned()));
}

#[test]
fn a_policy_more_in_a_map_needs_no_nft_for_its_counter() {
    let content = |names: &[&str]| {
        let keys = (0..names.len() as u32).map(|n| vec![Span::one(n * 7)]);
        let stages = vec![map(&[Field::Source], keys.collect())];
        ruleset_of(&counting(names, stages)).unwrap()
    };
    let (old, new) = (content(&["a", "b"]), content(&["a", "b", "c"]));
    for (from, to, come, go) in [(&old, &new, 1, 0), (&new, &old, 0, 1)] {
        let delta = delta(from, to).unwrap();
        assert!(!delta.has_text(), "{delta:?}");
        assert_eq!(
            (delta.counters.len(), delta.counters_gone.len()),
            (come, go)
        );
        // The map that decides and the one that counts.
        assert_eq!(delta.fill.len(), 2);
    }
    // Another name is another counter of the same key, and nothing else.
    let delta = delta(&old, &content(&["a", "z"])).unwrap();
    assert!(!delta.has_text() && delta.digests.len() == 1, "{delta:?}");
    assert_eq!((delta.counters.len(), delta.counters_gone.len()), (1, 1));
}
