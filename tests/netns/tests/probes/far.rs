//! Servers in the internet that say what a test wants to hear, and remember who asked.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use rustls::{ServerConnection, StreamOwned};
use uplinkd_lab::{Isp, Lab};
use uplinkd_netns_tests::{
    serving::{Serving, tls},
    within,
};

use crate::common::LONG;

/// What a resolver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// This address, whatever the name.
    Address(IpAddr),
    /// This code, such as 3 for NXDOMAIN.
    Code(u8),
    /// Nothing at all.
    Nothing,
}

/// A server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Far {
    peers: Arc<Mutex<Vec<IpAddr>>>,
    serving: Serving,
}

/// Something that a test changes while a server uses it.
pub(crate) type Word<T> = Arc<Mutex<T>>;

pub(crate) fn word<T>(value: T) -> Word<T> {
    Arc::new(Mutex::new(value))
}

pub(crate) fn say<T>(word: &Word<T>, value: T) {
    *word.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn heard<T: Clone>(word: &Word<T>) -> T {
    word.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Far {
    /// A port that accepts connections and says this, whatever it is told.
    pub(crate) fn page(lab: &Lab, port: u16, answer: &Word<String>) -> Result<Self> {
        let answer = Arc::clone(answer);
        Self::tcp(lab, port, move |stream, _| talk(stream, &heard(&answer)))
    }

    /// The same over TLS, with the certificate of this name.
    pub(crate) fn secure(
        lab: &Lab,
        port: u16,
        certificate: &Word<&'static str>,
        answer: &Word<String>,
    ) -> Result<Self> {
        let (certificate, answer) = (Arc::clone(certificate), Arc::clone(answer));
        Self::tcp(lab, port, move |stream, _| {
            let session = ServerConnection::new(tls(heard(&certificate))?)?;
            talk(StreamOwned::new(session, stream), &heard(&answer))
        })
    }

    /// A name server on port 53 of every address, by UDP and TCP.
    pub(crate) fn names(lab: &Lab, says: &Word<Says>) -> Result<Self> {
        let by_tcp = Arc::clone(says);
        let mut far = Self::tcp(lab, 53, move |mut stream, _| {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query)?;
            if let Some(answer) = answer(&query, heard(&by_tcp)) {
                let length = u16::try_from(answer.len())?.to_be_bytes();
                stream.write_all(&[&length[..], &answer].concat())?;
            }
            Ok(())
        })?;
        let (says, peers) = (Arc::clone(says), Arc::clone(&far.peers));
        let sockets = lab.internet().run(|| {
            // One for each address: an answer must come from where it was asked.
            let all = uplinkd_lab::FAMILIES.iter().flat_map(|f| lab.servers(*f));
            let open = |address| -> Result<UdpSocket> {
                let socket = UdpSocket::bind((address, 53))?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            all.map(open).collect::<Result<Vec<_>>>()
        })?;
        far.serving.also(move |stopped| {
            let mut query = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
                for socket in &sockets {
                    while let Ok((length, from)) = socket.recv_from(&mut query) {
                        note(&peers, from);
                        if let Some(answer) = answer(&query[..length], heard(&says)) {
                            let _ = socket.send_to(&answer, from);
                        }
                    }
                }
            }
            Ok(())
        });
        Ok(far)
    }

    fn tcp(
        lab: &Lab,
        port: u16,
        serve: impl Fn(TcpStream, SocketAddr) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let peers = word(Vec::new());
        let told = Arc::clone(&peers);
        let serving = Serving::tcp(lab, port, move |stream, from| {
            note(&told, from);
            serve(stream, from)
        })?;
        Ok(Self { peers, serving })
    }

    /// Who asked since this was called last.
    pub(crate) fn peers(&self) -> Vec<IpAddr> {
        std::mem::take(&mut *self.peers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// That whoever asked since then came by this line, and nobody by another; somebody does.
    pub(crate) fn ensure_only_by(&self, isp: Isp) -> Result<()> {
        let mut peers = Vec::new();
        within("somebody asks", LONG, || {
            peers = self.peers();
            Ok(!peers.is_empty())
        })?;
        let lines: Vec<_> = peers.iter().map(|p| Isp::of(*p)).collect();
        ensure!(lines.iter().all(|l| *l == Some(isp)), "asked by {lines:?}");
        Ok(())
    }
}

fn note(peers: &Word<Vec<IpAddr>>, from: SocketAddr) {
    let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
    peers.push(from.ip().to_canonical());
}

/// Hears a question, up to an empty line, and says something.
fn talk(mut stream: impl std::io::Read + std::io::Write, answer: &str) -> Result<()> {
    let mut question = Vec::new();
    let mut part = [0; 512];
    while !question.windows(4).any(|w| w == b"\r\n\r\n") {
        let length = stream.read(&mut part)?;
        ensure!(length > 0, "the question ended");
        question.extend_from_slice(&part[..length]);
    }
    stream.write_all(answer.as_bytes())?;
    stream.flush()?;
    Ok(())
}

/// An answer to a query for addresses, as short as there can be.
fn answer(query: &[u8], says: Says) -> Option<Vec<u8>> {
    let (code, address) = match says {
        Says::Address(address) => (0, Some(address)),
        Says::Code(code) => (code, None),
        Says::Nothing => return None,
    };
    let mut message = query.get(..2)?.to_vec();
    let kind = *query.get(query.len() - 3)?;
    let data = match address {
        Some(IpAddr::V4(a)) if kind == 1 => Some(a.octets().to_vec()),
        Some(IpAddr::V6(a)) if kind == 28 => Some(a.octets().to_vec()),
        Some(_) | None => None,
    };
    message.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::from(data.is_some()),
        0,
        0,
        0,
        0,
    ]);
    message.extend(query.get(12..)?);
    if let Some(data) = data {
        message.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 1, 0]);
        message.push(u8::try_from(data.len()).ok()?);
        message.extend(data);
    }
    Some(message)
}
