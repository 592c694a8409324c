//! The daemon on access lines of other kinds than a plain cable. They need drivers that not every
//! kernel has, so these are run in a virtual machine, by `cargo xtask vm lines`.

mod common;
mod layered;
mod pppoe;
mod tun;
mod wireguard;

use std::process::ExitCode;

use uplinkd_lab::harness;

/// The tests of some modules, under the modules' names.
macro_rules! tests {
    ($($module:ident { $($test:ident,)* })*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test)),*),*]
    };
}

fn main() -> ExitCode {
    let tests: &[harness::Test] = tests! {
        layered {
            a_vlan_is_an_uplink,
            a_bond_outlives_one_of_its_cables,
            a_bridge_is_an_uplink,
            a_macvlan_is_an_uplink,
            a_line_with_delay_and_loss_stays_up,
        }
        pppoe {
            a_session_is_an_uplink,
            a_session_that_ends_and_begins_again,
            a_session_comes_back_under_another_name,
            a_session_has_ipv6_by_a_delegated_prefix,
        }
        tun {
            a_tunnel_by_a_program_is_an_uplink_and_is_led_itself,
        }
        wireguard {
            wg_quick_sends_everything_through_the_tunnel,
            a_tunnel_is_an_uplink_for_a_policy,
        }
    };
    harness::run(tests)
}
