//! What people tell a running daemon, end to end: draining, preferring, probing, a new file on trial.

mod bug;
mod common;
mod drain;
mod prefer;
mod probe;
mod top;
mod trial;

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
        bug {
            a_report_has_what_helps_and_no_secret,
        }
        drain {
            new_connections_leave_the_line_and_those_under_way_stay,
            it_ends_by_itself_with_and_without_a_daemon,
            a_drained_line_is_better_than_none,
            a_policy_that_has_nothing_else_refuses,
            orders_that_make_no_sense_change_nothing,
        }
        prefer {
            new_connections_take_the_line_while_it_is_up,
        }
        probe {
            every_target_is_asked_and_the_answer_is_the_exit_code,
        }
        top {
            it_shows_what_happens_and_keys_are_obeyed,
            the_terminal_is_given_back_however_it_ends,
        }
        trial {
            a_reload_says_what_came_of_it,
            what_is_confirmed_stays,
            what_nobody_confirms_goes_back_and_disturbs_nobody,
            another_run_of_the_daemon_goes_back_too,
            nothing_but_a_confirmation_confirms,
        }
    };
    harness::run(tests)
}
