//! Servers that answer on every address of a namespace.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    cmsg_space, libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
        setsockopt, sockopt,
    },
};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};

use super::wire;
use crate::netns::Netns;

/// The port that servers answer on by default.
pub const PORT: u16 = 9000;
/// Connections waiting to be accepted, above the most that a client makes at once.
const BACKLOG: i32 = 4096;
/// Connections served at a time. Beyond that new ones wait in the backlog, and in the end are lost.
const CONNECTIONS_MAX: usize = 8192;
/// After so long without a question a connection is given up: its client's line is dead.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(180);
/// How soon the UDP server notices that it shall stop.
const STOP_LATENCY_MS: u16 = 50;
/// Room for a burst of datagrams, as far as the system allows.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A UDP and a TCP server in a namespace, both families. They stop when this is dropped.
#[derive(Debug)]
pub struct Servers {
    stop: Arc<AtomicBool>,
    stop_tcp: Arc<Notify>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Servers {
    /// Starts them; when this returns they are listening.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(netns: &Netns, port: u16) -> Result<Self> {
        super::connections::allow_many_files();
        let open = || -> Result<_> {
            let v4 = udp_socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?;
            let v6 = udp_socket(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))?;
            let listen = [
                listener(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?,
                listener(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))?,
            ];
            Ok(([v4, v6], listen))
        };
        let (datagrams, listeners) = netns
            .run(open)
            .with_context(|| format!("cannot serve port {port} in `{}`", netns.name()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stop_tcp = Arc::new(Notify::new());
        let (stop_udp, stopped) = (Arc::clone(&stop), Arc::clone(&stop_tcp));
        Ok(Self {
            stop,
            stop_tcp,
            threads: vec![
                netns.start(move || answer_datagrams(&datagrams, &stop_udp))?,
                netns.start_async(move || serve_streams(listeners, stopped))?,
            ],
        })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stop_tcp.notify_one();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn udp_socket(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn answer_datagrams(sockets: &[Socket; 2], stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let mut waiting = sockets
            .each_ref()
            .map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN));
        match poll(&mut waiting, PollTimeout::from(STOP_LATENCY_MS)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        for socket in sockets {
            // Errors are those of earlier answers (nobody there any more) or an empty queue.
            while answer_datagram(socket) == Ok(()) {}
        }
    }
    Ok(())
}

/// Answers one datagram from the address that it was sent to, whatever route leads back.
fn answer_datagram(socket: &Socket) -> nix::Result<()> {
    let mut bytes = [0; 64];
    let mut space = cmsg_space!(libc::in6_pktinfo);
    let (length, source, asked) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let asked = received.cmsgs()?.next();
        (received.bytes, received.address, asked)
    };
    let Some(to) = source.and_then(|s| socket_address(&s)) else {
        return Ok(());
    };
    let Some(answer) = wire::answer(&bytes[..length], to) else {
        return Ok(());
    };
    let parts = [IoSlice::new(&answer)];
    let (fd, to) = (socket.as_raw_fd(), SockaddrStorage::from(to));
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(fd, &parts, control, MsgFlags::MSG_DONTWAIT, Some(&to))
    };
    let sent = match asked {
        Some(ControlMessageOwned::Ipv4PacketInfo(mut info)) => {
            info.ipi_ifindex = 0;
            info.ipi_spec_dst = info.ipi_addr;
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some(ControlMessageOwned::Ipv6PacketInfo(mut info)) => {
            info.ipi6_ifindex = 0;
            send(&[ControlMessage::Ipv6PacketInfo(&info)])
        }
        _ => send(&[]),
    };
    // An answer that cannot be sent is lost, as on a real server; there may be more questions.
    let _ = sent;
    Ok(())
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|a| SocketAddr::new(IpAddr::V4(a.ip()), a.port()));
    v4.or_else(|| {
        let a = storage.as_sockaddr_in6()?;
        Some(SocketAddr::new(IpAddr::V6(a.ip()), a.port()))
    })
}

async fn serve_streams(listeners: [Socket; 2], stop: Arc<Notify>) -> Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for socket in listeners {
        let listener = TcpListener::from_std(socket.into())?;
        let places = Arc::clone(&places);
        tokio::task::spawn_local(async move {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                // Errors are about connections that died in the backlog.
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                tokio::task::spawn_local(async move {
                    // A connection's end, however it comes about, is noticed by its client.
                    let _ = serve_stream(stream, peer).await;
                    drop(place);
                });
            }
        });
    }
    stop.notified().await;
    Ok(())
}

async fn serve_stream(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&wire::greeting(0, peer)).await?;
    let mut question = [0; wire::QUESTION];
    loop {
        let read = stream.read_exact(&mut question);
        tokio::time::timeout(CONNECTION_IDLE_MAX, read).await??;
        let Some(answer) = wire::answer(&question, peer) else {
            return Ok(());
        };
        stream.write_all(&answer).await?;
    }
}
