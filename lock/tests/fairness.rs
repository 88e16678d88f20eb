//! Only a held lock makes anybody wait, and for how long a newcomer yields to who came before it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::{Config, Effect, Input, Outcome, Range};
use common::{Desk, S, X, bytes, conflict_with, grant_to, grants};

const FAIR_WAIT_MS: u64 = 5_000;

fn names(effects: &[Effect]) -> Vec<String> {
    grants(effects).into_iter().map(|(name, _)| name).collect()
}

impl Desk {
    fn free_all(&mut self, client: &str) -> Vec<Effect> {
        let client_id = Arc::from(client);
        self.call(|token| Input::FreeAll { token, client_id }).1
    }
}

/// One client reads, another waits to write.
fn read_and_awaited() -> Desk {
    let mut desk = Desk::new();
    assert_eq!(desk.lock("reader/1", bytes(0, 9), S), Outcome::Granted);
    assert_eq!(desk.lock_wait("writer", bytes(0, 9), X), Outcome::Blocked);
    desk
}

#[test]
fn who_does_not_wait_gets_what_a_test_calls_free() {
    let mut desk = read_and_awaited();
    assert_eq!(desk.test("a", bytes(5, 20), S), Outcome::Free);
    assert_eq!(desk.lock("a", bytes(5, 20), S), Outcome::Granted);
    assert_eq!(desk.lock("a", bytes(30, 39), X), Outcome::Granted);
    assert_eq!(conflict_with(&desk.test("b", bytes(39, 39), X)), "a");
    assert_eq!(conflict_with(&desk.lock("b", bytes(39, 39), X)), "a");
}

#[test]
fn a_newcomer_yields_to_who_came_before_it() {
    let mut desk = read_and_awaited();
    assert_eq!(desk.lock_wait("a", bytes(5, 5), S), Outcome::Blocked);
    assert_eq!(names(&desk.unlock("reader/1", Range::ALL)), ["writer"]);
    assert_eq!(names(&desk.unlock("writer", Range::ALL)), ["a"]);
}

#[test]
fn it_yields_for_a_time_and_is_then_granted() {
    let mut desk = read_and_awaited();
    desk.now_ms += 10_000;
    let came_ms = desk.now_ms;
    assert_eq!(desk.lock_wait("a", bytes(5, 5), S), Outcome::Blocked);
    assert_eq!(desk.core.next_deadline(), Some(came_ms + FAIR_WAIT_MS));
    // Sent again it has come no later.
    desk.now_ms += 3_000;
    assert_eq!(desk.lock_wait("a", bytes(5, 5), S), Outcome::Blocked);
    assert!(names(&desk.tick_at(came_ms + FAIR_WAIT_MS - 1)).is_empty());
    let waiter = grant_to(&desk.tick_at(came_ms + FAIR_WAIT_MS), "a");
    desk.accept(waiter);
    assert_eq!(desk.core.next_deadline(), None);
    assert_eq!(desk.queue(), "writer");
}

#[test]
fn it_yields_to_nobody_that_is_gone() {
    for ends in ["cancel", "free", "granted elsewhere"] {
        let mut desk = read_and_awaited();
        assert_eq!(desk.lock_wait("a", bytes(0, 0), S), Outcome::Blocked);
        let effects = match ends {
            "cancel" => {
                desk.effects.clear();
                desk.cancel("writer", bytes(0, 9), X);
                desk.effects.clone()
            }
            "free" => desk.free_all("writer"),
            _ => {
                // It has its lock, and gives it up.
                desk.unlock("reader/1", Range::ALL);
                desk.unlock("writer", Range::ALL)
            }
        };
        assert_eq!(names(&effects), ["a"], "{ends}");
    }
}

#[test]
fn who_holds_something_anywhere_does_not_yield() {
    let mut desk = read_and_awaited();
    desk.lock_full("a", "elsewhere", bytes(0, 0), S, common::ask());
    assert_eq!(desk.lock_wait("a", bytes(5, 5), S), Outcome::Granted);
}

#[test]
fn who_gets_something_elsewhere_yields_no_more() {
    let mut desk = read_and_awaited();
    assert_eq!(desk.lock_wait("a", bytes(5, 5), S), Outcome::Blocked);
    let (_, effects) = desk.lock_full("a", "elsewhere", bytes(0, 0), S, common::ask());
    grant_to(&effects, "a");
}

/// As in `flock -s F sh -c 'flock -s F true'` while another client waits in `flock -x F`.
#[test]
fn a_client_that_holds_something_on_the_file_does_not_yield_there() {
    let mut desk = read_and_awaited();
    assert_eq!(desk.lock_wait("reader/2", Range::ALL, S), Outcome::Granted);
    // It does on other files.
    desk.lock_full("other", "g", bytes(0, 0), S, common::ask());
    desk.lock_full("writer", "g", bytes(0, 0), X, common::waiting());
    let (outcome, _) = desk.lock_full("reader/3", "g", bytes(0, 0), S, common::waiting());
    assert_eq!(outcome, Outcome::Blocked);
    // Until another of its processes holds something there.
    let (outcome, effects) = desk.lock_full("reader/4", "g", bytes(7, 7), S, common::ask());
    assert_eq!(outcome, Outcome::Granted);
    grant_to(&effects, "reader/3");
}

#[test]
fn it_can_be_switched_off() {
    let mut desk = Desk::with(Config { fair_wait_ms: 0, ..Config::default() });
    desk.lock("reader", bytes(0, 9), S);
    desk.lock_wait("writer", bytes(0, 9), X);
    assert_eq!(desk.lock_wait("a", bytes(5, 5), S), Outcome::Granted);
}

#[test]
fn a_restart_gives_it_no_more_time() {
    let mut desk = read_and_awaited();
    assert_eq!(desk.lock_wait("a", bytes(5, 5), S), Outcome::Blocked);
    desk.now_ms += 4_000;
    desk.restart(90_000, true);
    // The window closes with this.
    desk.reclaim("reader/1", bytes(0, 9), S);
    assert_eq!(desk.queue(), "writer a");
    grant_to(&desk.tick_at(desk.now_ms + 1_000), "a");
}

/// Readers that come all the time, each for a second, and shut nobody out.
#[test]
fn a_writer_gets_its_turn_under_a_stream_of_readers() {
    let mut desk = Desk::new();
    let start_ms = desk.now_ms;
    for n in 0..40u64 {
        let at_ms = start_ms + n * 300;
        let held = desk.held();
        desk.tick_at(at_ms);
        for old in (0..n).filter(|old| (n - old) * 300 >= 1_000) {
            desk.unlock(&format!("r{old}"), Range::ALL);
        }
        if n == 10 {
            assert_eq!(desk.lock_wait("writer", bytes(0, 0), X), Outcome::Blocked);
        }
        desk.lock_wait(&format!("r{n}"), Range::ALL, S);
        if desk.held().contains("writer") {
            assert!(n <= 15, "the readers there were are gone after a second");
            return;
        }
        assert!(!held.is_empty() || n == 0, "the stream has no gap");
    }
    panic!("the writer waits for ever");
}
