//! After a restart: what stands, what is reclaimed, and when the window closes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::{
    Config, Core, Effect, GraceEnd, GraceEvent, Input, Limit, Limits, Outcome, Range, Record,
    WaitEnd, WaiterId,
};
use common::{
    Ask, Desk, S, X, ask, bytes, conflict_with, grace_news, grant_to, grants, reclaiming, waiting,
};

const GRACE_MS: u64 = 90_000;

/// A desk whose server held these and was restarted, with the news of that.
fn after_restart(locks: &[(&str, Range, cleat_lock::Mode)], exact: bool) -> (Desk, Vec<Effect>) {
    let mut desk = Desk::new();
    for &(who, range, mode) in locks {
        let contact = Arc::from(&b"addr"[..]);
        let outcome = desk.lock_full(who, "f", range, mode, Ask { contact, ..ask() }).0;
        assert_eq!(outcome, Outcome::Granted);
    }
    let effects = desk.restart(GRACE_MS, exact);
    (desk, effects)
}

fn closed(effects: &[Effect]) -> Option<(GraceEnd, u64, u64)> {
    grace_news(effects).into_iter().find_map(|event| match event {
        GraceEvent::Closed { why, reclaimed, dropped, .. } => Some((why, reclaimed, dropped)),
        _ => None,
    })
}

#[test]
fn nothing_on_record_no_window() {
    let (mut desk, effects) = after_restart(&[], true);
    assert_eq!(effects, []);
    assert!(desk.core.grace().is_none());
    assert_eq!(desk.lock("a", Range::ALL, X), Outcome::Granted);
    assert_eq!(desk.reclaim("b", bytes(0, 1), X), Outcome::ReclaimRefused);
    // Nor where the table is advice: who held anything would be on record as a client.
    let core = Core::restore(Config::default(), 0, [], GRACE_MS, false);
    assert!(core.grace().is_none());
}

#[test]
fn in_grace_only_reclaims_are_admitted() {
    let (mut desk, effects) =
        after_restart(&[("a", bytes(0, 9), X), ("b", bytes(10, 19), S)], true);
    let until_ms = desk.now_ms + GRACE_MS;
    let opened = GraceEvent::Opened { locks: 2, clients: 2, until_ms, exact: true };
    assert_eq!(grace_news(&effects), [opened]);
    desk.now_ms += 1_000;
    let refused = Outcome::Grace { left_ms: GRACE_MS - 1_000 };
    assert_eq!(desk.lock("c", bytes(50, 59), X), refused);
    assert_eq!(desk.lock_wait("c", bytes(50, 59), X), refused);
    assert_eq!(desk.test("c", bytes(50, 59), X), refused);
    assert_eq!(desk.cancel("c", bytes(50, 59), X), Outcome::Done);
    assert_eq!(desk.reclaim("a", bytes(0, 9), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-9 X, b 10-19 S");
    assert_eq!(desk.core.grace().unwrap().left, 1);
}

#[test]
fn the_window_closes_with_the_last_reclaim() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X), ("b", bytes(10, 19), S)], true);
    desk.reclaim("b", bytes(10, 19), S);
    // Again is no progress.
    desk.reclaim("b", bytes(10, 19), S);
    let (_, effects) = desk.lock_full("a", "f", bytes(0, 9), X, reclaiming());
    assert_eq!(closed(&effects), Some((GraceEnd::AllSettled, 2, 0)));
    assert_eq!(desk.lock("c", bytes(50, 59), X), Outcome::Granted);
    // A repeated reclaim is granted even now.
    assert_eq!(desk.reclaim("a", bytes(0, 9), X), Outcome::Granted);
}

#[test]
fn a_release_counts_like_a_reclaim() {
    let (mut desk, _) = after_restart(&[("a/1", bytes(0, 9), X), ("b/1", bytes(10, 19), S)], true);
    let effects = desk.unlock("a/1", bytes(0, 4));
    assert_eq!(closed(&effects), None);
    desk.unlock("a/1", bytes(5, 9));
    let restarted = |incarnation| {
        move |token| Input::ClientRestarted { token, client_id: Arc::from("b"), incarnation }
    };
    // Its state number is what it was: it reclaims, it did not restart.
    assert_eq!(closed(&desk.call(restarted(1)).1), None);
    assert_eq!(closed(&desk.call(restarted(3)).1), Some((GraceEnd::AllSettled, 0, 0)));
    assert_eq!(desk.held(), "");
}

#[test]
fn what_nobody_reclaims_is_dropped_at_the_deadline() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X), ("b", bytes(10, 19), S)], true);
    desk.reclaim("b", bytes(10, 19), S);
    assert_eq!(desk.core.next_deadline(), Some(desk.now_ms + GRACE_MS));
    desk.now_ms += GRACE_MS - 1;
    assert!(desk.step(Input::Tick).is_empty());
    desk.now_ms += 1;
    // Whatever comes first finds the window closed.
    let (outcome, effects) = desk.lock_full("c", "f", bytes(0, 9), X, ask());
    assert_eq!(outcome, Outcome::Granted);
    assert_eq!(closed(&effects), Some((GraceEnd::Deadline, 1, 1)));
    assert_eq!(desk.reclaim("a", bytes(0, 9), X), Outcome::ReclaimRefused);
    assert_eq!(desk.held(), "b 10-19 S, c 0-9 X");
}

#[test]
fn a_table_that_is_advice_does_not_close_early() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X)], false);
    let (_, effects) = desk.lock_full("a", "f", bytes(0, 9), X, reclaiming());
    assert_eq!(closed(&effects), None);
    // What is not on record is admitted where nothing on record is in its way.
    assert_eq!(desk.reclaim("b", bytes(20, 29), X), Outcome::Granted);
    assert_eq!(conflict_with(&desk.reclaim("b", bytes(5, 14), X)), "a");
    assert_eq!(desk.reclaim("a", bytes(0, 14), X), Outcome::Granted);
    desk.now_ms += GRACE_MS;
    assert_eq!(closed(&desk.step(Input::Tick)), Some((GraceEnd::Deadline, 1, 0)));
    assert_eq!(desk.held(), "a 0-14 X, b 20-29 X");
}

#[test]
fn a_client_on_record_opens_the_window_where_the_table_is_advice() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X)], true);
    desk.unlock("a", bytes(0, 9));
    let effects = desk.restart(GRACE_MS, true);
    assert_eq!(grace_news(&effects), []);
    let effects = desk.restart(GRACE_MS, false);
    let until_ms = desk.now_ms + GRACE_MS;
    let opened = GraceEvent::Opened { locks: 0, clients: 0, until_ms, exact: false };
    assert_eq!(grace_news(&effects), [opened]);
}

#[test]
fn a_reclaim_is_checked_against_the_record() {
    let (mut desk, _) = after_restart(
        &[("a", bytes(0, 9), X), ("a", bytes(10, 19), S), ("b", bytes(15, 24), S)],
        true,
    );
    // Stronger than what was held, and in another's way.
    assert_eq!(conflict_with(&desk.reclaim("a", bytes(10, 19), X)), "b");
    // Another's.
    assert_eq!(conflict_with(&desk.reclaim("c", bytes(0, 9), X)), "a");
    // Parts, weaker, and over several pieces.
    assert_eq!(desk.reclaim("a", bytes(2, 3), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-1 X, a 10-19 S, a 2-3 X, a 4-9 X, b 15-24 S");
    assert_eq!(desk.reclaim("a", bytes(8, 19), S), Outcome::Granted);
    // What is on record was told the client last: a reclaim of less crossed with that.
    assert_eq!(desk.held(), "a 0-1 X, a 10-19 S, a 2-3 X, a 4-7 X, a 8-9 X, b 15-24 S");
    assert_eq!(desk.reclaim("a", bytes(0, 7), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-9 X, a 10-19 S, b 15-24 S");
    assert_eq!(desk.core.grace().unwrap().left, 1);
}

#[test]
fn a_reclaim_brings_the_clients_state_number() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X), ("b", bytes(10, 19), X)], true);
    let again = Ask { incarnation: 7, ..reclaiming() };
    desk.lock_full("a", "f", bytes(0, 9), X, again);
    let restarted =
        |token| Input::ClientRestarted { token, client_id: Arc::from("a"), incarnation: 7 };
    desk.call(restarted);
    assert_eq!(desk.held(), "a 0-9 X, b 10-19 X");
}

#[test]
fn a_lock_whose_reply_was_lost_is_granted_again_in_an_exact_window() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X), ("b", bytes(10, 19), X)], true);
    assert_eq!(desk.lock("a", bytes(0, 9), X), Outcome::Granted);
    assert_eq!(desk.core.grace().unwrap().left, 1);
    let left_ms = GRACE_MS;
    let other_life = Ask { incarnation: 9, ..ask() };
    let outcome = desk.lock_full("b", "f", bytes(10, 19), X, other_life).0;
    assert_eq!(outcome, Outcome::Grace { left_ms });
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X)], false);
    assert_eq!(desk.lock("a", bytes(0, 9), X), Outcome::Grace { left_ms });
}

#[test]
fn an_order_ends_the_window() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), X)], false);
    let end = |token| Input::EndGrace { token };
    let (outcome, effects) = desk.call(end);
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(closed(&effects), Some((GraceEnd::Ordered, 0, 1)));
    assert_eq!(desk.call(end).0, Outcome::NotFound);
    assert_eq!(desk.lock("b", bytes(0, 9), X), Outcome::Granted);
}

#[test]
fn waiters_keep_their_places_and_are_served_after_the_window() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), S)], true);
    desk.reclaim("a", bytes(0, 9), S);
    for (name, mode) in [("b", X), ("c", S), ("d", S)] {
        assert_eq!(desk.lock_wait(name, bytes(0, 9), mode), Outcome::Blocked);
    }
    desk.restart(GRACE_MS, true);
    assert_eq!(desk.queue(), "b c d");
    // Sent again in the window, a request keeps its place.
    assert_eq!(desk.lock_wait("c", bytes(0, 9), S), Outcome::Blocked);
    desk.reclaim("a", bytes(0, 4), S);
    assert!(grants(&desk.unlock("a", bytes(0, 4))).is_empty());
    let effects = desk.unlock("a", bytes(5, 9));
    assert_eq!(closed(&effects), Some((GraceEnd::AllSettled, 1, 0)));
    grant_to(&effects, "b");
    let names: Vec<String> =
        grants(&desk.unlock("b", Range::ALL)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["c", "d"]);
}

#[test]
fn waiters_are_dropped_where_the_configuration_says_so() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.config.keep_waiters = false;
    let records = desk.records();
    desk.core = Core::restore(desk.config.clone(), desk.now_ms, records, GRACE_MS, true);
    let mut effects = Vec::new();
    desk.core.step(desk.now_ms, Input::Tick, &mut effects);
    assert_eq!(desk.queue(), "");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Persist(_))));
}

#[test]
fn a_grant_not_acknowledged_is_told_again_and_needs_no_reclaim() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(0, 4), S);
    desk.lock("a", bytes(0, 9), S);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    let effects = desk.restart(GRACE_MS, true);
    assert_eq!(grant_to(&effects, "b"), waiter);
    assert_eq!(grace_news(&effects), [], "nothing to reclaim");
    // Taken back, it leaves what was there before the grant.
    desk.refuse(waiter);
    assert_eq!(desk.held(), "b 0-4 S");
}

#[test]
fn a_reclaim_under_an_unacknowledged_grant_leaves_the_grant() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(0, 4), S);
    desk.lock("c", bytes(20, 29), S);
    desk.lock("a", bytes(0, 9), S);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    desk.restart(GRACE_MS, true);
    assert_eq!(desk.reclaim("b", bytes(0, 4), S), Outcome::Granted);
    assert_eq!(desk.held(), "b 0-9 X, c 20-29 S");
    let (outcome, _) = desk.lock_full("b", "f", bytes(0, 9), X, waiting());
    assert_eq!(outcome, Outcome::Granted);
    assert!(desk.refuse(waiter).is_empty());
    assert_eq!(desk.held(), "b 0-9 X, c 20-29 S");
}

#[test]
fn where_the_table_is_advice_grants_are_told_again_after_the_window() {
    let mut desk = Desk::new();
    desk.lock("c", bytes(20, 29), S);
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.unlock("a", Range::ALL);
    assert!(grants(&desk.restart(GRACE_MS, false)).is_empty());
    desk.now_ms += GRACE_MS;
    let effects = desk.step(Input::Tick);
    grant_to(&effects, "b");
    assert_eq!(told(&effects), [true], "before the power cut");
    assert_eq!(desk.held(), "b 0-9 X");
}

/// Of each grant whether its client may have heard of it from an earlier life of the server.
fn told(effects: &[Effect]) -> Vec<bool> {
    let told = |effect: &Effect| match effect {
        Effect::Grant(grant) => Some(grant.told),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

#[test]
fn a_grant_made_in_the_first_step_of_a_life_was_told_by_no_earlier_one() {
    let config = Config { recovery: cleat_lock::Recovery::Instant, ..Config::default() };
    let mut desk = Desk::with(config);
    desk.lock("a", bytes(0, 9), X);
    desk.lock("c", bytes(10, 19), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.lock_wait("d", bytes(10, 19), X);
    assert_eq!(told(&desk.unlock("a", Range::ALL)), [false]);
    // The store lost the lock that d waits for, and b's grant is on record.
    let of_c =
        |record: &Record| matches!(record, Record::Lock(lock) if *lock.owner.owner_id == *"c");
    let records: Vec<Record> = desk.records().into_iter().filter(|it| !of_c(it)).collect();
    let mut effects = Vec::new();
    desk.core = Core::restore(desk.config.clone(), desk.now_ms, records, GRACE_MS, true);
    desk.core.step(desk.now_ms, Input::Tick, &mut effects);
    let names: Vec<String> = grants(&effects).into_iter().map(|(name, _)| name).collect();
    assert_eq!((names, told(&effects)), (vec!["b".to_owned(), "d".to_owned()], vec![true, false]));
}

#[test]
fn records_that_contradict_each_other_are_kept_out() {
    let mut one = Desk::new();
    one.lock("a", bytes(0, 9), X);
    one.lock_wait("b", bytes(0, 9), X);
    let mut other = Desk::new();
    other.fresh_id();
    other.lock("c", bytes(5, 14), S);
    let records: Vec<Record> = one.records().into_iter().chain(other.records()).collect();
    let mut core = Core::restore(Config::default(), 5, records, GRACE_MS, true);
    assert_eq!(core.rejected().len(), 1);
    let mut effects = Vec::new();
    core.step(5, Input::Tick, &mut effects);
    assert_eq!(core.locks().count(), 1);
    assert!(matches!(&effects[0], Effect::Persist(_)));
}

#[test]
fn where_the_table_is_advice_a_reclaim_outweighs_what_others_have_on_record() {
    // b unlocked and a took over; the machine died before either was on the disk.
    let (mut desk, _) = after_restart(&[("b", bytes(0, 29), X)], false);
    assert_eq!(desk.reclaim("a", bytes(10, 19), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 10-19 X, b 0-9 X, b 20-29 X");
    // What was reclaimed is no advice any more, and an exact table never was.
    assert_eq!(conflict_with(&desk.reclaim("b", bytes(0, 29), X)), "a");
    let (mut desk, _) = after_restart(&[("b", bytes(0, 29), X)], true);
    assert_eq!(conflict_with(&desk.reclaim("a", bytes(10, 19), X)), "b");
}

#[test]
fn where_the_table_is_advice_a_reclaim_ends_a_grant_that_contradicts_it() {
    let mut desk = Desk::new();
    desk.lock("z", bytes(50, 59), X);
    desk.lock("c", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    let waiter = grant_to(&desk.unlock("c", Range::ALL), "b");
    desk.restart(GRACE_MS, false);
    let (outcome, effects) = desk.lock_full("a", "f", bytes(0, 4), X, reclaiming());
    assert_eq!(outcome, Outcome::Granted);
    assert!(effects.contains(&Effect::GrantOver { waiter }));
    assert_eq!(desk.held(), "a 0-4 X, b 5-9 X, z 50-59 X");
    assert_eq!(desk.core.grace().unwrap().left, 2, "what is left of it is to be reclaimed");
}

#[test]
fn a_roll_back_leaves_what_was_reclaimed_under_the_grant() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(0, 4), X);
    desk.lock("a", bytes(5, 9), X);
    desk.lock_wait("b", bytes(5, 9), X);
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    // b acknowledged and merged, but the machine died before that was on the disk.
    desk.restart(GRACE_MS, false);
    assert_eq!(desk.reclaim("b", bytes(0, 9), X), Outcome::Granted);
    desk.now_ms += GRACE_MS;
    assert_eq!(grant_to(&desk.step(Input::Tick), "b"), waiter);
    desk.refuse(waiter);
    assert_eq!(desk.held(), "b 0-9 X");
}

#[test]
fn a_reclaim_that_crossed_with_an_upgrade_weakens_nothing() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 9), S), ("b", bytes(20, 29), S)], true);
    desk.reclaim("b", bytes(20, 29), S);
    desk.reclaim("a", bytes(0, 9), S);
    assert_eq!(desk.lock("a", bytes(3, 4), X), Outcome::Granted);
    assert_eq!(desk.reclaim("a", bytes(0, 9), S), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-2 S, a 3-4 X, a 5-9 S, b 20-29 S");
    // Nor where it arrives at the next server, or reaches beyond what is on record.
    desk.restart(GRACE_MS, true);
    assert_eq!(desk.reclaim("a", bytes(0, 10), S), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-2 S, a 3-4 X, a 5-10 S, b 20-29 S");
    desk.unlock("a", bytes(10, 10));
    assert_eq!(desk.reclaim("a", bytes(0, 9), S), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-2 S, a 3-4 X, a 5-9 S, b 20-29 S");
}

#[test]
fn where_the_table_is_advice_a_request_confirms_no_grant_on_record() {
    let mut desk = Desk::new();
    desk.lock("z", bytes(50, 59), X);
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.unlock("a", Range::ALL);
    // b took it, unlocked, and another one has it; then it asks again.
    desk.restart(GRACE_MS, false);
    let left_ms = GRACE_MS;
    assert_eq!(desk.lock_wait("b", bytes(0, 9), X), Outcome::Grace { left_ms });
    assert_eq!(desk.core.counters().unacknowledged, 1);
    assert_eq!(desk.reclaim("c", bytes(0, 9), X), Outcome::Granted);
}

#[test]
fn what_was_reclaimed_under_a_grant_outlives_its_end() {
    let mut desk = Desk::new();
    desk.lock("z", bytes(50, 59), X);
    desk.lock("c", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.unlock("c", Range::ALL);
    // b took it, kept its first bytes as shared, and a got the last ones.
    desk.restart(GRACE_MS, false);
    assert_eq!(desk.reclaim("b", bytes(0, 2), S), Outcome::Granted);
    assert_eq!(desk.reclaim("a", bytes(5, 9), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 5-9 X, b 0-2 S, b 3-4 X, z 50-59 X");
    assert_eq!(conflict_with(&desk.reclaim("c", bytes(2, 4), X)), "b");
    desk.now_ms += GRACE_MS;
    desk.step(Input::Tick);
    assert_eq!(desk.held(), "a 5-9 X, b 0-2 S");
}

#[test]
fn what_is_left_of_a_grant_after_an_unlock_is_advice_still() {
    let mut desk = Desk::new();
    desk.lock("z", bytes(50, 59), X);
    desk.lock("c", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    desk.unlock("c", Range::ALL);
    // b took it, gave it up, a got the last bytes; then b asked for the first ones again.
    desk.restart(GRACE_MS, false);
    desk.reclaim("b", bytes(0, 1), X);
    desk.unlock("b", bytes(1, 2));
    assert_eq!(desk.reclaim("a", bytes(5, 9), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 5-9 X, b 0-0 X, b 3-4 X, z 50-59 X");
    desk.now_ms += GRACE_MS;
    desk.step(Input::Tick);
    assert_eq!(desk.held(), "a 5-9 X, b 0-0 X");
}

/// a has bytes 0 to 4 exclusively, and a grant of them and the next five as shared, not answered.
fn granted_less() -> (Desk, WaiterId) {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 4), X);
    desk.lock("b", bytes(5, 9), X);
    desk.lock_wait("a", bytes(0, 9), S);
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
    assert_eq!(desk.held(), "a 0-4 X, a 5-9 S");
    (desk, waiter)
}

#[test]
fn a_grant_of_less_does_not_outlive_what_it_would_weaken() {
    let (mut desk, waiter) = granted_less();
    desk.config.unreachable_hold_ms = 0;
    desk.restart(GRACE_MS, false);
    desk.now_ms += GRACE_MS;
    let effects = desk.step(Input::Tick);
    assert!(effects.contains(&Effect::GrantOver { waiter }), "{effects:?}");
    assert_eq!(desk.held(), "a 5-9 S");
    desk.lock("c", bytes(0, 4), X);
    desk.accept(waiter);
    assert_eq!(desk.held(), "a 5-9 S, c 0-4 X");
}

#[test]
fn where_the_table_is_advice_a_reclaim_of_more_ends_a_grant_of_less() {
    let (mut desk, waiter) = granted_less();
    desk.restart(GRACE_MS, false);
    let (outcome, effects) = desk.lock_full("a", "f", bytes(0, 9), X, reclaiming());
    assert_eq!(outcome, Outcome::Granted);
    assert!(effects.contains(&Effect::GrantOver { waiter }), "{effects:?}");
    desk.now_ms += GRACE_MS;
    assert_eq!(grants(&desk.step(Input::Tick)), []);
    desk.accept(waiter);
    assert_eq!(desk.held(), "a 0-9 X");
}

#[test]
fn where_the_table_is_advice_what_a_former_life_gets_back_is_advice_too() {
    let mut desk = Desk::new();
    desk.lock("z", bytes(50, 59), X);
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(0, 9), S);
    desk.lock_wait("a", bytes(0, 9), X);
    grant_to(&desk.unlock("b", Range::ALL), "a");
    desk.restart(GRACE_MS, false);
    desk.reclaim("a", bytes(0, 1), S);
    // a restarted long ago, and c has the rest; the records say nothing of either.
    desk.lock_full("a", "f", bytes(70, 79), X, Ask { incarnation: 3, ..ask() });
    assert_eq!(desk.held(), "a 0-1 S, a 2-9 S, z 50-59 X");
    assert_eq!(desk.reclaim("c", bytes(2, 9), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-1 S, c 2-9 X, z 50-59 X");
    assert_eq!(conflict_with(&desk.reclaim("c", bytes(1, 1), X)), "a");
}

/// Reclaims that close a cycle of a and b while the window stays open for c.
fn with_a_cycle_closed_in_the_window() -> Desk {
    let mut desk = Desk::new();
    desk.lock("b", bytes(10, 19), X);
    desk.lock("c", bytes(0, 4), X);
    assert_eq!(desk.lock_wait("b", bytes(0, 9), X), Outcome::Blocked, "for c");
    assert_eq!(desk.lock_wait("a", bytes(10, 19), X), Outcome::Blocked, "for b");
    desk.restart(GRACE_MS, true);
    // a lost that, and does not know it.
    assert_eq!(desk.reclaim("a", bytes(5, 9), X), Outcome::Granted);
    desk
}

/// b and c reclaim what they hold, which closes the window and ends the wait that is in a cycle.
fn one_wait_ends_with_the_window(mut desk: Desk) {
    desk.reclaim("c", bytes(0, 4), X);
    let (_, effects) = desk.lock_full("b", "f", bytes(10, 19), X, reclaiming());
    let ended = |it: &&Effect| matches!(it, Effect::WaitOver { why: WaitEnd::Deadlock { .. }, .. });
    assert_eq!(effects.iter().filter(ended).count(), 1, "{effects:?}");
    assert_eq!(desk.queue().len(), 1);
    for owner in ["a", "b", "c"] {
        desk.unlock(owner, Range::ALL);
    }
    assert_eq!(desk.queue(), "");
}

#[test]
fn a_reclaim_of_what_is_not_on_record_that_closes_a_cycle_ends_a_wait() {
    one_wait_ends_with_the_window(with_a_cycle_closed_in_the_window());
}

#[test]
fn a_cycle_closed_in_the_window_is_found_though_the_server_restarts_again() {
    let mut desk = with_a_cycle_closed_in_the_window();
    desk.restart(GRACE_MS, true);
    assert_eq!(desk.reclaim("a", bytes(5, 9), X), Outcome::Granted);
    one_wait_ends_with_the_window(desk);
}

#[test]
fn what_is_reclaimed_outlives_a_grant_of_it_that_was_narrowed_before_the_restart() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(1, 4), X);
    desk.lock("b", bytes(20, 20), X);
    desk.lock_wait("a", bytes(1, 4), X);
    let grant = grant_to(&desk.unlock("b", bytes(1, 4)), "a");
    desk.restart(GRACE_MS, true);
    // While the window is open for b, and of these bytes the grant takes nothing away any more.
    assert_eq!(desk.lock("a", bytes(2, 4), X), Outcome::Granted);
    desk.restart(GRACE_MS, false);
    assert_eq!(desk.reclaim("a", bytes(1, 4), X), Outcome::Granted);
    desk.call(|token| Input::EndGrace { token });
    desk.refuse(grant);
    assert_eq!(desk.held(), "a 1-4 X");
}

#[test]
fn a_grant_of_less_leaves_alone_what_was_reclaimed_beside_it() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(6, 9), X);
    desk.lock("b", bytes(1, 5), X);
    desk.lock_wait("a", bytes(1, 6), S);
    let grant = grant_to(&desk.unlock("b", bytes(1, 5)), "a");
    for _ in 0..2 {
        // The records lack that a has no more than this of byte 6 since.
        desk.restart(GRACE_MS, false);
        assert_eq!(desk.reclaim("a", bytes(7, 9), X), Outcome::Granted);
        assert_eq!(desk.reclaim("a", bytes(1, 6), S), Outcome::Granted);
    }
    desk.restart(GRACE_MS, false);
    desk.refuse(grant);
    assert_eq!(desk.reclaim("a", bytes(1, 6), S), Outcome::Granted);
    assert_eq!(desk.held(), "a 1-6 S, a 7-9 X");
}

#[test]
fn a_refused_reclaim_names_one_that_is_in_its_way_and_not_what_is_doubtful() {
    let (mut desk, _) = after_restart(&[("a", bytes(0, 4), X), ("b", bytes(5, 9), X)], false);
    assert_eq!(desk.reclaim("b", bytes(5, 9), X), Outcome::Granted);
    let refused = desk.reclaim("c", bytes(0, 9), X);
    assert_eq!(conflict_with(&refused), "b");
    assert_eq!(desk.held(), "a 0-4 X, b 5-9 X");
}

#[test]
fn a_reclaim_that_a_limit_refuses_ends_no_grant() {
    let limits = Limits { locks_per_client: 2, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    let contact: Arc<[u8]> = Arc::from(&b"addr"[..]);
    desk.lock("b/1", bytes(5, 9), X);
    desk.lock_full("a/1", "f", bytes(5, 9), X, Ask { contact, ..waiting() });
    desk.unlock("b/1", Range::ALL);
    desk.lock_full("a/2", "f", bytes(20, 29), X, ask());
    desk.restart(GRACE_MS, false);
    let image = desk.image.clone();
    let (outcome, effects) = desk.lock_full("a/1", "f", bytes(7, 10), X, reclaiming());
    let refused = Outcome::Limit { which: Limit::LocksPerClient, current: 2, maximum: 2 };
    assert_eq!((outcome, effects), (refused, vec![]));
    assert_eq!((desk.core.counters().unacknowledged, &desk.image), (1, &image));
}

#[test]
fn what_is_reclaimed_under_a_grant_again_and_again_is_kept_once() {
    let mut desk = Desk::new();
    desk.lock("b", bytes(0, 99), X);
    desk.lock_full("a", "f", bytes(0, 99), X, waiting());
    desk.unlock("b", Range::ALL);
    desk.restart(GRACE_MS, true);
    let waiter = desk.core.waiters().next().unwrap().waiter;
    for _ in 0..3 {
        for (first, last) in [(0, 4), (5, 9), (2, 7), (50, 59)] {
            assert_eq!(desk.reclaim("a", bytes(first, last), X), Outcome::Granted);
        }
    }
    desk.refuse(waiter);
    assert_eq!(desk.held(), "a 0-9 X, a 50-59 X");
    assert_eq!(desk.core.grace().map(|grace| grace.reclaimed), None);
}

#[test]
fn a_reclaim_that_ends_a_grant_and_contradicts_others_names_every_piece_anew() {
    let mut desk = Desk::new();
    assert_eq!(desk.lock("x/1", bytes(1, 5), X), Outcome::Granted);
    assert_eq!(desk.lock_wait("b/1", bytes(1, 5), S), Outcome::Blocked);
    assert_eq!(desk.lock_wait("c/1", Range::ALL, S), Outcome::Blocked);
    let granted = grants(&desk.unlock("x/1", bytes(1, 5)));
    desk.accept(granted.iter().find(|(who, _)| who == "c/1").unwrap().1);
    desk.restart(GRACE_MS, false);
    assert_eq!(desk.reclaim("b/1", bytes(5, 5), S), Outcome::Granted);
    assert_eq!(desk.reclaim("b/1", bytes(2, 4), X), Outcome::Granted);
    assert_eq!(desk.held(), "b/1 1-1 S, b/1 2-4 X, b/1 5-5 S, c/1 0-1 S, c/1 5-EOF S");
}
