//! The daemon's life, end to end: watching, restart and crash, drift, sysctls, commands and bad
//! input, against a real kernel and with real packets.

mod booted;
mod clean;
mod commands;
mod common;
mod crash;
mod drift;
mod lacking;
mod machine;
mod recording;
mod refusals;
mod reload;
mod reserve;
mod service;
mod sysctls;
mod watching;

use std::process::ExitCode;

use uplinkd_lab::harness;

/// The tests of some modules, under the modules' names.
macro_rules! tests {
    ($($module:ident { $($test:ident,)* })*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($test)), $module::$test)),*),*]
    };
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(lacking::WITHOUT_RIGHTS) {
        return lacking::become_without_rights(words);
    }
    let tests: &[harness::Test] = tests! {
        watching {
            probes_leave_by_their_uplink_while_it_is_out_of_service,
            a_dead_line_comes_back_only_after_rise_answers,
            one_socket_for_each_uplink_and_no_process_for_probes,
            the_quorum_of_each_uplink_decides,
            a_host_that_is_silent_everywhere_takes_nobody_out,
            a_gateway_that_answers_does_not_hide_that_nothing_beyond_does,
            a_silent_gateway_does_not_condemn_a_line_that_works,
            a_gateway_that_the_kernel_misses_is_asked_for_at_once,
            a_lost_carrier_counts_at_once,
            a_lost_address_counts_at_once,
            an_interface_that_is_switched_off_counts_at_once,
            an_interface_that_goes_and_comes_back_under_another_number_counts_at_once,
        }
        crash {
            killed_between_steps_of_its_first_start,
            killed_again_and_again_while_traffic_flows,
            killed_while_something_of_ours_is_missing,
            killed_during_failover,
            killed_while_it_notices_a_silent_line,
            a_clean_stop_leaves_routing_in_place_and_a_restart_changes_nothing,
            a_restart_does_not_put_a_dead_line_back_in_service,
        }
        clean {
            everything_of_ours_goes_and_nothing_else,
            intruders_in_our_ranges_survive,
            it_works_without_the_file_and_with_a_broken_one,
            without_its_memory_it_still_finds_what_is_ours,
            what_earlier_reserves_left_is_cleaned_too,
        }
        drift {
            deleted_rules_come_back,
            flushed_tables_come_back,
            deleted_and_changed_nexthops_come_back,
            our_nft_table_comes_back,
            sysctls_and_table_names_are_put_right_with_the_rest,
            doubles_of_our_rules_are_removed,
            orphans_of_ours_are_removed,
            a_rival_does_not_make_the_daemon_spin,
            a_stranger_one_priority_away_is_no_drift,
        }
        service {
            a_service_manager_hears_that_we_are_ready_read_the_file_and_live,
            the_rights_that_the_unit_leaves_are_enough,
            the_unit_is_one_and_leaves_little,
        }
        booted {
            systemd_starts_reloads_watches_and_stops_it,
        }
        sysctls {
            they_are_set_reported_and_restored,
            values_that_are_good_are_not_touched,
        }
        commands {
            check_says_yes_and_changes_nothing,
            plan_prints_what_run_then_does,
            the_lines_of_a_plan_do_what_the_daemon_would,
        }
        refusals {
            mistakes_in_the_file,
            a_file_that_cannot_be_read,
            a_missing_interface_and_a_gateway_off_link,
            marks_that_somebody_else_uses,
            strangers_in_our_ranges,
            a_damaged_memory,
            a_second_daemon,
        }
        lacking {
            too_little_privilege,
            no_nft,
        }
        recording {
            a_recorded_failover_is_replayed_as_it_happened,
            answers_of_services_are_recorded,
            recording_begins_and_ends_with_a_reload,
            a_disk_that_takes_nothing_does_not_stop_the_router,
        }
        reload {
            an_invalid_file_is_refused_and_changes_nothing,
            a_valid_change_is_applied,
            a_third_uplink_comes_and_another_goes,
            flows_of_a_removed_uplink_go_on_over_another,
            an_uplink_moves_to_another_interface,
        }
        reserve {
            all_of_it_between_restarts,
            all_but_the_mark_by_a_reload,
            another_mark_by_a_reload_is_refused,
            all_of_it_with_a_crash_in_between,
            only_the_protocol_number,
            only_the_tables,
            only_the_priorities,
            only_the_nexthop_ids,
            only_the_mark_mask,
            only_the_nft_table,
        }
    };
    harness::run(tests)
}
