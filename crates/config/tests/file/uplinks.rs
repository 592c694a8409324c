//! Names, interfaces, weights, gateways and nat.

use crate::shown;

#[test]
fn names_that_ip_would_not_take_as_a_table() {
    let text = r#"[uplink.main]
interface = "e1"
[uplink.9x]
interface = "e2"
[uplink."a b"]
interface = "e3"
[uplink.abcdefghijklmnop]
interface = "e4"
[uplink.""]
interface = "e5"
[uplink."ü\u001b[2J"]
interface = "e6"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: an uplink cannot be named `main`: `main` already means something to `ip` where it expects a table
 --> u.toml:1:9
  |
1 | [uplink.main]
  |         ^^^^ not a name for an uplink
  |
  = hint: its routing table gets the same name, so it must be one that `ip` takes, such as `isp1`

error: an uplink cannot be named `9x`: it must begin with a letter
 --> u.toml:3:9
  |
3 | [uplink.9x]
  |         ^^ not a name for an uplink
  |
  = hint: its routing table gets the same name, so it must be one that `ip` takes, such as `isp1`

error: an uplink cannot be named `a b`: ` ` has no place in it: a letter first, then letters, digits, `_` and `-`
 --> u.toml:5:9
  |
5 | [uplink."a b"]
  |         ^^^^^ not a name for an uplink
  |
  = hint: its routing table gets the same name, so it must be one that `ip` takes, such as `isp1`

error: an uplink cannot be named `abcdefghijklmnop`: the name is longer than 15 characters
 --> u.toml:7:9
  |
7 | [uplink.abcdefghijklmnop]
  |         ^^^^^^^^^^^^^^^^ not a name for an uplink
  |
  = hint: its routing table gets the same name, so it must be one that `ip` takes, such as `isp1`

error: an uplink cannot be named ``: the name is empty
 --> u.toml:9:9
  |
9 | [uplink.""]
  |         ^^ not a name for an uplink
  |
  = hint: its routing table gets the same name, so it must be one that `ip` takes, such as `isp1`

error: an uplink cannot be named `ü\u{1b}[2J`: `ü` has no place in it: a letter first, then letters, digits, `_` and `-`
  --> u.toml:11:9
   |
11 | [uplink."ü\u001b[2J"]
   |         ^^^^^^^^^^^^ not a name for an uplink
   |
   = hint: its routing table gets the same name, so it must be one that `ip` takes, such as `isp1`
"#);
}

#[test]
fn names_that_no_interface_can_have() {
    let text = r#"lan = ["", "br-lan*"]
[uplink.a]
interface = ""
[uplink.b]
interface = "wan*1"
[uplink.c]
interface = "eth/1"
[uplink.d]
interface = "eth 1"
[uplink.e]
interface = "\"eth1\""
[uplink.f]
interface = "lo"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: an interface in `lan` is empty
 --> u.toml:1:8
  |
1 | lan = ["", "br-lan*"]
  |        ^^ no name
  |
  = hint: `ip link` lists the interfaces of this machine

error: an interface in `lan` cannot be `br-lan*`: `*` has no place in it
 --> u.toml:1:12
  |
1 | lan = ["", "br-lan*"]
  |            ^^^^^^^^^ not an interface's name
  |
  = hint: give the name of one interface, as `ip link` shows it

error: the interface of uplink `a` is empty
 --> u.toml:3:13
  |
3 | interface = ""
  |             ^^ no name
  |
  = hint: `ip link` lists the interfaces of this machine

error: the interface of uplink `b` cannot be `wan*1`: `*` has no place in it
 --> u.toml:5:13
  |
5 | interface = "wan*1"
  |             ^^^^^^^ not an interface's name
  |
  = hint: give the name of one interface, as `ip link` shows it

error: the interface of uplink `c` cannot be `eth/1`: `/` has no place in it
 --> u.toml:7:13
  |
7 | interface = "eth/1"
  |             ^^^^^^^ not an interface's name
  |
  = hint: give the name of one interface, as `ip link` shows it

error: the interface of uplink `d` cannot be `eth 1`: a space has no place in it
 --> u.toml:9:13
  |
9 | interface = "eth 1"
  |             ^^^^^^^ not an interface's name
  |
  = hint: give the name of one interface, as `ip link` shows it

error: the interface of uplink `e` cannot be `"eth1"`: `"` has no place in it
  --> u.toml:11:13
   |
11 | interface = "\"eth1\""
   |             ^^^^^^^^^^ not an interface's name
   |
   = hint: give the name of one interface, as `ip link` shows it

error: the interface of uplink `f` cannot be `lo`
  --> u.toml:13:13
   |
13 | interface = "lo"
   |             ^^^^ leads nowhere
   |
   = hint: give the name of one interface, as `ip link` shows it
"#);
}

#[test]
fn two_uplinks_on_one_interface_point_at_both() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp2]
interface = "eth1"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: interface `eth1` serves two uplinks, `isp1` and `isp2`
 --> u.toml:4:13
  |
2 | interface = "eth1"
  |             ------ first here
3 | [uplink.isp2]
4 | interface = "eth1"
  |             ^^^^^^ uplink `isp2` uses it too
  |
  = hint: give every uplink an interface of its own, such as a VLAN or a macvlan
"#);
}

#[test]
fn an_interface_cannot_be_lan_and_uplink() {
    let text = r#"lan = ["br-lan", "eth1"]
[uplink.isp1]
interface = "eth1"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: interface `eth1` is in `lan` and serves uplink `isp1`
 --> u.toml:3:13
  |
1 | lan = ["br-lan", "eth1"]
  |                  ------ leads to the LAN
2 | [uplink.isp1]
3 | interface = "eth1"
  |             ^^^^^^ leads to the internet
  |
  = hint: take it out of `lan`, or give the uplink another interface
"#);
}

#[test]
fn an_interface_stands_in_lan_once() {
    let text = r#"lan = ["br-lan", "br-lan"]
[uplink.isp1]
interface = "eth1"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: interface `br-lan` is in `lan` twice
 --> u.toml:1:18
  |
1 | lan = ["br-lan", "br-lan"]
  |        --------  ^^^^^^^^ again here
  |        |
  |        first here
  |
  = hint: keep one of them
"#);
}

#[test]
fn weights_out_of_bounds() {
    let text = r#"[uplink.isp1]
interface = "eth1"
weight = 0
[uplink.isp2]
interface = "eth2"
weight = 257
[uplink.isp3]
interface = "eth3"
weight = -1
[uplink.isp4]
interface = "eth4"
weight = 99999999999999999999999999999999999999999
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the weight of uplink `isp1` must be 1 to 256, not 0
 --> u.toml:3:10
  |
3 | weight = 0
  |          ^ not in 1 to 256
  |
  = hint: to take an uplink out of use, remove it or comment it out

error: the weight of uplink `isp2` must be 1 to 256, not 257
 --> u.toml:6:10
  |
6 | weight = 257
  |          ^^^ not in 1 to 256
  |
  = hint: only the ratio counts: 4 and 1 do the same as 400 and 100

error: the weight of uplink `isp3` must be 1 to 256, not -1
 --> u.toml:9:10
  |
9 | weight = -1
  |          ^^ not in 1 to 256
  |
  = hint: to take an uplink out of use, remove it or comment it out

error: the weight of uplink `isp4` must be 1 to 256, not a number of that size
  --> u.toml:12:10
   |
12 | weight = 99999999999999999999999999999999999999999
   |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not in 1 to 256
   |
   = hint: only the ratio counts: 4 and 1 do the same as 400 and 100
"#);
}

#[test]
fn gateways_that_are_no_hosts_address() {
    let text = r#"reserve.mark_uplink_bits = 4
[uplink.isp0]
interface = "eth0"
ipv4.gateway = "fe80::1"
[uplink.isp1]
interface = "eth1"
ipv4.gateway = "0.0.0.0"
[uplink.isp2]
interface = "eth2"
ipv4.gateway = "224.0.0.1"
[uplink.isp3]
interface = "eth3"
ipv4.gateway = "10.0.0.1/24"
[uplink.isp4]
interface = "eth4"
ipv4.gateway = "127.0.0.1"
[uplink.isp5]
interface = "eth5"
ipv4.gateway = "255.255.255.255"
[uplink.isp6]
interface = "eth6"
ipv4.gateway = "atuo"
[uplink.isp7]
interface = "eth7"
ipv4.gateway = "dhcp"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the gateway of uplink `isp0` cannot be `fe80::1`: that is an IPv6 address
 --> u.toml:4:16
  |
4 | ipv4.gateway = "fe80::1"
  |                ^^^^^^^^^ an IPv6 address
  |
  = hint: it belongs in [uplink.isp0.ipv6]; give an IPv4 address here, or write "auto"

error: the gateway of uplink `isp1` cannot be `0.0.0.0`: that is no host's address
 --> u.toml:7:16
  |
7 | ipv4.gateway = "0.0.0.0"
  |                ^^^^^^^^^ no host's address
  |
  = hint: give the address of one host, or write "auto"

error: the gateway of uplink `isp2` cannot be `224.0.0.1`: that is a multicast address
  --> u.toml:10:16
   |
10 | ipv4.gateway = "224.0.0.1"
   |                ^^^^^^^^^^^ a multicast address
   |
   = hint: give the address of one host, or write "auto"

error: the gateway of uplink `isp3` cannot be `10.0.0.1/24`: that is not an IPv4 address
  --> u.toml:13:16
   |
13 | ipv4.gateway = "10.0.0.1/24"
   |                ^^^^^^^^^^^^^ not an IPv4 address
   |
   = hint: write only the address: "10.0.0.1", or write "auto"

error: the gateway of uplink `isp4` cannot be `127.0.0.1`: that is this machine itself
  --> u.toml:16:16
   |
16 | ipv4.gateway = "127.0.0.1"
   |                ^^^^^^^^^^^ this machine itself
   |
   = hint: give the address of a host beyond the uplink's interface, or write "auto"

error: the gateway of uplink `isp5` cannot be `255.255.255.255`: that is a broadcast address
  --> u.toml:19:16
   |
19 | ipv4.gateway = "255.255.255.255"
   |                ^^^^^^^^^^^^^^^^^ a broadcast address
   |
   = hint: give the address of one host, or write "auto"

error: the gateway of uplink `isp6` cannot be `atuo`: that is not an IPv4 address
  --> u.toml:22:16
   |
22 | ipv4.gateway = "atuo"
   |                ^^^^^^ not an IPv4 address
   |
   = hint: did you mean "auto"?

error: the gateway of uplink `isp7` cannot be `dhcp`: that is not an IPv4 address
  --> u.toml:25:16
   |
25 | ipv4.gateway = "dhcp"
   |                ^^^^^^ not an IPv4 address
   |
   = hint: give an address such as "192.0.2.1", or write "auto"
"#);
}

#[test]
fn nats_that_are_neither_word_nor_address() {
    let text = r#"[uplink.isp0]
interface = "eth0"
ipv4.nat = "prefix"
[uplink.isp1]
interface = "eth1"
ipv4.nat = "masquerad"
[uplink.isp2]
interface = "eth2"
ipv4.nat = "2001:db8::1"
[uplink.isp3]
interface = "eth3"
ipv4.nat = "0.0.0.0"
[uplink.isp4]
interface = "eth4"
ipv4.nat = "snat"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the nat of uplink `isp0` cannot be `prefix` for IPv4
 --> u.toml:3:12
  |
3 | ipv4.nat = "prefix"
  |            ^^^^^^^^ for IPv6 only, where providers delegate prefixes
  |
  = hint: write "masquerade", "none" or an IPv4 address

error: the nat of uplink `isp1` cannot be `masquerad`: that is not an IPv4 address
 --> u.toml:6:12
  |
6 | ipv4.nat = "masquerad"
  |            ^^^^^^^^^^^ not an IPv4 address
  |
  = hint: did you mean "masquerade"?

error: the nat of uplink `isp2` cannot be `2001:db8::1`: that is an IPv6 address
 --> u.toml:9:12
  |
9 | ipv4.nat = "2001:db8::1"
  |            ^^^^^^^^^^^^^ an IPv6 address
  |
  = hint: it belongs in [uplink.isp2.ipv6]; give an IPv4 address here, or write "masquerade" or "none"

error: the nat of uplink `isp3` cannot be `0.0.0.0`: that is no host's address
  --> u.toml:12:12
   |
12 | ipv4.nat = "0.0.0.0"
   |            ^^^^^^^^^ no host's address
   |
   = hint: give the address of one host, or write "masquerade" or "none"

error: the nat of uplink `isp4` cannot be `snat`: that is not an IPv4 address
  --> u.toml:15:12
   |
15 | ipv4.nat = "snat"
   |            ^^^^^^ not an IPv4 address
   |
   = hint: give an address such as "192.0.2.1", or write "masquerade" or "none"
"#);
}

#[test]
fn gateways_and_nats_of_ipv6() {
    let text = r#"[uplink.a]
interface = "a0"
ipv6.gateway = "192.0.2.1"
[uplink.b]
interface = "b0"
ipv6.gateway = "fe80::1%eth0"
[uplink.c]
interface = "c0"
ipv6.gateway = "ff02::1"
[uplink.d]
interface = "d0"
ipv6 = { gateway = "router", nat = "fe80::7" }
[uplink.e]
interface = "e0"
ipv6 = { gateway = "2001:db8::1/64", nat = "prefix" }
[uplink.f]
interface = "f0"
ipv6.nat = "::ffff:192.0.2.1"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the gateway of uplink `a` cannot be `192.0.2.1`: that is an IPv4 address
 --> u.toml:3:16
  |
3 | ipv6.gateway = "192.0.2.1"
  |                ^^^^^^^^^^^ an IPv4 address
  |
  = hint: it belongs in [uplink.a.ipv4]; give an IPv6 address here, or write "auto"

error: the gateway of uplink `b` cannot be `fe80::1%eth0`: that is not an IPv6 address
 --> u.toml:6:16
  |
6 | ipv6.gateway = "fe80::1%eth0"
  |                ^^^^^^^^^^^^^^ not an IPv6 address
  |
  = hint: write only the address: "fe80::1", or write "auto"

error: the gateway of uplink `c` cannot be `ff02::1`: that is a multicast address
 --> u.toml:9:16
  |
9 | ipv6.gateway = "ff02::1"
  |                ^^^^^^^^^ a multicast address
  |
  = hint: give the address of one host, or write "auto"

error: the gateway of uplink `d` cannot be `router`: that is not an IPv6 address
  --> u.toml:12:20
   |
12 | ipv6 = { gateway = "router", nat = "fe80::7" }
   |                    ^^^^^^^^ not an IPv6 address
   |
   = hint: give an address such as "2001:db8::1", or write "auto"

error: the nat of uplink `d` cannot be `fe80::7`: that is a link-local address
  --> u.toml:12:36
   |
12 | ipv6 = { gateway = "router", nat = "fe80::7" }
   |                                    ^^^^^^^^^ a link-local address
   |
   = hint: give an address that counts beyond the link, or write "auto" or "prefix" or "masquerade" or "none"

error: the gateway of uplink `e` cannot be `2001:db8::1/64`: that is not an IPv6 address
  --> u.toml:15:20
   |
15 | ipv6 = { gateway = "2001:db8::1/64", nat = "prefix" }
   |                    ^^^^^^^^^^^^^^^^ not an IPv6 address
   |
   = hint: write only the address: "2001:db8::1", or write "auto"

error: the nat of uplink `f` cannot be `::ffff:192.0.2.1`: that is an IPv4 address in the clothes of IPv6
  --> u.toml:18:12
   |
18 | ipv6.nat = "::ffff:192.0.2.1"
   |            ^^^^^^^^^^^^^^^^^^ an IPv4 address in the clothes of IPv6
   |
   = hint: write the IPv4 address itself, or write "auto" or "prefix" or "masquerade" or "none"
"#);
}

#[test]
fn an_uplink_that_is_used_for_no_family() {
    let text = r#"[uplink.a]
interface = "a0"
ipv4.use = false
ipv6.use = false
[uplink.b]
interface = "b0"
ipv6.use = "no"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: uplink `a` is used for neither IPv4 nor IPv6
 --> u.toml:4:12
  |
3 | ipv4.use = false
  |            ----- off here
4 | ipv6.use = false
  |            ^^^^^ the other one is off too
  |
  = hint: remove the uplink, or let it carry one of them

error: `use` in [uplink.b.ipv6] is text, not true or false
 --> u.toml:7:12
  |
7 | ipv6.use = "no"
  |            ^^^^ expected true or false
  |
  = hint: write for example `use = true`
"#);
}
