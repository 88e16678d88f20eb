//! The explicit upgrade, its way back, and what mandatory locks keep out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::{Effect, Input, Outcome, Range, Record, WaitEnd};
use common::{Ask, Desk, S, X, ask, bytes, conflict_with, file, grant_to, grants, owner, waiting};

#[test]
fn an_upgrade_succeeds_where_no_other_holds_the_range() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(8, 20), S);
    assert_eq!(desk.upgrade("a", bytes(2, 5)), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-1 S, a 2-5 X, a 6-9 S, b 8-20 S");
    assert_eq!(conflict_with(&desk.upgrade("a", bytes(0, 9))), "b");
    assert_eq!(desk.held(), "a 0-1 S, a 2-5 X, a 6-9 S, b 8-20 S");
    // And back, by a shared lock.
    assert_eq!(desk.lock("a", bytes(0, 9), S), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-9 S, b 8-20 S");
}

#[test]
fn an_upgrade_of_what_is_not_held_is_an_error() {
    let mut desk = Desk::new();
    assert_eq!(desk.upgrade("a", bytes(0, 9)), Outcome::NotFound);
    desk.lock("a", bytes(0, 4), S);
    desk.lock("a", bytes(6, 9), S);
    assert_eq!(desk.upgrade("a", bytes(0, 9)), Outcome::NotFound, "a byte is missing");
    assert_eq!(desk.upgrade_wait("b", bytes(0, 4)), Outcome::NotFound);
    assert_eq!(desk.held(), "a 0-4 S, a 6-9 S");
    assert_eq!(desk.queue(), "");
    assert_eq!(desk.core.counters().refused_not_found, 3);
    assert_eq!(desk.core.counters().clients, 1);
}

#[test]
fn an_upgrade_of_what_is_exclusive_changes_nothing() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock("a", bytes(20, 29), S);
    let image = desk.image.clone();
    assert_eq!(desk.upgrade("a", bytes(2, 5)), Outcome::Granted);
    assert_eq!(desk.image, image);
}

#[test]
fn a_waiting_upgrade_keeps_the_shared_lock() {
    let mut desk = Desk::new();
    for name in ["a", "b"] {
        desk.lock(name, bytes(0, 9), S);
    }
    desk.lock_wait("c", bytes(0, 9), X);
    // It does not queue behind c, which waits for it.
    assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::Blocked);
    assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::Blocked, "sent again");
    assert_eq!(desk.queue(), "c a");
    assert_eq!(desk.held(), "a 0-9 S, b 0-9 S");
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
    assert_eq!(desk.held(), "a 0-9 X");
    // Sent again after the grant, it acknowledges it.
    let (outcome, effects) = desk.upgrade_full("a", bytes(0, 9), waiting().wait);
    assert_eq!((outcome, effects), (Outcome::Granted, vec![Effect::GrantOver { waiter }]));
    grant_to(&desk.unlock("a", Range::ALL), "c");
}

#[test]
fn an_upgrade_under_a_grant_of_less_outlives_its_acknowledgement() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 4), X);
    desk.lock("b", bytes(5, 9), X);
    desk.lock_wait("a", bytes(0, 9), S);
    // a hears of it, and wants its bytes exclusive again before its answer arrives.
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
    assert_eq!(desk.held(), "a 0-4 X, a 5-9 S");
    assert_eq!(desk.upgrade("a", bytes(2, 4)), Outcome::Granted);
    desk.accept(waiter);
    assert_eq!(desk.held(), "a 0-1 S, a 2-4 X, a 5-9 S");
}

#[test]
fn a_refused_upgrade_grant_leaves_the_shared_lock() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(0, 9), S);
    desk.upgrade_wait("a", bytes(3, 5));
    let waiter = grant_to(&desk.unlock("b", Range::ALL), "a");
    assert_eq!(desk.held(), "a 0-2 S, a 3-5 X, a 6-9 S");
    desk.refuse(waiter);
    assert_eq!(desk.held(), "a 0-9 S");
}

#[test]
fn two_upgraders_of_one_byte_are_a_deadlock() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(9, 19), S);
    assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::Blocked);
    let Outcome::Deadlock { cycle } = desk.upgrade_wait("b", bytes(9, 19)) else {
        panic!("expected a deadlock");
    };
    let names: Vec<&str> = cycle.iter().map(|owner| &*owner.owner_id).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(desk.held(), "a 0-9 S, b 9-19 S");
    assert_eq!(desk.upgrade("b", bytes(10, 19)), Outcome::Granted);
}

#[test]
fn an_unlock_ends_a_waiting_upgrade() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(0, 9), S);
    desk.upgrade_wait("a", bytes(0, 9));
    desk.unlock("a", bytes(4, 4));
    assert_eq!(desk.queue(), "");
    assert!(grants(&desk.unlock("b", Range::ALL)).is_empty());
    assert_eq!(desk.held(), "a 0-3 S, a 5-9 S");
}

#[test]
fn in_grace_there_is_no_upgrade() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("a", bytes(20, 29), X);
    desk.restart(90_000, true);
    let refused = Outcome::Grace { left_ms: 90_000 };
    assert_eq!(desk.upgrade("a", bytes(0, 9)), refused);
    assert_eq!(desk.upgrade("a", bytes(20, 29)), refused, "not reclaimed yet");
    assert_eq!(desk.upgrade("b", bytes(0, 9)), refused, "what b holds is not known yet");
    desk.reclaim("a", bytes(20, 29), X);
    assert_eq!(desk.upgrade("a", bytes(20, 29)), Outcome::Granted);
}

#[test]
fn a_mandatory_lock_keeps_out_what_it_excludes() {
    let mut desk = Desk::new();
    let (a, b, f) = (owner("a"), owner("b"), file("f"));
    assert!(desk.core.may_write(None, &f, Range::ALL), "nothing is locked");
    desk.lock("a", bytes(0, 9), X);
    desk.lock("a", bytes(10, 19), S);
    let core = &desk.core;
    let held = core.intrudes(Some(&b), &f, bytes(5, 6), S).unwrap();
    assert_eq!((held.owner, held.range, held.mode), (a.clone(), bytes(0, 9), X));
    assert!(!core.may_read(Some(&b), &f, bytes(9, 10)));
    assert!(core.may_read(Some(&b), &f, bytes(10, 40)));
    assert!(!core.may_write(Some(&b), &f, bytes(19, 40)));
    assert!(core.may_write(Some(&b), &f, bytes(20, 40)));
    // The owner is not in its own way; who has no owner is in everybody's.
    assert!(core.may_write(Some(&a), &f, Range::ALL));
    assert!(!core.may_write(None, &f, bytes(12, 12)));
    assert!(core.may_read(None, &f, bytes(12, 12)));
    assert!(core.may_write(None, &file("g"), Range::ALL));
    // Who waits keeps nobody out, and what awaits its reclaim does.
    desk.lock_wait("b", bytes(5, 50), X);
    assert!(desk.core.may_write(None, &f, bytes(20, 50)));
    desk.restart(90_000, true);
    assert!(!desk.core.may_write(Some(&b), &f, bytes(0, 9)));
    assert!(desk.core.may_write(Some(&a), &f, bytes(0, 9)));
}

#[test]
fn an_upgrade_over_what_is_left_of_a_former_life_is_of_this_one() {
    let mut desk = Desk::new();
    let this = Ask { incarnation: 3, ..ask() };
    desk.lock("a", bytes(4, 4), X);
    desk.lock_full("a", "f", bytes(0, 3), X, this.clone());
    assert_eq!(desk.upgrade_on("a", "f", bytes(0, 4), this).0, Outcome::Granted);
    let client_id = Arc::from("a");
    desk.call(|token| Input::ClientRestarted { token, client_id, incarnation: 3 });
    assert_eq!(desk.held(), "a 0-4 X");
}

#[test]
fn an_upgrade_that_is_sent_again_in_grace_is_answered_as_a_lock_is() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(0, 9), S);
    assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::Blocked);
    desk.restart(90_000, true);
    assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::Blocked);
    desk.reclaim("a", bytes(0, 9), S);
    desk.reclaim("b", bytes(0, 9), S);
    grant_to(&desk.unlock("b", Range::ALL), "a");
}

#[test]
fn an_upgrade_that_waits_over_advice_may_have_its_lock_yet_to_reclaim() {
    for reclaims in [true, false] {
        let mut desk = Desk::new();
        for name in ["a", "b"] {
            desk.lock(name, bytes(0, 9), S);
        }
        desk.upgrade_wait("a", bytes(0, 9));
        // The record of its lock is lost with the power, that of its wait is not.
        let key = desk
            .core
            .records()
            .find(|record| matches!(record, Record::Lock(lock) if lock.owner == owner("a")));
        desk.image.remove(&key.unwrap().key());
        desk.check_every_step = false;
        desk.restart(90_000, false);
        assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::Blocked);
        if reclaims {
            assert_eq!(desk.reclaim("a", bytes(0, 9), S), Outcome::Granted);
        }
        desk.now_ms += 90_000;
        let effects = desk.step(Input::Tick);
        let over = effects.iter().any(|effect| {
            let nothing = WaitEnd::NothingToUpgrade;
            matches!(effect, Effect::WaitOver { why, .. } if *why == nothing)
        });
        assert_eq!((grants(&effects).len(), over), (usize::from(reclaims), !reclaims));
        desk.check_image();
    }
}

/// One that waits to upgrade what an administrator has taken from it.
fn with_nothing_to_upgrade() -> Desk {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(0, 9), S);
    assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::Blocked);
    let lock = desk.core.locks().find(|lock| *lock.owner.owner_id == *"a").unwrap();
    let id = desk.fresh_id();
    let (lock, owner, file, range) = (lock.id, lock.owner, lock.file, lock.range);
    let what = cleat_lock::Clear::Lock { lock, owner, file, range };
    desk.call(|token| cleat_lock::Input::Clear { token, id, what });
    assert_eq!((desk.held().as_str(), desk.queue().as_str()), ("b 0-9 S", "a"));
    desk
}

#[test]
fn an_upgrade_of_what_was_taken_meanwhile_waits_no_more() {
    let mut desk = with_nothing_to_upgrade();
    assert_eq!(desk.upgrade_wait("a", bytes(0, 9)), Outcome::NotFound);
    assert_eq!(desk.queue(), "");
    let mut desk = with_nothing_to_upgrade();
    let effects = desk.unlock("b", Range::ALL);
    let why = cleat_lock::WaitEnd::NothingToUpgrade;
    let is_it = |effect: &cleat_lock::Effect| matches!(effect, cleat_lock::Effect::WaitOver { why: it, .. } if *it == why);
    assert!(matches!(&effects[..], [over] if is_it(over)), "{effects:?}");
    assert_eq!((desk.held().as_str(), desk.queue().as_str()), ("", ""));
}

#[test]
fn what_was_granted_to_a_former_life_is_nothing_to_upgrade() {
    let mut desk = Desk::new();
    desk.lock("b/1", bytes(0, 3), X);
    desk.lock_wait("a/1", bytes(0, 9), S);
    grant_to(&desk.unlock("b/1", Range::ALL), "a/1");
    desk.lock("c/1", bytes(0, 3), S);
    let this = Ask { incarnation: 2, ..waiting() };
    assert_eq!(desk.upgrade_on("a/1", "f", bytes(2, 2), this).0, Outcome::NotFound);
    assert_eq!((desk.held().as_str(), desk.queue().as_str()), ("c/1 0-3 S", ""));
}
