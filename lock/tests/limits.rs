//! Limits: what is refused would have passed one, what is not does not, and a refusal changes
//! nothing. A table without limits that lives through the same tells what would have been.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use cleat_lock::{Access, Config, Core, Limit, Limits, Mode, Outcome, Range};
use common::{Desk, S, X, ask, bytes, file};
use proptest::prelude::*;

const OWNERS: [&str; 3] = ["a/1", "a/2", "b/1"];
const FILES: [&str; 2] = ["f", "g"];

#[derive(Clone, Debug)]
enum Op {
    Lock(usize, usize, Range, Mode),
    Unlock(usize, usize, Range),
    Share(usize, usize),
    Unshare(usize),
}

fn run(desk: &mut Desk, op: &Op) -> Outcome {
    match *op {
        Op::Lock(who, on, range, mode) => {
            desk.lock_full(OWNERS[who], FILES[on], range, mode, ask()).0
        }
        Op::Unlock(who, on, range) => desk.unlock_full(OWNERS[who], FILES[on], range).0,
        Op::Share(who, on) => {
            desk.share_full(OWNERS[who], FILES[on], (Access::Read, Access::None), ask()).0
        }
        Op::Unshare(who) => {
            desk.unshare(OWNERS[who]);
            Outcome::Done
        }
    }
}

fn limits() -> Limits {
    Limits {
        locks_per_file: 5,
        locks_per_client: 6,
        locks_total: 7,
        shares_per_file: 2,
        shares_per_client: 3,
        shares_total: 3,
        ..Limits::default()
    }
}

/// The count that a limit bounds, made by looking at everything.
fn count(core: &Core, which: Limit, op: &Op) -> u64 {
    let (who, on) = match *op {
        Op::Lock(who, on, ..) | Op::Unlock(who, on, _) | Op::Share(who, on) => (who, on),
        Op::Unshare(who) => (who, 0),
    };
    let (client, on) = (&OWNERS[who][..1], file(FILES[on]));
    let of_client = |id: &str| id == client;
    let found = match which {
        Limit::LocksPerFile => core.locks().filter(|lock| lock.file == on).count(),
        Limit::LocksPerClient => {
            core.locks().filter(|lock| of_client(&lock.owner.client_id)).count()
        }
        Limit::LocksTotal => core.locks().count(),
        Limit::SharesPerFile => core.shares().filter(|share| share.file == on).count(),
        Limit::SharesPerClient => {
            core.shares().filter(|share| of_client(&share.owner.client_id)).count()
        }
        Limit::SharesTotal => core.shares().count(),
        other => panic!("not limited here: {other:?}"),
    };
    found as u64
}

fn op() -> impl Strategy<Value = Op> {
    let range = || (0u64..24, 1u64..8).prop_map(|(first, length)| bytes(first, first + length - 1));
    let (who, on) = (0..OWNERS.len(), 0..FILES.len());
    let mode = prop_oneof![Just(S), Just(X)];
    prop_oneof![
        6 => (who.clone(), on.clone(), range(), mode)
            .prop_map(|(who, on, range, mode)| Op::Lock(who, on, range, mode)),
        3 => (who.clone(), on.clone(), range())
            .prop_map(|(who, on, range)| Op::Unlock(who, on, range)),
        2 => (who.clone(), on).prop_map(|(who, on)| Op::Share(who, on)),
        1 => who.prop_map(Op::Unshare),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn limits_are_exact_through_splits_and_merges(ops in prop::collection::vec(op(), 1..60)) {
        let mut desk = Desk::with(Config { limits: limits(), ..Config::default() });
        desk.check_every_step = false;
        let mut lived: Vec<&Op> = Vec::new();
        for op in &ops {
            let image = desk.image.clone();
            let Outcome::Limit { which, current, maximum } = run(&mut desk, op) else {
                lived.push(op);
                let locks = [Limit::LocksPerFile, Limit::LocksPerClient, Limit::LocksTotal];
                let shares = [Limit::SharesPerFile, Limit::SharesPerClient, Limit::SharesTotal];
                for (which, maximum) in locks.into_iter().chain(shares).zip([5, 6, 7, 2, 3, 3]) {
                    prop_assert!(count(&desk.core, which, op) <= maximum, "{which:?} passed");
                }
                prop_assert_eq!(desk.core.counters().locks, desk.core.locks().count() as u64);
                prop_assert_eq!(desk.core.counters().shares, desk.core.shares().count() as u64);
                continue;
            };
            prop_assert_eq!(&image, &desk.image, "a refusal changes nothing");
            prop_assert_eq!(count(&desk.core, which, op), current);
            let mut free = Desk::new();
            free.check_every_step = false;
            for op in &lived {
                run(&mut free, op);
            }
            prop_assert_eq!(free.core.locks().count(), desk.core.locks().count());
            run(&mut free, op);
            prop_assert!(count(&free.core, which, op) > maximum, "{which:?} was not reached");
        }
        desk.check_image();
    }
}
