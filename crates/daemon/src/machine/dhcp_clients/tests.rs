use super::{super::fixtures, *};

const AUTO: &str = "[uplink.isp1]\ninterface = \"wan1\"\n[uplink.isp2]\ninterface = \"ppp0\"\n";

type Judge = fn(&mut Vec<Problem>, &Config, &Path, &[String]);

fn said(judge: Judge, program: &str, path: &str, text: &str) -> Vec<(String, String)> {
    let root = tempfile::tempdir().unwrap();
    fixtures::write(root.path(), path, text);
    let config = fixtures::config(AUTO);
    let mut found = Vec::new();
    judge(&mut found, &config, root.path(), &[]);
    assert!(found.is_empty(), "it does not run");
    judge(&mut found, &config, root.path(), &[program.to_owned()]);
    fixtures::texts(found)
}

#[test]
fn dhcpcd_without_gateway_is_named_for_the_interfaces_that_it_concerns() {
    let said = |text| said(dhcpcd, "dhcpcd", "etc/dhcpcd.conf", text);
    let found = said("interface wan1\nnogateway\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.contains("wan1: `nogateway`"));
    assert_eq!(said("nogateway # for all\n").len(), 2);
    for near_miss in [
        "interface eth5\nnogateway\n",
        "interface wan1\nmetric 100\ninterface eth5\nnogateway\n",
        "# nogateway\n",
        "profile x\nnogateway\n",
        "noipv6rs\n",
    ] {
        assert_eq!(said(near_miss), [], "{near_miss}");
    }
}

#[test]
fn a_request_without_routers_is_named() {
    let said = |text| said(dhclient, "dhclient", "etc/dhcp/dhclient.conf", text);
    let found = said("request subnet-mask,\n  domain-name;\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].1.contains("`routers`"));
    assert_eq!(said("request subnet-mask, routers;\n"), []);
    assert_eq!(said("timeout 60;\n"), [], "asked for by default");
    assert_eq!(said("# request subnet-mask;\n"), []);
    let own = "request routers;\ninterface \"wan1\" {\n  request subnet-mask;\n}\n";
    let found = said(own);
    assert!(found.len() == 1 && found[0].0.contains("wan1"), "{found:?}");
    assert_eq!(said(&own.replace("wan1", "eth5")), []);
}

fn ppp(peer: &str, options: &str) -> Vec<(String, String)> {
    let root = tempfile::tempdir().unwrap();
    fixtures::write(root.path(), "etc/ppp/peers/dsl", peer);
    fixtures::write(root.path(), "etc/ppp/options", options);
    let mut found = Vec::new();
    pppd(&mut found, &fixtures::config(AUTO), root.path());
    fixtures::texts(found)
}

#[test]
fn a_peer_without_default_route_is_named() {
    for without in [
        "user x\n",
        "user x\nunit 0\n",
        "ifname ppp0\nnodefaultroute\n",
    ] {
        let found = ppp(without, "");
        assert_eq!(found.len(), 1, "{without}: {found:?}");
        assert!(found[0].0.contains("for ppp0") && found[0].1.contains("`defaultroute`"));
    }
    for with in [
        "defaultroute\n",
        "unit 0\ndefaultroute\ndefaultroute-metric 100\n",
        "unit 3\n",
        "ifname vpn\n",
    ] {
        assert_eq!(ppp(with, ""), [], "{with}");
    }
    assert_eq!(ppp("user x\n", "defaultroute\n"), []);
    assert_eq!(ppp("user x\n", "# defaultroute\n").len(), 1);
}

#[test]
fn a_peer_that_takes_the_others_default_route_is_named_whoever_it_is() {
    for peer in ["replacedefaultroute\n", "ifname vpn\nreplacedefaultroute\n"] {
        let found = ppp(peer, "");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains("`defaultroute-metric 100` instead"));
    }
}
