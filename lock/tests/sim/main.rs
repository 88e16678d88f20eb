//! Some hundred seeds of the simulation with every test run; `scripts/sim` plays more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

#[test]
fn no_seed_breaks_a_promise() {
    let mut met = world::Met::default();
    for seed in 0..300 {
        let played = world::run(seed, false);
        if let Ok(report) = &played {
            met += report.met;
        }
        if let Err(failure) = played {
            let traced = world::run(seed, true).map_or_else(|failure| failure.trace, |_| vec![]);
            traced.iter().skip(traced.len().saturating_sub(20)).for_each(|line| println!("{line}"));
            let world::Failure { seed, at_ms, what, .. } = failure;
            panic!(
                "seed {seed} at {at_ms} ms: {what}\nscripts/sim --seed {seed} --trace shows how"
            );
        }
    }
    assert!(met.never().is_empty(), "never met: {:?}", met.never());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        let (one, other) = (world::run(seed, false).unwrap(), world::run(seed, true).unwrap());
        assert_eq!(one, other, "seed {seed}");
    }
}
