//! Where packets go: shares, pinning, failing over and coming back, against a real kernel.
//!
//! Each test builds a laboratory of its own and runs the real daemon in it. What is asserted is
//! order, state and count; times are only bounds for "did it happen at all".

use std::process::ExitCode;

mod advertisements;
mod balance;
mod delegated;
mod failover;
mod flows;
mod inbound;
mod last_resort;
mod nat;
mod pinning;
mod prefixes;
mod routes;
mod strangers;

/// Tests with their paths as names.
macro_rules! tests {
    ($($module:ident: $($test:ident)*;)*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test),)*)*]
    };
}

fn main() -> ExitCode {
    uplinkd_lab::harness::run(tests! {
        routes:
            each_uplink_has_a_table_of_its_own
            an_uplinks_address_uses_that_uplink
            addresses_are_followed_as_they_come_and_go
            marked_traffic_uses_the_marked_uplink
            connected_networks_win
            specific_routes_of_main_win;
        balance:
            forwarded_udp
            forwarded_tcp
            own_udp
            own_tcp
            three_uplinks_keep_their_proportions_when_one_fails;
        pinning:
            connections_stay_when_weights_change
            connections_stay_while_the_other_uplink_fails_and_returns
            connections_older_than_the_daemon_stay;
        inbound:
            answered_by_the_uplink_they_came_in_on
            answered_while_the_uplink_is_out_of_service
            older_than_the_daemon_are_answered_as_before
            networks_that_are_routed_to_us_are_answered_too
            a_host_behind_a_strangers_table_is_reached;
        nat:
            a_static_source_is_used_and_own_addresses_are_kept
            a_static_source_does_not_hold_a_connection_back;
        prefixes:
            a_host_goes_on_with_the_address_of_a_dead_provider
            a_policy_leads_a_prefix_elsewhere
            hosts_are_reached_from_outside_by_both_providers
            a_provider_renumbers_under_traffic
            without_a_word_an_own_prefix_is_left_alone;
        delegated:
            a_line_with_a_prefix_and_no_address_is_a_line
            a_prefix_of_its_own_makes_the_line_and_no_other
            the_router_follows_to_another_prefix
            probes_find_back_where_nothing_is_translated;
        advertisements:
            hosts_avoid_a_dead_provider_beside_radvd
            hosts_avoid_a_dead_provider_beside_dnsmasq
            hosts_avoid_a_dead_provider_beside_networkd
            hosts_avoid_a_dead_provider_without_a_daemon
            without_a_way_out_hosts_have_no_router
            a_network_that_is_gone_is_taken_back
            a_daemon_that_comes_has_the_word
            a_restart_finds_out_what_hosts_were_told
            nothing_is_said_where_nobody_advertises;
        failover:
            carrier
            silent
            upstream
            moved_connections_stay_after_upstream
            moved_connections_stay_after_carrier
            moved_connections_stay_after_a_lost_address
            moved_connections_stay_after_a_lost_interface
            a_flapping_uplink_disturbs_nobody_else;
        last_resort:
            nothing_is_unreachable_when_all_are_down
            one_carrier_of_none_brings_everything_back;
        strangers:
            mark_bits_survive
            objects_next_to_ours_survive;
    })
}
