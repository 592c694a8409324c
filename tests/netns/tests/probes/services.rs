//! TCP and DNS, and names that are looked up over the line that is tested.

use std::{fs, net::IpAddr};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{Fault, Lab, addresses::well_known};
use uplinkd_model::{Family, Reserve, Slot};
use uplinkd_netns_tests::isp;

use crate::{
    common::{bad, rig, story, target, wait_good, wait_refused},
    far::{Far, Says, say, word},
};

const SERVER: [u8; 4] = [198, 18, 0, 9];

fn address(last: u8) -> IpAddr {
    IpAddr::from([198, 18, 0, last])
}

/// What a manager of networks leaves behind on the first line.
fn give_resolvers(lab: &Lab, resolvers: &str) -> Result<()> {
    let index = lab
        .router()
        .run(|| nix::net::if_::if_nametoindex("wan1").context("there is no wan1"))?;
    let folder = "/run/systemd/netif/links";
    lab.mounts().run(|| {
        fs::create_dir_all(folder)?;
        fs::write(format!("{folder}/{index}"), format!("DNS={resolvers}\n"))?;
        Ok(())
    })
}

/// Nothing listens there any more, then again.
pub(crate) fn a_tcp_port_that_is_closed() -> Result<()> {
    let family = Family::V4;
    let mut rig = rig(family, "\"tcp:198.18.0.9:8080\"")?;
    let lab = rig.shared_lab();
    let answer = word(String::new());
    let far = Far::page(&lab, 8080, &answer)?;
    // Without its mark no question gets out. Later packets bear that of their connection.
    let mark = Reserve::default().mark_in(Slot(1)).value;
    lab.router().nft(&format!(
        "table inet marked {{ chain output {{ type filter hook output priority 100; \
         oifname \"wan1\" tcp dport 8080 tcp flags & (syn | ack) == syn \
         meta mark & 0xff000000 != {mark:#x} drop; }}; }}\n"
    ))?;
    story(&mut rig, family, &far, || {}, &[])?;
    drop(far);
    wait_refused(&rig, family, "connection refused")?;
    let far = Far::page(&lab, 8080, &answer)?;
    wait_good(&rig, family)?;
    far.ensure_only_by(isp(1))
}

pub(crate) fn a_tcp_port_by_ipv6() -> Result<()> {
    let family = Family::V6;
    let mut rig = rig(family, "\"tcp:[2001:db8:ffff::9]:8080\"")?;
    let far = Far::page(&rig.shared_lab(), 8080, &word(String::new()))?;
    story(&mut rig, family, &far, || {}, &[])
}

fn dns(family: Family, target: &str, right: IpAddr) -> Result<()> {
    let mut rig = rig(family, target)?;
    let says = word(Says::Nothing);
    let far = Far::names(&rig.shared_lab(), &says)?;
    let wrong = match family {
        Family::V4 => address(77),
        Family::V6 => "2001:db8:ffff::77".parse()?,
    };
    let bads = [
        bad("NXDOMAIN", || say(&says, Says::Code(3))),
        bad("SERVFAIL", || say(&says, Says::Code(2))),
        bad("the answer is ", || say(&says, Says::Address(wrong))),
        bad("has no ", || say(&says, Says::Code(0))),
    ];
    let good = || say(&says, Says::Address(right));
    story(&mut rig, family, &far, good, &bads)
}

pub(crate) fn a_name_server_that_knows_less_than_it_should() -> Result<()> {
    let right = address(9);
    let target = r#"{ target = "dns:198.18.0.9/a.example", answer = "198.18.0.9" }"#;
    dns(Family::V4, target, right)
}

pub(crate) fn a_name_server_by_tcp_and_ipv6() -> Result<()> {
    let target =
        r#"{ target = "dns+tcp:2001:db8:ffff::9/a.example", answer = "2001:db8:ffff::9" }"#;
    dns(Family::V6, target, "2001:db8:ffff::9".parse()?)
}

/// The provider gave a resolver for the line, and then another one, and then none.
pub(crate) fn the_providers_own_resolver() -> Result<()> {
    let family = Family::V4;
    let mut rig = rig(family, "\"dns\"")?;
    let lab = rig.shared_lab();
    give_resolvers(&lab, "198.18.0.9")?;
    let says = word(Says::Code(3));
    let far = Far::names(&lab, &says)?;
    let bads = [bad("REFUSED", || say(&says, Says::Code(5)))];
    story(&mut rig, family, &far, || say(&says, Says::Code(3)), &bads)?;
    give_resolvers(&lab, "2001:db8:ffff::9")?;
    wait_refused(
        &rig,
        family,
        "no resolver is known; looked at /run/systemd/netif/links/",
    )?;
    give_resolvers(&lab, "2001:db8:ffff::9 198.18.0.10")?;
    wait_good(&rig, family)
}

/// A name is looked up over its own line, at the provider's resolver; once known it serves while the
/// resolver is silent, also after its lifetime, and is forgotten only on a resolver's word.
pub(crate) fn a_name_outlives_its_resolver() -> Result<()> {
    let family = Family::V4;
    let mut rig = rig(family, "\"tcp:a.example:8080\"")?;
    let lab = rig.shared_lab();
    give_resolvers(&lab, "198.18.0.10")?;
    let says = word(Says::Code(3));
    let names = Far::names(&lab, &says)?;
    let far = Far::page(&lab, 8080, &word(String::new()))?;
    rig.start_daemon()?;
    wait_refused(&rig, family, "a.example: no such name (NXDOMAIN)")?;
    names.ensure_only_by(isp(1))?;
    say(&says, Says::Address(SERVER.into()));
    wait_good(&rig, family)?;
    far.ensure_only_by(isp(1))?;
    say(&says, Says::Nothing);
    let sent = || -> Result<(u64, u64)> {
        let status = rig.status()?;
        let target = target(&status, family).context("no target")?;
        Ok((target.sent, target.lost))
    };
    let (before, lost) = sent()?;
    names.peers();
    uplinkd_netns_tests::within("the name is looked up again", crate::common::LONG, || {
        Ok(!names.peers().is_empty())
    })?;
    uplinkd_netns_tests::within("asked ten times", crate::common::LONG, || {
        Ok(sent()?.0 >= before + 10)
    })?;
    ensure!(sent()?.1 == lost, "a dead resolver is no dead line");
    say(&says, Says::Code(3));
    wait_refused(&rig, family, "NXDOMAIN")
}

/// Echoes of a name, with the system's resolver where the provider gave none of use.
pub(crate) fn an_echo_of_a_name() -> Result<()> {
    let family = Family::V6;
    let mut rig = rig(family, "\"icmp:a.example\"")?;
    let lab = rig.shared_lab();
    let resolver = well_known(family)[0];
    give_resolvers(&lab, &resolver.to_string())?;
    let host = "2001:db8:ffff::9".parse()?;
    let _names = Far::names(&lab, &word(Says::Address(host)))?;
    rig.start_daemon()?;
    wait_good(&rig, family)?;
    let cut = Fault::Upstream.apply(&lab, isp(1))?;
    rig.wait_out_of(isp(1), family)?;
    cut.heal()?;
    wait_good(&rig, family)
}
