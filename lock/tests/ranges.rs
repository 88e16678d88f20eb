//! POSIX rules for an owner's own ranges, and conflicts between owners, as a table of scenarios.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use cleat_lock::{Config, Limit, Limits, Outcome, Range};
use common::{Desk, S, X, ask, bytes, conflict_with, file, grant_to, owner};

/// What is asked in order, as `owner lock|unlock first-last [S|X]`, and what is held then.
const SCENARIOS: &[(&str, &[&str], &str)] = &[
    ("a lock is held", &["a X 0-9"], "a 0-9 X"),
    ("touching ranges of one mode merge", &["a X 0-9", "a X 10-19"], "a 0-19 X"),
    ("and from behind", &["a X 10-19", "a X 0-9"], "a 0-19 X"),
    ("overlapping ranges of one mode merge", &["a S 0-9", "a S 5-19"], "a 0-19 S"),
    ("a gap is closed", &["a S 0-4", "a S 10-14", "a S 5-9"], "a 0-14 S"),
    ("many are swallowed", &["a X 0-1", "a X 4-5", "a X 8-9", "a X 0-EOF"], "a 0-EOF X"),
    ("touching ranges of two modes stay two", &["a S 0-9", "a X 10-19"], "a 0-9 S, a 10-19 X"),
    ("touching ranges of two owners stay two", &["a X 0-9", "b X 10-19"], "a 0-9 X, b 10-19 X"),
    ("the start is unlocked", &["a X 0-9", "a - 0-3"], "a 4-9 X"),
    ("the end is unlocked", &["a X 0-9", "a - 6-9"], "a 0-5 X"),
    ("the middle is unlocked", &["a X 0-9", "a - 4-5"], "a 0-3 X, a 6-9 X"),
    ("exactly is unlocked", &["a X 0-9", "a - 0-9"], ""),
    ("more is unlocked", &["a X 3-5", "a - 0-EOF"], ""),
    ("several are unlocked", &["a X 0-3", "a S 5-9", "a - 2-6"], "a 0-1 X, a 7-9 S"),
    ("nothing is unlocked", &["a X 0-9", "a - 20-29"], "a 0-9 X"),
    ("nothing of others is unlocked", &["a X 0-9", "b - 0-9"], "a 0-9 X"),
    ("to the end of the file", &["a X 5-EOF", "a - 10-EOF"], "a 5-9 X"),
    ("up to the last byte there is", &["a X 0-EOF", "a - 0-99"], "a 100-EOF X"),
    ("the middle is upgraded", &["a S 0-9", "a X 4-5"], "a 0-3 S, a 4-5 X, a 6-9 S"),
    ("the middle is downgraded", &["a X 0-9", "a S 4-5"], "a 0-3 X, a 4-5 S, a 6-9 X"),
    ("up and down again merges", &["a S 0-9", "a X 4-5", "a S 4-5"], "a 0-9 S"),
    ("an upgrade swallows its like", &["a S 0-9", "a X 10-19", "a X 5-9"], "a 0-4 S, a 5-19 X"),
    ("a wider mode replaces", &["a S 3-4", "a S 6-7", "a X 0-9"], "a 0-9 X"),
    ("shared are shared", &["a S 0-9", "b S 5-14"], "a 0-9 S, b 5-14 S"),
    ("shared by many on one byte", &["a S 5-5", "b S 5-5", "c S 0-9"], "a 5-5 S, b 5-5 S, c 0-9 S"),
    ("the same again changes nothing", &["a X 0-9", "a X 0-9", "a X 3-4"], "a 0-9 X"),
];

fn parse(text: &str) -> Range {
    let (first, last) = text.split_once('-').unwrap();
    let last = if last == "EOF" { u64::MAX } else { last.parse().unwrap() };
    bytes(first.parse().unwrap(), last)
}

#[test]
fn own_ranges_replace_split_and_merge() {
    for (name, steps, expected) in SCENARIOS {
        let mut desk = Desk::new();
        for step in *steps {
            let words: Vec<&str> = step.split(' ').collect();
            let range = parse(words[2]);
            match words[1] {
                "-" => assert!(desk.unlock(words[0], range).is_empty(), "{name}"),
                "S" => assert_eq!(desk.lock(words[0], range, S), Outcome::Granted, "{name}"),
                "X" => assert_eq!(desk.lock(words[0], range, X), Outcome::Granted, "{name}"),
                other => panic!("{other}"),
            }
        }
        assert_eq!(desk.held(), *expected, "{name}");
    }
}

#[test]
fn an_exclusive_lock_excludes() {
    let mut desk = Desk::new();
    assert_eq!(desk.lock("a", bytes(10, 19), X), Outcome::Granted);
    for (range, mode) in
        [(bytes(19, 19), S), (bytes(0, 10), X), (Range::ALL, S), (bytes(12, 13), X)]
    {
        assert_eq!(conflict_with(&desk.lock("b", range, mode)), "a");
        assert_eq!(conflict_with(&desk.test("b", range, mode)), "a");
        assert_eq!(desk.test("a", range, mode), Outcome::Free);
    }
    assert_eq!(desk.lock("b", bytes(20, 29), X), Outcome::Granted);
    assert_eq!(desk.lock("b", bytes(0, 9), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 10-19 X, b 0-9 X, b 20-29 X");
}

#[test]
fn a_test_names_the_holder_with_its_note_range_and_mode() {
    let mut desk = Desk::new();
    desk.lock("a/7", bytes(10, 19), S);
    let Outcome::Conflict(conflict) = desk.test("b/1", bytes(0, 12), X) else {
        panic!("expected a conflict");
    };
    assert_eq!(conflict.owner, owner("a/7"));
    assert_eq!((conflict.range, conflict.mode), (bytes(10, 19), S));
    assert_eq!(desk.test("b/1", bytes(0, 12), S), Outcome::Free);
    assert_eq!(desk.test("b/1", bytes(0, 9), X), Outcome::Free);
}

#[test]
fn locks_of_one_mode_go_and_those_of_the_other_stay() {
    for (going, staying) in [(S, X), (X, S)] {
        for gone in 0..=10 {
            let mut desk = Desk::new();
            for place in 0..10 {
                desk.lock("a", bytes(place * 4, place * 4), going);
                desk.lock("b", bytes(place * 4 + 2, place * 4 + 2), staying);
            }
            for place in 0..gone {
                desk.unlock("a", bytes(place * 4, place * 4));
            }
            for place in 0..10 {
                let there = |at| desk.core.locks_of_file(&file("f"), bytes(at, at)).len();
                assert_eq!(there(place * 4), usize::from(place >= gone), "{place} of {gone}");
                assert_eq!(there(place * 4 + 2), 1, "{place} of {gone}");
            }
        }
    }
}

#[test]
fn an_upgrade_fails_while_another_shares() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    desk.lock("b", bytes(9, 9), S);
    assert_eq!(conflict_with(&desk.lock("a", bytes(0, 9), X)), "b");
    assert_eq!(desk.held(), "a 0-9 S, b 9-9 S");
    assert_eq!(desk.lock("a", bytes(0, 8), X), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-8 X, a 9-9 S, b 9-9 S");
}

#[test]
fn files_do_not_meet() {
    let mut desk = Desk::new();
    desk.lock("a", Range::ALL, X);
    assert_eq!(desk.lock_full("b", "g", Range::ALL, X, ask()).0, Outcome::Granted);
    assert_eq!(desk.core.locks_of_file(&file("g"), Range::ALL).len(), 1);
    assert_eq!(desk.core.counters().files, 2);
}

#[test]
fn every_piece_has_an_id_of_its_own() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 99), X);
    desk.unlock("a", bytes(40, 49));
    desk.lock("a", bytes(20, 29), S);
    desk.lock("a", bytes(70, 79), S);
    let mut ids: Vec<_> = desk.core.locks().map(|lock| lock.id).collect();
    assert_eq!(ids.len(), 6);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn nothing_is_left_behind() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(0, 9), X);
    desk.lock("b/1", bytes(0, 9), X);
    desk.lock_wait("b/2", bytes(0, 9), X);
    desk.cancel("b/2", bytes(0, 9), X);
    desk.unlock("a/1", Range::ALL);
    let counters = desk.core.counters();
    assert_eq!((counters.locks, counters.files, counters.owners, counters.clients), (0, 0, 0, 0));
    assert!(desk.image.is_empty());
}

fn limited(limits: Limits) -> Desk {
    Desk::with(Config { limits, ..Config::default() })
}

fn limit_of(outcome: Outcome) -> (Limit, u64, u64) {
    match outcome {
        Outcome::Limit { which, current, maximum } => (which, current, maximum),
        other => panic!("expected a limit: {other:?}"),
    }
}

#[test]
fn limits_on_locks_are_exact_through_splits_and_merges() {
    let mut desk = limited(Limits { locks_per_file: 3, ..Limits::default() });
    desk.lock("a", bytes(0, 9), X);
    desk.lock("a", bytes(20, 29), X);
    // A split by unlocking counts: three pieces, then a fourth is refused.
    desk.unlock("a", bytes(4, 5));
    let before = desk.held();
    let (outcome, effects) = desk.unlock_full("a", "f", bytes(24, 25));
    assert_eq!(limit_of(outcome), (Limit::LocksPerFile, 3, 3));
    assert!(effects.is_empty());
    assert_eq!(limit_of(desk.lock("a", bytes(1, 1), S)), (Limit::LocksPerFile, 3, 3));
    assert_eq!(limit_of(desk.lock("b", bytes(50, 50), S)), (Limit::LocksPerFile, 3, 3));
    assert_eq!(desk.held(), before);
    // A merge makes room again, and replacing like for like needs none.
    assert_eq!(desk.lock("a", bytes(0, 3), S), Outcome::Granted);
    assert_eq!(desk.lock("a", bytes(0, 9), X), Outcome::Granted);
    assert_eq!(desk.lock("b", bytes(50, 50), S), Outcome::Granted);
    assert_eq!(desk.held(), "a 0-9 X, a 20-29 X, b 50-50 S");
}

#[test]
fn limits_per_client_and_in_total() {
    let limits = Limits { locks_per_client: 2, locks_total: 3, clients: 3, ..Limits::default() };
    let mut desk = limited(limits);
    desk.lock("a/1", bytes(0, 0), X);
    desk.lock("a/2", bytes(2, 2), X);
    assert_eq!(limit_of(desk.lock("a/3", bytes(4, 4), X)), (Limit::LocksPerClient, 2, 2));
    desk.lock("b/1", bytes(4, 4), X);
    assert_eq!(limit_of(desk.lock("b/1", bytes(6, 6), X)), (Limit::LocksTotal, 3, 3));
    desk.unlock("a/1", bytes(0, 0));
    assert_eq!(desk.lock("c/1", bytes(6, 6), X), Outcome::Granted);
    assert_eq!(limit_of(desk.lock("d/1", bytes(8, 8), X)), (Limit::LocksTotal, 3, 3));
    desk.unlock("a/2", bytes(2, 2));
    desk.lock_wait("a/2", bytes(6, 6), X);
    assert_eq!(limit_of(desk.lock("d/1", bytes(8, 8), X)), (Limit::Clients, 3, 3));
    desk.unlock("c/1", bytes(6, 6));
    assert_eq!(desk.lock("d/1", bytes(8, 8), X), Outcome::Granted);
}

#[test]
fn limits_on_waiters() {
    let limits = Limits { waiters_per_file: 2, waiters_per_client: 1, ..Limits::default() };
    let mut desk = limited(limits);
    desk.lock("a/1", bytes(0, 9), X);
    assert_eq!(desk.lock_wait("b/1", bytes(0, 9), X), Outcome::Blocked);
    let refused = desk.lock_wait("b/2", bytes(0, 9), X);
    assert_eq!(limit_of(refused), (Limit::WaitersPerClient, 1, 1));
    assert_eq!(desk.lock_wait("c/1", bytes(0, 9), X), Outcome::Blocked);
    assert_eq!(limit_of(desk.lock_wait("d/1", bytes(0, 9), X)), (Limit::WaitersPerFile, 2, 2));
    // Sending a request again is not a second waiter.
    assert_eq!(desk.lock_wait("b/1", bytes(0, 9), X), Outcome::Blocked);
    assert_eq!(desk.queue(), "b/1 c/1");
}

/// What is held, by place: the first byte, and when it was taken.
fn ages(desk: &Desk) -> Vec<(u64, u64)> {
    let held = desk.core.locks_of_file(&file("f"), Range::ALL);
    let mut ages: Vec<_> = held.iter().map(|lock| (lock.range.first(), lock.acquired_ms)).collect();
    ages.sort_unstable();
    ages
}

#[test]
fn what_merges_is_as_old_as_its_oldest_part() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(5, 9), X);
    desk.lock("b/1", bytes(0, 4), X);
    desk.now_ms = 2_000;
    desk.lock_wait("a/1", bytes(0, 4), X);
    desk.now_ms = 3_000;
    let grant = grant_to(&desk.unlock("b/1", bytes(0, 4)), "a/1");
    assert_eq!(ages(&desk), [(0, 3_000), (5, 1_000)]);
    desk.now_ms = 4_000;
    desk.accept(grant);
    assert_eq!(ages(&desk), [(0, 1_000)]);
    // The rest of what is unlocked in its middle is no younger.
    desk.unlock("a/1", bytes(4, 4));
    assert_eq!(ages(&desk), [(0, 1_000), (5, 1_000)]);
}

#[test]
fn what_is_reclaimed_is_as_old_as_before() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(0, 9), X);
    desk.now_ms = 2_000;
    desk.restart(90_000, true);
    desk.now_ms = 3_000;
    for part in [bytes(4, 5), bytes(0, 3), bytes(6, 9)] {
        assert_eq!(desk.reclaim("a/1", part, X), Outcome::Granted);
        assert!(ages(&desk).iter().all(|&(_, since_ms)| since_ms == 1_000), "{:?}", ages(&desk));
    }
    assert_eq!(desk.held(), "a/1 0-9 X");
}
