//! Gateways that move: whoever brings a line's address and gateway, and whatever happens to them,
//! `gateway = "auto"` follows.
//!
//! Real DHCP and router advertisement daemons at the provider, real clients on the router. The tests
//! run side by side, since they mostly wait for clients.

mod advertised;
mod clients;
mod common;
mod devices;
mod names;
mod offlink;
mod places;
mod renumber;
mod seamless;
mod shapes;
mod solicited;
mod tables;
mod twins;
mod withdrawn;

use std::process::ExitCode;

use uplinkd_lab::harness;

/// So many that two cores are busy and the machine is still quick to answer.
const AT_A_TIME: usize = 6;

/// The tests of some modules, under the modules' names.
macro_rules! tests {
    ($($module:ident { $($test:ident,)* })*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test)),*),*]
    };
}

fn main() -> ExitCode {
    let tests: &[harness::Test] = tests! {
        advertised {
            forwarding_does_not_cost_the_default_route,
            advertisements_are_welcome_on_a_router,
            an_interface_that_comes_later_takes_advertisements,
            by_networkd,
            by_network_manager,
            another_prefix,
        }
        clients {
            udhcpc,
            dhclient,
            dhcpcd,
            networkd,
            network_manager,
            a_person,
        }
        devices {
            missing_at_the_start,
            unplugged_and_plugged_in_again,
            moved_to_another_namespace_and_back,
            the_name_goes_to_another_interface,
        }
        names {
            an_alternative_name_in_the_file,
        }
        offlink {
            a_gateway_outside_the_subnet,
            a_gateway_behind_a_link_route,
            an_ipv6_gateway_outside_the_subnet,
            ipv4_by_an_ipv6_gateway,
            a_point_to_point_line_with_a_gateway,
        }
        places {
            in_main_with_two_metrics,
            in_a_multipath_route,
            in_a_group_of_nexthops,
        }
        renumber {
            under_traffic_with_a_gap,
            the_gateway_alone,
            the_lease_is_lost_and_comes_back,
            a_lease_without_a_gateway,
        }
        seamless {
            by_hand,
            by_networkd,
        }
        shapes {
            a_network_of_two,
            a_point_to_point_line_without_a_gateway,
            a_point_to_point_line_is_remembered_over_a_restart,
        }
        solicited {
            a_router_asks_for_them,
        }
        tables {
            by_hand,
            by_networkd,
            by_network_manager,
        }
        twins {
            the_same_gateway_in_the_same_subnet,
            the_same_address_too,
        }
        withdrawn {
            from_the_kernel,
            from_networkd,
            the_router_lifetime_runs_out,
        }
    };
    harness::run_together(tests, AT_A_TIME)
}
