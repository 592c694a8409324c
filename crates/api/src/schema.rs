//! What the OpenAPI document says of values that have no shape of their own there: text with a
//! grammar, and words of `model`, which knows nothing of documents.

use serde::Serialize;
use uplinkd_model::budget;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{AnyOfBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, Type},
    },
};

use crate::transport;

/// An IP address of either family.
pub(crate) struct Address;

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        let of = |format| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(format)))
        };
        AnyOfBuilder::new()
            .item(of(KnownFormat::Ipv4))
            .item(of(KnownFormat::Ipv6))
            .description(Some("An IPv4 or IPv6 address."))
            .into()
    }
}

impl ToSchema for Address {}

/// Words that a type of `model` is written as.
macro_rules! words {
    ($($name:ident, $values:expr, $description:literal;)*) => {$(
        #[doc = $description]
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .enum_values(Some($values.map(written)))
                    .description(Some($description))
                    .into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

words! {
    Family, [uplinkd_model::Family::V4, uplinkd_model::Family::V6], "An address family.";
    Health, [
        uplinkd_model::Health::Unknown,
        uplinkd_model::Health::Up,
        uplinkd_model::Health::Degraded,
        uplinkd_model::Health::Down,
    ], "The settled state of an uplink.";
    AtLimit, [
        budget::AtLimit::LastResort,
        budget::AtLimit::Off,
        budget::AtLimit::Keep,
    ], "What becomes of an uplink that has used up its budget.";
}

/// A value as it goes over the wire.
fn written(value: impl Serialize) -> serde_json::Value {
    // Words always become text.
    serde_json::to_value(value).unwrap_or_default()
}

/// Texts with a grammar.
macro_rules! texts {
    ($($name:path, $pattern:expr, $example:literal, $description:literal;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text($pattern, $example, $description).into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

/// A differentiated services code point, as people write it.
pub(crate) struct Dscp;
/// A packet mark, as people write it.
pub(crate) struct Mark;

const PROTOCOL: &str = "^([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5]|icmp|igmp|ipip|tcp|udp|dccp|ipv6|gre|esp|ah|icmpv6|ospf|sctp|udplite)$";
const ICMP_TYPE: &str =
    "^([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5]|echo-request|echo-reply)$";

texts! {
    transport::Protocol, PROTOCOL, "tcp", "An IP protocol, by name or by number up to 255.";
    transport::IcmpType, ICMP_TYPE, "echo-request", "A type of ICMP message, by name or number.";
    transport::MacAddress, "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$", "aa:bb:cc:dd:ee:ff",
        "An Ethernet address.";
    Dscp, "^([0-9]|[1-5][0-9]|6[0-3]|ef|cs[0-7]|af[1-4][1-3])$", "ef",
        "A differentiated services code point, by name or by number up to 63.";
    Mark, "^(0x[0-9A-Fa-f]{1,8}|[0-9]{1,9})$", "0x10", "A packet mark, decimal or with 0x.";
}

fn text(pattern: &str, example: &str, description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .examples([example])
        .description(Some(description))
        .build()
}
