//! Targets that are more than an echo: how they are asked, and what becomes of what they say.

use std::sync::Arc;

use uplinkd_model::{
    Host, Service, Subject, Target,
    target::{Ask, Page},
};

use super::{driver::Driver, *};
use crate::{LineSnapshot, probe::TargetVerdict};

fn page(name: &str) -> Target {
    let ask = Ask::Http(Page {
        is_secure: false,
        host: Host::Name(name.to_owned()),
        port: 80,
        path: "/".to_owned(),
        statuses: Vec::new(),
        body: None,
        certificate_name: None,
        authorities: None,
    });
    Target::Service(Arc::new(Service { ask, family: None }))
}

/// Both uplinks ask for a page of their own, and for nothing else.
fn driver() -> Driver {
    let mut config = config();
    for (uplink, name) in config.uplinks.iter_mut().zip(["a.example", "b.example"]) {
        let probe = &mut uplink.ipv4.as_mut().unwrap().probe;
        (probe.targets, probe.timeout) = (vec![page(name)], Duration::from_secs(1));
    }
    let mut driver = Driver::new(config, machine(), &["isp1", "isp2"]);
    driver.run(10_000);
    driver.questions.clear();
    driver
}

fn line(driver: &Driver, uplink: &str) -> LineSnapshot {
    let lines = driver.controller.snapshot().lines;
    let mut own = lines.into_iter().filter(|l| l.name.as_str() == uplink);
    own.next().unwrap()
}

/// When a line was asked.
fn times(driver: &Driver, uplink: &str) -> Vec<u64> {
    let own = driver
        .questions
        .iter()
        .filter(|(_, u, _)| u.as_str() == uplink);
    own.map(|(at, ..)| *at).collect()
}

#[test]
fn a_wrong_answer_is_a_miss_at_once_and_says_why() {
    let mut driver = driver();
    assert_eq!(line(&driver, "isp1").health, Health::Up);
    driver.refusing.insert("isp1", "HTTP status 503");
    driver.run(7000);
    let down = line(&driver, "isp1");
    assert_eq!(down.health, Health::Down);
    let reason = down.reason.to_string();
    let expected = "0 of 1 targets answer, 1 needed; http://a.example/: HTTP status 503";
    assert_eq!(reason, expected);
    assert_eq!(down.targets[0].refusal.as_deref(), Some("HTTP status 503"));
    assert_eq!(line(&driver, "isp2").health, Health::Up);
    driver.refusing.clear();
    driver.run(12_000);
    let up = line(&driver, "isp1");
    assert_eq!((up.health, &up.targets[0].refusal), (Health::Up, &None));
}

#[test]
fn silence_after_a_wrong_answer_forgets_what_was_wrong() {
    let mut driver = driver();
    driver.refusing.insert("isp1", "HTTP status 503");
    driver.run(7000);
    driver.refusing.clear();
    driver.answering(FAMILY, &["isp2"]);
    driver.run(15_000);
    let down = line(&driver, "isp1");
    assert_eq!(down.targets[0].verdict, TargetVerdict::Fail);
    assert_eq!(down.targets[0].refusal, None);
}

#[test]
fn a_service_is_asked_seldom_and_in_a_burst_not_much_oftener() {
    let mut driver = driver();
    driver.run(60_000);
    let pause = |times: &[u64]| times.windows(2).map(|w| w[1] - w[0]).min().unwrap();
    let quiet = times(&driver, "isp1");
    assert_eq!((quiet.len(), pause(&quiet)), (12, 5000));
    driver.questions.clear();
    driver.refusing.insert("isp1", "HTTP status 503");
    driver.run(10_000);
    let burst = times(&driver, "isp1");
    assert!(burst.len() > 5 && pause(&burst) >= 500, "{burst:?}");
}

#[test]
fn a_question_says_what_it_needs_to_know() {
    let mut driver = driver();
    driver.run(10_000);
    let (_, uplink, question) = driver.questions[0].clone();
    let own = driver.controller.config.uplink(&uplink).unwrap();
    let target = &own.ipv4.as_ref().unwrap().probe.targets[0];
    let Subject::Service(service) = &question.subject else {
        panic!("{question:?}");
    };
    assert_eq!(Target::Service(Arc::clone(service)), *target);
    assert_eq!(question.family, FAMILY);
    // Twice there and back, and once more for the name.
    assert_eq!(question.limit, Duration::from_secs(3));
    let addresses = line(&driver, uplink.as_str()).addresses;
    assert_eq!(question.source, Some(addresses[0].addr()));
}

#[test]
fn a_page_that_is_wrong_on_every_line_is_at_fault_itself() {
    let mut config = config();
    for uplink in &mut config.uplinks {
        let probe = &mut uplink.ipv4.as_mut().unwrap().probe;
        probe.targets.push(page("a.example"));
        probe.quorum = 2;
    }
    let mut driver = Driver::new(config, machine(), &["isp1", "isp2"]);
    driver.run(10_000);
    driver
        .refusing
        .extend([("isp1", "HTTP status 503"), ("isp2", "HTTP status 503")]);
    driver.run(30_000);
    assert_eq!(line(&driver, "isp1").health, Health::Up);
    assert_eq!(line(&driver, "isp2").health, Health::Up);
}
