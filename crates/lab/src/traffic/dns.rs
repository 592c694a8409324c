//! Asking a resolver, as a host in the LAN does.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use uplinkd_model::Family;

use crate::{netns::Netns, slowness::stretched};

/// How long an answer is waited for, and how often is asked.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 4;

/// The addresses of a name, as a resolver knows them. None: it knows the name to have none.
///
/// # Errors
/// When the resolver does not answer, or says that something went wrong.
pub fn resolve(netns: &Netns, server: IpAddr, name: &str, family: Family) -> Result<Vec<IpAddr>> {
    let question = question(name, family);
    let answer = netns.run(|| {
        let any: IpAddr = match server {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(server, 53))?;
        socket.set_read_timeout(Some(stretched(PATIENCE)))?;
        let mut answer = vec![0; 1500];
        let mut last = None;
        for _ in 0..TRIES {
            match socket
                .send(&question)
                .and_then(|_| socket.recv(&mut answer))
            {
                Ok(length) => {
                    answer.truncate(length);
                    return Ok(answer);
                }
                Err(e) => last = Some(e),
            }
        }
        let silent = io::Error::from(io::ErrorKind::TimedOut);
        Err(last.unwrap_or(silent)).with_context(|| format!("{server} does not resolve {name}"))
    })?;
    read(&answer, family).with_context(|| format!("an answer of {server} about {name}"))
}

/// The record type of a family's addresses.
fn record_type(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 28,
    }
}

fn question(name: &str, family: Family) -> Vec<u8> {
    // Any number, recursion desired, one question.
    let mut bytes = vec![0x75, 0x70, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&record_type(family).to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

fn read(answer: &[u8], family: Family) -> Result<Vec<IpAddr>> {
    let number = |at: usize| -> Result<u16> {
        let bytes = answer.get(at..).and_then(|b| b.first_chunk());
        Ok(u16::from_be_bytes(*bytes.context("too short")?))
    };
    match number(2)? & 0xf {
        0 | 3 => {}
        code => bail!("it failed with code {code}"),
    }
    let count = number(6)?;
    let mut at = skip_name(answer, 12)? + 4;
    let mut addresses = Vec::new();
    for _ in 0..count {
        at = skip_name(answer, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = answer.get(at + 10..at + 10 + length).context("too short")?;
        if kind == record_type(family) {
            let v4 = data.try_into().map(|b: [u8; 4]| IpAddr::from(b));
            let v6 = data.try_into().map(|b: [u8; 16]| IpAddr::from(b));
            addresses.push(v4.or(v6).context("an address of a strange length")?);
        }
        at += 10 + length;
    }
    Ok(addresses)
}

/// Where a name ends that begins here.
fn skip_name(answer: &[u8], mut at: usize) -> Result<usize> {
    loop {
        let length = *answer.get(at).context("too short")?;
        match length {
            0 => return Ok(at + 1),
            0xc0.. => return Ok(at + 2),
            _ => at += 1 + usize::from(length),
        }
        ensure!(at < answer.len(), "a name without end");
    }
}
