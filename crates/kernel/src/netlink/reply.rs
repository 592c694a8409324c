//! Reading messages. Nothing here panics or allocates on bytes that make no sense: iteration ends.

use std::{fmt, io};

use super::message::{HEADER, flags};

/// An acknowledgement or an error.
pub(super) const MESSAGE_ERROR: u16 = 2;
/// The end of a dump.
pub(super) const MESSAGE_DONE: u16 = 3;

/// The type bits of an attribute, without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const KIND_MASK: u16 = 0x3fff;

/// Where an error's explanations say what.
mod explanation {
    pub(super) const TEXT: u16 = 1;
    pub(super) const OFFSET: u16 = 2;
    pub(super) const MISSING: u16 = 5;
}

/// A message in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What kind of message it is (`RTM_…`).
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The number of the request that it answers; zero or the causing request's on events.
    pub sequence: u32,
    /// The port of the socket that caused it (`nlmsg_pid`); zero when the kernel did.
    pub port: u32,
    /// The fixed part and the attributes.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// A copy that outlives the datagram.
    pub fn to_reply(&self) -> Reply {
        Reply {
            kind: self.kind,
            flags: self.flags,
            sequence: self.sequence,
            port: self.port,
            body: self.body.to_vec(),
        }
    }
}

/// The messages in a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a>(pub &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let bytes = self.0;
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let body = bytes.get(HEADER..length)?;
        let frame = Frame {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            body,
        };
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(frame)
    }
}

/// A message that the kernel answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What kind of message it is (`RTM_…`).
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// The port of the socket that asked (`nlmsg_pid`).
    pub port: u32,
    /// The fixed part and the attributes.
    pub body: Vec<u8>,
}

/// The attributes in a piece of a message, as kind and value.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0;
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let kind = u16_at(bytes, 2)? & KIND_MASK;
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

/// The value of the first attribute of a kind.
pub fn find(body: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes(body).find(|a| a.0 == kind).map(|a| a.1)
}

/// What the kernel says against a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KernelError {
    /// The error number, positive.
    pub errno: i32,
    /// The kernel's own explanation.
    pub text: Option<String>,
    /// Where in the request the fault lies, in bytes from its start.
    pub offset: Option<u32>,
    /// The attribute that is missing.
    pub missing: Option<u32>,
}

impl KernelError {
    /// An error without an explanation.
    pub fn from_errno(errno: i32) -> Self {
        Self {
            errno,
            text: None,
            offset: None,
            missing: None,
        }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(nix::errno::Errno::from_raw(self.errno).desc())?;
        if let Some(text) = &self.text {
            write!(f, ": {text}")?;
        }
        if let Some(missing) = self.missing {
            write!(f, " (attribute {missing} is missing)")?;
        }
        Ok(())
    }
}

impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        Self::from_errno(error.raw_os_error().unwrap_or(nix::libc::EIO))
    }
}

/// What an acknowledgement, an error or the end of a dump says.
pub(super) fn verdict(frame: &Frame<'_>) -> Result<(), KernelError> {
    let code = u32_at(frame.body, 0).map_or(0, u32::cast_signed);
    if code == 0 {
        return Ok(());
    }
    let mut error = KernelError::from_errno(code.saturating_neg());
    if frame.flags & flags::ACK_TLVS != 0 {
        for (kind, value) in Attributes(explanations(frame)) {
            match kind {
                explanation::TEXT => error.text = Some(text(value)),
                explanation::OFFSET => error.offset = u32_at(value, 0),
                explanation::MISSING => error.missing = u32_at(value, 0),
                _ => {}
            }
        }
    }
    Err(error)
}

/// The explanations follow the code and, on errors, the request: its header, or all of it.
fn explanations<'a>(frame: &Frame<'a>) -> &'a [u8] {
    let request = if frame.kind == MESSAGE_DONE {
        0
    } else if frame.flags & flags::CAPPED != 0 {
        HEADER
    } else {
        u32_at(frame.body, 4)
            .and_then(|l| usize::try_from(l).ok())
            .map_or(HEADER, |l| l.min(frame.body.len()).next_multiple_of(4))
    };
    frame.body.get(4 + request..).unwrap_or(&[])
}

/// A text attribute, without the zero byte at its end. Bytes that are not UTF-8 are replaced.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// The four bytes at a place, in the machine's order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*four))
}

/// The two bytes at a place, in the machine's order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*two))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::Message;

    #[test]
    fn what_was_written_is_read_again() {
        let mut datagram = Vec::new();
        Message::new(20, 0x100, &[1, 2, 3, 4])
            .u32(1, 5)
            .write(&mut datagram, 1, 77);
        Message::new(21, 0, &[]).write(&mut datagram, 0, 78);
        let frames: Vec<_> = Frames(&datagram).collect();
        assert_eq!(frames.len(), 2);
        assert_eq!(
            (frames[0].kind, frames[0].flags, frames[0].sequence),
            (20, 0x101, 77)
        );
        assert_eq!(
            find(&frames[0].body[4..], 1),
            Some(5_u32.to_ne_bytes().as_slice())
        );
        assert_eq!((frames[1].kind, frames[1].body), (21, [].as_slice()));
    }

    #[test]
    fn an_error_speaks_the_kernels_words() {
        let mut body = (-2_i32).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; HEADER]);
        crate::netlink::put(&mut body, explanation::TEXT, b"Nexthop id does not exist\0");
        let frame = Frame {
            kind: MESSAGE_ERROR,
            flags: flags::CAPPED | flags::ACK_TLVS,
            sequence: 1,
            port: 0,
            body: &body,
        };
        let error = verdict(&frame).unwrap_err();
        assert_eq!(error.errno, 2);
        assert_eq!(
            error.to_string(),
            "No such file or directory: Nexthop id does not exist"
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_end_the_iteration(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            length in 0_u8..200,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.get_mut(..4) {
                first.copy_from_slice(&[length, 0, 0, 0]);
            }
            for frame in Frames(&bytes) {
                let _ = verdict(&frame);
                let done = Frame { kind: MESSAGE_DONE, flags: flags::ACK_TLVS, ..frame };
                let _ = verdict(&done);
                prop_assert!(Attributes(frame.body).count() <= bytes.len());
            }
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}
