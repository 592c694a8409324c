//! Thousands of seeded histories, and those that once failed.

use uplinkd_sim::seeds::{ONCE_FAILED, from_environment, run_all};

#[test]
fn seeded_histories_keep_the_invariants() {
    let seeds = from_environment().unwrap();
    let begun = std::time::Instant::now();
    let (report, failures) = run_all(seeds.clone(), 3);
    eprintln!("{seeds:?} in {:.1?}: {report:#?}", begun.elapsed());
    if let [first, others @ ..] = failures.as_slice() {
        let others: Vec<_> = others.iter().map(|f| (f.seed, &f.what)).collect();
        panic!("\n{first}\nand others: {others:#?}");
    }
}

#[test]
fn seeds_that_once_failed_pass() {
    for (seed, found) in ONCE_FAILED {
        if let Err(failure) = uplinkd_sim::run(*seed) {
            panic!("\n{failure}\n(once failed with: {found})");
        }
    }
}

#[test]
fn a_seed_plays_the_same_history_twice() {
    for seed in 0..20 {
        assert_eq!(
            uplinkd_sim::run::trace(seed),
            uplinkd_sim::run::trace(seed),
            "seed {seed}"
        );
    }
}
