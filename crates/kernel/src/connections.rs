//! Counting tracked connections.

use std::cell::Cell;

use uplinkd_model::Mark;

use crate::{
    Kernel,
    netlink::{KernelError, Message},
    wire::connection,
};

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET`.
const GET_CONNECTIONS: u16 = 0x101;

impl Kernel {
    /// How many tracked connections, of both families, bear a mark. The kernel picks them out; none
    /// is kept here. Costs about a microsecond for each that counts.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or where connections are not tracked.
    pub fn count_connections(&mut self, mark: Mark) -> Result<u64, KernelError> {
        let count = Cell::new(0);
        let ask = Message::new(GET_CONNECTIONS, 0, &[0; 4])
            .be32(connection::MARK, mark.value)
            .be32(connection::MARK_MASK, mark.mask);
        self.netfilter.dump_matching(ask, |_| {
            count.set(count.get() + 1);
            false
        })?;
        Ok(count.get())
    }
}
