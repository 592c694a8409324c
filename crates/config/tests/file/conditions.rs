//! Values of conditions that are refused, one kind after the other.

use std::collections::BTreeMap;

use uplinkd_config::Sources;

use crate::{shown, shown_with, with_two};

/// One policy with the conditions of a test.
fn policy(conditions: &str) -> String {
    with_two(&format!(
        "[[policy]]\nname = \"p\"\nuse = \"isp1\"\n[policy.match]\n{conditions}"
    ))
}

#[test]
fn addresses() {
    let text = policy(
        r#"source = [
  "10.0.0.0/33",
  "10.0.0.0/255.255.255.0",
  "2001:db8::/129",
  "10.0.0.9-10.0.0.1",
  "10.0.0.1-2001:db8::1",
  "10.0.0.1-9",
  "example.org",
  "10.0.0",
  "/8",
  "fe80::1%eth0",
  "",
]
destination = ["10.1.2.3/8", "10.0.0.1 - 10.0.0.1", "::/0"]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `source` of policy `p` cannot be `10.0.0.0/33`: the length of an IPv4 prefix is 0 to 32
 --> u.toml:8:3
  |
8 |   "10.0.0.0/33",
  |   ^^^^^^^^^^^^^ not taken
  |
  = hint: write a length from 0 to 32

error: `source` of policy `p` cannot be `10.0.0.0/255.255.255.0`: the length of an IPv4 prefix is 0 to 32
 --> u.toml:9:3
  |
9 |   "10.0.0.0/255.255.255.0",
  |   ^^^^^^^^^^^^^^^^^^^^^^^^ not taken
  |
  = hint: write the mask as a length: "10.0.0.0/24"

error: `source` of policy `p` cannot be `2001:db8::/129`: the length of an IPv6 prefix is 0 to 128
  --> u.toml:10:3
   |
10 |   "2001:db8::/129",
   |   ^^^^^^^^^^^^^^^^ not taken
   |
   = hint: write a length from 0 to 128

error: `source` of policy `p` cannot be `10.0.0.9-10.0.0.1`: the range ends before it begins
  --> u.toml:11:3
   |
11 |   "10.0.0.9-10.0.0.1",
   |   ^^^^^^^^^^^^^^^^^^^ not taken
   |
   = hint: write "10.0.0.1-10.0.0.9"

error: `source` of policy `p` cannot be `10.0.0.1-2001:db8::1`: the range begins in one family and ends in the other
  --> u.toml:12:3
   |
12 |   "10.0.0.1-2001:db8::1",
   |   ^^^^^^^^^^^^^^^^^^^^^^ not taken
   |
   = hint: write one range for each family

error: `source` of policy `p` cannot be `10.0.0.1-9`: the range does not end with an address
  --> u.toml:13:3
   |
13 |   "10.0.0.1-9",
   |   ^^^^^^^^^^^^ not taken
   |
   = hint: write both ends in full: "10.0.0.1-10.0.0.9"

error: `source` of policy `p` cannot be `example.org`: that is no address, prefix or range
  --> u.toml:14:3
   |
14 |   "example.org",
   |   ^^^^^^^^^^^^^ not taken
   |
   = hint: names of hosts go to `domain`; here write an address such as "192.0.2.1"

error: `source` of policy `p` cannot be `10.0.0`: that is no address, prefix or range
  --> u.toml:15:3
   |
15 |   "10.0.0",
   |   ^^^^^^^^ not taken
   |
   = hint: write an address, a prefix such as "10.0.0.0/8" or a range such as "10.0.0.1-10.0.0.9"

error: `source` of policy `p` cannot be `/8`: there is no address in front of the `/`
  --> u.toml:16:3
   |
16 |   "/8",
   |   ^^^^ not taken
   |
   = hint: write a prefix such as "10.0.0.0/8" or "2001:db8::/32"

error: `source` of policy `p` cannot be `fe80::1%eth0`: that is no address, prefix or range
  --> u.toml:17:3
   |
17 |   "fe80::1%eth0",
   |   ^^^^^^^^^^^^^^ not taken
   |
   = hint: write an address, a prefix such as "10.0.0.0/8" or a range such as "10.0.0.1-10.0.0.9"

error: `source` of policy `p` cannot be ``: that is no address, prefix or range
  --> u.toml:18:3
   |
18 |   "",
   |   ^^ not taken
   |
   = hint: write an address, a prefix such as "10.0.0.0/8" or a range such as "10.0.0.1-10.0.0.9"
"#);
}

#[test]
fn protocols_and_ports() {
    let text = policy(
        r#"protocol = ["tpc", 256, -1, "TCP", "6"]
sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
dport = ["443", "5060:5061", "1-65535"]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `protocol` of policy `p` cannot be `tpc`: no protocol is known by that name
 --> u.toml:7:13
  |
7 | protocol = ["tpc", 256, -1, "TCP", "6"]
  |             ^^^^^ not taken
  |
  = hint: did you mean "tcp"?

error: `protocol` of policy `p` cannot be 256: a protocol's number is 0 to 255
 --> u.toml:7:20
  |
7 | protocol = ["tpc", 256, -1, "TCP", "6"]
  |                    ^^^ not taken
  |
  = hint: write a name such as "tcp"

error: `protocol` of policy `p` cannot be -1: a protocol's number is 0 to 255
 --> u.toml:7:25
  |
7 | protocol = ["tpc", 256, -1, "TCP", "6"]
  |                         ^^ not taken
  |
  = hint: write a name such as "tcp"

error: `sport` of policy `p` cannot be 0: ports are 1 to 65535
 --> u.toml:8:10
  |
8 | sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
  |          ^ not taken
  |
  = hint: write a number such as 443 or a range such as "5060-5061"

error: `sport` of policy `p` cannot be 65536: ports are 1 to 65535
 --> u.toml:8:13
  |
8 | sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
  |             ^^^^^ not taken
  |
  = hint: write a number such as 443 or a range such as "5060-5061"

error: `sport` of policy `p` cannot be `0-5`: ports are 1 to 65535
 --> u.toml:8:20
  |
8 | sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
  |                    ^^^^^ not taken
  |
  = hint: write a number such as 443 or a range such as "5060-5061"

error: `sport` of policy `p` cannot be `9-3`: the range ends before it begins
 --> u.toml:8:27
  |
8 | sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
  |                           ^^^^^ not taken
  |
  = hint: write "3-9"

error: `sport` of policy `p` cannot be `http`: that is no port
 --> u.toml:8:34
  |
8 | sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
  |                                  ^^^^^^ not taken
  |
  = hint: write a number such as 443 or a range such as "5060-5061"

error: `sport` of policy `p` cannot be `1-2-3`: that is no port
 --> u.toml:8:42
  |
8 | sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
  |                                          ^^^^^^^ not taken
  |
  = hint: write a number such as 443 or a range such as "5060-5061"

error: `sport` of policy `p` cannot be `80,443`: that is no port
 --> u.toml:8:51
  |
8 | sport = [0, 65536, "0-5", "9-3", "http", "1-2-3", "80,443"]
  |                                                   ^^^^^^^^ not taken
  |
  = hint: write a number such as 443 or a range such as "5060-5061"
"#);
}

#[test]
fn interfaces_and_devices() {
    let text = format!(
        "lan = [\"br-lan\", \"br-guest\"]\n{}",
        policy(
            r#"interface = ["br-lan", "br-gest", "wg0", "eth1", "a b"]
mac = ["52:54:00:12:34", "52:54:00:12:34:56", "router"]
"#
        )
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `interface` of policy `p` cannot be `br-gest`: traffic from `br-gest` is not shared out
 --> u.toml:8:24
  |
8 | interface = ["br-lan", "br-gest", "wg0", "eth1", "a b"]
  |                        ^^^^^^^^^ not in `lan`
  |
  = hint: did you mean "br-guest"? Or add it to `lan` at the top of the file: "br-gest"

error: `interface` of policy `p` cannot be `wg0`: traffic from `wg0` is not shared out
 --> u.toml:8:35
  |
8 | interface = ["br-lan", "br-gest", "wg0", "eth1", "a b"]
  |                                   ^^^^^ not in `lan`
  |
  = hint: add it to `lan` at the top of the file: "wg0"

error: `interface` of policy `p` cannot be `eth1`: that is the interface of uplink `isp1`
 --> u.toml:8:42
  |
8 | interface = ["br-lan", "br-gest", "wg0", "eth1", "a b"]
  |                                          ^^^^^^ leads to the internet
  |
  = hint: connections that come in by an uplink are answered by it; name an interface of the LAN

error: an interface in `interface` of policy `p` cannot be `a b`: a space has no place in it
 --> u.toml:8:50
  |
8 | interface = ["br-lan", "br-gest", "wg0", "eth1", "a b"]
  |                                                  ^^^^^ not an interface's name
  |
  = hint: give the name of one interface, as `ip link` shows it

error: `mac` of policy `p` cannot be `52:54:00:12:34`: that is no Ethernet address
 --> u.toml:9:8
  |
9 | mac = ["52:54:00:12:34", "52:54:00:12:34:56", "router"]
  |        ^^^^^^^^^^^^^^^^ not taken
  |
  = hint: write six bytes in hexadecimal: "52:54:00:12:34:56"

error: `mac` of policy `p` cannot be `router`: that is no Ethernet address
 --> u.toml:9:47
  |
9 | mac = ["52:54:00:12:34", "52:54:00:12:34:56", "router"]
  |                                               ^^^^^^^^ not taken
  |
  = hint: write six bytes in hexadecimal: "52:54:00:12:34:56"
"#);
}

#[test]
fn code_points_and_icmp_types() {
    let text = policy(
        r#"dscp = ["ef", "CS5", "af44", 64, "46"]
icmp = ["echo-requset", "ping", 256, 8]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `dscp` of policy `p` cannot be `af44`: no code point has that name
 --> u.toml:7:22
  |
7 | dscp = ["ef", "CS5", "af44", 64, "46"]
  |                      ^^^^^^ not taken
  |
  = hint: write a number, or a name such as "ef", "cs5" or "af41"

error: `dscp` of policy `p` cannot be 64: code points are 0 to 63
 --> u.toml:7:30
  |
7 | dscp = ["ef", "CS5", "af44", 64, "46"]
  |                              ^^ not taken
  |
  = hint: write a number, or a name such as "ef", "cs5" or "af41"

error: `icmp` of policy `p` cannot be `echo-requset`: no ICMP type is known by that name
 --> u.toml:8:9
  |
8 | icmp = ["echo-requset", "ping", 256, 8]
  |         ^^^^^^^^^^^^^^ not taken
  |
  = hint: did you mean "echo-request"?

error: `icmp` of policy `p` cannot be `ping`: no ICMP type is known by that name
 --> u.toml:8:25
  |
8 | icmp = ["echo-requset", "ping", 256, 8]
  |                         ^^^^^^ not taken
  |
  = hint: write its number, or one of echo-request, echo-reply, destination-unreachable, packet-too-big, time-exceeded, parameter-problem, redirect, router-solicitation, router-advertisement, timestamp-request, timestamp-reply, neighbor-solicitation, neighbor-advertisement

error: `icmp` of policy `p` cannot be 256: ICMP types are 0 to 255
 --> u.toml:8:33
  |
8 | icmp = ["echo-requset", "ping", 256, 8]
  |                                 ^^^ not taken
  |
  = hint: write a name such as "echo-request"
"#);
}

#[test]
fn marks() {
    let text = policy(
        r#"mark = ["0x10", 16, "0x10/0xff", "0x01000000", "0x1/0xffffffff", "0x100/0xff", "x", "1/2/3", 4294967296]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `mark` of policy `p` cannot be `0x01000000`: bits 0xff000000 of the mark are ours
 --> u.toml:7:34
  |
7 | mark = ["0x10", 16, "0x10/0xff", "0x01000000", "0x1/0xffffffff", "0x100/0xff", "x", "1/2/3", 4294967296]
  |                                  ^^^^^^^^^^^^ not taken
  |
  = hint: name only bits that other software sets; `reserve.mark_mask` moves ours

error: `mark` of policy `p` cannot be `0x1/0xffffffff`: bits 0xff000000 of the mark are ours
 --> u.toml:7:48
  |
7 | mark = ["0x10", 16, "0x10/0xff", "0x01000000", "0x1/0xffffffff", "0x100/0xff", "x", "1/2/3", 4294967296]
  |                                                ^^^^^^^^^^^^^^^^ not taken
  |
  = hint: name only bits that other software sets; `reserve.mark_mask` moves ours

error: `mark` of policy `p` cannot be `0x100/0xff`: it has bits outside its mask, so that no packet has it
 --> u.toml:7:66
  |
7 | mark = ["0x10", 16, "0x10/0xff", "0x01000000", "0x1/0xffffffff", "0x100/0xff", "x", "1/2/3", 4294967296]
  |                                                                  ^^^^^^^^^^^^ not taken
  |
  = hint: write "0x0/0xff", or widen the mask

error: `mark` of policy `p` cannot be `x`: that is no mark
 --> u.toml:7:80
  |
7 | mark = ["0x10", 16, "0x10/0xff", "0x01000000", "0x1/0xffffffff", "0x100/0xff", "x", "1/2/3", 4294967296]
  |                                                                                ^^^ not taken
  |
  = hint: write "0x10" or "0x10/0xff"

error: `mark` of policy `p` cannot be `1/2/3`: that is no mark
 --> u.toml:7:85
  |
7 | mark = ["0x10", 16, "0x10/0xff", "0x01000000", "0x1/0xffffffff", "0x100/0xff", "x", "1/2/3", 4294967296]
  |                                                                                     ^^^^^^^ not taken
  |
  = hint: write "0x10" or "0x10/0xff"

error: `mark` of policy `p` cannot be 4294967296: marks have 32 bits
 --> u.toml:7:94
  |
7 | mark = ["0x10", 16, "0x10/0xff", "0x01000000", "0x1/0xffffffff", "0x100/0xff", "x", "1/2/3", 4294967296]
  |                                                                                              ^^^^^^^^^^ not taken
  |
  = hint: write "0x10" or "0x10/0xff"
"#);
}

#[test]
fn accounts() {
    let text = policy("user = [\"bakcup\", \"root\", \"34\", 4294967295, -1]\ngroup = \"wheel\"\n");
    let sources = Sources {
        users: BTreeMap::from([("root".to_owned(), 0), ("backup".to_owned(), 34)]),
        ..Sources::default()
    };
    insta::assert_snapshot!(shown_with(&text, &sources), @r#"
error: `user` of policy `p` cannot be `bakcup`: this machine has no user of that name
 --> conf/u.toml:7:9
  |
7 | user = ["bakcup", "root", "34", 4294967295, -1]
  |         ^^^^^^^^ not taken
  |
  = hint: did you mean "backup"?

error: `user` of policy `p` cannot be 4294967295: numbers of users are 0 to 4294967294
 --> conf/u.toml:7:33
  |
7 | user = ["bakcup", "root", "34", 4294967295, -1]
  |                                 ^^^^^^^^^^ not taken
  |
  = hint: `id` shows the numbers of a user

error: `user` of policy `p` cannot be -1: numbers of users are 0 to 4294967294
 --> conf/u.toml:7:45
  |
7 | user = ["bakcup", "root", "34", 4294967295, -1]
  |                                             ^^ not taken
  |
  = hint: `id` shows the numbers of a user

error: `group` of policy `p` cannot be `wheel`: this machine has no group of that name
 --> conf/u.toml:8:9
  |
8 | group = "wheel"
  |         ^^^^^^^ not taken
  |
  = hint: write its number where the group is made later
"#);
}

#[test]
fn control_groups_and_units() {
    let text = policy(
        r#"cgroup = ["/", "a/../b", "a//b", "a b", "/system.slice/"]
unit = ["backup", "a/b.service", "-.slice", "backup.timer", "backup.service"]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `cgroup` of policy `p` cannot be `/`: the root holds everything
 --> u.toml:7:11
  |
7 | cgroup = ["/", "a/../b", "a//b", "a b", "/system.slice/"]
  |           ^^^ not taken
  |
  = hint: write its path below the root of the hierarchy: "system.slice/backup.service"

error: `cgroup` of policy `p` cannot be `a/../b`: that is no path of a control group
 --> u.toml:7:16
  |
7 | cgroup = ["/", "a/../b", "a//b", "a b", "/system.slice/"]
  |                ^^^^^^^^ not taken
  |
  = hint: write its path below the root of the hierarchy: "system.slice/backup.service"

error: `cgroup` of policy `p` cannot be `a//b`: that is no path of a control group
 --> u.toml:7:26
  |
7 | cgroup = ["/", "a/../b", "a//b", "a b", "/system.slice/"]
  |                          ^^^^^^ not taken
  |
  = hint: write its path below the root of the hierarchy: "system.slice/backup.service"

error: `cgroup` of policy `p` cannot be `a b`: that is no path of a control group
 --> u.toml:7:34
  |
7 | cgroup = ["/", "a/../b", "a//b", "a b", "/system.slice/"]
  |                                  ^^^^^ not taken
  |
  = hint: write its path below the root of the hierarchy: "system.slice/backup.service"

error: `unit` of policy `p` cannot be `backup`: that is no unit's full name
 --> u.toml:8:9
  |
8 | unit = ["backup", "a/b.service", "-.slice", "backup.timer", "backup.service"]
  |         ^^^^^^^^ not taken
  |
  = hint: write "backup.service"

error: `unit` of policy `p` cannot be `a/b.service`: that is no unit's name
 --> u.toml:8:19
  |
8 | unit = ["backup", "a/b.service", "-.slice", "backup.timer", "backup.service"]
  |                   ^^^^^^^^^^^^^ not taken
  |
  = hint: write the unit as `systemctl` shows it, such as "backup.service"

error: `unit` of policy `p` cannot be `-.slice`: that slice holds everything or cannot be
 --> u.toml:8:34
  |
8 | unit = ["backup", "a/b.service", "-.slice", "backup.timer", "backup.service"]
  |                                  ^^^^^^^^^ not taken
  |
  = hint: write a slice such as "user.slice" or "user-1000.slice"

error: `unit` of policy `p` cannot be `backup.timer`: that is no unit's full name
 --> u.toml:8:45
  |
8 | unit = ["backup", "a/b.service", "-.slice", "backup.timer", "backup.service"]
  |                                             ^^^^^^^^^^^^^^ not taken
  |
  = hint: write the unit as `systemctl` shows it, or its path as `cgroup`
"#);
}

#[test]
fn schedules() {
    let text = policy(
        r#"schedule = [
  "8-18",
  "08:00",
  "25:00-26:00",
  "08:00-08:00",
  "monday 08:00-18:00",
  "tu",
  "mon-fri 08:00-12:00 13:00-17:00",
  "",
  "mon-fri 08:00-18:00",
]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `schedule` of policy `p` cannot be `8-18`: `8` is no time of day
 --> u.toml:8:3
  |
8 |   "8-18",
  |   ^^^^^^ not taken
  |
  = hint: write hours and minutes of 24 hours, such as "08:00-18:30"

error: `schedule` of policy `p` cannot be `08:00`: the hours have no end
 --> u.toml:9:3
  |
9 |   "08:00",
  |   ^^^^^^^ not taken
  |
  = hint: write "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"

error: `schedule` of policy `p` cannot be `25:00-26:00`: `25:00` is no time of day
  --> u.toml:10:3
   |
10 |   "25:00-26:00",
   |   ^^^^^^^^^^^^^ not taken
   |
   = hint: write hours and minutes of 24 hours, such as "08:00-18:30"

error: `schedule` of policy `p` cannot be `08:00-08:00`: the hours end where they begin
  --> u.toml:11:3
   |
11 |   "08:00-08:00",
   |   ^^^^^^^^^^^^^ not taken
   |
   = hint: for whole days write the days alone, such as "mon-fri", or "00:00-24:00"

error: `schedule` of policy `p` cannot be `monday 08:00-18:00`: `monday` is no day
  --> u.toml:12:3
   |
12 |   "monday 08:00-18:00",
   |   ^^^^^^^^^^^^^^^^^^^^ not taken
   |
   = hint: write "mon"

error: `schedule` of policy `p` cannot be `tu`: `tu` is no day
  --> u.toml:13:3
   |
13 |   "tu",
   |   ^^^^ not taken
   |
   = hint: did you mean "thu"?

error: `schedule` of policy `p` cannot be `mon-fri 08:00-12:00 13:00-17:00`: that is more than days and hours
  --> u.toml:14:3
   |
14 |   "mon-fri 08:00-12:00 13:00-17:00",
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not taken
   |
   = hint: write "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"; several times are a list

error: `schedule` of policy `p` cannot be ``: it says no time
  --> u.toml:15:3
   |
15 |   "",
   |   ^^ not taken
   |
   = hint: write "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"
"#);
}

#[test]
fn domains() {
    let text = policy(
        r#"domain = ["zoom.us", "bücher.example", "a.*.b", "https://zoom.us", "192.0.2.1", "-a.b", ""]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `domain` of policy `p` cannot be `bücher.example`: it has letters beyond ASCII
 --> u.toml:7:22
  |
7 | domain = ["zoom.us", "bücher.example", "a.*.b", "https://zoom.us", "192.0.2.1", "-a.b", ""]
  |                      ^^^^^^^^^^^^^^^^ not taken
  |
  = hint: write it as resolvers ask for it, in punycode: "xn--…", as `idn2 NAME` shows

error: `domain` of policy `p` cannot be `a.*.b`: resolvers have no such pattern
 --> u.toml:7:40
  |
7 | domain = ["zoom.us", "bücher.example", "a.*.b", "https://zoom.us", "192.0.2.1", "-a.b", ""]
  |                                        ^^^^^^^ not taken
  |
  = hint: `*` stands only at the beginning: "*.netflix.com"

error: `domain` of policy `p` cannot be `https://zoom.us`: that is no domain name
 --> u.toml:7:49
  |
7 | domain = ["zoom.us", "bücher.example", "a.*.b", "https://zoom.us", "192.0.2.1", "-a.b", ""]
  |                                                 ^^^^^^^^^^^^^^^^^ not taken
  |
  = hint: write a name such as "zoom.us"; the names below it count too

error: `domain` of policy `p` cannot be `192.0.2.1`: that is an address
 --> u.toml:7:68
  |
7 | domain = ["zoom.us", "bücher.example", "a.*.b", "https://zoom.us", "192.0.2.1", "-a.b", ""]
  |                                                                    ^^^^^^^^^^^ not taken
  |
  = hint: addresses go to `destination`

error: `domain` of policy `p` cannot be `-a.b`: that is no domain name
 --> u.toml:7:81
  |
7 | domain = ["zoom.us", "bücher.example", "a.*.b", "https://zoom.us", "192.0.2.1", "-a.b", ""]
  |                                                                                 ^^^^^^ not taken
  |
  = hint: write a name such as "zoom.us"; the names below it count too

error: `domain` of policy `p` cannot be ``: that is no domain name
 --> u.toml:7:89
  |
7 | domain = ["zoom.us", "bücher.example", "a.*.b", "https://zoom.us", "192.0.2.1", "-a.b", ""]
  |                                                                                         ^^ not taken
  |
  = hint: write a name such as "zoom.us"; the names below it count too
"#);
    let nameless = with_two("[[policy]]\nuse = \"isp1\"\nmatch.domain = \"zoom.us\"\n");
    insta::assert_snapshot!(shown(&nameless), @r#"
error: policy `policy-1` has `domain` and no name
 --> u.toml:5:16
  |
5 | match.domain = "zoom.us"
  |                ^^^^^^^^^ fills sets that are named after the policy
  |
  = hint: add `name = "…"`: the resolver's own file has to name the same sets
"#);
}

#[test]
fn families() {
    insta::assert_snapshot!(shown(&policy("family = [\"ipv5\", \"inet\"]\n")), @r#"
error: `family` of policy `p` cannot be `ipv5`: that is no family
 --> u.toml:7:11
  |
7 | family = ["ipv5", "inet"]
  |           ^^^^^^ not taken
  |
  = hint: did you mean "ipv4"?

error: `family` of policy `p` cannot be `inet`: that is no family
 --> u.toml:7:19
  |
7 | family = ["ipv5", "inet"]
  |                   ^^^^^^ not taken
  |
  = hint: write "ipv4" or "ipv6"
"#);
}

#[test]
fn values_of_a_wrong_type() {
    let text = policy(
        r#"source = 10
destination = [{ fiel = "nets.txt" }, { file = 3 }, {}, 1.5]
dport = true
schedule = [8]
protocol = []
mac = { file = "macs.txt" }
not = { dport = [] }
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `source` in the match of policy `p` is a number, not text in quotes or `{ file = "nets.txt" }`
 --> u.toml:7:10
  |
7 | source = 10
  |          ^^ expected text in quotes or `{ file = "nets.txt" }`
  |
  = hint: write for example `source = ["192.168.1.20", "10.0.0.0/8", { file = "nets.txt" }]`

error: a table of addresses in the match of policy `p` names no file
 --> u.toml:8:16
  |
8 | destination = [{ fiel = "nets.txt" }, { file = 3 }, {}, 1.5]
  |                ^^^^^^^^^^^^^^^^^^^^^ `file` is missing
  |
  = hint: write `{ file = "nets.txt" }`

error: unknown key `fiel` in the match of policy `p`
 --> u.toml:8:18
  |
8 | destination = [{ fiel = "nets.txt" }, { file = 3 }, {}, 1.5]
  |                  ^^^^ no such key
  |
  = hint: did you mean `file`?

error: `file` in the match of policy `p` is a number, not text in quotes
 --> u.toml:8:48
  |
8 | destination = [{ fiel = "nets.txt" }, { file = 3 }, {}, 1.5]
  |                                                ^ expected text in quotes
  |
  = hint: write for example `file = "nets.txt"`

error: a table of addresses in the match of policy `p` names no file
 --> u.toml:8:53
  |
8 | destination = [{ fiel = "nets.txt" }, { file = 3 }, {}, 1.5]
  |                                                     ^^ `file` is missing
  |
  = hint: write `{ file = "nets.txt" }`

error: an entry of `destination` in the match of policy `p` is a number with a fraction, not text in quotes or `{ file = "nets.txt" }`
 --> u.toml:8:57
  |
8 | destination = [{ fiel = "nets.txt" }, { file = 3 }, {}, 1.5]
  |                                                         ^^^ expected text in quotes or `{ file = "nets.txt" }`
  |
  = hint: write for example `destination = ["203.0.113.0/24", "2001:db8::1-2001:db8::9"]`

error: `dport` in the match of policy `p` is true or false, not text in quotes or a number
 --> u.toml:9:9
  |
9 | dport = true
  |         ^^^^ expected text in quotes or a number
  |
  = hint: write for example `dport = [443, "5060-5061"]`

error: an entry of `schedule` in the match of policy `p` is a number, not text in quotes
  --> u.toml:10:13
   |
10 | schedule = [8]
   |             ^ expected text in quotes
   |
   = hint: write for example `schedule = "mon-fri 08:00-18:00"`

error: `protocol` in the match of policy `p` is an empty list
  --> u.toml:11:12
   |
11 | protocol = []
   |            ^^ nothing is in it
   |
   = hint: remove `protocol`, or give it values: `protocol = "udp"`

error: `mac` in the match of policy `p` is a table, not text in quotes
  --> u.toml:12:7
   |
12 | mac = { file = "macs.txt" }
   |       ^^^^^^^^^^^^^^^^^^^^^ expected text in quotes
   |
   = hint: write for example `mac = "52:54:00:12:34:56"`

error: `dport` in the match of policy `p` is an empty list
  --> u.toml:13:17
   |
13 | not = { dport = [] }
   |                 ^^ nothing is in it
   |
   = hint: remove `dport`, or give it values: `dport = [443, "5060-5061"]`
"#);
}
