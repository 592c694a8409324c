//! Probe targets of all kinds.

use std::time::Duration;

use uplinkd_config::parse;
use uplinkd_model::{Family, ProbeSpec, Target, target::Ask};

use crate::shown;

/// The targets of a list, by family, as they are shown.
fn targets(list: &str) -> [Vec<String>; 2] {
    specs(list).map(|spec| spec.targets.iter().map(ToString::to_string).collect())
}

fn specs(list: &str) -> [ProbeSpec; 2] {
    let text = format!("[uplink.isp1]\ninterface = \"eth1\"\nprobe.targets = [{list}]\n");
    let parsed = parse("u.toml", &text).unwrap_or_else(|e| panic!("{e:?}"));
    let config = parsed.to_config(&Default::default(), &Default::default());
    [Family::V4, Family::V6].map(|family| {
        let access = config.uplinks[0].access(family);
        access.unwrap().probe.clone()
    })
}

/// One target that both families ask.
fn one(target: &str) -> Target {
    let [v4, v6] = specs(target);
    assert_eq!(v4.targets, v6.targets, "{target}");
    v4.targets[0].clone()
}

#[test]
fn a_target_is_shown_as_it_is_written() {
    for word in [
        "neighbour",
        "icmp:a.example",
        "tcp:a.example:443",
        "dns",
        "dns+tcp",
        "dns/a.example",
        "dns:a.example/b.example",
        "dns+tcp:a.example:5353/b.example",
        "http://a.example/x?y=1&z",
        "https://a.example:8443/",
    ] {
        assert_eq!(one(&format!("\"{word}\"")).to_string(), word);
    }
}

#[test]
fn names_are_asked_in_both_families_and_addresses_in_their_own() {
    let list = r#""tcp:192.0.2.1:80", "tcp:[2001:db8::1]:80", "dns:2001:db8::53", "TCP.Example.""#;
    assert_eq!(
        targets(list),
        [
            vec!["tcp:192.0.2.1:80", "icmp:tcp.example"],
            vec![
                "tcp:[2001:db8::1]:80",
                "dns:2001:db8::53",
                "icmp:tcp.example"
            ],
        ]
    );
    let list = r#"{ target = "tcp:a.example:80", family = "ipv6" }, "192.0.2.1""#;
    assert_eq!(
        targets(list),
        [vec!["icmp:192.0.2.1"], vec!["tcp:a.example:80"]]
    );
}

#[test]
fn what_takes_more_than_a_packet_is_asked_seldom_and_waited_for_longer() {
    let [free, tcp] = [r#""icmp:a.example""#, r#""tcp:a.example:80""#].map(one);
    assert!(!free.pace().is_alone && tcp.pace().is_alone);
    assert!(tcp.pace().burst < tcp.pace().rest);
    assert_eq!(tcp.limit(Duration::from_secs(1)), Duration::from_secs(2));
}

#[test]
fn tables_that_say_nothing_and_too_much() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
targets = [
  {},
  { target = "tcp:a.example:80", command = ["/bin/true"] },
  { target = "gateway", family = "ipv4" },
  { target = "tcp:192.0.2.1:80", family = "ipv6" },
  { target = "tcp:a.example:80", status = 204, body = "x" },
  { target = "dns:a.example", answer = "192.0.2.1" },
  { target = "dns/a.example", answer = ["192.0.2.1", "b.example", 7] },
  { target = "dns/a.example", anwser = "192.0.2.1" },
]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: a target of uplink `isp1` does not say who is asked
 --> u.toml:5:3
  |
5 |   {},
  |   ^^ `target` is missing
  |
  = hint: write `{ target = "https://example.org/", status = 204 }`, or `{ command = ["/path"] }`

error: target `tcp:a.example:80` of uplink `isp1` is a command as well
 --> u.toml:6:44
  |
6 |   { target = "tcp:a.example:80", command = ["/bin/true"] },
  |                                            ^^^^^^^^^^^^^ beside `target`
  |
  = hint: make two targets of them

error: `family` says nothing about target `gateway` of uplink `isp1`
 --> u.toml:7:34
  |
7 |   { target = "gateway", family = "ipv4" },
  |                                  ^^^^^^ not of this kind of target
  |
  = hint: `family` belongs to targets that are asked beyond the gateway

error: target `tcp:192.0.2.1:80` of uplink `isp1` has no IPv6 address
 --> u.toml:8:43
  |
8 |   { target = "tcp:192.0.2.1:80", family = "ipv6" },
  |                                           ^^^^^^ the other family
  |
  = hint: leave `family` out: an address says itself which one it is of

error: `status` says nothing about target `tcp:a.example:80` of uplink `isp1`
 --> u.toml:9:43
  |
9 |   { target = "tcp:a.example:80", status = 204, body = "x" },
  |                                           ^^^ not of this kind of target
  |
  = hint: `status` belongs to "http://…" and "https://…"

error: `body` says nothing about target `tcp:a.example:80` of uplink `isp1`
 --> u.toml:9:55
  |
9 |   { target = "tcp:a.example:80", status = 204, body = "x" },
  |                                                       ^^^ not of this kind of target
  |
  = hint: `body` belongs to "http://…" and "https://…"

error: `answer` says nothing about target `dns:a.example` of uplink `isp1`
  --> u.toml:10:40
   |
10 |   { target = "dns:a.example", answer = "192.0.2.1" },
   |                                        ^^^^^^^^^^^ not of this kind of target
   |
   = hint: `answer` belongs to "dns:SERVER/NAME"

error: the answer `b.example` that uplink `isp1` waits for is no address
  --> u.toml:11:54
   |
11 |   { target = "dns/a.example", answer = ["192.0.2.1", "b.example", 7] },
   |                                                      ^^^^^^^^^^^ not an address
   |
   = hint: write an address such as "192.0.2.1" or "2001:db8::1"

error: `answer` of a target in [uplink.isp1.probe] is a number, not an address in quotes
  --> u.toml:11:67
   |
11 |   { target = "dns/a.example", answer = ["192.0.2.1", "b.example", 7] },
   |                                                                   ^ expected an address in quotes
   |
   = hint: write for example `answer = "192.0.2.1"`

error: unknown key `anwser` of a target in [uplink.isp1.probe]
  --> u.toml:12:31
   |
12 |   { target = "dns/a.example", anwser = "192.0.2.1" },
   |                               ^^^^^^ no such key
   |
   = hint: did you mean `answer`?
"#);
}

#[test]
fn hosts_ports_and_names_that_are_none() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
targets = [
  "tcp:a.example",
  "tcp:a.example:0",
  "tcp:a.example:+80",
  "tcp:2001:db8::1:443",
  "tcp:localhost:80",
  "tcp:192.0.2.300:80",
  "dns:192.0.2.1/",
  "dns:/a.example",
  "icmp:a..example",
  "arp:gateway",
  "neighbor",
]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: target `tcp:a.example` of uplink `isp1` has no port
 --> u.toml:5:3
  |
5 |   "tcp:a.example",
  |   ^^^^^^^^^^^^^^^ no port
  |
  = hint: write "tcp:a.example:443", or another port

error: target `tcp:a.example:0` of uplink `isp1` has no port that there is
 --> u.toml:6:3
  |
6 |   "tcp:a.example:0",
  |   ^^^^^^^^^^^^^^^^^ not a port
  |
  = hint: ports are 1 to 65535

error: target `tcp:a.example:+80` of uplink `isp1` has no port that there is
 --> u.toml:7:3
  |
7 |   "tcp:a.example:+80",
  |   ^^^^^^^^^^^^^^^^^^^ not a port
  |
  = hint: ports are 1 to 65535

error: target `tcp:2001:db8::1:443` of uplink `isp1` has an IPv6 address without brackets
 --> u.toml:8:3
  |
8 |   "tcp:2001:db8::1:443",
  |   ^^^^^^^^^^^^^^^^^^^^^ where does it end?
  |
  = hint: write the address in brackets: "tcp:[2001:db8::1]:443"

error: target `tcp:localhost:80` of uplink `isp1` cannot be asked: it is neither an address nor a whole name
 --> u.toml:9:3
  |
9 |   "tcp:localhost:80",
  |   ^^^^^^^^^^^^^^^^^^ no host
  |
  = hint: give an address such as "192.0.2.1", or a name such as "example.org"

error: target `tcp:192.0.2.300:80` of uplink `isp1` cannot be asked: it is neither an address nor a whole name
  --> u.toml:10:3
   |
10 |   "tcp:192.0.2.300:80",
   |   ^^^^^^^^^^^^^^^^^^^^ no host
   |
   = hint: give an address such as "192.0.2.1", or a name such as "example.org"

error: target `dns:192.0.2.1/` of uplink `isp1` asks for no name
  --> u.toml:11:3
   |
11 |   "dns:192.0.2.1/",
   |   ^^^^^^^^^^^^^^^^ not a name
   |
   = hint: write "dns:9.9.9.9/example.org"

error: target `dns:/a.example` of uplink `isp1` cannot be asked: it is neither an address nor a whole name
  --> u.toml:12:3
   |
12 |   "dns:/a.example",
   |   ^^^^^^^^^^^^^^^^ no host
   |
   = hint: give an address such as "192.0.2.1", or a name such as "example.org"

error: target `icmp:a..example` of uplink `isp1` cannot be asked: it is neither an address nor a whole name
  --> u.toml:13:3
   |
13 |   "icmp:a..example",
   |   ^^^^^^^^^^^^^^^^^ no host
   |
   = hint: give an address such as "192.0.2.1", or a name such as "example.org"

error: target `arp:gateway` of uplink `isp1` is of no known kind
  --> u.toml:14:3
   |
14 |   "arp:gateway",
   |   ^^^^^^^^^^^^^ not a target
   |
   = hint: write "neighbour": it asks the gateway by ARP or by neighbour discovery

error: target `neighbor` of uplink `isp1` is of no known kind
  --> u.toml:15:3
   |
15 |   "neighbor",
   |   ^^^^^^^^^^ not a target
   |
   = hint: did you mean "neighbour"?
"#);
}

#[test]
fn pages_and_what_is_wanted_of_them() {
    for (written, shown) in [
        ("https://A.Example", "https://a.example/"),
        ("http://a.example:80?x", "http://a.example/?x"),
        ("https://a.example:80/", "https://a.example:80/"),
    ] {
        assert_eq!(one(&format!("\"{written}\"")).to_string(), shown);
    }
    let list = r#"{ target = "https://[2001:db8::1]:444/", status = [200, 204], body = "ok", name = "A.example", ca = "/ca.pem" }"#;
    let [v4, v6] = specs(list);
    assert_eq!(v4.targets, []);
    let Target::Service(service) = &v6.targets[0] else {
        panic!("{v6:?}");
    };
    let Ask::Http(page) = &service.ask else {
        panic!("{service:?}");
    };
    assert_eq!(
        (page.statuses.as_slice(), page.port),
        (&[200, 204][..], 444)
    );
    assert_eq!(page.body.as_deref(), Some("ok"));
    assert_eq!(page.certificate_name.as_deref(), Some("a.example"));
    assert_eq!(page.authorities, Some("/ca.pem".into()));
}

#[test]
fn pages_that_cannot_be_fetched() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
targets = [
  "https:a.example/",
  "https:///x",
  "http://a.example/#top",
  "http://me@a.example/",
  "http://a.example/über",
  { target = "http://a.example/", name = "a.example", ca = "/ca.pem" },
  { target = "https://a.example/", status = 42, ca = "ca.pem", name = "*" },
]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: target `https:a.example/` of uplink `isp1` is no URL
 --> u.toml:5:3
  |
5 |   "https:a.example/",
  |   ^^^^^^^^^^^^^^^^^^ not a URL
  |
  = hint: write "https://example.org/health"

error: target `https:///x` of uplink `isp1` cannot be asked: it is neither an address nor a whole name
 --> u.toml:6:3
  |
6 |   "https:///x",
  |   ^^^^^^^^^^^^ no host
  |
  = hint: give an address such as "192.0.2.1", or a name such as "example.org"

error: target `http://a.example/#top` of uplink `isp1` has a path that no server is asked for
 --> u.toml:7:3
  |
7 |   "http://a.example/#top",
  |   ^^^^^^^^^^^^^^^^^^^^^^^ not a path
  |
  = hint: write other signs than letters of ASCII as `%` and two digits, and leave out what stands behind `#`

error: target `http://me@a.example/` of uplink `isp1` has a user's name in it
 --> u.toml:8:3
  |
8 |   "http://me@a.example/",
  |   ^^^^^^^^^^^^^^^^^^^^^^ not used
  |
  = hint: leave it out

error: target `http://a.example/über` of uplink `isp1` has a path that no server is asked for
 --> u.toml:9:3
  |
9 |   "http://a.example/über",
  |   ^^^^^^^^^^^^^^^^^^^^^^^ not a path
  |
  = hint: write other signs than letters of ASCII as `%` and two digits, and leave out what stands behind `#`

error: `name` says nothing about target `http://a.example/` of uplink `isp1`
  --> u.toml:10:42
   |
10 |   { target = "http://a.example/", name = "a.example", ca = "/ca.pem" },
   |                                          ^^^^^^^^^^^ not of this kind of target
   |
   = hint: `name` belongs to "https://…"

error: `ca` says nothing about target `http://a.example/` of uplink `isp1`
  --> u.toml:10:60
   |
10 |   { target = "http://a.example/", name = "a.example", ca = "/ca.pem" },
   |                                                            ^^^^^^^^^ not of this kind of target
   |
   = hint: `ca` belongs to "https://…"

error: the status of a target of uplink `isp1` must be 100 to 599, not 42
  --> u.toml:11:45
   |
11 |   { target = "https://a.example/", status = 42, ca = "ca.pem", name = "*" },
   |                                             ^^ not in 100 to 599
   |
   = hint: 204 is what servers answer that only tell that they are there

error: `ca.pem` is not a whole path
  --> u.toml:11:54
   |
11 |   { target = "https://a.example/", status = 42, ca = "ca.pem", name = "*" },
   |                                                      ^^^^^^^^ where does it begin?
   |
   = hint: write "/etc/ssl/company.pem"

error: `*` is no name that a certificate of uplink `isp1` could be for
  --> u.toml:11:71
   |
11 |   { target = "https://a.example/", status = 42, ca = "ca.pem", name = "*" },
   |                                                                       ^^^ not a name
   |
   = hint: write a name such as "example.org"
"#);
}

#[test]
fn commands_have_a_path_and_a_time_limit() {
    let command =
        one(r#"{ command = ["/usr/bin/check", "a b", "$X"], timeout = "2s", user = "me" }"#);
    assert_eq!(command.to_string(), "command /usr/bin/check a b $X");
    assert_eq!(
        command.limit(Duration::from_secs(1)),
        Duration::from_millis(2500)
    );
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp1.probe]
targets = [
  { command = [] },
  { command = ["check", "x"] },
  { command = ["/bin/check", "x\u0000y"] },
  { command = ["/bin/check", 7] },
  { command = "/bin/check x" },
  { command = ["/bin/check"], timeout = "5m", status = 204 },
  { target = "1.1.1.1", user = "me" },
]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: a command of uplink `isp1` is empty
 --> u.toml:5:15
  |
5 |   { command = [] },
  |               ^^ not a path
  |
  = hint: write the whole path, and each argument for itself: `["/usr/bin/curl", "-sf"]`; there is no shell

error: command `check` of uplink `isp1` is not the path of a program
 --> u.toml:6:16
  |
6 |   { command = ["check", "x"] },
  |                ^^^^^^^ not a path
  |
  = hint: write the whole path, and each argument for itself: `["/usr/bin/curl", "-sf"]`; there is no shell

error: an argument of command `/bin/check` has a zero in it
 --> u.toml:7:30
  |
7 |   { command = ["/bin/check", "x\u0000y"] },
  |                              ^^^^^^^^^^ no program can be given that
  |
  = hint: leave it out

error: an entry of `command` of a target in [uplink.isp1.probe] is a number, not text in quotes
 --> u.toml:8:30
  |
8 |   { command = ["/bin/check", 7] },
  |                              ^ expected text in quotes
  |
  = hint: write for example `command = ["/usr/local/bin/check-line", "--quick"]`

error: `command` of a target in [uplink.isp1.probe] is text, not a list of texts
 --> u.toml:9:15
  |
9 |   { command = "/bin/check x" },
  |               ^^^^^^^^^^^^^^ expected a list of texts
  |
  = hint: write for example `command = ["/usr/local/bin/check-line", "--quick"]`

error: the timeout of a command of uplink `isp1` must be 100ms to 1m, not `5m`
  --> u.toml:10:41
   |
10 |   { command = ["/bin/check"], timeout = "5m", status = 204 },
   |                                         ^^^^ not in 100ms to 1m
   |
   = hint: "5s" is the default; a line is judged the later, the longer it is

error: `user` says nothing about target `1.1.1.1` of uplink `isp1`
  --> u.toml:11:32
   |
11 |   { target = "1.1.1.1", user = "me" },
   |                                ^^^^ not of this kind of target
   |
   = hint: `user` belongs to `command`
"#);
}
