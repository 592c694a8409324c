//! The content of our nft table.

use uplinkd_model::nft::{NftTable, NftUplink};

use super::Inputs;

pub(super) fn table(inputs: &Inputs<'_>) -> NftTable {
    let reserve = &inputs.config.reserve;
    let uplinks = inputs.config.uplinks.iter().map(|uplink| {
        // Addresses are taken from the interface even while its link is not usable: the table then
        // does not change with every flap of the carrier.
        let mut addresses: Vec<_> = inputs
            .observed
            .link(&uplink.interface)
            .map(|link| link.addresses.iter().map(ipnet::IpNet::addr).collect())
            .unwrap_or_default();
        addresses.sort_unstable();
        addresses.dedup();
        NftUplink {
            slot: uplink.slot.0,
            interface: uplink.interface.clone(),
            mark_out: reserve.mark_out(uplink.slot),
            mark_in: reserve.mark_in(uplink.slot),
            nat: uplink.nat,
            addresses,
        }
    });
    let mut uplinks: Vec<_> = uplinks.collect();
    uplinks.sort_by_key(|u| u.slot);
    NftTable {
        name: reserve.nft_table.clone(),
        pin_mask: reserve.mark_pin_mask(),
        uplinks,
    }
}
