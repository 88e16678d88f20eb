//! Limits: what is refused would have passed one, what is not does not, and a refusal changes
//! nothing. A table without limits that lives through the same tells what would have been.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use cleat_lock::{Access, Config, Core, Input, Limit, Limits, Mode, Outcome, Range, Token};
use common::{Ask, Desk, S, X, ask, bytes, conflict_with, file, grant_to, reclaiming};
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

/// A desk with room for three locks, on which a client has one of all bytes.
fn with_all_locked() -> Desk {
    let limits = Limits { locks_per_file: 3, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    let contact = b"addr"[..].into();
    let outcome = desk.lock_full("a/1", "f", Range::ALL, X, Ask { contact, ..ask() }).0;
    assert_eq!(outcome, Outcome::Granted);
    desk
}

#[test]
fn a_lock_that_is_reclaimed_piece_by_piece_passes_no_limit() {
    for restarts in [false, true] {
        let mut desk = with_all_locked();
        if restarts {
            desk.restart(90_000, true);
        }
        for n in 0..20 {
            let again = Ask { incarnation: 3, ..reclaiming() };
            let outcome = desk.lock_full("a/1", "f", bytes(n * 2, n * 2), X, again).0;
            assert_eq!(outcome, Outcome::Granted);
            assert!(desk.core.counters().locks <= 3, "{}", desk.held());
            assert_eq!(conflict_with(&desk.lock_in_grace_or_not("b/1")), "a/1");
        }
        // What was reclaimed is of the client's present life, with all that was taken with it.
        let token = Token(0);
        let client_id = "a".into();
        desk.step(Input::ClientRestarted { token, client_id, incarnation: 3 });
        assert_ne!(desk.held(), "");
    }
}

impl Desk {
    /// Who is in the way of a lock of all bytes, whatever window is open.
    fn lock_in_grace_or_not(&mut self, who: &str) -> Outcome {
        self.lock_full(who, "f", Range::ALL, X, reclaiming_where_open(self)).0
    }
}

fn reclaiming_where_open(desk: &Desk) -> Ask {
    if desk.core.grace().is_some() { reclaiming() } else { ask() }
}

#[test]
fn over_advice_a_reclaim_of_parts_that_would_pass_a_limit_is_refused() {
    let mut desk = with_all_locked();
    desk.restart(90_000, false);
    let mut refused = 0;
    for n in 1..20 {
        let image = desk.image.clone();
        match desk.reclaim("a/1", bytes(n * 2, n * 2), X) {
            Outcome::Granted => assert!(desk.core.counters().locks <= 3, "{}", desk.held()),
            Outcome::Limit { which: Limit::LocksPerFile, .. } => {
                refused += 1;
                assert_eq!(image, desk.image);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 18);
    // All of it is no more than there was.
    assert_eq!(desk.reclaim("a/1", Range::ALL, X), Outcome::Granted);
    assert_eq!(desk.held(), "a/1 0-EOF X");
}

#[test]
fn a_reclaim_around_what_is_stronger_on_record_counts_what_it_adds() {
    let limits = Limits { locks_per_file: 5, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    for n in 0..3 {
        desk.lock("a/1", bytes(n * 10, n * 10), X);
    }
    desk.restart(90_000, true);
    let refused = Outcome::Limit { which: Limit::LocksPerFile, current: 3, maximum: 5 };
    assert_eq!(desk.reclaim("a/1", bytes(0, 25), S), refused);
    assert_eq!(desk.reclaim("a/1", bytes(0, 20), S), Outcome::Granted);
    assert_eq!(desk.held(), "a/1 0-0 X, a/1 1-9 S, a/1 10-10 X, a/1 11-19 S, a/1 20-20 X");
}

#[test]
fn a_grant_whose_acknowledgement_would_part_too_much_leaves_what_is_stronger() {
    let limits = Limits { locks_per_file: 4, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    desk.lock("a/1", bytes(0, 4), X);
    desk.lock("a/1", bytes(6, 9), X);
    desk.lock("b/1", bytes(5, 5), X);
    desk.lock_wait("a/1", bytes(5, 6), S);
    let grant = grant_to(&desk.unlock("b/1", bytes(5, 5)), "a/1");
    // It takes more again before it answers, so that all of it is one.
    desk.lock("a/1", bytes(5, 5), X);
    for n in 10..13 {
        assert_eq!(desk.lock(&format!("c/{n}"), bytes(n, n), X), Outcome::Granted);
    }
    desk.accept(grant);
    assert_eq!(desk.held(), "a/1 0-9 X, c/10 10-10 X, c/11 11-11 X, c/12 12-12 X");
    desk.unlock("a/1", Range::ALL);
    assert_eq!(desk.held(), "c/10 10-10 X, c/11 11-11 X, c/12 12-12 X");
}

#[derive(Clone, Debug)]
enum Turn {
    Ask(Op, u32, bool),
    Restart,
}

fn turn() -> impl Strategy<Value = Turn> {
    let asked = (op(), 1u32..4, any::<bool>());
    prop_oneof![
        20 => asked.prop_map(|(op, life, reclaim)| Turn::Ask(op, life, reclaim)),
        1 => Just(Turn::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_life_of_a_client_and_no_restart_passes_a_limit(
        turns in prop::collection::vec(turn(), 1..80),
        advice in any::<bool>(),
    ) {
        let mut desk = Desk::with(Config { limits: limits(), ..Config::default() });
        desk.check_every_step = false;
        for turn in &turns {
            let Turn::Ask(op, incarnation, reclaim) = turn else {
                desk.restart(60_000, !advice);
                continue;
            };
            // What is due comes first, and is no part of what is refused.
            desk.step(Input::Tick);
            let (image, counted) = (desk.image.clone(), |desk: &Desk| {
                [Limit::LocksPerFile, Limit::LocksPerClient, Limit::LocksTotal]
                    .map(|which| count(&desk.core, which, op))
            });
            let before = counted(&desk);
            let outcome = match *op {
                Op::Lock(who, on, range, mode) => {
                    let ask = Ask { reclaim: *reclaim, incarnation: *incarnation, ..ask() };
                    desk.lock_full(OWNERS[who], FILES[on], range, mode, ask).0
                }
                _ => run(&mut desk, op),
            };
            if matches!(outcome, Outcome::Limit { .. }) {
                prop_assert_eq!(&image, &desk.image, "a refusal changes nothing");
            }
            for ((now, before), maximum) in counted(&desk).into_iter().zip(before).zip([5, 6, 7]) {
                prop_assert!(now <= maximum.max(before), "{} > {}: {:?}", now, maximum, turn);
            }
            desk.now_ms += 1_000;
        }
        desk.check_image();
    }
}

/// Clients of one source have a part of the table together, whatever they call themselves.
#[test]
fn one_source_has_a_part_of_the_table() {
    let limits = Limits { claims_per_source: 3, ..Limits::default() };
    let config = Config { limits, source_mark: Some('@'), ..Config::default() };
    let mut desk = Desk::with(config);
    let refused = |outcome: &Outcome| {
        matches!(outcome, Outcome::Limit { which: Limit::ClaimsPerSource, maximum: 3, .. })
    };
    assert_eq!(desk.lock("a@h", bytes(0, 0), X), Outcome::Granted);
    assert_eq!(desk.lock("b@h", bytes(2, 2), X), Outcome::Granted);
    assert_eq!(desk.lock_wait("c@h", bytes(0, 0), X), Outcome::Blocked);
    assert!(refused(&desk.lock("d@h", bytes(4, 4), X)));
    assert!(refused(&desk.lock_wait("b@h", bytes(0, 0), X)));
    let share = (Access::Write, Access::Both);
    assert!(refused(&desk.share_full("a@h", "g", share, ask()).0));
    // What grows by nothing is no more, and another source has its own.
    assert_eq!(desk.lock("a@h", bytes(0, 1), X), Outcome::Granted);
    assert_eq!(desk.lock("a@other", bytes(4, 4), X), Outcome::Granted);
    desk.unlock("b@h", Range::ALL);
    assert_eq!(desk.lock("d@h", bytes(6, 6), X), Outcome::Granted);
    desk.restart(1, true);
    desk.tick_at(desk.now_ms + 10);
}

#[test]
fn the_names_of_owners_take_so_many_bytes() {
    let limits = Limits { owner_bytes_per_source: 60, owner_bytes_total: 100, ..Limits::default() };
    let config = Config { limits, source_mark: Some('@'), ..Config::default() };
    let mut desk = Desk::with(config);
    let which = |outcome: Outcome| match outcome {
        Outcome::Limit { which, .. } => which,
        other => panic!("{other:?}"),
    };
    // An owner's name is in its note too: 24 bytes twice.
    let long = |host: &str| format!("{}@{host}", "n".repeat(22));
    assert_eq!(desk.lock(&long("h"), bytes(0, 0), X), Outcome::Granted);
    assert_eq!(desk.lock(&long("h"), bytes(2, 2), X), Outcome::Granted);
    assert_eq!(which(desk.lock("another@h", bytes(4, 4), X)), Limit::OwnerBytesPerSource);
    assert_eq!(desk.lock(&long("i"), bytes(6, 6), X), Outcome::Granted);
    assert_eq!(which(desk.lock(&long("j"), bytes(8, 8), X)), Limit::OwnerBytesTotal);
    desk.unlock(&long("h"), Range::ALL);
    assert_eq!(desk.lock("another@h", bytes(4, 4), X), Outcome::Granted);
}
