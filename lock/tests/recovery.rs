//! After a restart with an exact table: new locks at once, locks held for clients out of reach,
//! and locks taken from those that are gone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::{
    Access, Config, Effect, GraceEnd, GraceEvent, GrantAck, Input, Outcome, Range, Recovery, Taken,
    TakenWhy, WaiterId,
};
use common::{
    Ask, Desk, S, X, ask, bytes, conflict_with, grace_news, grant_to, grants, reclaiming,
};

const GRACE_MS: u64 = 90_000;
const HOLD_MS: u64 = 600_000;

fn desk(recovery: Recovery, unreachable_hold_ms: u64) -> Desk {
    Desk::with(Config { recovery, unreachable_hold_ms, ..Config::default() })
}

/// a has bytes 0 to 9 and b 20 to 29, and the server has just started again.
fn restarted(recovery: Recovery, unreachable_hold_ms: u64, exact: bool) -> (Desk, Vec<Effect>) {
    let mut desk = desk(recovery, unreachable_hold_ms);
    for (who, range) in [("a", bytes(0, 9)), ("b", bytes(20, 29))] {
        let contact = Arc::from(&b"addr"[..]);
        let outcome = desk.lock_full(who, "f", range, X, Ask { contact, ..ask() }).0;
        assert_eq!(outcome, Outcome::Granted);
    }
    let effects = desk.restart(GRACE_MS, exact);
    (desk, effects)
}

fn instant() -> (Desk, Vec<Effect>) {
    restarted(Recovery::Instant, HOLD_MS, true)
}

fn strict() -> (Desk, Vec<Effect>) {
    restarted(Recovery::Strict, HOLD_MS, true)
}

fn reached(desk: &mut Desk, client: &str) {
    assert!(desk.step(Input::ClientReached { client_id: Arc::from(client) }).is_empty());
}

fn after(desk: &mut Desk, wait_ms: u64) -> Vec<Effect> {
    desk.now_ms += wait_ms;
    desk.step(Input::Tick)
}

/// Who lost how many locks, and why.
fn taken(effects: &[Effect]) -> Vec<(&str, u64, TakenWhy)> {
    let mut all = Vec::new();
    for effect in effects {
        if let Effect::Taken(Taken { client_id, locks, why, .. }) = effect {
            all.push((&**client_id, *locks, why.clone()));
        }
    }
    all
}

#[test]
fn instant_grants_what_conflicts_with_nothing_on_record_from_the_first_step() {
    let (mut desk, effects) = instant();
    assert_eq!(grace_news(&effects), [GraceEvent::Instant { locks: 2, clients: 2 }]);
    assert!(desk.core.grace().is_none());
    assert_eq!(desk.lock("c", bytes(10, 19), X), Outcome::Granted);
    assert_eq!(desk.test("c", bytes(30, 39), X), Outcome::Free);
    assert_eq!(conflict_with(&desk.test("c", bytes(5, 5), X)), "a");
    assert_eq!(conflict_with(&desk.lock("c", bytes(5, 5), X)), "a");
    assert_eq!(desk.lock_wait("c", bytes(25, 34), X), Outcome::Blocked);
    assert_eq!(desk.held(), "a 0-9 X, b 20-29 X, c 10-19 X");
}

#[test]
fn instant_is_strict_where_the_table_is_advice() {
    let (mut desk, effects) = restarted(Recovery::Instant, HOLD_MS, false);
    let until_ms = desk.now_ms + GRACE_MS;
    let opened = GraceEvent::Opened { locks: 2, clients: 2, until_ms, exact: false };
    assert_eq!(grace_news(&effects), [opened]);
    assert_eq!(desk.lock("c", bytes(10, 19), X), Outcome::Grace { left_ms: GRACE_MS });
}

#[test]
fn in_instant_mode_a_reclaim_of_what_is_on_record_is_granted_and_any_other_refused() {
    let (mut desk, _) = instant();
    desk.now_ms += 5_000;
    assert_eq!(desk.reclaim("a", bytes(0, 9), X), Outcome::Granted);
    assert_eq!(desk.core.counters().unreclaimed, 1);
    // Others may have had these since they were a's, if they ever were.
    assert_eq!(desk.reclaim("a", bytes(10, 19), X), Outcome::ReclaimRefused);
    assert_eq!(desk.reclaim("c", bytes(5, 9), X), Outcome::ReclaimRefused);
    desk.now_ms += 10 * GRACE_MS;
    assert_eq!(desk.reclaim("a", bytes(0, 9), X), Outcome::Granted);
}

#[test]
fn what_its_owner_asks_for_again_is_not_unreclaimed_any_more() {
    let (mut desk, _) = instant();
    let before = desk.core.locks().map(|lock| lock.id).collect::<Vec<_>>();
    // The reply was lost with the server: the same lock, not a new one.
    assert_eq!(desk.lock("a", bytes(0, 9), X), Outcome::Granted);
    assert_eq!(desk.core.locks().map(|lock| lock.id).collect::<Vec<_>>(), before);
    // A change of what it holds is its owner's word on that much.
    assert_eq!(desk.lock("b", bytes(20, 24), S), Outcome::Granted);
    assert_eq!(desk.core.counters().unreclaimed, 1);
    let effects = after(&mut desk, GRACE_MS + HOLD_MS);
    assert_eq!(taken(&effects), [("b", 1, TakenWhy::Unreachable)]);
    assert_eq!(desk.held(), "a 0-9 X, b 20-24 S");
}

#[test]
fn recorded_waiters_are_served_when_their_turn_comes_in_either_mode() {
    for recovery in [Recovery::Instant, Recovery::Strict] {
        let mut desk = desk(recovery, HOLD_MS);
        desk.lock("a", bytes(0, 9), X);
        for name in ["b", "c"] {
            desk.lock_wait(name, bytes(0, 9), X);
        }
        let effects = desk.restart(GRACE_MS, true);
        assert!(grants(&effects).is_empty());
        // The holder's release is the last of the window, or there is none.
        let waiter = grant_to(&desk.unlock("a", bytes(0, 9)), "b");
        desk.accept(waiter);
        desk.restart(GRACE_MS, true);
        desk.reclaim("b", bytes(0, 9), X);
        let waiter = grant_to(&desk.unlock("b", bytes(0, 9)), "c");
        // Not acknowledged before the next restart: told again.
        assert_eq!(grant_to(&desk.restart(GRACE_MS, true), "c"), waiter, "{recovery:?}");
    }
}

#[test]
fn locks_of_clients_out_of_reach_outlast_the_window() {
    let (mut desk, _) = strict();
    desk.lock_full("b", "f", bytes(20, 29), X, reclaiming());
    let effects = after(&mut desk, GRACE_MS);
    let closed = GraceEvent::Closed { why: GraceEnd::Deadline, reclaimed: 1, dropped: 0, kept: 1 };
    assert_eq!(grace_news(&effects), [closed]);
    assert_eq!(desk.lock("c", bytes(10, 19), X), Outcome::Granted);
    assert_eq!(desk.lock_wait("c", bytes(0, 0), X), Outcome::Blocked);
    let effects = after(&mut desk, HOLD_MS - 1);
    assert_eq!(effects, []);
    let effects = after(&mut desk, 1);
    assert_eq!(taken(&effects), [("a", 1, TakenWhy::Unreachable)]);
    grant_to(&effects, "c");
    assert_eq!(desk.core.counters().taken, 1);
    assert_eq!(desk.reclaim("a", bytes(0, 9), X), Outcome::ReclaimRefused);
    assert_eq!(desk.core.next_deadline(), None);
}

#[test]
fn a_client_that_comes_back_within_the_hold_still_has_its_locks() {
    let (mut desk, _) = strict();
    after(&mut desk, GRACE_MS + HOLD_MS - 1);
    reached(&mut desk, "a");
    after(&mut desk, GRACE_MS - 1);
    assert_eq!(desk.held(), "a 0-9 X");
    assert_eq!(desk.reclaim("a", bytes(0, 9), X), Outcome::Granted);
    assert_eq!(after(&mut desk, 10 * HOLD_MS), []);
    assert_eq!(desk.held(), "a 0-9 X");
}

#[test]
fn a_client_that_knows_of_the_restart_loses_what_it_does_not_reclaim_in_time() {
    for recovery in [Recovery::Instant, Recovery::Strict] {
        let (mut desk, _) = restarted(recovery, HOLD_MS, true);
        desk.lock_full("b", "f", bytes(20, 24), X, reclaiming());
        assert_eq!(after(&mut desk, 1_000), []);
        reached(&mut desk, "a");
        reached(&mut desk, "b");
        desk.now_ms += 10_000;
        // That it is told again gives it no more time.
        reached(&mut desk, "a");
        after(&mut desk, GRACE_MS - 10_000 - 1);
        assert_eq!(desk.held(), "a 0-9 X, b 20-24 X, b 25-29 X");
        assert_eq!(desk.lock_wait("c", bytes(0, 0), X), Outcome::Blocked);
        let effects = after(&mut desk, 1);
        let lost = |client| (client, 1, TakenWhy::NotReclaimed);
        assert_eq!(taken(&effects), [lost("a"), lost("b")], "{recovery:?}");
        grant_to(&effects, "c");
        assert_eq!(desk.held(), "b 20-24 X, c 0-0 X");
    }
}

#[test]
fn what_is_under_a_grant_that_was_told_is_not_taken() {
    for unreachable_hold_ms in [0, HOLD_MS] {
        let mut desk = desk(Recovery::Instant, unreachable_hold_ms);
        desk.lock("a", bytes(0, 0), X);
        desk.lock("b", bytes(1, 9), X);
        desk.lock_wait("a", bytes(0, 9), S);
        desk.restart(GRACE_MS, true);
        let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
        assert_eq!(desk.held(), "a 0-0 X, a 1-9 S");
        // a has taken it, and its answer is on the way.
        assert_eq!(after(&mut desk, GRACE_MS + HOLD_MS), []);
        desk.accept(waiter);
        assert_eq!(desk.held(), "a 0-9 S");
    }
}

/// a has bytes 0 to 4 exclusively, not reclaimed, and a grant of them and five more as shared.
fn granted_less() -> (Desk, WaiterId) {
    let mut desk = desk(Recovery::Instant, 600_000);
    desk.lock("a", bytes(0, 4), X);
    desk.lock("b", bytes(5, 9), X);
    desk.lock_wait("a", bytes(0, 9), S);
    desk.restart(GRACE_MS, true);
    reached(&mut desk, "a");
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
    (desk, waiter)
}

#[test]
fn what_is_under_a_grant_that_may_have_been_taken_needs_no_reclaim() {
    let (mut desk, waiter) = granted_less();
    desk.step(Input::GrantOutcome { waiter, outcome: GrantAck::Assumed });
    assert_eq!(taken(&after(&mut desk, GRACE_MS)), []);
    assert_eq!(desk.held(), "a 0-4 X, a 5-9 S");
    // Its owner gives some of it up before its answer comes.
    let (mut desk, _) = granted_less();
    desk.unlock("a", bytes(7, 9));
    assert_eq!(taken(&after(&mut desk, GRACE_MS)), []);
    assert_eq!(desk.held(), "a 0-4 X, a 5-6 S");
}

#[test]
fn a_reclaim_of_just_what_was_granted_does_not_end_the_grant() {
    let mut desk = desk(Recovery::Instant, 600_000);
    desk.lock("b", bytes(0, 9), X);
    desk.restart(GRACE_MS, true);
    desk.lock_wait("a", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
    // It had the lock once, and does not know that it lost it.
    let (outcome, effects) = desk.lock_full("a", "f", bytes(0, 9), X, reclaiming());
    assert_eq!((outcome, effects), (Outcome::Granted, vec![]));
    assert_eq!(desk.core.counters().unacknowledged, 1);
    desk.refuse(waiter);
    assert_eq!(desk.held(), "a 0-9 X");
}

#[test]
fn what_is_taken_is_named_up_to_a_number() {
    let mut desk = desk(Recovery::Instant, HOLD_MS);
    for first in 0..20 {
        desk.lock("a/1", bytes(2 * first, 2 * first), X);
    }
    desk.share("a/2", Access::Read, Access::None);
    desk.restart(GRACE_MS, true);
    let effects = after(&mut desk, GRACE_MS + HOLD_MS);
    let [Effect::Taken(taken)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((taken.locks, taken.shares), (20, 1));
    assert_eq!(taken.named.len(), Taken::NAMED_MAX);
    assert_eq!(taken.named[1].range, bytes(2, 2));
    assert_eq!(desk.shared(), "");
}

#[test]
fn without_a_hold_what_was_not_reclaimed_is_dropped_when_the_window_would_end() {
    let (mut desk, _) = restarted(Recovery::Instant, 0, true);
    desk.now_ms += 5_000;
    reached(&mut desk, "b");
    assert_eq!(after(&mut desk, GRACE_MS - 5_001), []);
    let effects = after(&mut desk, 1);
    let (a, b) = (("a", 1, TakenWhy::Unreachable), ("b", 1, TakenWhy::NotReclaimed));
    assert_eq!(taken(&effects), [a, b]);
    assert_eq!(desk.held(), "");
}

#[test]
fn a_window_ended_by_order_leaves_the_locks_of_who_is_out_of_reach() {
    let (mut desk, _) = restarted(Recovery::Strict, HOLD_MS, false);
    let (_, effects) = desk.call(|token| Input::EndGrace { token });
    let closed = GraceEvent::Closed { why: GraceEnd::Ordered, reclaimed: 0, dropped: 0, kept: 2 };
    assert_eq!(grace_news(&effects), [closed]);
    assert_eq!(conflict_with(&desk.lock("c", bytes(0, 9), X)), "a");
    let effects = after(&mut desk, GRACE_MS + HOLD_MS);
    assert_eq!(taken(&effects).len(), 2);
}

#[test]
fn the_time_of_a_client_that_went_and_another_that_got_its_number_does_no_harm() {
    let mut desk = desk(Recovery::Instant, HOLD_MS);
    desk.lock("a", bytes(0, 9), X);
    desk.lock("b", bytes(20, 29), X);
    desk.restart(GRACE_MS, true);
    desk.unlock("a", Range::ALL);
    assert_eq!(desk.lock("c", bytes(0, 9), X), Outcome::Granted);
    reached(&mut desk, "a");
    reached(&mut desk, "c");
    let effects = after(&mut desk, GRACE_MS + HOLD_MS);
    assert_eq!(taken(&effects), [("b", 1, TakenWhy::Unreachable)]);
    assert_eq!(desk.held(), "c 0-9 X");
}

/// a has bytes 0 to 9 and 20 to 29, under a contact, and b and c wait for the first of them.
fn blocked() -> Desk {
    let mut desk = Desk::new();
    for range in [bytes(0, 9), bytes(20, 29)] {
        let contact = Arc::from(&b"addr"[..]);
        desk.lock_full("a/1", "f", range, X, Ask { contact, ..ask() });
    }
    desk.now_ms += 10;
    desk.lock_wait("b", bytes(5, 5), X);
    desk.lock_wait("c", bytes(6, 6), S);
    desk
}

fn blocking(desk: &Desk) -> Vec<String> {
    let all = desk.core.blocking_clients(1_000).into_iter();
    all.map(|client| client.client_id.to_string()).collect()
}

fn silent(desk: &mut Desk, client: &str, since_ms: u64) -> Vec<Effect> {
    desk.step(Input::ClientSilent { client_id: Arc::from(client), since_ms })
}

#[test]
fn of_a_silent_client_only_what_is_in_others_way_is_released() {
    let mut desk = blocked();
    assert_eq!(blocking(&desk), ["a"]);
    desk.lock_wait("a/2", bytes(20, 20), X);
    let since_ms = desk.now_ms + 1;
    desk.now_ms += 30_000;
    let effects = silent(&mut desk, "a", since_ms);
    assert_eq!(taken(&effects), [("a", 1, TakenWhy::Silent { since_ms })]);
    let names: Vec<String> = grants(&effects).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "c"]);
    // What its own other process waits for is in nobody else's way.
    assert_eq!(desk.held(), "a/1 20-29 X, b 5-5 X, c 6-6 S");
    assert_eq!(blocking(&desk), Vec::<String>::new());
}

#[test]
fn a_client_that_asked_for_anything_since_is_not_silent() {
    let mut desk = blocked();
    let since_ms = desk.now_ms + 10;
    desk.now_ms += 20;
    desk.test("a/1", bytes(100, 100), X);
    assert_eq!(silent(&mut desk, "a", since_ms), []);
    // Nor where it was another process, that has nothing, and got nothing.
    let since_ms = desk.now_ms + 10;
    desk.now_ms += 20;
    assert_eq!(conflict_with(&desk.lock("a/9", bytes(0, 0), X)), "a/1");
    assert_eq!(silent(&mut desk, "a", since_ms), []);
    assert_eq!(silent(&mut desk, "nobody", since_ms), []);
    assert_eq!(desk.held(), "a/1 0-9 X, a/1 20-29 X");
}

#[test]
fn a_silent_client_loses_a_grant_that_it_did_not_acknowledge() {
    let mut desk = Desk::new();
    let contact: Arc<[u8]> = Arc::from(&b"addr"[..]);
    desk.lock("z", bytes(0, 9), X);
    let wait = common::waiting().wait;
    desk.lock_full("a", "f", bytes(0, 9), X, Ask { wait, contact, ..ask() });
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("z", Range::ALL), "a");
    assert_eq!(blocking(&desk), ["a"]);
    let since_ms = desk.now_ms + 1;
    desk.now_ms += 30_000;
    let effects = silent(&mut desk, "a", since_ms);
    assert!(effects.contains(&Effect::GrantOver { waiter }));
    assert_eq!(taken(&effects), [("a", 1, TakenWhy::Silent { since_ms })]);
    grant_to(&effects, "b");
    // Its late answer finds nothing to change.
    assert_eq!(desk.accept(waiter), []);
    assert_eq!(desk.held(), "b 0-9 X");
}

#[test]
fn while_a_window_is_open_nobody_is_in_the_way() {
    let mut desk = blocked();
    desk.restart(GRACE_MS, true);
    assert_eq!(blocking(&desk), Vec::<String>::new());
    let since_ms = desk.now_ms;
    desk.now_ms += 30_000;
    assert_eq!(silent(&mut desk, "a", since_ms), []);
    desk.call(|token| Input::EndGrace { token });
    assert_eq!(desk.held(), "b 5-5 X, c 6-6 S");
}

#[test]
fn a_client_out_of_reach_after_a_restart_may_be_silent_too() {
    let mut desk = blocked();
    let config = Config { recovery: Recovery::Instant, ..desk.config.clone() };
    desk.config = config;
    desk.restart(GRACE_MS, true);
    assert_eq!(blocking(&desk), ["a"]);
    let since_ms = desk.now_ms;
    desk.now_ms += 30_000;
    let effects = silent(&mut desk, "a", since_ms);
    assert_eq!(taken(&effects), [("a", 1, TakenWhy::Silent { since_ms })]);
    assert_eq!(desk.held(), "a/1 20-29 X, b 5-5 X, c 6-6 S");
}

#[test]
fn who_cannot_be_reached_is_not_called_in_the_way_and_a_search_has_its_end() {
    let mut desk = Desk::new();
    desk.lock("unmonitored", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    assert_eq!(blocking(&desk), Vec::<String>::new());
    let mut desk = blocked();
    let contact: Arc<[u8]> = Arc::from(&b"addr"[..]);
    desk.lock_full("d", "g", bytes(0, 9), X, Ask { contact, ..ask() });
    desk.lock_full("e", "g", bytes(0, 9), X, common::waiting());
    assert_eq!(blocking(&desk), ["a", "d"]);
    assert_eq!(desk.core.blocking_clients(1).len(), 1);
}

#[test]
fn of_a_silent_client_a_grant_of_less_goes_with_what_it_would_weaken() {
    let mut desk = Desk::new();
    let contact: Arc<[u8]> = Arc::from(&b"addr"[..]);
    desk.lock_full("a", "f", bytes(0, 4), X, Ask { contact, ..ask() });
    desk.lock("b", bytes(5, 9), X);
    desk.lock_wait("a", bytes(0, 9), S);
    desk.lock_wait("c", bytes(0, 4), X);
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
    let since_ms = desk.now_ms + 1;
    desk.now_ms += 30_000;
    let effects = silent(&mut desk, "a", since_ms);
    assert!(effects.contains(&Effect::GrantOver { waiter }), "{effects:?}");
    grant_to(&effects, "c");
    desk.accept(waiter);
    assert_eq!(desk.held(), "a 5-9 S, c 0-4 X");
}
