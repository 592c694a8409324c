//! Sample, schema and reader know the same keys, bounds and defaults.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uplinkd_config::{OutletCodes, Parsed, Slots, json_schema, parse, sample};
use uplinkd_model::Config;

/// The sample with every optional line in use.
fn sample_uncommented() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    sample().lines().map(|l| uncomment(l) + "\n").collect()
}

/// Every key of a table, as a path with `*` for the user's names, and its value.
fn keys_of(path: &str, table: &toml::Table, keys: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let name = match path {
            "uplink." | "group." | "notify.webhook." => "*",
            _ => name,
        };
        let below = format!("{path}{name}.");
        let tables = value.as_array().into_iter().flatten();
        let tables: Vec<_> = tables.filter_map(toml::Value::as_table).collect();
        if let Some(table) = value.as_table() {
            keys_of(&below, table, keys);
        } else if !tables.is_empty() {
            tables.iter().for_each(|t| keys_of(&below, t, keys));
        } else {
            keys.insert(format!("{path}{name}"), value.clone());
        }
    }
}

/// The same for a schema, with what it says of each.
fn properties_of(path: &str, schema: &Value, keys: &mut BTreeMap<String, Value>) {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let named = &schema["additionalProperties"];
    let named = named.is_object().then_some(("*", named));
    for (name, schema) in properties.map(|(n, s)| (n.as_str(), s)).chain(named) {
        let below = format!("{path}{name}.");
        if schema["type"] == "object" {
            properties_of(&below, schema, keys);
        } else if schema["items"]["type"] == "object" {
            properties_of(&below, &schema["items"], keys);
        } else {
            keys.insert(format!("{path}{name}"), schema.clone());
        }
    }
}

fn schema_keys() -> BTreeMap<String, Value> {
    let schema = serde_json::from_str(&json_schema()).unwrap();
    let mut keys = BTreeMap::new();
    properties_of("", &schema, &mut keys);
    keys
}

fn sample_keys() -> BTreeMap<String, toml::Value> {
    let mut keys = BTreeMap::new();
    keys_of("", &sample_uncommented().parse().unwrap(), &mut keys);
    keys
}

/// `[probe]` stands for the same keys of one uplink, and `match` for those of `match.not`, which the
/// sample does not repeat.
fn without_repetition<'a>(keys: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let common = |k: &String| k.replace("uplink.*.probe.", "probe.").replace(".not.", ".");
    keys.map(common).collect()
}

/// What a file says apart from its groups, policies, rates and budgets, of which the sample shows examples, and
/// from whether it speaks of a family at all.
fn without_examples(parsed: &Parsed) -> Config {
    let mut config = parsed.to_config(&Slots::default(), &OutletCodes::default());
    config.groups.truncate(1);
    config.outlets.truncate(1);
    config.policies.clear();
    for uplink in &mut config.uplinks {
        uplink.rates = Default::default();
        uplink.budget = None;
        for access in [&mut uplink.ipv4, &mut uplink.ipv6].into_iter().flatten() {
            access.expected = false;
        }
    }
    config
}

#[test]
fn the_sample_is_good_as_it_is_and_with_everything_in_use() {
    let commented = parse("sample", &sample()).unwrap();
    let uncommented = parse("sample", &sample_uncommented()).unwrap();
    assert_eq!(commented.warnings(), []);
    assert_eq!(uncommented.warnings(), []);
    assert_eq!(without_examples(&commented), without_examples(&uncommented));
    assert_eq!(commented.policies(), []);
    assert_eq!(uncommented.policies().len(), 9);
}

#[test]
fn every_optional_line_of_the_sample_can_be_used_alone() {
    let sample = sample();
    let is_header = |l: &&str| l.starts_with('[') || l.starts_with("#[");
    for (number, line) in sample.lines().enumerate() {
        let Some(key) = line
            .strip_prefix('#')
            .filter(|k| !k.is_empty() && !k.starts_with(' '))
        else {
            continue;
        };
        let before: Vec<_> = sample.lines().take(number).collect();
        let header = before.iter().rev().find(|l| is_header(l));
        let header = header.map_or("", |l| l.trim_start_matches('#'));
        // What the tables of the examples cannot do without.
        let needed = match header {
            "[group.calls]" if !key.starts_with("tiers") => "tiers = [[\"isp1\"]]",
            "[api]" if key.starts_with("listen") => "token_file = \"tokens\"",
            "[notify.mail]" if !key.starts_with("to") => "to = [\"root\"]",
            "[notify.webhook.phone]" if !key.starts_with("url") => {
                "url = \"https://a.example/topic\""
            }
            "[notify.webhook.bot]" if key.starts_with("template") => {
                "to = \"1\"\ntoken_file = \"f\""
            }
            "[notify.webhook.bot]" if key.starts_with("to =") => {
                "template = \"telegram\"\ntoken_file = \"f\""
            }
            "[notify.webhook.bot]" => "url = \"https://a.example/topic\"",
            "[notify.webhook.team]" if !key.starts_with("url_file") => "url_file = \"f\"",
            "[[policy]]" if key.contains("domain") => "name = \"x\"\nuse = \"isp1\"",
            "[[policy]]" if !key.starts_with("use") => "use = \"isp1\"",
            _ => "",
        };
        let calls = "group.calls.tiers = [[\"isp1\"]]";
        let text = match key {
            "[[policy]]" | "[group.calls]" | "[notify.mail]" => continue,
            key if key.starts_with("[notify.webhook.") => continue,
            // Of a table that is in use already.
            _ if before.contains(&header) => {
                let lines = sample.lines().enumerate();
                let lines = lines.map(|(n, l)| if n == number { key } else { l });
                lines.collect::<Vec<_>>().join("\n")
            }
            _ if header.is_empty() => format!("{key}\n{sample}"),
            _ if key.starts_with('[') => format!("{sample}\n{key}\n"),
            _ if key.contains("\"calls\"") => {
                format!("{calls}\n{sample}\n{header}\n{key}\n{needed}\n")
            }
            _ => format!("{sample}\n{header}\n{key}\n{needed}\n"),
        };
        assert!(
            parse("sample", &text).is_ok(),
            "{key}\n{}",
            crate::shown(&text)
        );
    }
}

#[test]
fn sample_and_schema_have_the_same_keys() {
    let (sample, schema) = (sample_keys(), schema_keys());
    assert_eq!(
        without_repetition(sample.keys()),
        without_repetition(schema.keys())
    );
    let probe: BTreeSet<_> = schema
        .keys()
        .filter_map(|k| k.strip_prefix("probe."))
        .collect();
    let own = |k: &'static str| schema.keys().filter_map(move |s| s.strip_prefix(k));
    assert_eq!(own("uplink.*.probe.").collect::<BTreeSet<_>>(), probe);
    assert_eq!(probe.len(), 16);
}

#[test]
fn sample_and_schema_show_the_same_defaults() {
    let sample_text = sample();
    let schema = schema_keys();
    for (key, value) in sample_keys() {
        let property = &schema[&key];
        assert!(property["description"].is_string(), "{key}");
        let Some(default) = property.get("default") else {
            continue;
        };
        let name = key.rsplit('.').next().unwrap();
        let in_words = sample_text
            .lines()
            .map(|l| l.trim_start_matches('#'))
            .any(|l| l.starts_with(name) && l.contains(&format!("default {default}")));
        let value = serde_json::to_value(value).unwrap();
        assert!(
            in_words || value == *default,
            "{key}: {value} is not {default}"
        );
    }
}

#[test]
fn the_schema_holds_the_sample_to_its_types_and_patterns() {
    let schema = schema_keys();
    for (key, value) in sample_keys() {
        let property = &schema[&key];
        let kinds = types_of(property);
        let is = value.type_str();
        assert!(
            kinds.iter().any(|k| k == is),
            "{key} is {is}, not {kinds:?}"
        );
        if let Some(number) = value.as_integer()
            && property["type"] == "integer"
        {
            let bound = |b: &str| property[b].as_i64().unwrap();
            assert!(
                (bound("minimum")..=bound("maximum")).contains(&number),
                "{key}"
            );
        }
    }
}

/// The types that a schema takes; those of an enumeration are texts.
fn types_of(schema: &Value) -> Vec<String> {
    match (schema["oneOf"].as_array(), schema["type"].as_str()) {
        (Some(alternatives), _) => alternatives.iter().flat_map(types_of).collect(),
        (None, Some(kind)) => vec![kind.to_owned()],
        (None, None) => vec!["string".to_owned()],
    }
}

#[test]
fn bounds_of_the_schema_are_those_of_the_reader() {
    for (key, property) in schema_keys() {
        let (Some(least), Some(most)) =
            (property["minimum"].as_i64(), property["maximum"].as_i64())
        else {
            continue;
        };
        let name = key.rsplit('.').next().unwrap();
        for (value, is_inside) in [
            (least, true),
            (least - 1, false),
            (most, true),
            (most + 1, false),
        ] {
            let (table, key) = key.rsplit_once('.').unwrap();
            let base = "[uplink.isp1]\ninterface = \"eth1\"\n";
            let text = match table {
                "uplink.*" => format!("{base}{key} = {value}\n"),
                table => format!("{base}[{}]\n{key} = {value}\n", table.replace('*', "isp1")),
            };
            let complaint = format!("must be {least} to {most}, not {value}");
            let is_refused = crate::shown(&text).contains(&complaint);
            assert_eq!(
                !is_refused,
                is_inside,
                "{name} = {value}\n{}",
                crate::shown(&text)
            );
        }
    }
}

#[test]
fn scripts_get_the_same_as_people() {
    let text = "[uplink.isp1]\ninterface = \"e\"\nweight = 0\n[uplink.isp2]\ninterface = \"e\"\n";
    let found = parse("u.toml", text).unwrap_err();
    let json = uplinkd_config::to_json(&found, "u.toml", text);
    let expected = serde_json::json!([
        {
            "severity": "error", "file": "u.toml", "line": 3, "column": 10,
            "message": "the weight of uplink `isp1` must be 1 to 256, not 0",
            "label": "not in 1 to 256",
            "hint": "to take an uplink out of use, remove it or comment it out",
            "notes": [],
        },
        {
            "severity": "error", "file": "u.toml", "line": 5, "column": 13,
            "message": "interface `e` serves two uplinks, `isp1` and `isp2`",
            "label": "uplink `isp2` uses it too",
            "hint": "give every uplink an interface of its own, such as a VLAN or a macvlan",
            "notes": [{ "line": 2, "column": 13, "message": "first here" }],
        },
    ]);
    assert_eq!(json, expected);
}
