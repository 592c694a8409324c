//! As whom a socket speaks: the marks of a packet that are not its addresses and ports.

use std::io;

use nix::{
    libc,
    unistd::{Gid, Uid, setfsgid, setfsuid},
};
use socket2::{Domain, Protocol, Socket, Type};

/// As whom a socket speaks. What is not chosen is left to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guise {
    /// The user, by number. Only root of the machine has more than one.
    pub user: Option<u32>,
    /// The group, by number; likewise.
    pub group: Option<u32>,
    /// The mark on every packet (`SO_MARK`).
    pub mark: Option<u32>,
    /// The differentiated services code point of every packet.
    pub dscp: Option<u8>,
}

impl Guise {
    /// Opens a socket in it. The calling thread is itself again afterwards.
    ///
    /// # Errors
    /// With `EPERM` when this process may not speak as that user or group.
    pub fn socket(
        self,
        domain: Domain,
        kind: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Socket> {
        let socket = self.opened_as(|| Socket::new(domain, kind, protocol))?;
        if let Some(mark) = self.mark {
            socket.set_mark(mark)?;
        }
        if let Some(dscp) = self.dscp {
            let class = u32::from(dscp) << 2;
            if domain == Domain::IPV6 {
                socket.set_tclass_v6(class)?;
            } else {
                socket.set_tos_v4(class)?;
            }
        }
        Ok(socket)
    }

    /// The owner of a socket is who opened it, so only that is done in disguise. These identities
    /// are the calling thread's alone, as opposed to all other ids of a process.
    fn opened_as(self, open: impl FnOnce() -> io::Result<Socket>) -> io::Result<Socket> {
        let (own_user, own_group) = (Uid::current(), Gid::current());
        if let Some(group) = self.group {
            setfsgid(Gid::from_raw(group));
        }
        if let Some(user) = self.user {
            setfsuid(Uid::from_raw(user));
        }
        // These calls tell no error, but who it was before: an impossible id changes nothing.
        let nobody = u32::MAX;
        let user = setfsuid(Uid::from_raw(nobody)).as_raw();
        let group = setfsgid(Gid::from_raw(nobody)).as_raw();
        let is_disguised = self.user.is_none_or(|wanted| wanted == user)
            && self.group.is_none_or(|wanted| wanted == group);
        let socket = if is_disguised {
            open()
        } else {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        };
        setfsuid(own_user);
        setfsgid(own_group);
        socket
    }
}
