//! A request that would wait for itself is refused, with the cycle named.

mod common;

use std::sync::Arc;

use cleat_lock::{Config, Effect, Limits, Mode, Outcome, Range, Wait, WaitEnd};
use common::{Ask, Desk, S, X, ask, bytes, grant_to, grants, waiting};

impl Desk {
    fn wait_on(&mut self, who: &str, on: &str, range: Range, mode: Mode) -> Outcome {
        self.lock_full(who, on, range, mode, waiting()).0
    }

    fn take_on(&mut self, who: &str, on: &str, range: Range, mode: Mode) {
        assert_eq!(self.lock_full(who, on, range, mode, ask()).0, Outcome::Granted);
    }
}

fn cycle(outcome: Outcome) -> String {
    match outcome {
        Outcome::Deadlock { cycle } => {
            cycle.iter().map(|owner| &*owner.owner_id).collect::<Vec<_>>().join(" ")
        }
        other => panic!("expected a deadlock: {other:?}"),
    }
}

#[test]
fn two_owners_across_ranges() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 0), X);
    desk.lock("b", bytes(1, 1), X);
    assert_eq!(desk.lock_wait("a", bytes(1, 1), X), Outcome::Blocked);
    let refused = desk.lock_wait("b", bytes(0, 0), S);
    let error = refused.error().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("deadlock: b waits for a waits for b"));
    assert_eq!(cycle(refused), "b a");
    // Nothing was changed, and without waiting it is a plain conflict.
    assert_eq!(desk.queue(), "a");
    assert!(matches!(desk.lock("b", bytes(0, 0), S), Outcome::Conflict(_)));
    grant_to(&desk.unlock("b", bytes(1, 1)), "a");
}

#[test]
fn two_owners_that_upgrade_the_same_range() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(0, 9), S);
    assert_eq!(desk.lock_wait("a", bytes(0, 9), X), Outcome::Blocked);
    assert_eq!(cycle(desk.lock_wait("b", bytes(5, 5), X)), "b a");
    assert_eq!(desk.held(), "a 0-9 S, b 0-9 S");
}

#[test]
fn across_files_and_protocols() {
    let mut desk = Desk::new();
    let owners = ["nlm:client1:pid123", "smb:session456:pid789", "nfs4:clientid:stateid"];
    for (owner, on) in owners.iter().zip(["f", "g", "h"]) {
        desk.take_on(owner, on, Range::ALL, X);
    }
    assert_eq!(desk.wait_on(owners[0], "g", bytes(5, 5), S), Outcome::Blocked);
    assert_eq!(desk.wait_on(owners[1], "h", bytes(5, 5), S), Outcome::Blocked);
    assert_eq!(cycle(desk.wait_on(owners[2], "f", bytes(5, 5), S)), owners_from(&owners, 2));
}

fn owners_from(owners: &[&str; 3], first: usize) -> String {
    let mut turned = *owners;
    turned.rotate_left(first);
    turned.join(" ")
}

#[test]
fn edges_follow_unlocks_downgrades_and_cancels() {
    let mut desk = Desk::new();
    let setup = |desk: &mut Desk| {
        desk.take_on("a", "f", bytes(0, 9), X);
        desk.take_on("b", "g", bytes(0, 9), X);
        assert_eq!(desk.wait_on("a", "g", bytes(0, 0), S), Outcome::Blocked);
    };
    setup(&mut desk);
    assert_eq!(cycle(desk.wait_on("b", "f", bytes(2, 3), S)), "b a");
    // Part of the range is given up.
    desk.unlock_full("a", "f", bytes(0, 4));
    assert_eq!(desk.wait_on("b", "f", bytes(2, 3), S), Outcome::Granted);
    assert_eq!(cycle(desk.wait_on("b", "f", bytes(4, 5), S)), "b a");
    // The rest is weakened.
    desk.take_on("a", "f", bytes(5, 9), S);
    assert_eq!(desk.wait_on("b", "f", bytes(4, 5), S), Outcome::Granted);
    assert_eq!(cycle(desk.wait_on("b", "f", bytes(4, 5), X)), "b a");
    // The other stops waiting.
    let (owner, file) = (common::owner("a"), common::file("g"));
    desk.call(|token| cleat_lock::Input::Cancel {
        token,
        owner,
        file,
        range: bytes(0, 0),
        mode: S,
    });
    assert_eq!(desk.wait_on("b", "f", bytes(4, 5), X), Outcome::Blocked);
}

#[test]
fn a_merge_and_a_wait_for_several() {
    let mut desk = Desk::new();
    desk.take_on("a", "f", bytes(0, 4), S);
    desk.take_on("a", "f", bytes(5, 9), S);
    desk.take_on("c", "f", bytes(3, 3), S);
    desk.take_on("b", "g", bytes(0, 9), X);
    assert_eq!(desk.wait_on("a", "g", bytes(0, 0), X), Outcome::Blocked);
    // b waits for c, which is no harm, and for a, which is.
    assert_eq!(cycle(desk.wait_on("b", "f", bytes(3, 9), X)), "b a");
}

/// b has g and begins to wait for ten bytes of f.
fn with_b_waiting(holders: &[(&str, cleat_lock::Range, cleat_lock::Mode)]) -> Desk {
    let mut desk = Desk::new();
    desk.take_on("b", "g", bytes(0, 9), X);
    for &(holder, range, mode) in holders {
        desk.take_on(holder, "f", range, mode);
    }
    assert_eq!(desk.wait_on("b", "f", bytes(0, 9), X), Outcome::Blocked);
    desk
}

#[test]
fn who_waits_for_several_waits_for_each_of_them() {
    for mode in [S, X] {
        let mut desk = with_b_waiting(&[("a", bytes(0, 4), mode), ("c", bytes(5, 9), mode)]);
        assert_eq!(cycle(desk.wait_on("a", "g", bytes(0, 0), S)), "a b");
        assert_eq!(cycle(desk.wait_on("c", "g", bytes(0, 0), S)), "c b");
    }
    let mut desk = with_b_waiting(&[("a", bytes(0, 9), S), ("c", bytes(0, 9), S)]);
    assert_eq!(cycle(desk.wait_on("a", "g", bytes(0, 0), S)), "a b");
    assert_eq!(cycle(desk.wait_on("c", "g", bytes(0, 0), S)), "c b");
}

#[test]
fn who_was_in_the_way_may_be_elsewhere_now() {
    for first in ["a", "c"] {
        let mut desk = with_b_waiting(&[("a", bytes(0, 9), S), ("c", bytes(0, 9), S)]);
        let other = if first == "a" { "c" } else { "a" };
        desk.unlock_full(first, "f", bytes(0, 9));
        desk.take_on(first, "h", bytes(0, 9), X);
        assert_eq!(cycle(desk.wait_on(other, "g", bytes(0, 0), S)), format!("{other} b"));
        assert_eq!(desk.wait_on(first, "g", bytes(0, 0), S), Outcome::Blocked);
    }
}

#[test]
fn who_does_not_ask_is_not_refused() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 0), X);
    desk.lock("b", bytes(1, 1), X);
    desk.lock_wait("a", bytes(1, 1), X);
    let context = Arc::from(&b""[..]);
    let wait = Some(Wait { context, silence_ms: 0, timeout_ms: Some(0), find_deadlock: false });
    let (outcome, _) = desk.lock_full("b", "f", bytes(0, 0), X, Ask { wait, ..ask() });
    assert_eq!(outcome, Outcome::Blocked);
    // A third that waits for them is in no cycle itself.
    assert_eq!(desk.lock_wait("c", bytes(1, 1), X), Outcome::Blocked);
    desk.lock("d", bytes(5, 5), X);
    desk.lock_wait("b", bytes(5, 5), X);
    assert_eq!(cycle(desk.lock_wait("d", bytes(0, 0), X)), "d a b");
}

/// Owners 0 to `length`, each holding its file and waiting for the next one's.
fn chain(length: usize, config: Config) -> Desk {
    let mut desk = Desk::with(config);
    desk.check_every_step = false;
    for at in 0..=length {
        desk.take_on(&format!("c/{at}"), &at.to_string(), Range::ALL, X);
    }
    for at in 0..length {
        let next = (at + 1).to_string();
        assert_eq!(desk.wait_on(&format!("c/{at}"), &next, Range::ALL, X), Outcome::Blocked);
    }
    desk
}

#[test]
fn a_long_chain() {
    let mut desk = chain(2_000, Config::default());
    let refused = desk.wait_on("c/2000", "0", Range::ALL, X);
    let Outcome::Deadlock { cycle } = refused else {
        panic!("expected a deadlock");
    };
    assert_eq!(cycle.len(), 2_001);
    assert_eq!(&*cycle[0].owner_id, "c/2000");
    assert_eq!(&*cycle[2_000].owner_id, "c/1999");
    assert_eq!(desk.core.counters().deadlocks, 1);
}

#[test]
fn a_search_ends_at_its_limit() {
    let limits = Limits { deadlock_edges: 100, ..Limits::default() };
    let mut desk = chain(200, Config { limits, ..Config::default() });
    assert_eq!(desk.core.counters().deadlock_searches_cut, 0);
    assert!(desk.wait_on("c/200", "150", Range::ALL, X).error().is_some());
    assert_eq!(desk.wait_on("c/200", "0", Range::ALL, X), Outcome::Blocked);
    assert_eq!(desk.core.counters().deadlock_searches_cut, 1);
}

#[test]
fn a_request_sent_again_is_refused_where_a_cycle_has_closed_since() {
    let mut desk = Desk::new();
    desk.take_on("x", "f", bytes(0, 0), X);
    desk.take_on("a", "g", bytes(0, 9), X);
    assert_eq!(desk.wait_on("b", "g", bytes(0, 9), X), Outcome::Blocked);
    desk.restart(90_000, true);
    // b held this once, and nobody told it that an administrator released it.
    assert_eq!(desk.lock_full("b", "f", bytes(5, 9), X, common::reclaiming()).0, Outcome::Granted);
    desk.lock_full("a", "g", bytes(0, 9), X, common::reclaiming());
    desk.lock_full("x", "f", bytes(0, 0), X, common::reclaiming());
    assert!(desk.core.grace().is_none());
    let wait = Wait {
        context: Arc::from(&b""[..]),
        silence_ms: 0,
        timeout_ms: Some(0),
        find_deadlock: false,
    };
    let flock = Ask { wait: Some(wait), ..ask() };
    assert_eq!(desk.lock_full("a", "f", bytes(5, 9), X, flock).0, Outcome::Blocked);
    assert_eq!(cycle(desk.wait_on("b", "g", bytes(0, 9), X)), "b a");
    assert_eq!(desk.core.counters().waiting, 1);
}

/// How many waits ended because they came into a cycle.
fn ended(effects: &[Effect]) -> usize {
    let is_one = |effect: &&Effect| {
        let Effect::WaitOver { why: WaitEnd::Deadlock { cycle }, .. } = effect else {
            return false;
        };
        assert!(cycle.len() > 1, "{cycle:?}");
        true
    };
    effects.iter().filter(is_one).count()
}

/// On f, h has 0-4 and a has 5-9, which c wants both; elsewhere a waits for c.
fn with_a_waiting_elsewhere_for_c() -> Desk {
    let mut desk = Desk::new();
    desk.take_on("h", "f", bytes(0, 4), X);
    desk.take_on("a", "f", bytes(5, 9), S);
    desk.take_on("c", "g", bytes(0, 0), X);
    assert_eq!(desk.wait_on("c", "f", bytes(0, 9), S), Outcome::Blocked);
    assert_eq!(desk.wait_on("a", "g", bytes(0, 0), X), Outcome::Blocked);
    desk
}

#[test]
fn an_upgrade_that_closes_a_cycle_ends_its_owners_wait() {
    let mut desk = with_a_waiting_elsewhere_for_c();
    let (outcome, effects) = desk.upgrade_on("a", "f", bytes(5, 9), ask());
    assert_eq!(outcome, Outcome::Granted);
    assert_eq!(ended(&effects), 1);
    assert_eq!(desk.queue(), "c");
    assert_eq!(desk.core.counters().deadlocks, 1);
}

#[test]
fn a_grant_that_closes_a_cycle_ends_its_owners_other_wait() {
    let mut desk = with_a_waiting_elsewhere_for_c();
    desk.take_on("d", "f", bytes(5, 5), S);
    assert_eq!(desk.upgrade_wait("a", bytes(5, 9)), Outcome::Blocked);
    assert_eq!(desk.queue(), "c a a");
    let effects = desk.unlock("d", Range::ALL);
    grant_to(&effects, "a");
    assert_eq!(ended(&effects), 1);
    assert_eq!(desk.queue(), "c");
}

#[test]
fn who_does_not_ask_waits_on_in_a_cycle() {
    let mut desk = with_a_waiting_elsewhere_for_c();
    desk.take_on("e", "g", bytes(1, 1), X);
    let context = Arc::from(&b""[..]);
    let wait = Some(Wait { context, silence_ms: 0, timeout_ms: Some(0), find_deadlock: false });
    desk.lock_full("a", "g", bytes(0, 1), X, Ask { wait, ..ask() });
    assert_eq!(ended(&desk.upgrade_on("a", "f", bytes(5, 9), ask()).1), 1);
    assert_eq!(desk.queue(), "c a");
    assert!(grants(&desk.unlock_full("e", "g", Range::ALL).1).is_empty());
}

/// Who waits is in nobody's way: only what is held counts.
#[test]
fn a_wait_for_free_bytes_is_no_deadlock() {
    let mut desk = Desk::new();
    desk.take_on("one/a", "f", bytes(0, 9), X);
    desk.take_on("one/c", "f", bytes(30, 39), X);
    assert_eq!(desk.wait_on("two/b", "f", bytes(0, 19), X), Outcome::Blocked);
    assert_eq!(desk.wait_on("one/c", "f", bytes(10, 19), X), Outcome::Granted);
    assert_eq!(desk.wait_on("one/a", "f", bytes(30, 39), X), Outcome::Blocked);
    grant_to(&desk.unlock("one/c", bytes(30, 39)), "one/a");

    let mut desk = Desk::new();
    desk.take_on("p", "a", bytes(0, 0), X);
    desk.take_on("z", "b", bytes(5, 7), X);
    assert_eq!(desk.wait_on("z", "a", bytes(0, 0), X), Outcome::Blocked);
    assert_eq!(desk.wait_on("q", "b", bytes(5, 14), X), Outcome::Blocked);
    assert_eq!(desk.wait_on("p", "b", bytes(10, 19), X), Outcome::Granted);
    // q waits for p too by now, and what p wants of z is a deadlock.
    assert_eq!(cycle(desk.wait_on("p", "b", bytes(5, 5), S)), "p z");
}

/// Writers of one process that hold bytes next to each other and ask for each other's neighbours
/// while a third waits for all.
#[test]
fn who_waits_for_all_bytes_closes_no_cycle_for_who_takes_a_few() {
    let mut desk = Desk::new();
    for n in 0..4 {
        desk.take_on(&format!("w/{n}"), "f", bytes(n * 10, n * 10 + 4), X);
    }
    assert_eq!(desk.wait_on("v", "f", Range::ALL, X), Outcome::Blocked);
    for n in 0..4 {
        let next = bytes(n * 10 + 5, n * 10 + 9);
        assert_eq!(desk.wait_on(&format!("w/{n}"), "f", next, X), Outcome::Granted);
        assert_eq!(desk.wait_on(&format!("w/{n}"), "f", next, S), Outcome::Granted);
    }
    for n in 0..3 {
        assert!(grants(&desk.unlock(&format!("w/{n}"), Range::ALL)).is_empty());
    }
    grant_to(&desk.unlock("w/3", Range::ALL), "v");
}

/// A request that is sent again costs no search where nothing can have closed a cycle since.
#[test]
fn a_request_sent_again_is_searched_for_with_a_cause_alone() {
    let limits = Limits { deadlock_edges: 2, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    desk.take_on("a", "f", bytes(0, 0), X);
    for n in 0..5 {
        desk.take_on(&format!("h{n}"), "g", bytes(n, n), S);
    }
    desk.take_on("w", "h", bytes(0, 0), X);
    assert_eq!(desk.wait_on("a", "h", bytes(0, 0), X), Outcome::Blocked);
    assert_eq!(desk.wait_on("b", "f", bytes(0, 0), X), Outcome::Blocked);
    let cut = |desk: &Desk| desk.core.counters().deadlock_searches_cut;
    let before = cut(&desk);
    // Its search is cut short: that is a cause to look for each once more.
    assert_eq!(desk.wait_on("a", "g", bytes(0, 9), X), Outcome::Blocked);
    assert_eq!(cut(&desk), before + 1);
    for _ in 0..3 {
        assert_eq!(desk.wait_on("a", "g", bytes(0, 9), X), Outcome::Blocked);
    }
    assert_eq!(cut(&desk), before + 2);
    let mut desk = Desk::new();
    desk.take_on("a", "f", bytes(0, 0), X);
    desk.take_on("b", "g", bytes(0, 0), X);
    assert_eq!(desk.wait_on("a", "g", bytes(0, 0), X), Outcome::Blocked);
    // One that does not ask closes the cycle: who asks again is told.
    let context = Arc::from(&b""[..]);
    let wait = Some(Wait { context, silence_ms: 0, timeout_ms: Some(0), find_deadlock: false });
    let (outcome, _) = desk.lock_full("b", "f", bytes(0, 0), X, Ask { wait, ..ask() });
    assert_eq!(outcome, Outcome::Blocked);
    assert_eq!(cycle(desk.wait_on("a", "g", bytes(0, 0), X)), "a b");
}
