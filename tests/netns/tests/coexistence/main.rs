//! The daemon beside other people's programs, the real ones where they run in a namespace: nothing
//! of theirs breaks, ours comes back at a bounded rate, and the log and `check` name who it was.

mod common;
mod containers;
mod firewall;
mod managers;
mod vpn;

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
        containers {
            docker_that_comes_after_us,
            docker_that_was_there_before_us,
        }
        firewall {
            a_firewall_with_its_own_masquerade,
            a_firewall_that_flushes_everything,
        }
        vpn {
            a_full_tunnel_that_comes_after_us,
            a_full_tunnel_that_was_there_before_us,
            a_mesh_with_its_own_rules_and_marks,
        }
        managers {
            networkd_purges_rules_and_ours_come_back,
            networkd_that_is_told_to_leave_others_alone,
            network_manager_keeps_a_line,
        }
    };
    harness::run(tests)
}
