//! Some hundred seeds of the simulation with every test run; `scripts/sim` plays more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

#[test]
fn no_seed_breaks_a_promise() {
    for seed in 0..300 {
        if let Err(failure) = world::run(seed, false) {
            panic!(
                "seed {seed} at {} ms: {}\nscripts/sim --seed {seed} --trace shows how",
                failure.at_ms, failure.what
            );
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        let (one, other) = (world::run(seed, false).unwrap(), world::run(seed, true).unwrap());
        assert_eq!(one, other, "seed {seed}");
    }
}
