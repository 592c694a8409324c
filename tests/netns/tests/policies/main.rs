//! Policies, end to end: each match, each target, groups with their tiers and memories, both
//! families, with real packets that somebody in the internet sees arrive.

mod agreement;
mod counts;
mod domains;
mod failback;
mod families;
mod leftovers;
mod matches;
mod reload;
mod schedules;
mod services;
mod stage;
mod sticky;
mod targets;
mod units;

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
        matches {
            sources,
            destinations,
            a_file_of_prefixes_is_read_again_when_it_changes,
            protocols,
            ports_on_both_sides,
            interfaces_and_devices,
            families,
            code_points,
            marks_of_others,
            users_and_groups,
            control_groups,
            icmp_types,
            several_conditions_together,
            the_first_that_matches_decides,
        }
        units {
            are_found_where_systemd_puts_them,
        }
        targets {
            every_target_leads_where_it_says,
            otherwise_serves_when_nothing_is_live,
            a_strict_policy_never_leaks,
            what_comes_in_before_its_line_is_ready_is_not_answered_by_another,
            a_refusal_is_fast,
            weights_of_a_group_are_kept,
        }
        leftovers {
            of_a_failed_line_never_leave_by_another,
        }
        sticky {
            a_source_keeps_its_uplink,
            a_pair_keeps_its_uplink,
            only_a_failure_moves_it,
        }
        failback {
            when_and_with_what_flows,
            a_tunnel_of_the_router_moves_over_and_back,
        }
        families {
            ipv6_fails_alone,
            ipv6_comes_later,
            an_uplink_without_ipv6_is_no_fault,
        }
        services {
            hundreds_of_clients_are_answered_on_every_line,
        }
        domains {
            names_lead_where_their_policy_says,
        }
        schedules {
            hours_hold_by_local_time,
            a_new_minute_changes_what_holds,
        }
        reload {
            connections_stay_unless_a_policy_says_move,
            no_packet_is_lost_while_policies_change,
            no_connection_slips_past_a_new_outlet,
            prefixes_of_few_lengths_lead_where_they_say,
            an_invalid_file_changes_nothing,
        }
        counts {
            each_policy_counts_what_it_decides,
        }
        agreement {
            explain_and_the_kernel_agree,
            an_existing_connection_is_explained,
        }
    };
    harness::run(tests)
}
