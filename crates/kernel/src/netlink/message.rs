//! Building messages: a fixed part, then attributes.

/// Flags of messages (`NLM_F_…`).
pub mod flags {
    /// It is a request. Added by the socket.
    pub const REQUEST: u16 = 0x1;
    /// An answer is wanted in any case. Added by the socket.
    pub const ACK: u16 = 0x4;
    /// The objects changed while they were listed (on replies).
    pub const DUMP_INTR: u16 = 0x10;
    /// List everything that matches. Added by the socket.
    pub const DUMP: u16 = 0x300;
    /// Take the place of an object that is there.
    pub const REPLACE: u16 = 0x100;
    /// Refuse when an object is there.
    pub const EXCL: u16 = 0x200;
    /// Make the object when it is not there.
    pub const CREATE: u16 = 0x400;
    /// Add at the end.
    pub const APPEND: u16 = 0x800;
    /// The kernel left the request out of its answer (on errors).
    pub const CAPPED: u16 = 0x100;
    /// Explanations follow (on errors).
    pub const ACK_TLVS: u16 = 0x200;
}

/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// Length of a message's header.
pub(super) const HEADER: usize = 16;

/// A message that is being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// A message of a kind (`RTM_…`) with the part that its kind prescribes.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut body = fixed.to_vec();
        pad(&mut body);
        Self { kind, flags, body }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        put(&mut self.body, kind, value);
        self
    }

    /// Adds an attribute of one byte.
    #[must_use]
    pub fn u8(self, kind: u16, value: u8) -> Self {
        self.attr(kind, &[value])
    }

    /// Adds an attribute of two bytes in the machine's order.
    #[must_use]
    pub fn u16(self, kind: u16, value: u16) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute of four bytes in the machine's order.
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute of four bytes in the network's order.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds a text with the zero byte at its end that the kernel expects.
    #[must_use]
    pub fn str(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Adds an attribute that holds attributes, which `fill` writes with [`put`] and [`nest`].
    #[must_use]
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        nest(&mut self.body, kind, fill);
        self
    }

    /// What kind of message it is.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// Its own flags, without those that the socket adds.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    /// The fixed part and the attributes.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its length in a datagram.
    pub(super) fn length(&self) -> usize {
        HEADER + self.body.len()
    }

    /// Writes it at the end of a datagram.
    pub(super) fn write(&self, datagram: &mut Vec<u8>, extra_flags: u16, sequence: u32) {
        // No message of ours comes near 4 GiB; the kernel refuses one whose length does not fit.
        let length = u32::try_from(self.length()).unwrap_or(u32::MAX);
        datagram.extend_from_slice(&length.to_ne_bytes());
        datagram.extend_from_slice(&self.kind.to_ne_bytes());
        datagram.extend_from_slice(&(self.flags | extra_flags).to_ne_bytes());
        datagram.extend_from_slice(&sequence.to_ne_bytes());
        datagram.extend_from_slice(&0_u32.to_ne_bytes());
        datagram.extend_from_slice(&self.body);
    }
}

/// Writes an attribute at the end of `body`.
///
/// A value beyond 65,531 bytes has no valid form; its length is written as zero, which the kernel
/// refuses, so that nothing is done by halves.
pub fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(0);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    pad(body);
}

/// Writes an attribute that holds attributes, which `fill` writes.
pub fn nest(body: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    put(body, kind | NESTED, &inner);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_their_length_is_not() {
        let message = Message::new(20, 0, &[7]).str(3, "lo").u8(9, 1);
        let expected = [
            7, 0, 0, 0, // fixed part
            7, 0, 3, 0, b'l', b'o', 0, 0, // a text
            5, 0, 9, 0, 1, 0, 0, 0, // a byte
        ];
        assert_eq!(message.body(), expected);
    }

    #[test]
    fn a_nest_knows_its_length() {
        let message = Message::new(20, 0, &[]).nest(5, |b| put(b, 1, &[0xaa; 4]));
        assert_eq!(
            message.body(),
            [12, 0, 5, 0x80, 8, 0, 1, 0, 0xaa, 0xaa, 0xaa, 0xaa]
        );
    }

    #[test]
    fn a_value_that_is_too_long_is_written_as_malformed() {
        let mut body = Vec::new();
        put(&mut body, 1, &vec![0; 70_000]);
        assert_eq!(body[..2], [0, 0]);
    }
}
