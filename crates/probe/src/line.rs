//! The line that a question tests, and sockets that leave by it and by no other.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use nix::{errno::Errno, net::if_::if_nametoindex};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use uplinkd_model::{Family, UplinkName};

/// One family of one uplink.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The uplink.
    pub uplink: UplinkName,
    /// The family.
    pub family: Family,
    /// The interface that questions leave by, and answers must come in by.
    pub device: String,
    /// The packet mark, which brings questions to the uplink's own table, whatever its health.
    pub mark: Option<u32>,
}

impl Line {
    /// The same uplink in the family of an address.
    pub(crate) fn towards(&self, address: IpAddr) -> Self {
        Self {
            family: Family::of(address),
            ..self.clone()
        }
    }

    /// A TCP connection.
    pub(crate) async fn connect(&self, to: SocketAddr) -> Result<TcpStream, String> {
        let connect = async {
            let socket = self.socket(Type::STREAM, Protocol::TCP, to)?;
            // Closed with a reset: it is of no use to anybody any more, and thousands of them would
            // otherwise wait for their end, here and there.
            socket.set_linger(Some(Duration::ZERO))?;
            socket.set_tcp_nodelay(true)?;
            TcpSocket::from_std_stream(socket.into())
                .connect(self.scoped(to)?)
                .await
        };
        connect.await.map_err(|e: io::Error| in_words(&e))
    }

    /// A UDP socket that hears only this peer.
    pub(crate) async fn udp(&self, to: SocketAddr) -> Result<UdpSocket, String> {
        let connect = async {
            let socket = self.socket(Type::DGRAM, Protocol::UDP, to)?;
            let socket = UdpSocket::from_std(socket.into())?;
            socket.connect(self.scoped(to)?).await?;
            Ok(socket)
        };
        connect.await.map_err(|e: io::Error| in_words(&e))
    }

    fn socket(&self, kind: Type, protocol: Protocol, to: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(to), kind.nonblocking(), Some(protocol))?;
        socket.bind_device(Some(self.device.as_bytes()))?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        Ok(socket)
    }

    /// A link-local address means nothing without its interface.
    fn scoped(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        match to {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
                let index = if_nametoindex(self.device.as_str())?;
                Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into())
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => Ok(to),
        }
    }
}

/// What an error of a socket means to somebody who wonders why a line is down.
pub fn in_words(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return bounded(&error.to_string());
    };
    let own = [
        (Errno::ECONNRESET, "connection reset"),
        (Errno::ENODEV, "there is no such interface"),
    ];
    let errno = Errno::from_raw(number);
    let own = own.iter().find(|(known, _)| *known == errno);
    own.map_or_else(
        || errno.desc().to_lowercase(),
        |(_, words)| (*words).to_owned(),
    )
}

/// Text from outside is shortened to so many characters.
const TEXT_MAX: usize = 120;

/// Text from outside, short and without anything that a terminal could take for an order.
pub fn bounded(text: &str) -> String {
    let mut short: String = text.chars().take(TEXT_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
        .chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_short_and_harmless() {
        assert_eq!(bounded("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(bounded("schöner Status"), "schöner Status");
        let long = bounded(&"ä".repeat(500));
        assert_eq!(long.chars().count(), TEXT_MAX + 1);
    }

    #[test]
    fn errors_are_told_without_numbers() {
        let told = |errno: Errno| in_words(&io::Error::from(errno));
        assert_eq!(told(Errno::ECONNREFUSED), "connection refused");
        assert_eq!(told(Errno::EHOSTUNREACH), "no route to host");
    }
}
