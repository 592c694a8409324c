//! `prefix` of an uplink's IPv6.

use uplinkd_config::{OutletCodes, Slots, parse};
use uplinkd_model::PrefixSource;

use crate::{shown, with_two};

fn source(value: &str) -> PrefixSource {
    let text = format!("[uplink.isp1]\ninterface = \"eth1\"\n[uplink.isp1.ipv6]\n{value}\n");
    let config = match parse("u.toml", &text) {
        Ok(parsed) => parsed.to_config(&Slots::default(), &OutletCodes::default()),
        Err(_) => panic!("{}", shown(&text)),
    };
    config.uplinks[0].ipv6.as_ref().unwrap().prefix
}

#[test]
fn a_prefix_is_learned_given_or_looked_for_in_a_range() {
    let net = |text: &str| text.parse().unwrap();
    assert_eq!(source(""), PrefixSource::Auto);
    assert_eq!(source("prefix = \"auto\""), PrefixSource::Auto);
    assert_eq!(
        source("prefix = \"2001:db8:100::/56\""),
        PrefixSource::Fixed(net("2001:db8:100::/56"))
    );
    assert_eq!(
        source("prefix = { within = \"2001:db8::/32\" }"),
        PrefixSource::Within(net("2001:db8::/32"))
    );
    assert_eq!(
        source("prefix.within = \"2000::/3\""),
        PrefixSource::Within(net("2000::/3"))
    );
}

#[test]
fn what_no_provider_delegates_is_refused() {
    let text = r#"uplink.a = { interface = "eth1", ipv6.prefix = "fd00:1::/48" }
uplink.b = { interface = "eth2", ipv6.prefix = "2001:db8::1" }
uplink.c = { interface = "eth3", ipv6.prefix = "2001:db8:100::1/56" }
uplink.d = { interface = "eth4", ipv6.prefix = "192.0.2.0/24" }
uplink.e = { interface = "eth5", ipv6.prefix = "2001:db8::/65" }
uplink.f = { interface = "eth6", ipv6.prefix = { within = "auto" } }
uplink.g = { interface = "eth7", ipv6.prefix = {} }
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the prefix of uplink `a` cannot be `fd00:1::/48`: that is no prefix that counts on the internet
 --> u.toml:1:48
  |
1 | uplink.a = { interface = "eth1", ipv6.prefix = "fd00:1::/48" }
  |                                                ^^^^^^^^^^^^^ no prefix that counts on the internet
  |
  = hint: give the one that the provider routes to this uplink

error: the prefix of uplink `b` cannot be `2001:db8::1`: that is not a prefix
 --> u.toml:2:48
  |
2 | uplink.b = { interface = "eth2", ipv6.prefix = "2001:db8::1" }
  |                                                ^^^^^^^^^^^^^ not a prefix
  |
  = hint: add its length, such as "2001:db8::1/56"

error: the prefix of uplink `c` cannot be `2001:db8:100::1/56`: that is an address inside its prefix
 --> u.toml:3:48
  |
3 | uplink.c = { interface = "eth3", ipv6.prefix = "2001:db8:100::1/56" }
  |                                                ^^^^^^^^^^^^^^^^^^^^ an address inside its prefix
  |
  = hint: write "2001:db8:100::/56"

error: the prefix of uplink `d` cannot be `192.0.2.0/24`: that is an IPv4 prefix
 --> u.toml:4:48
  |
4 | uplink.d = { interface = "eth4", ipv6.prefix = "192.0.2.0/24" }
  |                                                ^^^^^^^^^^^^^^ an IPv4 prefix
  |
  = hint: give a prefix such as "2001:db8:100::/56" or "auto"

error: the prefix of uplink `e` cannot be `2001:db8::/65`: that is of no usable length
 --> u.toml:5:48
  |
5 | uplink.e = { interface = "eth5", ipv6.prefix = "2001:db8::/65" }
  |                                                ^^^^^^^^^^^^^^^ of no usable length
  |
  = hint: a prefix for networks is /64 or shorter, such as a /56

error: the range of the prefix of uplink `f` cannot be `auto`: that is not a prefix
 --> u.toml:6:59
  |
6 | uplink.f = { interface = "eth6", ipv6.prefix = { within = "auto" } }
  |                                                           ^^^^^^ not a prefix
  |
  = hint: give a prefix such as "2001:db8:100::/56"

error: the prefix of uplink `g` does not say within which range
 --> u.toml:7:48
  |
7 | uplink.g = { interface = "eth7", ipv6.prefix = {} }
  |                                                ^^ `within` is missing
  |
  = hint: write `{ within = "2001:db8::/32" }`, a prefix, or "auto"
"#);
    let text = r#"uplink.a = { interface = "eth1", ipv6.prefix = "atuo" }
uplink.b = { interface = "eth2", ipv6.prefix = 56 }
uplink.c = { interface = "eth3", ipv6.prefix = { whithin = "2001:db8::/32" } }
uplink.d = { interface = "eth4", ipv4.prefix = "2001:db8::/56" }
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the prefix of uplink `a` cannot be `atuo`: that is not a prefix
 --> u.toml:1:48
  |
1 | uplink.a = { interface = "eth1", ipv6.prefix = "atuo" }
  |                                                ^^^^^^ not a prefix
  |
  = hint: did you mean "auto"?

error: `prefix` in [uplink.b.ipv6] is a number, not text in quotes or a table
 --> u.toml:2:48
  |
2 | uplink.b = { interface = "eth2", ipv6.prefix = 56 }
  |                                                ^^ expected text in quotes or a table
  |
  = hint: write for example `prefix = "auto"`

error: the prefix of uplink `c` does not say within which range
 --> u.toml:3:48
  |
3 | uplink.c = { interface = "eth3", ipv6.prefix = { whithin = "2001:db8::/32" } }
  |                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `within` is missing
  |
  = hint: write `{ within = "2001:db8::/32" }`, a prefix, or "auto"

error: unknown key `whithin` in [uplink.c.ipv6.prefix]
 --> u.toml:3:50
  |
3 | uplink.c = { interface = "eth3", ipv6.prefix = { whithin = "2001:db8::/32" } }
  |                                                  ^^^^^^^ no such key
  |
  = hint: did you mean `within`?

error: `prefix` does not belong in [uplink.d.ipv4]
 --> u.toml:4:39
  |
4 | uplink.d = { interface = "eth4", ipv4.prefix = "2001:db8::/56" }
  |                                       ^^^^^^ not here
  |
  = hint: it belongs in [uplink.NAME.ipv6]
"#);
}

#[test]
fn prefixes_of_two_uplinks_must_not_overlap() {
    let of = |one: &str, other: &str| {
        shown(&with_two(&format!(
            "[uplink.isp1.ipv6]\nprefix = {one}\n[uplink.isp2.ipv6]\nprefix = {other}\n"
        )))
    };
    let overlap = of("\"2001:db8::/48\"", "\"2001:db8:0:ff00::/56\"");
    insta::assert_snapshot!(overlap, @r#"
error: prefix 2001:db8:0:ff00::/56 of uplink `isp2` overlaps 2001:db8::/48 of uplink `isp1`
 --> u.toml:6:10
  |
4 | prefix = "2001:db8::/48"
  |          --------------- the other one
5 | [uplink.isp2.ipv6]
6 | prefix = "2001:db8:0:ff00::/56"
  |          ^^^^^^^^^^^^^^^^^^^^^^ overlaps
  |
  = hint: a prefix belongs to one provider's line: narrow one of them
"#);
    let ranges = of(
        "{ within = \"2001:db8::/32\" }",
        "{ within = \"2001:db8::/32\" }",
    );
    assert!(ranges.contains("range 2001:db8::/32 of uplink `isp2` overlaps"));
    for (one, other) in [
        ("\"2001:db8:0::/48\"", "\"2001:db8:1::/48\""),
        ("{ within = \"2001:db8::/32\" }", "\"2001:db8:1::/48\""),
        ("\"auto\"", "\"auto\""),
    ] {
        assert_eq!(of(one, other), "", "{one} {other}");
    }
}

#[test]
fn to_advertise_takes_an_interface() {
    let uplink = "[uplink.isp1]\ninterface = \"eth1\"\n";
    let text = format!("advertise = true\n{uplink}");
    insta::assert_snapshot!(shown(&text), @r#"
error: `advertise` has no interface to advertise on: `lan` names none
 --> u.toml:1:13
  |
1 | advertise = true
  |             ^^^^ where?
  |
  = hint: name the interfaces that hosts are on, such as `lan = ["br-lan"]`
"#);
    for accepted in [
        "advertise = false\n",
        "lan = [\"br-lan\"]\nadvertise = true\n",
    ] {
        assert_eq!(shown(&format!("{accepted}{uplink}")), "", "{accepted}");
    }
}
