//! What is remembered, end to end: outages over kills and damage, and what Prometheus makes of the figures.

mod damage;
mod figures;
mod outages;

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
        outages {
            an_outage_is_told_with_its_length_and_its_cause,
            a_kill_loses_no_outage_that_was_over_for_seconds,
            history_that_is_switched_off_leaves_nothing,
        }
        damage {
            a_damaged_file_is_put_aside_and_a_new_one_begun,
            a_full_disk_stops_history_and_nothing_else,
            a_file_of_another_program_is_left_alone,
        }
        figures {
            promtool_has_nothing_to_say,
            every_figure_that_alerts_and_the_dashboard_use_is_there,
            a_real_prometheus_scrapes_the_daemon_and_loads_the_rules,
        }
    };
    harness::run(tests)
}
