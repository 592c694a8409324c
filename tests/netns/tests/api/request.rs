//! A daemon with doors, and how to knock at them.

use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use anyhow::{Context as _, Result};
use uplinkd_lab::LabSpec;
use uplinkd_netns_tests::{Rig, config};

/// A token that may change things.
pub(crate) const TOKEN: &str = "the-token-of-whoever-keeps-this-router";
/// Where TCP is listened for.
pub(crate) const LISTEN: &str = "127.0.0.1:8177";

/// Two lines of which one has a budget, a group, a policy, and whatever a test adds.
pub(crate) fn config_with(api: &str) -> String {
    let mut text = config(&[3, 2]);
    text += "[uplink.isp2.budget]\nlimit = \"50GB\"\n\
             [group.calls]\ntiers = [[\"isp2\"], [\"isp1\"]]\n\
             [[policy]]\nname = \"voip\"\nmatch = { protocol = \"udp\", dport = \"5060-5061\" }\n\
             use = \"calls\"\n";
    text + api
}

/// The same, listening for TCP.
pub(crate) fn config_with_tcp() -> String {
    config_with(&format!(
        "[api]\nlisten = \"{LISTEN}\"\ntoken_file = \"tokens\"\n"
    ))
}

/// A laboratory with a file of tokens beside the configuration, which only its owner reads.
pub(crate) fn rig_with_tokens(config: &str) -> Result<Rig> {
    let rig = Rig::without_daemon(LabSpec::default(), config)?;
    write_tokens(&rig, TOKEN, 0o600)?;
    Ok(rig)
}

/// Writes the tokens.
pub(crate) fn write_tokens(rig: &Rig, tokens: &str, mode: u32) -> Result<()> {
    let file = rig.places().config().with_file_name("tokens");
    fs::write(&file, format!("{tokens}\n"))?;
    Ok(fs::set_permissions(&file, Permissions::from_mode(mode))?)
}

/// The first line of the answer to a request by TCP, inside the router.
pub(crate) fn ask_tcp(rig: &Rig, path: &str, token: &str) -> Result<String> {
    let address: SocketAddr = LISTEN.parse()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {LISTEN}\r\nAuthorization: Bearer {token}\r\n\r\n");
    rig.in_router(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .context("nobody listens for TCP")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    })
}
