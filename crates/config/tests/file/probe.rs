//! How uplinks are watched.

use std::time::Duration;

use uplinkd_config::parse;
use uplinkd_model::{Limits, Permille, ProbeSpec, Profile};

use crate::shown;

#[test]
fn targets_that_cannot_be_asked() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
targets = [
  "gatway",
  "icmp:example.org",
  "icmp:fe80::1",
  "::1",
  "::ffff:1.1.1.1",
  "icmp:[2001:db8::1]:443",
  "224.0.0.1",
  "icmp:0.0.0.0",
  "127.0.0.1",
  "1.1.1.1:53",
  "ping:1.1.1.1",
  "",
]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: target `gatway` of uplink `isp1` is of no known kind
 --> u.toml:5:3
  |
5 |   "gatway",
  |   ^^^^^^^^ not a target
  |
  = hint: did you mean "gateway"?

error: target `icmp:fe80::1` of uplink `isp1` cannot be asked: it is a link-local address
 --> u.toml:7:3
  |
7 |   "icmp:fe80::1",
  |   ^^^^^^^^^^^^^^ a link-local address
  |
  = hint: give an address that counts beyond the link

error: target `::1` of uplink `isp1` cannot be asked: it is this machine itself
 --> u.toml:8:3
  |
8 |   "::1",
  |   ^^^^^ this machine itself
  |
  = hint: give the address of a host beyond the uplink's interface

error: target `::ffff:1.1.1.1` of uplink `isp1` cannot be asked: it is an IPv4 address in the clothes of IPv6
 --> u.toml:9:3
  |
9 |   "::ffff:1.1.1.1",
  |   ^^^^^^^^^^^^^^^^ an IPv4 address in the clothes of IPv6
  |
  = hint: write the IPv4 address itself

error: target `icmp:[2001:db8::1]:443` of uplink `isp1` cannot be asked: it is not an address
  --> u.toml:10:3
   |
10 |   "icmp:[2001:db8::1]:443",
   |   ^^^^^^^^^^^^^^^^^^^^^^^^ not an address
   |
   = hint: write only the address: "2001:db8::1"

error: target `224.0.0.1` of uplink `isp1` cannot be asked: it is a multicast address
  --> u.toml:11:3
   |
11 |   "224.0.0.1",
   |   ^^^^^^^^^^^ a multicast address
   |
   = hint: give the address of one host

error: target `icmp:0.0.0.0` of uplink `isp1` cannot be asked: it is no host's address
  --> u.toml:12:3
   |
12 |   "icmp:0.0.0.0",
   |   ^^^^^^^^^^^^^^ no host's address
   |
   = hint: give the address of one host

error: target `127.0.0.1` of uplink `isp1` cannot be asked: it is this machine itself
  --> u.toml:13:3
   |
13 |   "127.0.0.1",
   |   ^^^^^^^^^^^ this machine itself
   |
   = hint: give the address of a host beyond the uplink's interface

error: target `1.1.1.1:53` of uplink `isp1` is of no known kind
  --> u.toml:14:3
   |
14 |   "1.1.1.1:53",
   |   ^^^^^^^^^^^^ not a target
   |
   = hint: write "gateway", "icmp:1.1.1.1", "tcp:1.1.1.1:443", "dns:9.9.9.9/example.org", "https://example.org/" or an address

error: target `ping:1.1.1.1` of uplink `isp1` is of no known kind
  --> u.toml:15:3
   |
15 |   "ping:1.1.1.1",
   |   ^^^^^^^^^^^^^^ not a target
   |
   = hint: write "gateway", "icmp:1.1.1.1", "tcp:1.1.1.1:443", "dns:9.9.9.9/example.org", "https://example.org/" or an address

error: target `` of uplink `isp1` cannot be asked: it is neither an address nor a whole name
  --> u.toml:16:3
   |
16 |   "",
   |   ^^ no host
   |
   = hint: give an address such as "192.0.2.1", or a name such as "example.org"
"#);
}

#[test]
fn a_target_counts_once_however_it_is_written() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
targets = ["1.1.1.1", "gateway", "icmp:1.1.1.1", "gateway"]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: target `icmp:1.1.1.1` of uplink `isp1` is there twice
 --> u.toml:4:34
  |
4 | targets = ["1.1.1.1", "gateway", "icmp:1.1.1.1", "gateway"]
  |            --------- first here  ^^^^^^^^^^^^^^ again here
  |
  = hint: keep one of them: it would be asked twice and count twice

error: target `gateway` of uplink `isp1` is there twice
 --> u.toml:4:50
  |
4 | targets = ["1.1.1.1", "gateway", "icmp:1.1.1.1", "gateway"]
  |                       --------- first here       ^^^^^^^^^ again here
  |
  = hint: keep one of them: it would be asked twice and count twice
"#);
}

#[test]
fn quorums_that_can_never_be_reached() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
targets = ["gateway", "1.1.1.1"]
quorum = 2
[uplink.isp2]
interface = "eth2"
probe.quorum = 3
[uplink.isp3]
interface = "eth3"
probe = { targets = ["gateway"], quorum = 2 }
[uplink.isp4]
interface = "eth4"
probe.quorum = 0
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the quorum of uplink `isp1` is 2, but only 1 target decides
 --> u.toml:5:10
  |
4 | targets = ["gateway", "1.1.1.1"]
  |           ---------------------- the targets
5 | quorum = 2
  |          ^ can never be reached
  |
  = hint: lower the quorum or add targets; the gateway does not decide beside other targets

error: the quorum of uplink `isp2` is 3, but only 2 targets of one family decide
 --> u.toml:8:16
  |
8 | probe.quorum = 3
  |                ^ can never be reached
  |
  = hint: lower the quorum or add targets; the gateway does not decide beside other targets

error: the quorum of uplink `isp3` is 2, but only 1 target decides
  --> u.toml:11:43
   |
11 | probe = { targets = ["gateway"], quorum = 2 }
   |                     -----------           ^ can never be reached
   |                     |
   |                     the targets
   |
   = hint: lower the quorum or add targets

error: the quorum of uplink `isp4` must be 1 to 1000, not 0
  --> u.toml:14:16
   |
14 | probe.quorum = 0
   |                ^ not in 1 to 1000
   |
   = hint: 1 is enough where the targets are reliable ones
"#);
}

#[test]
fn a_quorum_for_all_is_judged_once_and_for_those_who_differ() {
    let text = r#"[probe]
quorum = 3
[uplink.isp1]
interface = "eth1"
[uplink.isp2]
interface = "eth2"
probe.targets = ["9.9.9.9"]
[uplink.isp3]
interface = "eth3"
probe.fall = 2
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the quorum of [probe] is 3, but only 2 targets of one family decide
 --> u.toml:2:10
  |
2 | quorum = 3
  |          ^ can never be reached
  |
  = hint: lower the quorum or add targets; the gateway does not decide beside other targets

error: the quorum of uplink `isp2` is 3, but only 1 target decides
 --> u.toml:2:10
  |
2 | quorum = 3
  |          ^ can never be reached
...
7 | probe.targets = ["9.9.9.9"]
  |                 ----------- the targets
  |
  = hint: lower the quorum or add targets
"#);
}

#[test]
fn times_and_streaks_out_of_bounds() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
interval = "9ms"
timeout = "61s"
fall = 0
rise = 1001
[probe]
interval = "61m"
timeout = "9999us"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the interval of uplink `isp1` must be 10ms to 1h, not `9ms`
 --> u.toml:4:12
  |
4 | interval = "9ms"
  |            ^^^^^ not in 10ms to 1h
  |
  = hint: "1s" is the default; shorter finds failures sooner, longer costs less traffic

error: the timeout of uplink `isp1` must be 10ms to 1m, not `61s`
 --> u.toml:5:11
  |
5 | timeout = "61s"
  |           ^^^^^ not in 10ms to 1m
  |
  = hint: "1s" is the default; slow lines such as satellites may need "2s"

error: the fall of uplink `isp1` must be 1 to 1000, not 0
 --> u.toml:6:8
  |
6 | fall = 0
  |        ^ not in 1 to 1000
  |
  = hint: it counts lost answers in a row; 3 is the default

error: the rise of uplink `isp1` must be 1 to 1000, not 1001
 --> u.toml:7:8
  |
7 | rise = 1001
  |        ^^^^ not in 1 to 1000
  |
  = hint: it counts answers in a row; 5 is the default

error: the interval of [probe] must be 10ms to 1h, not `61m`
 --> u.toml:9:12
  |
9 | interval = "61m"
  |            ^^^^^ not in 10ms to 1h
  |
  = hint: "1s" is the default; shorter finds failures sooner, longer costs less traffic

error: the timeout of [probe] must be 10ms to 1m, not `9999us`
  --> u.toml:10:11
   |
10 | timeout = "9999us"
   |           ^^^^^^^^ not in 10ms to 1m
   |
   = hint: "1s" is the default; slow lines such as satellites may need "2s"
"#);
}

#[test]
fn times_that_are_none() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
interval = "500"
timeout = "soon"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the interval of uplink `isp1` cannot be `500`: that is no length of time
 --> u.toml:4:12
  |
4 | interval = "500"
  |            ^^^^^ not a length of time
  |
  = hint: add a unit: "500ms" or "500s"

error: the timeout of uplink `isp1` cannot be `soon`: that is no length of time
 --> u.toml:5:11
  |
5 | timeout = "soon"
  |           ^^^^^^ not a length of time
  |
  = hint: write a number and a unit, such as "500ms", "2s" or "1m"
"#);
}

#[test]
fn a_target_that_is_the_gateway_itself_is_a_warning() {
    let text = r#"[uplink.isp1]
interface = "eth1"
ipv4.gateway = "10.0.0.1"
probe.targets = ["icmp:10.0.0.1", "1.1.1.1"]
"#;
    insta::assert_snapshot!(shown(text), @r#"
warning: target `icmp:10.0.0.1` of uplink `isp1` is its own gateway, which proves nothing about the internet behind it
 --> u.toml:4:18
  |
4 | probe.targets = ["icmp:10.0.0.1", "1.1.1.1"]
  |                  ^^^^^^^^^^^^^^^ the gateway
  |
  = hint: write "gateway", which explains but does not decide, or a host beyond it
"#);
}

#[test]
fn a_profile_is_a_set_of_numbers_and_what_is_written_goes_over_it() {
    let text = r#"[probe]
interval = "2s"
loss = { degraded = "5%" }
[uplink.isp1]
interface = "eth1"
[uplink.isp2]
interface = "eth2"
on_degraded = "keep"
[uplink.isp2.rate]
down = "100mbit"
[uplink.isp2.probe]
profile = "metered"
burst = "200ms"
rtt = { degraded = "300ms", fail = "800ms" }
hold = "30s"
damping = "off"
tcp_sign = false
"#;
    let parsed = parse("u.toml", text).unwrap();
    let [one, two] = parsed.uplinks() else {
        panic!("two uplinks")
    };
    let probe = |u: &uplinkd_config::ParsedUplink| u.ipv4.clone().unwrap().probe;
    assert_eq!(probe(one).interval, Duration::from_secs(2));
    assert!(probe(one).tcp_sign);
    assert_eq!(probe(one).loss.degraded, Some(Permille(50)));
    assert_eq!((one.yields, two.yields), (true, false));
    assert_eq!(two.rates.down, Some(12_500_000));
    // The profile of an uplink goes over the numbers of all.
    let metered = Profile::Metered.spec();
    let expected = ProbeSpec {
        targets: probe(one).targets,
        burst: Duration::from_millis(200),
        rtt: Limits {
            degraded: Some(Duration::from_millis(300)),
            fail: Some(Duration::from_millis(800)),
        },
        hold: Duration::from_secs(30),
        damping: None,
        tcp_sign: false,
        ..metered
    };
    assert_eq!(probe(two), expected);
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let text = r#"[probe]
profile = "quick"
loss = { degraded = "40%", fail = "10%" }
rtt = { degraded = "2s" }
damping = "never"
[uplink.isp1]
interface = "eth1"
on_degraded = "avoid"
rate = { down = "100" }
probe = { loss = { degraded = "a lot" } }
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the profile of [probe] cannot be `quick`
 --> u.toml:2:11
  |
2 | profile = "quick"
  |           ^^^^^^^ no such word
  |
  = hint: write "fast" or "balanced" or "metered"

error: the loss of [probe] fails it before it degrades it
 --> u.toml:3:35
  |
3 | loss = { degraded = "40%", fail = "10%" }
  |                                   ^^^^^ `fail` is below `degraded`
  |
  = hint: exchange the two, or set `degraded = "off"`

error: the round-trip time that degrades of [probe] can never be seen
 --> u.toml:4:20
  |
4 | rtt = { degraded = "2s" }
  |                    ^^^^ as long as an answer may take, or longer
  |
  = hint: choose a shorter time, or a longer `timeout`

error: the damping of [probe] cannot be `never`: that is no length of time
 --> u.toml:5:11
  |
5 | damping = "never"
  |           ^^^^^^^ not a length of time
  |
  = hint: write a number and a unit, such as "500ms", "2s" or "1m"

error: `on_degraded` of uplink `isp1` cannot be `avoid`
 --> u.toml:8:15
  |
8 | on_degraded = "avoid"
  |               ^^^^^^^ no such word
  |
  = hint: write "yield" or "keep"

error: the down rate of uplink `isp1` cannot be `100`
 --> u.toml:9:17
  |
9 | rate = { down = "100" }
  |                 ^^^^^ not a rate
  |
  = hint: write bits a second: "512kbit", "100mbit", "1gbit"

error: the loss that degrades of uplink `isp1` cannot be `a lot`
  --> u.toml:10:31
   |
10 | probe = { loss = { degraded = "a lot" } }
   |                               ^^^^^^^ not a part in percent
   |
   = hint: write "0.1%" to "100%", or "off" for no limit
"#);
}
