use proptest::prelude::*;

use super::*;

/// A machine with these files, and what is found on it for `eth1` with the index 7.
fn found(files: &[(&str, &str)], look: impl Fn(&Place<'_>) -> Resolvers) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let servers = look(&Place::of(root.path(), "eth1", 7)).servers;
    servers.iter().map(ToString::to_string).collect()
}

fn given(path: &str, text: &str) -> Vec<String> {
    found(&[(path, text)], |p| p.given())
}

#[test]
fn networkd_and_resolved_are_read_by_the_interfaces_index() {
    let text = "OPER_STATE=routable\nDNS=192.0.2.53 2001:db8::53%eth1 192.0.2.54#dot.example\n";
    let expected = ["192.0.2.53", "2001:db8::53", "192.0.2.54"];
    assert_eq!(given("run/systemd/netif/links/7", text), expected);
    assert_eq!(given("run/systemd/netif/links/8", text), [""; 0]);
    let text = "SERVERS=192.0.2.53 [2001:db8::53]:53\nDOMAINS=\n";
    assert_eq!(given("run/systemd/resolve/netif/7", text), expected[..2]);
}

#[test]
fn files_for_each_interface_are_told_from_those_of_others() {
    let text = "# by somebody\ndomain example\nnameserver 192.0.2.53\nnameserver 127.0.0.1\n";
    for path in [
        "run/resolvconf/interface/eth1.dhclient",
        "run/resolvconf/interfaces/eth1",
        "run/dhcpcd/hook-state/resolv.conf/eth1.dhcp",
        "run/dhcpcd/resolv.conf/eth1.dhcp",
    ] {
        assert_eq!(given(path, text), ["192.0.2.53"], "{path}");
        let other = path.replace("eth1", "eth11");
        assert_eq!(given(&other, text), [""; 0], "{other}");
    }
}

#[test]
fn of_dhclients_leases_the_interfaces_newest_counts() {
    let lease = |device, server| {
        format!(
            "lease {{\n  interface \"{device}\";\n  fixed-address 192.0.2.9;\n  option \
             domain-name-servers {server};\n  renew 4 2026/11/28 12:00:00;\n}}\n"
        )
    };
    let text = [
        lease("eth1", "192.0.2.1"),
        lease("eth1", "192.0.2.2, 192.0.2.3"),
        lease("eth2", "192.0.2.4"),
    ]
    .concat();
    let expected = ["192.0.2.2", "192.0.2.3"];
    assert_eq!(given("var/lib/dhcp/dhclient.leases", &text), expected);
    let six = "default-duid \"x\";\nlease6 {\n  interface \"eth1\";\n  ia-na 1 {\n    starts 1;\n  }\n  \
               option dhcp6.name-servers 2001:db8::53;\n}\n";
    assert_eq!(
        given("var/lib/dhclient/dhclient6.leases", six),
        ["2001:db8::53"]
    );
}

#[test]
fn openwrts_sections_are_found_by_their_device() {
    let network = "config interface 'lan'\n\toption device 'br-lan'\n\nconfig interface 'wan'\n\t\
                   option device 'eth1'\n\toption proto 'dhcp'\n";
    let auto = "# Interface lan\nnameserver 192.0.2.1\n# Interface wan\nnameserver 192.0.2.2\n";
    let files = [
        ("etc/config/network", network),
        ("tmp/resolv.conf.d/resolv.conf.auto", auto),
    ];
    assert_eq!(found(&files, |p| p.given()), ["192.0.2.2"]);
    assert_eq!(found(&files[1..], |p| p.given()), [""; 0]);
    let names = openwrt_names("config interface wan\n option proto pppoe\n", "pppoe-wan");
    assert_eq!(names, ["wan"]);
}

#[test]
fn the_system_is_asked_for_what_is_not_on_this_machine() {
    let stub = ("etc/resolv.conf", "nameserver 127.0.0.53\n");
    let real = ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n");
    assert_eq!(found(&[stub], |p| p.system()), [""; 0]);
    assert_eq!(found(&[stub, real], |p| p.system()), ["192.0.2.53"]);
    // What the system uses says nothing of what the provider gave.
    assert_eq!(found(&[stub, real], |p| p.given()), [""; 0]);
}

#[test]
fn where_nothing_is_found_it_is_said_where_that_was_looked_for() {
    let root = tempfile::tempdir().unwrap();
    let lack = Place::of(root.path(), "eth1", 7).given().lack();
    assert!(lack.contains("/run/systemd/netif/links/7"), "{lack}");
    assert!(!lack.contains("/etc/ppp"), "{lack}");
    let lack = Place::of(root.path(), "ppp0", 8).given().lack();
    assert!(lack.contains("/etc/ppp/resolv.conf"), "{lack}");
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in "(lease|interface |option |[ ;{},\\n#%\\[\\]]|nameserver |DNS=|\\PC){0,80}") {
        let _ = (resolv_conf(&text), named(&text, "DNS"), leases(&text, "eth1"));
        let _ = (openwrt_names(&text, "eth1"), sections(&text).count(), address(&text, "eth1"));
    }
}
