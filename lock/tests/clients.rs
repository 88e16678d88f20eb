//! Clients that register, are disconnected, come back or do not; waits that time out; the counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;

use cleat_lock::{
    Access, Config, Effect, GrantAck, Input, Limit, Limits, Outcome, Range, Token, Wait, WaitEnd,
    WaitTimes,
};
use common::{Ask, Desk, S, X, ask, bytes, conflict_with, grant_to, reclaiming, waiting};

const TTL_MS: u64 = 30_000;

impl Desk {
    fn register(&mut self, client: &str, contact: &[u8]) -> (Outcome, Vec<Effect>) {
        let (client_id, contact) = (Arc::from(client), Arc::from(contact));
        self.call(|token| Input::Register { token, client_id, incarnation: 1, contact })
    }

    fn disconnect(&mut self, client: &str) -> Vec<Effect> {
        self.step(Input::Disconnected { client_id: Arc::from(client) })
    }
}

fn lapsed(effects: &[Effect]) -> Vec<&str> {
    let mut names = Vec::new();
    for effect in effects {
        if let Effect::Lapsed { client_id } = effect {
            names.push(&**client_id);
        }
    }
    names
}

fn forget(desk: &mut Desk, client: &str) -> Outcome {
    let client_id = Arc::from(client);
    desk.call(|token| Input::ForgetClient { token, client_id }).0
}

#[test]
fn a_registered_client_is_known_though_it_holds_nothing() {
    let mut desk = Desk::new();
    assert_eq!(desk.register("a", b""), (Outcome::Done, vec![]));
    let view = desk.core.client("a").unwrap();
    assert_eq!((view.registered, view.record, view.seen_ms), (true, None, 1_000));
    assert_eq!(view.incarnation, 1);
    let (client_id, contact) = (Arc::from("a"), Arc::from(&b""[..]));
    desk.call(|token| Input::Register { token, client_id, incarnation: 3, contact });
    assert_eq!(desk.core.client("a").unwrap().incarnation, 3);
    desk.lock("a/1", bytes(0, 9), X);
    desk.unlock("a/1", Range::ALL);
    assert_eq!(desk.core.counters().clients, 1);
    assert_eq!(forget(&mut desk, "a"), Outcome::Done);
    assert_eq!(desk.core.counters().clients, 0);
    assert_eq!(forget(&mut desk, "a"), Outcome::NotFound);
    // With a contact it goes on record.
    let client_id = Arc::from("a");
    assert_eq!(desk.register("a", b"addr"), (Outcome::Done, vec![Effect::Monitor { client_id }]));
    assert_eq!(desk.register("a", b"addr"), (Outcome::Done, vec![]));
    desk.restart(90_000, true);
    assert_eq!(desk.core.client("a").unwrap().record.unwrap().incarnation, 1);
}

#[test]
fn a_limit_on_clients_counts_the_registered() {
    let limits = Limits { clients: 2, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    desk.register("a", b"");
    desk.register("b", b"");
    let refused = Outcome::Limit { which: Limit::Clients, current: 2, maximum: 2 };
    assert_eq!(desk.register("c", b"addr").0, refused);
    assert_eq!(desk.lock("c/1", bytes(0, 9), X), refused);
    assert_eq!(desk.share("c/1", Access::Read, Access::None), refused);
    assert_eq!(desk.lock("b/1", bytes(0, 9), X), Outcome::Granted);
    forget(&mut desk, "a");
    assert_eq!(desk.lock("c/1", bytes(10, 19), X), Outcome::Granted);
}

#[test]
fn who_does_not_come_back_loses_everything_at_its_time() {
    let mut desk = Desk::new();
    desk.register("a", b"");
    desk.lock("a/1", bytes(0, 9), X);
    desk.lock("b/1", bytes(20, 29), X);
    desk.lock_wait("a/2", bytes(20, 29), X);
    desk.share("a/1", Access::Both, Access::Both);
    desk.lock_wait("b/1", bytes(0, 9), X);
    assert!(desk.disconnect("a").is_empty());
    desk.now_ms += 1_000;
    assert!(desk.disconnect("a").is_empty(), "the time runs from the first");
    let due_ms = 1_000 + TTL_MS;
    assert_eq!(desk.core.client("a").unwrap().lapses_ms, Some(due_ms));
    assert_eq!(desk.core.counters().leaving, 1);
    assert_eq!(desk.core.next_deadline(), Some(due_ms));
    assert!(desk.tick_at(due_ms - 1).is_empty());
    let effects = desk.tick_at(due_ms);
    assert_eq!(lapsed(&effects), ["a"]);
    grant_to(&effects, "b/1");
    assert_eq!(desk.held(), "b/1 0-9 X, b/1 20-29 X");
    assert_eq!((desk.shared().as_str(), desk.queue().as_str()), ("", ""));
    assert!(desk.core.client("a").is_none());
    assert_eq!(desk.core.counters().lapsed, 1);
    assert_eq!(desk.core.next_deadline(), None);
}

#[test]
fn who_comes_back_in_time_keeps_everything() {
    let client_id: Arc<str> = Arc::from("a");
    let signs: [&dyn Fn(&mut Desk); 7] = [
        &|desk| assert_eq!(desk.register("a", b"").0, Outcome::Done),
        &|desk| assert_eq!(desk.test("a/7", bytes(0, 9), X), Outcome::Free),
        &|desk| assert!(desk.unlock("a/7", bytes(0, 9)).is_empty()),
        &|desk| assert_eq!(desk.cancel("a/7", bytes(0, 9), X), Outcome::Done),
        &|desk| assert_eq!(desk.upgrade("a/7", bytes(0, 9)), Outcome::NotFound),
        &|desk| assert!(desk.unshare("a/7").is_empty()),
        &|desk| {
            let client_id = Arc::clone(&client_id);
            desk.call(|token| Input::ClientRestarted { token, client_id, incarnation: 1 });
        },
    ];
    for sign in signs {
        let mut desk = Desk::new();
        desk.lock("a/1", bytes(20, 29), X);
        desk.disconnect("a");
        desk.now_ms += TTL_MS - 1;
        sign(&mut desk);
        assert_eq!(desk.core.next_deadline(), None);
        desk.tick_at(500_000);
        assert_eq!(desk.held(), "a/1 20-29 X");
        // The next disconnection has a time of its own.
        desk.disconnect("a");
        assert_eq!(desk.core.next_deadline(), Some(500_000 + TTL_MS));
    }
}

#[test]
fn others_are_no_sign_of_life() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(0, 9), X);
    desk.disconnect("a");
    assert!(desk.disconnect("unknown").is_empty());
    desk.lock("b/1", bytes(20, 29), X);
    desk.now_ms += TTL_MS;
    // The release comes before the request that finds it due.
    assert_eq!(desk.lock("b/1", bytes(0, 9), X), Outcome::Granted);
}

#[test]
fn without_a_time_to_live_all_is_released_at_once() {
    let mut desk = Desk::with(Config { disconnect_ttl_ms: 0, ..Config::default() });
    desk.lock("a/1", bytes(0, 9), X);
    desk.lock_wait("b/1", bytes(0, 9), X);
    let effects = desk.disconnect("a");
    assert_eq!(lapsed(&effects), ["a"]);
    grant_to(&effects, "b/1");
}

#[test]
fn clients_lapse_in_the_order_they_left() {
    let mut desk = Desk::new();
    for (at, name) in ["c", "a", "b"].into_iter().enumerate() {
        desk.now_ms = 1_000 + at as u64;
        desk.lock(&format!("{name}/1"), bytes(at as u64, at as u64), X);
        desk.disconnect(name);
    }
    assert_eq!(lapsed(&desk.tick_at(900_000)), ["c", "a", "b"]);
}

#[test]
fn a_record_outlives_the_lapse_of_its_client() {
    let mut desk = Desk::new();
    desk.register("a", b"addr");
    desk.disconnect("a");
    desk.tick_at(900_000);
    let view = desk.core.client("a").unwrap();
    assert!(view.record.is_some() && !view.registered);
    assert_eq!(forget(&mut desk, "a"), Outcome::Done);
    // Forgotten while its time runs, it is gone at once.
    desk.register("a", b"addr");
    desk.disconnect("a");
    assert_eq!(forget(&mut desk, "a"), Outcome::Done);
    assert_eq!(desk.core.next_deadline(), None);
    assert!(desk.core.client("a").is_none());
}

fn timing(timeout_ms: u64, silence_ms: u64) -> Ask {
    let (context, timeout_ms) = (Arc::from(&b"callback"[..]), Some(timeout_ms));
    Ask { wait: Some(Wait { context, silence_ms, timeout_ms, find_deadlock: true }), ..ask() }
}

#[test]
fn a_wait_that_is_over_is_told() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), S);
    let mut timeout = timing(0, 0);
    // As long as the configuration says, which is a minute.
    timeout.wait.as_mut().unwrap().timeout_ms = None;
    assert_eq!(desk.lock_full("b", "f", bytes(0, 9), X, timeout.clone()).0, Outcome::Blocked);
    let waiter = desk.core.waiters().next().unwrap().waiter;
    // Sent again, it gets no more time.
    desk.now_ms += 10_000;
    assert_eq!(desk.lock_full("b", "f", bytes(0, 9), X, timeout).0, Outcome::Blocked);
    assert_eq!(desk.core.next_deadline(), Some(61_000));
    assert!(desk.tick_at(60_999).is_empty());
    let effects = desk.tick_at(61_000);
    let context = Arc::from(&b"callback"[..]);
    assert!(effects.contains(&Effect::WaitOver { waiter, context, why: WaitEnd::TimedOut }));
    assert_eq!(desk.queue(), "");
    let counters = desk.core.counters();
    assert_eq!((counters.timed_out, counters.expired), (1, 0));
}

#[test]
fn a_timeout_begins_anew_after_a_restart_and_ends_with_the_grant() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_full("b", "f", bytes(0, 9), X, timing(5_000, 0));
    desk.lock_full("c", "f", bytes(0, 9), X, timing(9_000, 0));
    // Down for longer than they wait, and then nobody is served for a while.
    desk.now_ms += 60_000;
    desk.restart(90_000, true);
    assert_eq!(desk.core.next_deadline(), Some(61_000 + 90_000));
    desk.now_ms += 20_000;
    let waiter = grant_to(&desk.unlock("a", Range::ALL), "b");
    assert_eq!(desk.core.next_deadline(), Some(81_000 + 9_000));
    let effects = desk.tick_at(90_000);
    assert!(
        matches!(&effects[..], [Effect::WaitOver { why: WaitEnd::TimedOut, .. }]),
        "{effects:?}"
    );
    desk.accept(waiter);
    assert_eq!(desk.held(), "b 0-9 X");
}

#[test]
fn silence_and_timeout_end_a_wait_whichever_comes_first() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_full("b", "f", bytes(0, 9), X, timing(5_000, 3_000));
    desk.lock_full("c", "f", bytes(0, 9), X, timing(5_000, 7_000));
    assert_eq!(desk.core.next_deadline(), Some(4_000));
    assert!(desk.tick_at(4_000).is_empty(), "who is silent is told nothing");
    assert_eq!(desk.core.next_deadline(), Some(6_000));
    assert_eq!(desk.tick_at(6_000).len(), 1);
    let counters = desk.core.counters();
    assert_eq!((counters.timed_out, counters.expired, counters.waiting), (1, 1, 0));
}

#[test]
fn who_cannot_be_served_for_a_limit_is_told_that_the_wait_is_over() {
    let limits = Limits { locks_per_client: 1, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    desk.lock("a/1", bytes(0, 9), X);
    desk.lock_wait("b/1", bytes(0, 9), X);
    desk.lock("b/1", bytes(20, 29), X);
    desk.lock_wait("c/1", bytes(0, 9), X);
    let effects = desk.unlock("a/1", Range::ALL);
    assert!(matches!(effects[0], Effect::WaitOver { why: WaitEnd::Limit, .. }), "{effects:?}");
    grant_to(&effects, "c/1");
}

#[test]
fn who_is_cleared_is_told_that_its_waits_and_its_unacknowledged_grants_are_over() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(0, 19), X);
    desk.lock_wait("b/1", bytes(0, 9), X);
    desk.lock_wait("b/2", bytes(10, 19), X);
    let granted = grant_to(&desk.unlock("a/1", bytes(0, 9)), "b/1");
    let waiting = desk.core.waiters().last().unwrap().waiter;
    let client_id = Arc::from("b");
    let (_, effects) = desk.call(|token| Input::FreeAll { token, client_id });
    let over = |waiter| {
        let context = Arc::from(&b"callback"[..]);
        Effect::WaitOver { waiter, context, why: WaitEnd::Released }
    };
    let expected = [Effect::GrantOver { waiter: granted }, over(granted), over(waiting)];
    assert_eq!(effects, expected);
    assert_eq!(desk.held(), "a/1 10-19 X");
}

#[test]
fn waits_are_counted_by_their_duration() {
    let mut desk = Desk::new();
    for waited_ms in [0, 1, 2, 30_000, 30_001, 10_000_000] {
        desk.lock("a", bytes(0, 9), X);
        desk.lock_wait("b", bytes(0, 9), X);
        desk.now_ms += waited_ms;
        desk.unlock("a", Range::ALL);
        desk.unlock("b", Range::ALL);
    }
    let waits: WaitTimes = desk.core.counters().waits;
    assert_eq!(waits.counts, [2, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1]);
    assert_eq!((waits.total(), waits.sum_ms), (6, 10_060_004));
    assert_eq!(desk.core.counters().granted_waited, 6);
}

#[test]
fn a_refused_request_is_a_sign_of_life() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(0, 9), X);
    desk.lock("b/1", bytes(10, 19), X);
    desk.now_ms = 7_000;
    assert!(desk.lock("a/1", bytes(10, 19), X).error().is_some());
    assert_eq!(desk.core.client("a").unwrap().seen_ms, 7_000);
    // Of whatever owner, whatever it asks.
    let later = |desk: &mut Desk| {
        desk.now_ms += 1_000;
        desk.now_ms
    };
    let now_ms = later(&mut desk);
    assert!(desk.lock("a/2", bytes(10, 19), X).error().is_some());
    assert_eq!(desk.core.client("a").unwrap().seen_ms, now_ms);
    desk.share("b/1", Access::Both, Access::Both);
    let now_ms = later(&mut desk);
    assert!(desk.share("a/1", Access::Read, Access::None).error().is_some());
    assert_eq!(desk.core.client("a").unwrap().seen_ms, now_ms);
    let now_ms = later(&mut desk);
    assert!(desk.upgrade("a/2", bytes(0, 9)).error().is_some());
    assert_eq!(desk.core.client("a").unwrap().seen_ms, now_ms);
}

#[test]
fn the_conservative_profile_is_what_its_text_says() {
    let limits = Limits::conservative();
    let locks = (limits.locks_per_file, limits.locks_per_client, limits.locks_total);
    assert_eq!(locks, (1_000, 10_000, 100_000));
    let shares = (limits.shares_per_file, limits.shares_per_client, limits.shares_total);
    assert_eq!(shares, locks);
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    desk.check_every_step = false;
    for at in 0..1_000 {
        assert_eq!(desk.lock("a/1", bytes(at * 10, at * 10 + 4), X), Outcome::Granted);
    }
    let refused = Outcome::Limit { which: Limit::LocksPerFile, current: 1_000, maximum: 1_000 };
    assert_eq!(desk.lock("a/1", bytes(20_000, 20_001), X), refused);
    // A split makes one more; a merge makes room.
    let (outcome, _) = desk.unlock_full("a/1", "f", bytes(2, 2));
    assert_eq!(outcome, refused);
    assert_eq!(desk.lock("a/1", bytes(5, 9), X), Outcome::Granted);
    assert_eq!(desk.core.counters().locks, 999);
    assert_eq!(desk.unlock_full("a/1", "f", bytes(2, 2)).0, Outcome::Done);
    desk.check_image();
}

fn crowded(clients: u64, clients_per_source: u64) -> Desk {
    let limits = Limits { clients, clients_per_source, ..Limits::default() };
    let mut desk = Desk::with(Config { limits, source_mark: Some('@'), ..Config::default() });
    desk.check_every_step = false;
    desk
}

/// A client that is on record and holds nothing.
fn come_and_go(desk: &mut Desk, client: &str) {
    let who = format!("{client}/1");
    assert_eq!(lock_at(desk, client), Outcome::Granted, "{client}");
    desk.unlock(&who, bytes(0, u64::MAX));
}

/// Each client locks a byte of its own.
fn lock_at(desk: &mut Desk, client: &str) -> Outcome {
    let at = client.bytes().fold(0, |sum, byte| (sum * 131 + u64::from(byte)) % (1 << 40));
    desk.now_ms += 1;
    let ask = Ask { contact: b"addr"[..].into(), ..ask() };
    desk.lock_full(&format!("{client}/1"), "f", bytes(at, at), X, ask).0
}

#[test]
fn who_invents_names_and_holds_nothing_locks_nobody_out() {
    for (clients, per_source) in [(20, 1000), (1000, 20)] {
        let mut desk = crowded(clients, per_source);
        assert_eq!(lock_at(&mut desk, "holder@h"), Outcome::Granted);
        for n in 0..60 {
            come_and_go(&mut desk, &format!("name{n}@h"));
        }
        assert!(desk.core.counters().clients <= 20);
        // Those that were not seen for longest went first, and whoever holds something stays.
        assert!(desk.core.client("name0@h").is_none());
        assert!(desk.core.client("name59@h").is_some());
        assert!(desk.core.client("holder@h").is_some());
        assert_eq!(lock_at(&mut desk, "new@elsewhere"), Outcome::Granted);
        desk.check_image();
    }
}

#[test]
fn one_source_has_so_many_clients_that_hold_something_and_others_are_served() {
    let mut desk = crowded(1000, 20);
    for n in 0..20 {
        assert_eq!(lock_at(&mut desk, &format!("name{n}@h")), Outcome::Granted);
    }
    let refused = Outcome::Limit { which: Limit::ClientsPerSource, current: 20, maximum: 20 };
    assert_eq!(lock_at(&mut desk, "one-more@h"), refused);
    // Nor by unmonitored locks, which leave nothing on record.
    assert_eq!(desk.lock("one-more@h/1", bytes(7, 7), X), refused);
    assert_eq!(lock_at(&mut desk, "name3@elsewhere"), Outcome::Granted);
    desk.unlock("name3@h/1", bytes(0, u64::MAX));
    assert_eq!(lock_at(&mut desk, "one-more@h"), Outcome::Granted);
}

#[test]
fn where_all_hold_something_one_more_is_refused_until_one_holds_nothing() {
    let mut desk = crowded(5, 1000);
    for n in 0..5 {
        assert_eq!(lock_at(&mut desk, &format!("name{n}@h")), Outcome::Granted);
    }
    let refused = Outcome::Limit { which: Limit::Clients, current: 5, maximum: 5 };
    assert_eq!(lock_at(&mut desk, "one-more@elsewhere"), refused);
    desk.unlock("name3@h/1", bytes(0, u64::MAX));
    // It was looked for a moment ago.
    assert_eq!(lock_at(&mut desk, "one-more@elsewhere"), refused);
    desk.now_ms += 1000;
    assert_eq!(lock_at(&mut desk, "one-more@elsewhere"), Outcome::Granted);
    assert!(desk.core.client("name3@h").is_none());
}

#[test]
fn nobody_is_forgotten_for_another_while_a_grace_window_is_open() {
    let mut desk = crowded(2, 1000);
    assert_eq!(lock_at(&mut desk, "holder@h"), Outcome::Granted);
    come_and_go(&mut desk, "idle@h");
    desk.restart(90_000, false);
    let contact = b"addr"[..].into();
    let ask = Ask { contact, ..reclaiming() };
    let outcome = desk.lock_full("new@h/1", "g", bytes(0, 0), X, ask).0;
    assert!(matches!(outcome, Outcome::Limit { which: Limit::Clients, .. }), "{outcome:?}");
    assert!(desk.core.client("idle@h").is_some());
}

#[test]
fn a_host_beside_one_that_holds_something_is_not_forgotten_for_another() {
    let mut desk = crowded(3, 1000);
    come_and_go(&mut desk, "idle@gateway");
    assert_eq!(lock_at(&mut desk, "holder@gateway"), Outcome::Granted);
    come_and_go(&mut desk, "alone@h");
    assert_eq!(lock_at(&mut desk, "new@i"), Outcome::Granted);
    let known = |desk: &Desk| {
        desk.core.clients().iter().map(|client| client.client_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(known(&desk), ["holder@gateway", "idle@gateway", "new@i"]);
    desk.now_ms += 10_000;
    assert!(matches!(lock_at(&mut desk, "newer@j"), Outcome::Limit { .. }));
    // Where all there hold nothing they go together.
    desk.unlock("holder@gateway/1", Range::ALL);
    desk.now_ms += 10_000;
    assert_eq!(lock_at(&mut desk, "newer@j"), Outcome::Granted);
    assert_eq!(known(&desk), ["new@i", "newer@j"]);
}

#[test]
fn who_is_refused_for_another_limit_has_nobody_forgotten() {
    let limits = Limits {
        clients: 2,
        locks_total: 1,
        waiters_per_file: 1,
        shares_total: 1,
        ..Limits::default()
    };
    let mut desk = Desk::with(Config { limits, ..Config::default() });
    let contact: Arc<[u8]> = b"addr"[..].into();
    let there = Ask { contact, ..ask() };
    desk.lock_full("idle/1", "f", bytes(0, 0), X, there.clone());
    desk.unlock("idle/1", Range::ALL);
    assert_eq!(desk.lock_full("a/1", "f", bytes(0, 0), X, there.clone()).0, Outcome::Granted);
    assert_eq!(desk.share("a/1", Access::Read, Access::None), Outcome::Granted);
    desk.lock_full("a/2", "f", bytes(0, 0), X, Ask { contact: there.contact.clone(), ..waiting() });
    let image = desk.image.clone();
    let (first, beyond) = (bytes(0, 0), bytes(5, 5));
    let which = |outcome| match outcome {
        Outcome::Limit { which, .. } => which,
        other => panic!("{other:?}"),
    };
    assert_eq!(which(desk.lock("new/1", beyond, X)), Limit::LocksTotal);
    assert_eq!(which(desk.lock_wait("new/1", first, X)), Limit::WaitersPerFile);
    assert_eq!(which(desk.share("new/1", Access::Read, Access::None)), Limit::SharesTotal);
    assert_eq!(desk.image, image);
}

#[test]
fn an_assumed_grant_does_not_go_with_what_its_clients_former_life_left_under_it() {
    let mut desk = Desk::new();
    assert_eq!(desk.lock("a/1", bytes(7, 7), X), Outcome::Granted);
    assert_eq!(desk.lock("b/1", bytes(0, 3), X), Outcome::Granted);
    let this = Ask { incarnation: 3, ..waiting() };
    let (outcome, _) = desk.lock_full("a/1", "f", bytes(0, 9), S, this);
    assert_eq!(outcome, Outcome::Blocked);
    let waiter = grant_to(&desk.unlock("b/1", bytes(0, 3)), "a/1");
    desk.step(Input::GrantOutcome { waiter, outcome: GrantAck::Assumed });
    let client_id = Arc::from("a");
    desk.call(|token| Input::ClientRestarted { token, client_id, incarnation: 3 });
    assert_eq!(desk.held(), "a/1 0-9 S");
}

/// A core that releases two claims in a step, and a client that has more.
fn with_much() -> Desk {
    let mut desk = Desk::with(Config { release_step: 2, ..Config::default() });
    for n in 0..5 {
        desk.lock(&format!("a/{n}"), bytes(n * 10, n * 10), X);
    }
    desk.share_full("a/s", "g", (Access::Write, Access::Both), ask());
    assert_eq!(desk.lock_wait("b", bytes(40, 40), X), Outcome::Blocked);
    desk
}

#[test]
fn a_client_with_much_is_released_in_steps_and_answered_at_the_end() {
    let mut desk = with_much();
    let (token, client_id) = (Token(7_777), Arc::from("a"));
    assert_eq!(desk.step(Input::FreeAll { token, client_id }), []);
    assert_eq!(desk.core.counters().locks, 3);
    assert_eq!(desk.core.next_deadline(), Some(desk.now_ms));
    // Others are served in between; what the client would take now would go with the rest.
    assert_eq!(desk.lock("c", bytes(0, 0), X), Outcome::Granted);
    assert_eq!(conflict_with(&desk.lock("c", bytes(40, 40), X)), "a/4");
    for range in [bytes(40, 40), bytes(100, 100)] {
        assert_eq!(desk.lock("a/4", range, X), Outcome::Grace { left_ms: 1 });
    }
    assert_eq!(desk.step(Input::Tick), []);
    let effects = desk.step(Input::Tick);
    grant_to(&effects, "b");
    desk.step(Input::Tick);
    assert_eq!(desk.core.client("a").map_or((0, 0), |a| (a.locks, a.shares)), (0, 0));
    let replied = Effect::Reply { token, outcome: Outcome::Done };
    assert_eq!(desk.effects.iter().filter(|effect| **effect == replied).count(), 1);
    assert_eq!(desk.core.next_deadline(), None);
    assert_eq!(desk.lock("a/4", bytes(100, 100), X), Outcome::Granted);
}

#[test]
fn what_a_restarted_client_takes_while_its_former_locks_go_stays() {
    let mut desk = with_much();
    let (token, client_id) = (Token(7_777), Arc::from("a"));
    assert_eq!(desk.step(Input::ClientRestarted { token, client_id, incarnation: 2 }), []);
    let anew = Ask { incarnation: 2, ..ask() };
    for at in [41, 40] {
        let (outcome, _) = desk.lock_full("a/4", "f", bytes(at, at), X, anew.clone());
        assert_eq!(outcome, Outcome::Granted);
    }
    while desk.core.next_deadline() == Some(desk.now_ms) {
        desk.step(Input::Tick);
    }
    assert_eq!(desk.held(), "a/4 40-41 X");
    let replied = Effect::Reply { token, outcome: Outcome::Done };
    assert!(desk.effects.contains(&replied));
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_release_is_told_again_and_ends_it() {
    let mut desk = with_much();
    let (token, client_id) = (Token(7_777), Arc::from("a"));
    let restarted = Input::ClientRestarted { token, client_id, incarnation: 2 };
    assert_eq!(desk.step(restarted.clone()), []);
    desk.restart(90_000, true);
    // It was not answered, so it comes again.
    desk.step(restarted);
    while desk.core.next_deadline() == Some(desk.now_ms) {
        desk.step(Input::Tick);
    }
    assert_eq!(desk.core.client("a").map_or((0, 0), |a| (a.locks, a.shares)), (0, 0));
    assert!(desk.effects.contains(&Effect::Reply { token, outcome: Outcome::Done }));
}

#[test]
fn a_client_with_much_that_does_not_come_back_lapses_in_steps() {
    let mut desk = with_much();
    desk.disconnect("a");
    let due_ms = desk.now_ms + TTL_MS;
    assert_eq!(lapsed(&desk.tick_at(due_ms)), [""; 0]);
    let mut steps = 1;
    while desk.core.counters().lapsed == 0 {
        desk.step(Input::Tick);
        steps += 1;
    }
    assert_eq!(steps, 4);
    assert!(desk.core.client("a").is_none_or(|a| (a.locks, a.shares) == (0, 0)));
}
