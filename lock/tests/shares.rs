//! Share reservations: who may open a file beside whom, and what ends a reservation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::Access::{Both, None, Read, Write};
use cleat_lock::{
    Access, Config, Core, Effect, GraceEnd, GraceEvent, Input, Limit, Limits, LockError, Outcome,
    Range, Record,
};
use common::{Ask, Desk, X, ask, bytes, file, grace_news, owner, reclaiming};

const GRACE_MS: u64 = 90_000;

fn sharer(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::ShareConflict(conflict) => &conflict.owner.owner_id,
        other => panic!("expected a share conflict: {other:?}"),
    }
}

#[test]
fn each_pair_of_reservations_excludes_each_other_or_does_not() {
    // From the definition: neither does what the other denies.
    let has = |access: Access, bit| match bit {
        0 => access == Read || access == Both,
        _ => access == Write || access == Both,
    };
    let excludes = |deny, access| (0..2).any(|bit| has(deny, bit) && has(access, bit));
    let kinds =
        || Access::ALL.into_iter().flat_map(|access| Access::ALL.map(|deny| (access, deny)));
    for (one_access, one_deny) in kinds() {
        for (other_access, other_deny) in kinds() {
            let mut desk = Desk::new();
            assert_eq!(desk.share("nlm:a", one_access, one_deny), Outcome::Granted);
            let refused = excludes(one_deny, other_access) || excludes(other_deny, one_access);
            let outcome = desk.share("smb:b", other_access, other_deny);
            assert_eq!(outcome != Outcome::Granted, refused, "{outcome:?}");
            assert_eq!(desk.core.shares().count(), if refused { 1 } else { 2 });
            assert_eq!(
                desk.share_full("smb:b", "g", (other_access, other_deny), ask()).0,
                Outcome::Granted
            );
        }
    }
}

#[test]
fn a_conflict_names_who_and_what() {
    let mut desk = Desk::new();
    desk.share("a/1", Read, None);
    desk.share("b/1", Both, Write);
    let refused = desk.share("c/1", Write, None);
    let error = refused.error().unwrap();
    assert_eq!(
        error,
        LockError::ShareConflict {
            owner_id: Arc::from("b/1"),
            reads: true,
            writes: true,
            denies_reading: false,
            denies_writing: true,
        }
    );
    assert_eq!(error.to_string(), "share conflict: b/1 has access both deny write");
    assert_eq!(desk.core.counters().refused_share, 1);
}

#[test]
fn a_new_reservation_replaces_the_owners_old_one_where_it_may() {
    let mut desk = Desk::new();
    assert_eq!(desk.share("a", Read, Both), Outcome::Granted);
    assert_eq!(desk.share("a", Both, None), Outcome::Granted);
    assert_eq!(desk.shared(), "a Both/None");
    assert_eq!(desk.share("b", Write, None), Outcome::Granted);
    assert_eq!(sharer(&desk.share("a", Read, Write)), "b");
    assert_eq!(desk.shared(), "a Both/None, b Write/None", "the old one stays");
    assert_eq!(desk.core.counters().shares, 2);
    // Again is no new one.
    let image = desk.image.clone();
    assert_eq!(desk.share("b", Write, None), Outcome::Granted);
    assert_eq!(desk.image, image);
    assert_eq!(desk.core.counters().shared, 3);
}

#[test]
fn to_give_up_what_one_does_not_have_is_done() {
    let mut desk = Desk::new();
    desk.unshare("a");
    desk.share("a", Read, Both);
    desk.unshare("b");
    assert_eq!(desk.shared(), "a Read/Both");
    desk.unshare("a");
    desk.unshare("a");
    assert_eq!(desk.core.counters().unshared, 1);
    assert_eq!(desk.share("b", Both, Both), Outcome::Granted);
    desk.unshare("b");
    assert_eq!(desk.core.counters().files, 0);
    assert_eq!(desk.core.counters().owners, 0);
    assert_eq!(desk.core.counters().clients, 0);
}

#[test]
fn reservations_and_range_locks_know_nothing_of_each_other() {
    let mut desk = Desk::new();
    assert_eq!(desk.share("a", Both, Both), Outcome::Granted);
    assert_eq!(desk.lock("b", Range::ALL, X), Outcome::Granted);
    desk.unlock("b", Range::ALL);
    assert_eq!(desk.shared(), "a Both/Both");
}

#[test]
fn reservations_go_with_their_client_and_its_older_states() {
    let mut desk = Desk::new();
    let at = |incarnation| Ask { incarnation, contact: Arc::from(&b"addr"[..]), ..ask() };
    desk.share_full("a/1", "f", (Read, Write), at(3));
    desk.share_full("a/2", "f", (Read, Write), at(5));
    desk.share("b/1", Read, None);
    assert_eq!(desk.core.client("a").unwrap().shares, 2);
    let client_id: Arc<str> = Arc::from("a");
    let restarted = |token| Input::ClientRestarted { token, client_id, incarnation: 5 };
    desk.call(restarted);
    assert_eq!(desk.shared(), "a/2 Read/Write, b/1 Read/None");
    let forget = |token| Input::ForgetClient { token, client_id: Arc::from("a") };
    let holds = Outcome::StillHolds { locks: 0, waiters: 0, shares: 1 };
    assert_eq!(desk.call(forget).0, holds);
    desk.call(|token| Input::FreeAll { token, client_id: Arc::from("a") });
    assert_eq!(desk.shared(), "b/1 Read/None");
    assert_eq!(desk.call(forget).0, Outcome::Done);
}

#[test]
fn a_limit_refuses_and_changes_nothing() {
    let limits =
        Limits { shares_per_file: 2, shares_per_client: 3, shares_total: 4, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    let refused = |outcome: Outcome| match outcome {
        Outcome::Limit { which, current, maximum } => (which, current, maximum),
        other => panic!("expected a limit: {other:?}"),
    };
    desk.share("a/1", Read, None);
    desk.share("a/2", Read, None);
    assert_eq!(refused(desk.share("b/1", Read, None)), (Limit::SharesPerFile, 2, 2));
    // A reservation in the place of another is none more.
    assert_eq!(desk.share("a/2", Both, None), Outcome::Granted);
    let on = |desk: &mut Desk, who, on| desk.share_full(who, on, (Read, None), ask()).0;
    assert_eq!(on(&mut desk, "a/1", "g"), Outcome::Granted);
    assert_eq!(refused(on(&mut desk, "a/1", "h")), (Limit::SharesPerClient, 3, 3));
    assert_eq!(on(&mut desk, "b/1", "g"), Outcome::Granted);
    assert_eq!(refused(on(&mut desk, "b/1", "h")), (Limit::SharesTotal, 4, 4));
    assert_eq!(desk.core.counters().files, 2);
    desk.unshare("a/1");
    assert_eq!(on(&mut desk, "b/1", "h"), Outcome::Granted);
}

fn closed(effects: &[Effect]) -> Option<(GraceEnd, u64, u64)> {
    grace_news(effects).into_iter().find_map(|event| match event {
        GraceEvent::Closed { why, reclaimed, dropped, .. } => Some((why, reclaimed, dropped)),
        _ => Option::None,
    })
}

/// A desk whose server was restarted while `a` and `b` had these on `f`.
fn after_restart(exact: bool) -> (Desk, Vec<Effect>) {
    let mut desk = Desk::new();
    let contact: Arc<[u8]> = Arc::from(&b"addr"[..]);
    let monitored = Ask { contact, ..ask() };
    desk.share_full("a/1", "f", (Both, Write), monitored.clone());
    desk.share_full("b/1", "f", (Read, None), monitored);
    let effects = desk.restart(GRACE_MS, exact);
    (desk, effects)
}

#[test]
fn reservations_on_record_open_the_window_and_their_reclaims_close_it() {
    let (mut desk, effects) = after_restart(true);
    let until_ms = desk.now_ms + GRACE_MS;
    let opened = GraceEvent::Opened { locks: 2, clients: 2, until_ms, exact: true };
    assert_eq!(grace_news(&effects), [opened]);
    assert_eq!(desk.core.counters().unreclaimed, 2);
    let left_ms = GRACE_MS;
    assert_eq!(desk.share("c/1", Read, None), Outcome::Grace { left_ms });
    assert_eq!(desk.core.counters().grace_left_ms, left_ms);
    let again = |desk: &mut Desk, who, what| desk.share_full(who, "f", what, reclaiming());
    assert_eq!(again(&mut desk, "a/1", (Both, Write)).0, Outcome::Granted);
    // Again is no progress.
    assert_eq!(again(&mut desk, "a/1", (Both, Write)).0, Outcome::Granted);
    assert_eq!(desk.core.grace().unwrap().left, 1);
    let (outcome, effects) = again(&mut desk, "b/1", (Read, None));
    assert_eq!(outcome, Outcome::Granted);
    assert_eq!(closed(&effects), Some((GraceEnd::AllSettled, 2, 0)));
    // At any time, what is on record.
    assert_eq!(again(&mut desk, "b/1", (Read, None)).0, Outcome::Granted);
    assert_eq!(again(&mut desk, "c/1", (Read, None)).0, Outcome::ReclaimRefused);
    assert_eq!(again(&mut desk, "b/1", (Both, None)).0, Outcome::ReclaimRefused);
    assert_eq!(desk.shared(), "a/1 Both/Write, b/1 Read/None");
    assert!(desk.core.shares().all(|share| share.reclaim));
}

#[test]
fn giving_up_counts_like_a_reclaim() {
    let (mut desk, _) = after_restart(true);
    assert_eq!(closed(&desk.unshare("a/1")), Option::None);
    assert_eq!(closed(&desk.unshare("b/1")), Some((GraceEnd::AllSettled, 0, 0)));
}

#[test]
fn a_reclaim_of_more_or_of_something_else_is_admitted_where_nothing_is_in_its_way() {
    let (mut desk, _) = after_restart(true);
    let again = |desk: &mut Desk, who, what| desk.share_full(who, "f", what, reclaiming()).0;
    assert_eq!(sharer(&again(&mut desk, "b/1", (Write, None))), "a/1");
    assert_eq!(sharer(&again(&mut desk, "c/1", (Write, None))), "a/1");
    assert_eq!(again(&mut desk, "c/1", (Read, None)), Outcome::Granted);
    // Who reclaims less than an exact record has asked before it got more.
    assert_eq!(again(&mut desk, "a/1", (Read, None)), Outcome::Granted);
    assert_eq!(desk.shared(), "a/1 Both/Write, b/1 Read/None, c/1 Read/None");
    desk.now_ms += GRACE_MS;
    assert_eq!(closed(&desk.step(Input::Tick)), Some((GraceEnd::Deadline, 1, 1)));
    assert_eq!(desk.shared(), "a/1 Both/Write, c/1 Read/None");
}

#[test]
fn over_advice_the_first_to_reclaim_is_believed() {
    let (mut desk, _) = after_restart(false);
    let again = |desk: &mut Desk, who, what| desk.share_full(who, "f", what, reclaiming()).0;
    // What a has on record it may have given up, and b may have got more since.
    assert_eq!(again(&mut desk, "b/1", (Write, None)), Outcome::Granted);
    assert_eq!(desk.shared(), "b/1 Write/None");
    assert_eq!(sharer(&again(&mut desk, "a/1", (Both, Write))), "b/1");
    assert_eq!(again(&mut desk, "a/1", (Both, None)), Outcome::Granted);
    // Less than what is on record takes its place.
    let (mut desk, _) = after_restart(false);
    assert_eq!(again(&mut desk, "a/1", (Read, None)), Outcome::Granted);
    assert_eq!(desk.shared(), "a/1 Read/None, b/1 Read/None");
    desk.now_ms += GRACE_MS;
    assert_eq!(closed(&desk.step(Input::Tick)), Some((GraceEnd::Deadline, 1, 1)));
    assert_eq!(desk.shared(), "a/1 Read/None");
}

#[test]
fn one_whose_reply_was_lost_is_granted_again_in_an_exact_window() {
    let (mut desk, _) = after_restart(true);
    assert_eq!(desk.share("a/1", Both, Write), Outcome::Granted);
    assert_eq!(desk.core.grace().unwrap().left, 1);
    let left_ms = GRACE_MS;
    let other_life = Ask { incarnation: 9, ..ask() };
    assert_eq!(desk.share_full("b/1", "f", (Read, None), other_life).0, Outcome::Grace { left_ms });
    let (mut desk, _) = after_restart(false);
    assert_eq!(desk.share("a/1", Both, Write), Outcome::Grace { left_ms });
}

#[test]
fn records_that_contradict_each_other_are_kept_out() {
    let mut one = Desk::new();
    one.share("a", Both, Both);
    let mut other = Desk::new();
    other.share("b", Read, None);
    let records: Vec<Record> = one.records().into_iter().chain(other.records()).collect();
    let core = Core::restore(Config::default(), 5, records, GRACE_MS, true);
    assert_eq!(core.rejected().len(), 1);
    assert_eq!(core.shares().count(), 1);
}

#[test]
fn a_locked_and_shared_file_is_known_until_both_are_gone() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.share("a", Read, None);
    desk.unlock("a", Range::ALL);
    assert_eq!(desk.core.shares_of_file(&file("f"))[0].owner, owner("a"));
    desk.lock("a", bytes(0, 9), X);
    desk.unshare("a");
    assert_eq!(desk.held(), "a 0-9 X");
}
