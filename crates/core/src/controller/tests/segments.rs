//! What TCP connections say of a line that is asked next to never and that little else uses.

use uplinkd_model::{FLOW_NUMBERS, TcpCounters};

use super::{
    weather::{Site, Weather, metered, site},
    *,
};

/// A reading of isp1.
fn counted(sent: u64, acked: u64, again: &[u64]) -> Event {
    let mut numbers = [0; FLOW_NUMBERS];
    numbers[..again.len()].copy_from_slice(again);
    let counters = TcpCounters {
        sent: sent + again.iter().sum::<u64>(),
        acked,
        again: numbers,
        rtt_sum: Duration::from_millis(30 * acked),
        rtts: acked,
    };
    Event::CountedTcp([((1, Family::V4), counters)].into())
}

/// A line whose connections were well, and whose next question is far away.
fn quiet(change: impl Fn(&mut uplinkd_model::ProbeSpec)) -> Site {
    let mut site = site(1, 0, |spec| {
        metered(spec);
        change(spec);
    });
    let asked = site.asked;
    while site.asked == asked {
        site.run(100);
    }
    site.tell(counted(10, 10, &[]));
    site.notices.clear();
    site
}

fn signs(site: &Site) -> Vec<String> {
    let mut signs = Vec::new();
    for notice in &site.notices {
        if let Notice::Sign { sign, .. } = notice {
            signs.push(sign.to_string());
        }
    }
    signs
}

/// What becomes of it when two connections send again and nothing is acknowledged.
fn after_two_stall(weather: Weather, change: impl Fn(&mut uplinkd_model::ProbeSpec)) -> Site {
    let mut site = quiet(change);
    site.change(weather);
    for n in 1..=3 {
        site.tell(counted(12, 10, &[n, n]));
        site.run(100);
    }
    site.run(5000);
    site
}

#[test]
fn a_dead_line_is_found_by_connections_that_send_again() {
    let site = after_two_stall(Weather::Dead, |_| {});
    assert_eq!(
        signs(&site),
        ["2 TCP connections sent 4 segments again and nothing was acknowledged"]
    );
    let is_down = |notice: &Notice| {
        matches!(notice, Notice::Health { uplink, to: Health::Down, .. }
            if uplink.as_str() == "isp1")
    };
    assert!(site.notices.iter().any(is_down));
}

#[test]
fn the_sign_alone_calls_no_line_down() {
    let mut site = after_two_stall(Weather::Fine, |_| {});
    assert_eq!(signs(&site).len(), 1);
    let is_health = |n: &Notice| matches!(n, Notice::Health { .. });
    assert!(!site.notices.iter().any(is_health));
    // It goes on, and is not asked about again and again.
    let asked = site.asked;
    for n in 4..=600 {
        site.tell(counted(12, 10, &[n, n]));
        site.run(100);
    }
    let a_minute = site.asked - asked;
    assert!(signs(&site).len() <= 4, "{:?}", signs(&site));
    assert!(a_minute < 150, "{a_minute}");
}

#[test]
fn who_does_not_want_it_is_not_watched() {
    let site = after_two_stall(Weather::Dead, |spec| spec.tcp_sign = false);
    assert_eq!(site.watched, []);
    assert_eq!(signs(&site), [] as [String; 0]);
    assert_eq!(site.controller.snapshot().lines[0].tcp, None);
    let site = after_two_stall(Weather::Fine, |_| {});
    assert_eq!(site.watched, [1, 2]);
}

#[test]
fn once_nobody_wants_it_any_more_the_watching_ends() {
    let mut site = quiet(|_| {});
    assert_eq!(site.watched, [1, 2]);
    let mut config = site.controller.config().clone();
    for uplink in &mut config.uplinks {
        uplink.ipv4.as_mut().unwrap().probe.tcp_sign = false;
    }
    site.tell(Event::Config(Box::new(config)));
    site.run(2000);
    assert_eq!(site.watched, []);
    assert_eq!(site.controller.snapshot().lines[0].tcp, None);
}

#[test]
fn the_time_that_connections_took_is_shown() {
    let mut site = quiet(|_| {});
    site.tell(counted(20, 20, &[]));
    site.tell(counted(29, 29, &[1]));
    let tcp = site.controller.snapshot().lines[0].tcp.unwrap();
    assert_eq!(tcp.rtt, Some(Duration::from_millis(30)));
    assert_eq!((tcp.sent, tcp.again), (20, 1));
    // Of the other line nothing was told.
    assert_eq!(site.controller.snapshot().lines[1].tcp, None);
}
