//! Some hundred seeds of the simulation with every test run; `scripts/sim` plays more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

#[test]
fn no_seed_breaks_a_promise() {
    let mut seen = world::recovery::Seen::default();
    for seed in 0..300 {
        let run = world::run(seed, false).map(|report| seen.add(&report.recovery));
        if let Err(failure) = run {
            let traced = world::run(seed, true).map_or_else(|failure| failure.trace, |_| vec![]);
            traced.iter().skip(traced.len().saturating_sub(20)).for_each(|line| println!("{line}"));
            let world::Failure { seed, at_ms, what, .. } = failure;
            panic!(
                "seed {seed} at {at_ms} ms: {what}\nscripts/sim --seed {seed} --trace shows how"
            );
        }
    }
    let world::recovery::Seen { instant, kept, unreachable, not_reclaimed, silent, ordered } = seen;
    let often = [instant, kept, unreachable, not_reclaimed, silent, ordered];
    assert!(often.iter().all(|&times| times > 0), "the seeds do not come to it: {seen:?}");
    println!("{seen:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..10 {
        let (one, other) = (world::run(seed, false).unwrap(), world::run(seed, true).unwrap());
        assert_eq!(one, other, "seed {seed}");
    }
}
