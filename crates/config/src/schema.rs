//! The JSON Schema of the file, from which editors complete and check it.

use serde_json::{Map, Value, json};

use crate::keys::{self, Bounds, Key, Keys, Kind};

const IPV4: &str = r"(\d{1,3}\.){3}\d{1,3}";

/// The schema (draft 2020-12) as text. It knows the same keys, bounds and defaults as
/// [`crate::parse`]; what depends on two values at once only the latter checks.
pub fn json_schema() -> String {
    let mut schema = table(&keys::TOP);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("uplinkd configuration");
    format!("{schema:#}\n")
}

fn table(keys: &Keys) -> Value {
    let properties: Map<_, _> = keys
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<_> = keys
        .keys
        .iter()
        .filter(|k| k.is_required)
        .map(|k| k.name)
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let mut property = value(key.kind);
    property["description"] = json!(key.meaning);
    if let Some(default) = key.default.and_then(toml_as_json) {
        property["default"] = default;
    }
    if let Some(example) = toml_as_json(key.example) {
        property["examples"] = json!([example]);
    }
    property
}

fn value(kind: Kind) -> Value {
    let interface = json!({
        "type": "string",
        "pattern": r#"^[^\s/:"'\\*]{1,15}$"#,
    });
    let address_or = |words: &str| {
        let pattern = format!("^({words}|{IPV4})$");
        json!({ "type": "string", "pattern": pattern })
    };
    match kind {
        Kind::Interface => interface,
        Kind::Interfaces => json!({ "type": "array", "items": interface, "uniqueItems": true }),
        Kind::Integer(Bounds { least, most }) => {
            json!({ "type": "integer", "minimum": least as i64, "maximum": most as i64 })
        }
        Kind::Duration => json!({ "type": "string", "pattern": r"^\s*\d+\s*[a-z]+" }),
        Kind::Gateway => address_or("auto"),
        Kind::Nat => address_or("masquerade|none"),
        Kind::Targets => json!({
            "type": "array",
            "items": { "type": "string", "pattern": format!("^(gateway|(icmp:)?{IPV4})$") },
            "uniqueItems": true,
        }),
        Kind::MarkMask => json!({
            "oneOf": [
                { "type": "string", "pattern": "^(0[xX][0-9a-fA-F_]+|[0-9_]+)$" },
                { "type": "integer", "minimum": 0xf, "maximum": u32::MAX },
            ],
        }),
        Kind::NftName => json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$" }),
        Kind::Table(keys) => table(keys),
        Kind::Named(keys) => {
            let mut named = json!({
                "type": "object",
                "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,14}$" },
                "minProperties": 1,
            });
            named["additionalProperties"] = table(keys);
            named
        }
    }
}

/// A value as the key list writes it. None for tables, which have no value to show.
fn toml_as_json(text: &str) -> Option<Value> {
    let value = toml::de::DeValue::parse(text).ok()?;
    as_json(value.get_ref())
}

fn as_json(value: &toml::de::DeValue<'_>) -> Option<Value> {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => Some(json!(text)),
        DeValue::Integer(n) => Some(json!(i64::from_str_radix(n.as_str(), n.radix()).ok()?)),
        DeValue::Array(items) => items.iter().map(|i| as_json(i.get_ref())).collect(),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
