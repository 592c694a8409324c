//! The JSON Schema of the file, from which editors complete and check it.

use serde_json::{Map, Value, json};

use uplinkd_model::Family;

use crate::keys::{self, Attribute, Bounds, Key, Keys, Kind, Names};

const IPV4: &str = r"(\d{1,3}\.){3}\d{1,3}";
const IPV6: &str = r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]*";
/// A target as text: no more than its kind and the signs that it may have.
const TARGET: &str = r"^(gateway|neighbour|dns(\+tcp)?(:[^/\s]+)?(/[^/\s]+)?|tcp:[^\s]+:\d{1,5}|(icmp:)?[0-9A-Za-z_:.-]+|https?://[^\s/?#]+([/?][^\s#]*)?)$";
const UPLINK_NAME: &str = "^[A-Za-z][A-Za-z0-9_-]{0,14}$";
/// Names of groups and policies.
const NAME: &str = "^[A-Za-z][A-Za-z0-9_-]{0,31}$";

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
    // Alternative names are longer than first names; only an uplink's may be a beginning.
    let interface = |end: &str| {
        let pattern = format!(r#"^[^\s/:"'\\*]{{1,127}}{end}$"#);
        json!({ "type": "string", "pattern": pattern })
    };
    let address_or = |words: &str, family: Family| {
        let address = match family {
            Family::V4 => IPV4,
            Family::V6 => IPV6,
        };
        let pattern = format!("^({words}|{address})$");
        json!({ "type": "string", "pattern": pattern })
    };
    match kind {
        Kind::Interface => interface(r"\*?"),
        Kind::Interfaces => json!({ "type": "array", "items": interface(""), "uniqueItems": true }),
        Kind::Integer(Bounds { least, most }) => {
            json!({ "type": "integer", "minimum": least as i64, "maximum": most as i64 })
        }
        Kind::Weight(bounds) => {
            json!({ "oneOf": [value(Kind::Integer(bounds)), { "enum": ["auto"] }] })
        }
        Kind::Percents => json!({
            "type": "array", "items": { "type": "string", "pattern": r"^\s*[\d.]+\s*%\s*$" },
        }),
        Kind::Size => json!({
            "type": "string", "pattern": r"^\s*[\d.]+\s*[kKMGTmgt][iI]?[bB]\s*$",
        }),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Duration => json!({ "type": "string", "pattern": r"^\s*\d+\s*[a-z]+" }),
        Kind::DurationOrOff => json!({ "type": "string", "pattern": r"^(off|\s*\d+\s*[a-z]+.*)$" }),
        Kind::PercentOrOff => json!({ "type": "string", "pattern": r"^(off|\s*[\d.]+\s*%\s*)$" }),
        Kind::Rate => json!({
            "type": "string", "pattern": r"^\s*[\d.]+\s*([kK]|[mM]|[gG])[bB][iI][tT](/[sS])?\s*$",
        }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => {
            json!({ "type": "array", "items": { "enum": words }, "minItems": 1 })
        }
        Kind::WordOrTable(words, keys) => json!({ "oneOf": [{ "enum": words }, table(keys)] }),
        Kind::Gateway(family) => address_or("auto", family),
        Kind::Nat(family) => address_or(&keys::nat_words(family).join("|"), family),
        Kind::Delegated(keys) => {
            let prefix = json!({ "type": "string", "pattern": format!(r"^(auto|{IPV6}/\d+)$") });
            json!({ "oneOf": [prefix, table(keys)] })
        }
        Kind::Prefix => json!({ "type": "string", "pattern": format!(r"^{IPV6}/\d+$") }),
        Kind::Targets(keys) => json!({
            "type": "array",
            "items": { "oneOf": [value(Kind::Target), table(keys)] },
            "uniqueItems": true,
        }),
        Kind::Target => json!({ "type": "string", "pattern": TARGET }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
        Kind::Addresses => {
            let one = json!({ "type": "string", "pattern": format!("^({IPV4}|{IPV6})$") });
            json!({ "oneOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
        }
        Kind::Statuses(bounds) => {
            let one = value(Kind::Integer(bounds));
            json!({ "oneOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
        }
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::MarkMask => json!({
            "oneOf": [
                { "type": "string", "pattern": "^(0[xX][0-9a-fA-F_]+|[0-9_]+)$" },
                { "type": "integer", "minimum": 0xf, "maximum": u32::MAX },
            ],
        }),
        Kind::NftName => json!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$" }),
        Kind::UplinkName => json!({ "type": "string", "pattern": UPLINK_NAME }),
        Kind::PolicyName | Kind::Destination => json!({ "type": "string", "pattern": NAME }),
        Kind::Listen => json!({
            "type": "string", "pattern": r"^(127(\.\d{1,3}){3}|\[::1\]|localhost):\d{1,5}$",
        }),
        Kind::Url => json!({ "type": "string", "pattern": r"^https?://[^\s/?#@]+([/?][^\s#]*)?$" }),
        Kind::Path => json!({ "type": "string", "minLength": 1 }),
        Kind::Tiers(keys) => {
            let member = json!({ "oneOf": [value(Kind::UplinkName), table(keys)] });
            let tier = json!({ "type": "array", "items": member, "minItems": 1 });
            json!({ "type": "array", "items": tier, "minItems": 1 })
        }
        Kind::Values(attribute) => {
            let one = attribute_value(attribute);
            json!({ "oneOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
        }
        Kind::Table(keys) => table(keys),
        Kind::Listed(keys) => json!({ "type": "array", "items": table(keys) }),
        Kind::Named(keys, names) => {
            let (pattern, least) = match names {
                Names::Uplinks => (UPLINK_NAME, 1),
                Names::Groups => (NAME, 0),
            };
            let mut named = json!({
                "type": "object",
                "propertyNames": { "pattern": pattern },
                "minProperties": least,
            });
            named["additionalProperties"] = table(keys);
            named
        }
    }
}

/// One value of what a policy can look at. Names that depend on the machine are any text.
fn attribute_value(attribute: Attribute) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let number_or = |most: u32, text: Value| {
        let number = json!({ "type": "integer", "minimum": 0, "maximum": most });
        json!({ "oneOf": [number, text] })
    };
    match attribute {
        Attribute::Family => json!({ "enum": ["ipv4", "ipv6"] }),
        Attribute::Source | Attribute::Destination => {
            let address = format!(r"({IPV4}|{IPV6})");
            let text = text(&format!(r"^{address}(/\d+|\s*-\s*{address})?$"));
            json!({ "oneOf": [text, table(&keys::LIST_FILE)] })
        }
        Attribute::Protocol => number_or(255, text("^[A-Za-z0-9]+$")),
        Attribute::SourcePort | Attribute::DestinationPort => {
            let port = json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX });
            json!({ "oneOf": [port, text(r"^\d{1,5}(\s*[-:]\s*\d{1,5})?$")] })
        }
        Attribute::Interface => text(r#"^[^\s/:"'\\*]{1,15}$"#),
        Attribute::Mac => text("^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"),
        Attribute::Dscp => number_or(
            63,
            text("^([A-Za-z]{2}|[Cc][Ss][0-7]|[Aa][Ff][1-4][1-3]|\\d{1,2})$"),
        ),
        Attribute::Mark => number_or(
            u32::MAX,
            text("^(0[xX])?[0-9a-fA-F_]+(/(0[xX])?[0-9a-fA-F_]+)?$"),
        ),
        Attribute::User | Attribute::Group => number_or(u32::MAX - 1, text("^.+$")),
        Attribute::Cgroup => text(r"^[^\s]+$"),
        Attribute::Unit => text(r"^[^\s/]+\.(service|scope|socket|slice|mount|swap)$"),
        Attribute::Icmp => number_or(255, text("^[a-z0-9-]+$")),
        Attribute::Schedule => text(r"^[A-Za-z,-]*\s*(\d{1,2}:\d{2}-\d{1,2}:\d{2})?$"),
        Attribute::Domain => text(r"^(\*\.)?[A-Za-z0-9_.-]+$"),
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
        DeValue::Boolean(truth) => Some(json!(truth)),
        DeValue::Table(table) => {
            let entries = table.iter();
            let entries =
                entries.map(|(k, v)| Some((k.get_ref().to_string(), as_json(v.get_ref())?)));
            entries.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        DeValue::Float(_) | DeValue::Datetime(_) => None,
    }
}
