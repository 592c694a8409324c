//! Ten thousand policies and a hundred thousand prefixes in one file.

use uplinkd_config::{OutletCodes, Slots};
use uplinkd_model::policy::Selector;

#[path = "../../examples/large/generate.rs"]
mod generate;

#[test]
fn a_large_file_is_taken_whole() {
    let large = generate::large(10_000, 50_000);
    let draft = uplinkd_config::read("u.toml", &large.text);
    let parsed = match draft.check(&large.sources) {
        Ok(parsed) => parsed,
        Err(found) => panic!("{:?}", &found[..found.len().min(3)]),
    };
    let config = parsed.to_config(&Slots::default(), &OutletCodes::default());
    assert_eq!(config.policies.len(), 10_000);
    let clauses = config.policies.iter().flat_map(|p| &p.clauses);
    let prefixes = clauses.filter_map(|c| {
        let Selector::Destination(set) = &c.selector else {
            return None;
        };
        Some(set.v4.as_slice().len())
    });
    let most = prefixes.max();
    assert_eq!(most, Some(50_000));
}

#[test]
fn a_large_file_full_of_mistakes_is_told_whole() {
    let large = generate::large(10_000, 100);
    let text = large.text.replace("use = \"isp2\"", "use = \"isp3\"");
    let draft = uplinkd_config::read("u.toml", &text);
    let found = draft.check(&large.sources).unwrap_err();
    assert_eq!(found.len(), 2_000);
    let shown = uplinkd_config::render(&found, "u.toml", &text, false);
    assert_eq!(shown.matches("did you mean \"isp1\"?").count(), 2_000);
}
