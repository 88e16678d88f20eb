//! Who waits, in which order it is served, and what ends a wait.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::{
    Config, Effect, Input, LockId, LockRequest, Outcome, Range, Recovery, Token, Wait, WaitEnd,
    WaiterId,
};
use common::{Ask, Desk, S, X, ask, bytes, conflict_with, file, grant_to, grants, owner, waiting};

fn names(effects: &[Effect]) -> Vec<String> {
    grants(effects).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_waiter_gets_the_lock_in_the_step_of_the_unlock() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    assert_eq!(desk.lock_wait("b", bytes(5, 14), X), Outcome::Blocked);
    assert_eq!(desk.held(), "a 0-9 X");
    // Not where the release does not reach it.
    assert_eq!(names(&desk.unlock("a", bytes(0, 4))), Vec::<String>::new());
    let effects = desk.unlock("a", bytes(5, 9));
    let waiter = grant_to(&effects, "b");
    assert_eq!(desk.held(), "b 5-14 X");
    assert_eq!(desk.core.counters().unacknowledged, 1);
    assert!(desk.accept(waiter).is_empty());
    assert_eq!(desk.core.counters().unacknowledged, 0);
    assert_eq!(desk.held(), "b 5-14 X");
}

#[test]
fn a_grant_echoes_the_request_and_not_what_merged() {
    let mut desk = Desk::new();
    desk.lock("b/7", bytes(0, 4), X);
    desk.lock("a/1", bytes(5, 9), X);
    desk.lock_wait("b/7", bytes(5, 9), X);
    let effects = desk.unlock("a/1", Range::ALL);
    let Some(Effect::Grant(grant)) = effects.first() else {
        panic!("expected a grant: {effects:?}");
    };
    assert_eq!((grant.range, grant.mode), (bytes(5, 9), X));
    assert_eq!(grant.owner, owner("b/7"));
    assert_eq!(grant.file, file("f"));
    assert_eq!(&*grant.context, b"callback");
    let waiter = grant.waiter;
    desk.accept(waiter);
    assert_eq!(desk.held(), "b/7 0-9 X");
}

#[test]
fn first_come_first_served() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    for name in ["b", "c", "d"] {
        assert_eq!(desk.lock_wait(name, bytes(0, 9), X), Outcome::Blocked);
    }
    assert_eq!(desk.queue(), "b c d");
    for (holder, next) in [("a", "b"), ("b", "c"), ("c", "d")] {
        assert_eq!(names(&desk.unlock(holder, Range::ALL)), [next]);
    }
}

#[test]
fn a_newcomer_passes_a_waiter_it_does_not_conflict_with() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 19), S);
    assert_eq!(desk.lock_wait("c", bytes(10, 18), S), Outcome::Granted);
    assert_eq!(desk.lock_wait("d", bytes(20, 29), X), Outcome::Granted);
}

#[test]
fn compatible_shared_waiters_are_granted_together() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    for (name, mode) in [("b", S), ("c", S), ("d", X), ("e", S)] {
        desk.lock_wait(name, bytes(0, 9), mode);
    }
    assert_eq!(names(&desk.unlock("a", Range::ALL)), ["b", "c"]);
    assert_eq!(desk.queue(), "d e");
    assert!(names(&desk.unlock("b", Range::ALL)).is_empty());
    assert_eq!(names(&desk.unlock("c", Range::ALL)), ["d"]);
    assert_eq!(names(&desk.unlock("d", Range::ALL)), ["e"]);
}

#[test]
fn a_downgrade_wakes() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(3, 4), S);
    assert_eq!(desk.lock("a", bytes(0, 3), S), Outcome::Granted);
    assert!(desk.queue() == "b");
    let (outcome, effects) = desk.lock_full("a", "f", bytes(4, 9), S, ask());
    assert_eq!(outcome, Outcome::Granted);
    assert_eq!(names(&effects), ["b"]);
}

#[test]
fn a_blocked_upgrade_keeps_the_shared_lock() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(0, 9), S);
    assert_eq!(desk.lock_wait("a", bytes(0, 9), X), Outcome::Blocked);
    assert_eq!(desk.held(), "a 0-9 S, b 0-9 S");
    assert_eq!(names(&desk.unlock("b", Range::ALL)), ["a"]);
    assert_eq!(desk.held(), "a 0-9 X");
}

#[test]
fn an_upgrade_does_not_queue_behind_those_who_wait_for_it() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock_wait("b", bytes(0, 19), X);
    assert_eq!(desk.lock("a", bytes(0, 9), X), Outcome::Granted);
    // Nor does any other request of the holder: b could not go first.
    assert_eq!(desk.lock("a", bytes(10, 19), X), Outcome::Granted);
    assert_eq!(desk.lock("a", bytes(0, 19), S), Outcome::Granted);
    assert_eq!(names(&desk.unlock("a", Range::ALL)), ["b"]);
}

#[test]
fn own_waiters_do_not_block_their_owner() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 4), X);
    desk.lock_wait("b", bytes(0, 9), X);
    assert_eq!(desk.lock("b", bytes(5, 9), S), Outcome::Granted);
    assert_eq!(desk.queue(), "b");
}

#[test]
fn a_request_sent_again_keeps_its_place_and_brings_a_new_context() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.lock_wait("c", bytes(0, 9), X);
    let wait = Wait {
        context: Arc::from(&b"new"[..]),
        silence_ms: 0,
        timeout_ms: Some(0),
        find_deadlock: false,
    };
    let again = Ask { wait: Some(wait), ..ask() };
    assert_eq!(desk.lock_full("b", "f", bytes(0, 9), X, again).0, Outcome::Blocked);
    assert_eq!(desk.queue(), "b c");
    let effects = desk.unlock("a", Range::ALL);
    let Some(Effect::Grant(grant)) = effects.first() else {
        panic!("expected a grant: {effects:?}");
    };
    assert_eq!((&*grant.owner.owner_id, &*grant.context), ("b", &b"new"[..]));
}

#[test]
fn a_request_sent_again_after_its_grant_acknowledges_it() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    let (outcome, effects) = desk.lock_full("b", "f", bytes(0, 9), X, waiting());
    assert_eq!(outcome, Outcome::Granted);
    assert_eq!(effects, [Effect::GrantOver { waiter }]);
    // A late refusal of the callback changes nothing any more.
    assert!(desk.refuse(waiter).is_empty());
    assert_eq!(desk.held(), "b 0-9 X");
}

#[test]
fn who_asks_for_the_same_bytes_in_another_mode_is_not_told_of_its_grant_again() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), S);
    let waiter = grant_to(&desk.lock_full("a", "f", bytes(0, 9), S, ask()).1, "b");
    // Also what is refused says that its owner has gone on.
    desk.restart(90_000, true);
    let (outcome, effects) = desk.lock_full("b", "f", bytes(0, 9), X, waiting());
    assert!(matches!(outcome, Outcome::Grace { .. }));
    assert_eq!(effects, [Effect::GrantOver { waiter }]);
    assert_eq!(desk.reclaim("a", bytes(0, 9), S), Outcome::Granted);
    assert_eq!(desk.lock_wait("b", bytes(0, 9), X), Outcome::Blocked);
    assert!(desk.refuse(waiter).is_empty());
    assert_eq!(desk.held(), "a 0-9 S, b 0-9 S");
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    let (outcome, effects) = desk.lock_full("b", "f", bytes(0, 9), S, ask());
    assert_eq!((outcome, effects), (Outcome::Granted, vec![Effect::GrantOver { waiter }]));
    assert_eq!(desk.held(), "b 0-9 S");
}

#[test]
fn a_refused_grant_is_rolled_back_and_the_next_served() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(0, 2), S);
    desk.lock("b", bytes(6, 7), X);
    desk.lock("a", bytes(4, 5), X);
    let before = desk.held();
    desk.lock_wait("b", bytes(0, 9), X);
    desk.lock_wait("c", bytes(8, 9), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    assert_eq!(desk.held(), "b 0-9 X");
    let effects = desk.refuse(waiter);
    assert_eq!(names(&effects), ["c"]);
    let expected = before.replace("a 4-5 X, ", "") + ", c 8-9 X";
    assert_eq!(desk.held(), expected);
    // Once is enough.
    assert!(desk.refuse(waiter).is_empty());
}

#[test]
fn a_roll_back_leaves_what_the_owner_changed_since() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    assert_eq!(desk.lock("b", bytes(3, 4), S), Outcome::Granted);
    assert_eq!(desk.lock("b", bytes(6, 6), X), Outcome::Granted);
    desk.refuse(waiter);
    assert_eq!(desk.held(), "b 3-4 S, b 6-6 X");
}

#[test]
fn a_grant_of_less_than_is_held_weakens_nothing_before_it_is_acknowledged() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(0, 4), X);
    desk.lock("a", bytes(5, 9), X);
    desk.lock_wait("b", bytes(0, 9), S);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    assert_eq!(desk.held(), "b 0-4 X, b 5-9 S");
    assert_eq!(desk.lock_wait("c", bytes(0, 9), S), Outcome::Blocked);
    desk.refuse(waiter);
    assert_eq!(desk.held(), "b 0-4 X");

    desk.cancel("c", bytes(0, 9), S);
    desk.lock("a", bytes(5, 9), X);
    desk.lock_wait("b", bytes(0, 9), S);
    desk.lock_wait("c", bytes(0, 9), S);
    let effects = desk.unlock("a", Range::ALL);
    let waiter = grant_to(&effects, "b");
    assert_eq!(names(&desk.accept(waiter)), ["c"]);
    assert_eq!(desk.held(), "b 0-9 S, c 0-9 S");
}

#[test]
fn an_owner_gets_one_unacknowledged_grant_on_a_byte() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 19), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.lock_wait("b", bytes(5, 14), S);
    desk.lock_wait("b", bytes(15, 19), S);
    let effects = desk.unlock("a", Range::ALL);
    let served = grants(&effects);
    assert_eq!(served.len(), 2);
    assert_eq!(desk.held(), "b 0-9 X, b 15-19 S");
    let effects = desk.refuse(served[0].1);
    let waiter = grant_to(&effects, "b");
    desk.accept(waiter);
    desk.accept(served[1].1);
    assert_eq!(desk.held(), "b 5-19 S");
}

#[test]
fn an_unlock_cancels_its_owners_waiters_in_the_range() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 4), X);
    desk.lock_wait("b", bytes(8, 9), X);
    desk.lock_wait("c", bytes(0, 4), S);
    assert_eq!(desk.unlock("b", bytes(4, 5)).len(), 1, "the end of the wait is told");
    assert_eq!(desk.queue(), "b c");
    assert_eq!(names(&desk.unlock("a", Range::ALL)), ["b", "c"]);
}

#[test]
fn an_unlock_ends_a_pending_grant() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.lock_wait("c", bytes(0, 2), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    let effects = desk.unlock("b", bytes(0, 4));
    assert!(effects.contains(&Effect::GrantOver { waiter }));
    assert_eq!(names(&effects), ["c"]);
    assert!(desk.refuse(waiter).is_empty());
    assert_eq!(desk.held(), "b 5-9 X, c 0-2 X");
}

#[test]
fn a_cancel_matches_owner_range_and_mode() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    for (who, range, mode) in [("c", bytes(0, 9), X), ("b", bytes(0, 8), X), ("b", bytes(0, 9), S)]
    {
        assert_eq!(desk.cancel(who, range, mode), Outcome::Done);
        assert_eq!(desk.queue(), "b");
    }
    assert_eq!(desk.cancel("b", bytes(0, 9), X), Outcome::Done);
    assert_eq!(desk.queue(), "");
    assert_eq!(desk.cancel("b", bytes(0, 9), X), Outcome::Done);
    assert!(desk.unlock("a", Range::ALL).is_empty());
}

#[test]
fn a_cancel_serves_those_behind() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.lock_wait("c", bytes(0, 9), S);
    let (owner, file, range) = (owner("b"), file("f"), bytes(0, 9));
    let (outcome, effects) =
        desk.call(|token| Input::Cancel { token, owner, file, range, mode: X });
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(names(&effects), ["c"]);
}

#[test]
fn a_cancel_that_crosses_its_grant_unlocks_nothing() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    assert_eq!(desk.cancel("b", bytes(0, 9), X), Outcome::AlreadyHeld);
    assert_eq!(desk.held(), "b 0-9 X");
    // The client then refuses the callback, and the lock is free.
    desk.refuse(waiter);
    assert_eq!(desk.held(), "");
    desk.lock("b", bytes(0, 9), X);
    assert_eq!(desk.cancel("b", bytes(2, 3), S), Outcome::AlreadyHeld);
}

#[test]
fn a_waiter_whose_client_is_silent_expires() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    let wait = |silence_ms| {
        let context = Arc::from(&b""[..]);
        Ask {
            wait: Some(Wait { context, silence_ms, timeout_ms: Some(0), find_deadlock: false }),
            ..ask()
        }
    };
    desk.lock_full("b", "f", bytes(0, 9), X, wait(4_000));
    desk.lock_full("c", "f", bytes(0, 9), S, wait(8_000));
    assert_eq!(desk.core.next_deadline(), Some(5_000));
    desk.now_ms = 4_000;
    desk.lock_full("b", "f", bytes(0, 9), X, wait(3_000));
    desk.now_ms = 6_999;
    desk.step(Input::Tick);
    assert_eq!(desk.queue(), "b c");
    desk.now_ms = 7_000;
    desk.step(Input::Tick);
    assert_eq!(desk.queue(), "c");
    assert_eq!(desk.core.next_deadline(), Some(9_000));
    assert_eq!(desk.core.counters().expired, 1);
}

#[test]
fn release_of_a_client_frees_locks_and_waiters_and_wakes() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(0, 9), X);
    desk.lock("a/2", bytes(20, 29), X);
    desk.lock_wait("a/3", bytes(0, 9), X);
    desk.lock_wait("b/1", bytes(0, 29), X);
    let (outcome, effects) = desk.call(|token| Input::FreeAll { token, client_id: Arc::from("a") });
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(names(&effects), ["b/1"]);
    assert_eq!(desk.held(), "b/1 0-29 X");
    assert!(desk.core.client("a").is_none());
}

#[test]
fn a_restarted_client_loses_what_it_had_before() {
    let mut desk = Desk::new();
    let at = |incarnation| Ask { incarnation, contact: Arc::from(&b"addr"[..]), ..ask() };
    let at_waiting = |incarnation| Ask { incarnation, ..waiting() };
    desk.lock_full("a/1", "f", bytes(0, 9), X, at(3));
    desk.lock_full("a/2", "f", bytes(10, 19), X, at(5));
    desk.lock("b/1", bytes(20, 29), X);
    desk.lock_full("a/1", "f", bytes(20, 24), S, at_waiting(3));
    desk.lock_full("a/2", "f", bytes(25, 29), S, at_waiting(5));
    desk.lock_wait("c/1", bytes(0, 9), X);
    let restarted =
        |token| Input::ClientRestarted { token, client_id: Arc::from("a"), incarnation: 5 };
    let (outcome, effects) = desk.call(restarted);
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(names(&effects), ["c/1"]);
    assert_eq!(desk.held(), "a/2 10-19 X, b/1 20-29 X, c/1 0-9 X");
    assert_eq!(desk.queue(), "a/2");
    assert_eq!(names(&desk.unlock("b/1", Range::ALL)), ["a/2"]);
}

#[test]
fn a_grant_to_a_client_that_restarted_is_over() {
    let mut desk = Desk::new();
    desk.lock("b/1", bytes(0, 9), X);
    desk.lock_wait("a/1", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("b/1", Range::ALL), "a/1");
    let restarted =
        |token| Input::ClientRestarted { token, client_id: Arc::from("a"), incarnation: 2 };
    assert_eq!(desk.call(restarted).1, [Effect::GrantOver { waiter }]);
    assert_eq!(desk.held(), "");
}

#[test]
fn a_client_is_recorded_monitored_and_forgotten() {
    let mut desk = Desk::new();
    let contact: Arc<[u8]> = Arc::from(&b"addr"[..]);
    let monitored = Ask { contact: Arc::clone(&contact), ..ask() };
    let client_id: Arc<str> = Arc::from("a");
    let (_, effects) = desk.lock_full("a/1", "f", bytes(0, 9), X, monitored.clone());
    assert_eq!(effects, [Effect::Monitor { client_id: Arc::clone(&client_id) }]);
    // Once is enough; a refused request registers nobody.
    let (_, effects) = desk.lock_full("a/2", "f", bytes(10, 19), X, monitored.clone());
    assert_eq!(effects, []);
    let (outcome, effects) = desk.lock_full("b/1", "f", bytes(0, 9), X, monitored);
    assert_eq!((conflict_with(&outcome), effects), ("a/1", vec![]));
    let record = desk.core.client("a").unwrap().record.unwrap();
    assert_eq!((record.incarnation, record.contact), (1, contact));

    let forget = |desk: &mut Desk| {
        desk.call(|token| Input::ForgetClient { token, client_id: Arc::from("a") })
    };
    let holds = Outcome::StillHolds { locks: 2, waiters: 0, shares: 0 };
    assert_eq!(forget(&mut desk).0, holds);
    desk.unlock("a/1", Range::ALL);
    desk.unlock("a/2", Range::ALL);
    assert!(desk.core.client("a").is_some(), "known until told to forget");
    assert_eq!(forget(&mut desk), (Outcome::Done, vec![Effect::Unmonitor { client_id }]));
    assert_eq!(forget(&mut desk).0, Outcome::NotFound);
}

#[test]
fn a_waiter_that_no_limit_would_admit_holds_nobody_up() {
    let limits = cleat_lock::Limits { locks_per_client: 1, ..cleat_lock::Limits::default() };
    let mut desk = Desk::with(cleat_lock::Config { limits, ..cleat_lock::Config::default() });
    desk.lock("a/1", bytes(0, 9), X);
    desk.lock_wait("b/1", bytes(0, 9), X);
    desk.lock_wait("c/1", bytes(0, 9), X);
    desk.lock("b/2", bytes(20, 29), X);
    assert_eq!(names(&desk.unlock("a/1", Range::ALL)), ["c/1"]);
    assert_eq!(desk.queue(), "");
}

#[test]
fn an_answer_to_an_unknown_grant_is_ignored() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = desk.core.waiters().next().unwrap().waiter;
    for waiter in [waiter, WaiterId(77)] {
        assert!(desk.refuse(waiter).is_empty());
        assert!(desk.accept(waiter).is_empty());
    }
    assert_eq!(desk.queue(), "b");
}

#[test]
fn a_grant_assumed_to_be_known_weakens_nothing() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(0, 4), X);
    desk.lock("a", bytes(5, 9), X);
    desk.lock_wait("b", bytes(0, 9), S);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    let outcome = cleat_lock::GrantAck::Assumed;
    assert!(desk.step(Input::GrantOutcome { waiter, outcome }).is_empty());
    assert_eq!(desk.held(), "b 0-4 X, b 5-9 S");
    assert_eq!(desk.core.counters().unacknowledged, 0);
}

#[test]
fn who_shows_itself_in_a_new_life_awaits_nothing_from_the_former() {
    let mut desk = Desk::new();
    let life = |incarnation| Ask { incarnation, ..ask() };
    desk.lock("b", bytes(0, 9), X);
    desk.lock("c", bytes(20, 29), X);
    desk.lock_full("a/1", "f", bytes(0, 5), X, Ask { incarnation: 1, ..waiting() });
    desk.lock_full("a/1", "f", bytes(20, 25), X, Ask { incarnation: 1, ..waiting() });
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a/1");
    // The client is up again, with an owner of the same name, before the server hears of it.
    let (outcome, effects) = desk.lock_full("a/1", "f", bytes(4, 9), X, life(3));
    assert_eq!((outcome, effects), (Outcome::Granted, vec![Effect::GrantOver { waiter }]));
    assert_eq!((desk.held().as_str(), desk.queue().as_str()), ("a/1 4-9 X, c 20-29 X", ""));
    assert!(desk.unlock("c", Range::ALL).is_empty());
    let restarted =
        |token| Input::ClientRestarted { token, client_id: Arc::from("a"), incarnation: 3 };
    desk.call(restarted);
    assert_eq!(desk.held(), "a/1 4-9 X");
}

#[test]
fn the_silence_of_those_whom_nobody_could_hear_is_not_counted() {
    let wait = || {
        let context = Arc::from(&b""[..]);
        let wait = Wait { context, silence_ms: 5_000, timeout_ms: Some(0), find_deadlock: false };
        Ask { wait: Some(wait), ..ask() }
    };
    for recovery in [Recovery::Strict, Recovery::Instant] {
        let mut desk = Desk::with(Config { recovery, ..Config::default() });
        desk.lock("a", bytes(0, 9), X);
        desk.lock_full("b", "f", bytes(0, 9), X, wait());
        desk.lock_full("c", "f", bytes(0, 9), X, wait());
        desk.now_ms += 600_000;
        assert!(names(&desk.restart(90_000, true)).is_empty());
        assert_eq!(desk.queue(), "b c");
        if recovery == Recovery::Strict {
            // Nobody is served before the window is closed, nor forgotten.
            desk.now_ms += 60_000;
            assert_eq!(desk.lock_full("c", "f", bytes(0, 9), X, wait()).0, Outcome::Blocked);
            desk.now_ms += 29_999;
            desk.step(Input::Tick);
            assert_eq!(desk.queue(), "b c");
            desk.reclaim("a", bytes(0, 9), X);
        }
        let since_ms = desk.now_ms;
        desk.now_ms += 4_000;
        desk.lock_full("c", "f", bytes(0, 9), X, wait());
        desk.now_ms = since_ms + 5_000;
        desk.step(Input::Tick);
        assert_eq!(desk.queue(), "c", "silent since: {recovery:?}");
        desk.now_ms = since_ms + 9_000;
        desk.step(Input::Tick);
        assert_eq!(desk.queue(), "");
    }
}

#[test]
fn an_unlock_tells_that_a_wait_is_over() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = desk.core.waiters().next().unwrap().waiter;
    let context = Arc::from(&b"callback"[..]);
    let over = Effect::WaitOver { waiter, context, why: WaitEnd::Unlocked };
    assert_eq!(desk.unlock("b", bytes(5, 5)), [over]);
    assert_eq!((desk.queue().as_str(), desk.core.counters().cancelled), ("", 1));
}

#[test]
fn what_is_new_in_a_request_that_is_sent_again_counts_and_the_same_is_not_written_again() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    let wait = |find_deadlock| {
        let context = Arc::from(&b""[..]);
        let wait = Wait { context, silence_ms: 5_000, timeout_ms: Some(0), find_deadlock };
        Ask { wait: Some(wait), ..ask() }
    };
    let found = |desk: &Desk| desk.core.waiters().next().unwrap().find_deadlock;
    for find_deadlock in [true, false, true] {
        desk.lock_full("b", "f", bytes(0, 9), X, wait(find_deadlock));
        assert_eq!(found(&desk), find_deadlock);
    }
    let request = |token| {
        let Ask { wait, reclaim, incarnation, contact } = wait(true);
        let (owner, file, range, mode) = (owner("b"), file("f"), bytes(0, 9), X);
        let id = LockId::new(uuid::Uuid::nil());
        Input::Lock(LockRequest {
            token,
            id,
            owner,
            file,
            range,
            mode,
            wait,
            reclaim,
            incarnation,
            contact,
        })
    };
    let mut effects = Vec::new();
    desk.core.step(desk.now_ms, request(Token(1)), &mut effects);
    assert_eq!(effects, [Effect::Reply { token: Token(1), outcome: Outcome::Blocked }]);
}
