//! Batches of netfilter messages that take effect all together or not at all.

use nix::sys::socket::{setsockopt, sockopt};

use super::{
    Frames, KernelError, Message, Socket, flags,
    reply::{MESSAGE_ERROR, verdict},
};

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// What the send buffer has room for from the start. The kernel counts about twice what is sent.
const SEND_BUFFER_USUAL: usize = 64 * 1024;

impl Socket {
    /// Sends messages for a subsystem of netfilter as one transaction.
    ///
    /// # Errors
    /// The first thing that the kernel says against it; then nothing was changed.
    pub fn transaction(&mut self, subsystem: u16, messages: &[Message]) -> Result<(), KernelError> {
        let Some((last, others)) = messages.split_last() else {
            return Ok(());
        };
        // Only the subsystem's number is wide, and in the network's order.
        let [high, low] = subsystem.to_be_bytes();
        let bracket = |kind| Message::new(kind, 0, &[0, 0, high, low]);
        let mut datagram = Vec::new();
        let first = self.sequence;
        let mut write = |message: &Message, extra: u16| {
            message.write(&mut datagram, flags::REQUEST | extra, self.sequence);
            self.sequence = self.sequence.wrapping_add(1);
        };
        write(&bracket(BEGIN), 0);
        others.iter().for_each(|message| write(message, 0));
        // One acknowledgement is enough: the kernel answers once all has been done, and says then
        // what it has against any of the others as well.
        write(last, flags::ACK);
        write(&bracket(END), 0);
        let acknowledged = self.sequence.wrapping_sub(2);
        if datagram.len() > SEND_BUFFER_USUAL {
            let room = datagram.len() * 2;
            if setsockopt(&self.inner, sockopt::SndBufForce, &room).is_err() {
                setsockopt(&self.inner, sockopt::SndBuf, &room).map_err(std::io::Error::from)?;
            }
        }
        let sent = self.inner.send(&datagram, 0)?;
        if sent != datagram.len() {
            return Err(KernelError::from_errno(nix::libc::EMSGSIZE));
        }
        self.end_of_transaction(first, acknowledged)
    }

    /// Reads answers until the one to the last message. An answer to the first, which only opens the
    /// batch, is about all of it, and the last one.
    fn end_of_transaction(&mut self, first: u32, last: u32) -> Result<(), KernelError> {
        let mut refusal = None;
        loop {
            for frame in Frames(self.receive()?) {
                let offset = frame.sequence.wrapping_sub(first);
                if frame.kind != MESSAGE_ERROR || offset > last.wrapping_sub(first) {
                    continue;
                }
                let answer = verdict(&frame);
                if refusal.is_none() {
                    refusal = answer.clone().err();
                }
                if frame.sequence == last || frame.sequence == first && answer.is_err() {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }
}
