//! What the daemon measures while others hold every processor, and what the kernel's stamps on the very
//! packets say.

use std::{
    collections::BTreeMap,
    fs, hint,
    io::IoSliceMut,
    os::fd::AsRawFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    cmsg_space,
    sys::{
        socket::{
            AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
            recvmsg, setsockopt, socket, sockopt,
        },
        time::{TimeSpec, TimeValLike as _},
    },
};
use serde::Serialize;

use super::{super::statistics, field::Field};

/// How long is measured.
const TIME: Duration = Duration::from_secs(10);
/// Samples and packets farther apart than this are not the same question.
const SAME: Duration = Duration::from_millis(200);

/// By how much the daemon was wrong, in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Late {
    pub(super) samples: usize,
    pub(super) median_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
    /// What the answers took by the kernel's stamps, at the median.
    pub(super) truth_us: f64,
}

/// A question by the kernel's stamps, in nanoseconds since the epoch: when it left, and what it took.
type Truth = BTreeMap<(u8, u8), Vec<(i64, i64)>>;

/// Loads all processors and compares.
pub(super) fn measure(field: &Field, uplinkd: &Path) -> Result<Late> {
    let (daemon, places) = field.start(uplinkd, &Field::config("[record]\nsamples = true\n"))?;
    // The bursts of the start are over.
    thread::sleep(super::SETTLE);
    let stop = Arc::new(AtomicBool::new(false));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let spinning: Vec<_> = (0..processors)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            })
        })
        .collect();
    let truth = field.lab.router().run(|| watch(TIME));
    stop.store(true, Ordering::Relaxed);
    for thread in spinning {
        let _ = thread.join();
    }
    let truth = truth?;
    daemon.stop(Duration::from_secs(10))?;
    let samples = recorded(&places.state().join("record"))?;
    let mut off = Vec::new();
    for Sample { host, asked, rtt } in samples {
        let packets = truth.get(&host).map_or(&[][..], Vec::as_slice);
        let nearest = packets.iter().min_by_key(|(at, _)| at.abs_diff(asked));
        if let Some((at, took)) = nearest
            && u128::from(at.abs_diff(asked)) < SAME.as_nanos()
        {
            off.push((rtt - *took) as f64 / 1000.0);
        }
    }
    let truths = truth
        .values()
        .flatten()
        .map(|(_, took)| *took as f64 / 1000.0);
    let truths = statistics::sorted(truths);
    let sorted = statistics::sorted(off.iter().map(|o| o.abs()));
    ensure!(
        sorted.len() > 1000,
        "only {} of {} packets were found in what was recorded",
        sorted.len(),
        truths.len()
    );
    let of = |all: &[f64], part| statistics::quantile(all, part).unwrap_or(f64::NAN);
    Ok(Late {
        samples: sorted.len(),
        median_us: of(&sorted, 0.5),
        p99_us: of(&sorted, 0.99),
        max_us: of(&sorted, 1.0),
        truth_us: of(&truths, 0.5),
    })
}

/// An answered sample of the daemon's; times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    host: (u8, u8),
    asked: i64,
    rtt: i64,
}

/// Sees every echo that leaves and every answer, with the kernel's stamps.
fn watch(time: Duration) -> Result<Truth> {
    let tap = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::empty(),
        SockProtocol::EthAll,
    )
    .context("cannot open a packet socket")?;
    setsockopt(&tap, sockopt::ReceiveTimestampns, &true)?;
    let _ = setsockopt(&tap, sockopt::RcvBufForce, &(64 << 20));
    setsockopt(
        &tap,
        sockopt::ReceiveTimeout,
        &nix::sys::time::TimeVal::milliseconds(100),
    )?;
    let mut asked: BTreeMap<(u8, u8, [u8; 4]), i64> = BTreeMap::new();
    let mut truth = Truth::new();
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end {
        let mut buffer = [0; 64];
        let mut space = cmsg_space!(TimeSpec);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let Ok(message) = recvmsg::<()>(
            tap.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::empty(),
        ) else {
            continue;
        };
        let stamp = message.cmsgs()?.find_map(|c| {
            let ControlMessageOwned::ScmTimestampns(stamp) = c else {
                return None;
            };
            Some(stamp.num_nanoseconds())
        });
        let length = message.bytes;
        let Some((echo, key, number)) = read(&buffer[..length.min(64)]) else {
            continue;
        };
        let Some(stamp) = stamp else { continue };
        match echo {
            8 => {
                asked.insert((key.0, key.1, number), stamp);
            }
            0 => {
                if let Some(at) = asked.remove(&(key.0, key.1, number)) {
                    truth.entry(key).or_default().push((at, stamp - at));
                }
            }
            _ => {}
        }
    }
    Ok(truth)
}

/// The ICMP type, the host (uplink and target), identifier and sequence.
fn read(packet: &[u8]) -> Option<(u8, (u8, u8), [u8; 4])> {
    if *packet.first()? != 0x45 || *packet.get(9)? != 1 {
        return None;
    }
    let echo = *packet.get(20)?;
    let at = if echo == 8 { 16 } else { 12 };
    let host = packet.get(at..at + 4)?;
    let number = *packet.get(24..)?.first_chunk()?;
    (host[..2] == [198, 18]).then_some((echo, (host[2], host[3]), number))
}

/// Answered samples of the recordings.
fn recorded(folder: &Path) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for entry in fs::read_dir(folder).context("nothing was recorded")? {
        for line in fs::read_to_string(entry?.path())?.lines() {
            samples.extend(sample(line));
        }
    }
    Ok(samples)
}

#[expect(clippy::cast_possible_truncation, reason = "times of this century")]
fn sample(line: &str) -> Option<Sample> {
    let mut fields = line.split(',');
    let time: f64 = fields.next()?.parse().ok()?;
    let host: std::net::Ipv4Addr = fields.nth(1)?.strip_prefix("icmp:")?.parse().ok()?;
    let rtt: f64 = fields.next()?.parse().ok()?;
    let [_, _, uplink, target] = host.octets();
    Some(Sample {
        host: (uplink, target),
        asked: (time * 1e9) as i64,
        rtt: (rtt * 1e6) as i64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_sample_is_found_again() {
        let found = sample("1764345601.042,u7,icmp:198.18.7.9,12.345,4").unwrap();
        assert_eq!((found.host, found.rtt), ((7, 9), 12_345_000));
        assert_eq!(sample("1764345601.042,u7,icmp:198.18.7.9,-,4"), None);
    }

    #[test]
    fn questions_and_answers_have_the_same_host_and_number() {
        let mut packet = [0; 28];
        (packet[0], packet[9], packet[20]) = (0x45, 1, 8);
        packet[16..20].copy_from_slice(&[198, 18, 3, 4]);
        packet[24..28].copy_from_slice(&[1, 2, 3, 4]);
        let question = read(&packet).unwrap();
        packet[20] = 0;
        packet.copy_within(16..20, 12);
        packet[16..20].copy_from_slice(&[10, 0, 0, 1]);
        let answer = read(&packet).unwrap();
        assert_eq!((question.1, question.2), (answer.1, answer.2));
        packet[12] = 10;
        assert_eq!(read(&packet), None);
    }
}
