//! Pages by HTTP and HTTPS.

use std::fs;

use anyhow::Result;
use uplinkd_model::Family;

use crate::{
    common::{bad, rig, story},
    far::{Far, say, word},
};

fn answer(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

pub(crate) fn a_page_that_is_another_one() -> Result<()> {
    let family = Family::V4;
    let target = r#"{ target = "http://198.18.0.9/health", body = "all is well" }"#;
    let mut rig = rig(family, target)?;
    let says = word(String::new());
    let far = Far::page(&rig.shared_lab(), 80, &says)?;
    let portal = "302 Found\r\nLocation: http://login.hotel/?for=198.18.0.9";
    let bads = [
        bad("HTTP status 503", || {
            say(&says, answer("503 Busy", "all is well"))
        }),
        bad("captive portal: redirected to login.hotel", || {
            say(&says, answer(portal, ""))
        }),
        bad("the page does not contain", || {
            say(&says, answer("200 OK", "log in first"))
        }),
        bad("no HTTP", || {
            say(&says, "220 mail.example ESMTP\r\n".to_owned())
        }),
    ];
    let good = || say(&says, answer("200 OK", "<p>all is well</p>"));
    story(&mut rig, family, &far, good, &bads)
}

pub(crate) fn a_certificate_of_somebody_else() -> Result<()> {
    let family = Family::V6;
    let mut rig = rig(family, "")?;
    let lab = rig.shared_lab();
    let authority = lab.folder().join("authority.pem");
    fs::write(&authority, include_bytes!("certificates/authority.pem"))?;
    let target = format!(
        "{{ target = \"https://[2001:db8:ffff::9]:8443/\", status = 204, name = \"good.example\", ca = {authority:?} }}"
    );
    rig.places()
        .write_config(&crate::common::file(family, &target))?;
    let (says, certificate) = (word(String::new()), word("good.example"));
    let far = Far::secure(&lab, 8443, &certificate, &says)?;
    let bads = [
        bad("the certificate is not for good.example", || {
            say(&certificate, "other.example")
        }),
        bad("HTTP status 503", || say(&says, answer("503 Busy", ""))),
    ];
    let good = || {
        say(&certificate, "good.example");
        say(&says, answer("204 No Content", ""));
    };
    story(&mut rig, family, &far, good, &bads)
}

/// The system does not trust our authority.
pub(crate) fn a_certificate_that_nobody_trusts() -> Result<()> {
    let family = Family::V4;
    let target = r#"{ target = "https://198.18.0.9:8443/", name = "good.example" }"#;
    let mut rig = rig(family, target)?;
    let says = word(answer("200 OK", ""));
    let _far = Far::secure(&rig.shared_lab(), 8443, &word("good.example"), &says)?;
    rig.start_daemon()?;
    crate::common::wait_refused(&rig, family, "certificate")
}
