//! The administrator's view and hand: pages of the table, and what a clear releases.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use cleat_lock::{
    Access, Claim, ClaimState, Claimed, Clear, Cleared, Cursor, Filter, Input, Outcome, PageLimits,
    Waiting,
};
use common::{Desk, S, X, ask, bytes, file, grant_to, owner, waiting};

const PAGE: PageLimits = PageLimits { claims: 3, looks: 5 };

/// Every page of a listing, with a word in between.
fn listing(desk: &mut Desk, filter: &Filter, mut between: impl FnMut(&mut Desk)) -> Vec<Claim> {
    let (mut all, mut next) = (Vec::new(), Some(Cursor::default()));
    while let Some(cursor) = next {
        let (page, after) = desk.core.claims(filter, cursor, PAGE);
        assert!(page.len() <= PAGE.claims);
        all.extend(page);
        next = after;
        between(desk);
    }
    all
}

fn all(desk: &mut Desk, filter: &Filter) -> Vec<Claim> {
    listing(desk, filter, |_| ())
}

fn owners(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| &*claim.owner.owner_id).collect()
}

fn waits(claim: &Claim) -> &Waiting {
    match &claim.state {
        ClaimState::Waiting(waiting) => waiting,
        other => panic!("does not wait: {other:?}"),
    }
}

fn clear(desk: &mut Desk, what: Clear) -> Outcome {
    let id = desk.fresh_id();
    desk.call(|token| Input::Clear { token, id, what }).0
}

fn counts(outcome: Outcome) -> (u64, u64, u64) {
    match outcome {
        Outcome::Cleared(Cleared { locks, shares, waiters, .. }) => (locks, shares, waiters),
        other => panic!("nothing cleared: {other:?}"),
    }
}

#[test]
fn a_listing_tells_every_claim_with_its_state() {
    let mut desk = Desk::new();
    desk.lock("a/1", bytes(0, 9), X);
    desk.share("a/1", Access::Read, Access::Write);
    desk.lock("a/2", bytes(10, 19), S);
    desk.restart(90_000, true);
    desk.reclaim("a/2", bytes(10, 19), S);
    let claims = all(&mut desk, &Filter::default());
    assert_eq!(owners(&claims), ["a/1", "a/2", "a/1"]);
    assert_eq!(claims[0].state, ClaimState::Unreclaimed);
    assert_eq!(claims[0].what, Claimed::Range { range: bytes(0, 9), mode: X });
    assert_eq!(claims[1].state, ClaimState::Held);
    assert_eq!(claims[2].what, Claimed::Share { access: Access::Read, deny: Access::Write });
    assert_eq!((claims[2].id, &claims[2].state), (None, &ClaimState::Unreclaimed));
}

#[test]
fn a_waiter_tells_whom_it_waits_for_and_its_lock_has_its_name() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 4), S);
    desk.lock("b", bytes(5, 9), S);
    desk.lock_wait("c", bytes(0, 9), X);
    desk.lock_wait("d", bytes(9, 9), S);
    let claims = all(&mut desk, &Filter::default());
    assert_eq!(owners(&claims), ["c", "d", "a", "b"]);
    let of = |claim: &Claim| {
        let obstacles = waits(claim).waits_for.iter();
        let named = obstacles.map(|one| (one.owner.owner_id.to_string(), one.id, one.waiting));
        (waits(claim).ahead, named.collect::<Vec<_>>())
    };
    let id = |claim: &Claim| claim.id.unwrap();
    let (a, b) = (id(&claims[2]), id(&claims[3]));
    assert_eq!(of(&claims[0]), (0, vec![("a".into(), a, false), ("b".into(), b, false)]));
    assert_eq!(of(&claims[1]), (1, vec![("c".into(), id(&claims[0]), true)]));
    desk.unlock("a", bytes(0, 9));
    let granted = desk.unlock("b", bytes(0, 9));
    grant_to(&granted, "c");
    let after = all(&mut desk, &Filter::default());
    assert_eq!(after[1].state, ClaimState::Unacknowledged);
    assert_eq!(after[1].id, claims[0].id);
}

#[test]
fn a_long_queue_is_counted_and_not_all_named() {
    let mut desk = Desk::new();
    desk.check_every_step = false;
    for n in 0..1100 {
        desk.lock_wait(&format!("c/{n}"), bytes(0, 9), X);
    }
    let claims = all(&mut desk, &Filter::default());
    let (third, last) = (waits(&claims[2]), waits(&claims[1098]));
    assert_eq!((third.ahead, third.waits_for.len(), third.more), (2, 1, 0));
    assert_eq!((last.ahead, last.waits_for.len(), last.more), (1000, 1, 0));
    // Of very many holders too.
    for n in 0..1100 {
        desk.lock_full(&format!("d{n}"), "g", bytes(n, n), S, ask());
    }
    desk.lock_full("e", "g", bytes(0, u64::MAX), X, waiting());
    let claims = all(&mut desk, &Filter::default());
    let crowd = claims.iter().find(|claim| &*claim.owner.owner_id == "e").unwrap();
    assert_eq!(
        (waits(crowd).ahead, waits(crowd).waits_for.len(), waits(crowd).more),
        (0, 16, 1000)
    );
}

#[test]
fn what_is_there_from_the_first_page_to_the_last_is_listed_once() {
    let mut desk = Desk::new();
    for n in 0..40 {
        desk.lock_full(&format!("stays/{n}"), "f", bytes(n * 10, n * 10), X, ask());
        desk.lock_full(&format!("goes/{n}"), "g", bytes(n * 10, n * 10), X, ask());
    }
    assert_eq!(all(&mut desk, &Filter::default()).len(), 80);
    let mut n = 0;
    let claims = listing(&mut desk, &Filter::default(), |desk| {
        desk.unlock_full(&format!("goes/{}", n % 40), "g", bytes(0, 1000));
        desk.lock_full(&format!("comes/{n}"), "h", bytes(n * 10, n * 10), X, ask());
        n += 1;
    });
    let mut stays: Vec<&str> = owners(&claims);
    stays.retain(|name| name.starts_with("stays/"));
    assert_eq!((stays.len(), stays.into_iter().collect::<BTreeSet<_>>().len()), (40, 40));
    let names: BTreeSet<_> = claims.iter().map(|claim| claim.id).collect();
    assert_eq!(names.len(), claims.len());
}

#[test]
fn share_reservations_come_in_pages_too() {
    let mut desk = Desk::new();
    for n in 0..20 {
        desk.share_full(&format!("a/{n}"), "f", (Access::Read, Access::None), ask());
        desk.share_full(&format!("a/{n}"), "g", (Access::Read, Access::None), ask());
    }
    let claims = all(&mut desk, &Filter::default());
    let places: BTreeSet<_> =
        claims.iter().map(|claim| (&claim.owner.owner_id, &claim.file)).collect();
    assert_eq!((claims.len(), places.len()), (40, 40));
}

#[test]
fn a_listing_of_a_file_or_a_client_leaves_out_the_rest() {
    let mut desk = Desk::new();
    for (who, on) in [("a/1", "f"), ("a/2", "g"), ("b/1", "f")] {
        desk.lock_full(who, on, bytes(0, 9), S, ask());
        desk.lock_full(who, on, bytes(5, 9), X, waiting());
    }
    let clients = |name: &str| Some(BTreeSet::from([Arc::from(name)]));
    let on_file = |name: &str| Some(file(name));
    let mut list = |file, clients| {
        let claims = all(&mut desk, &Filter { file, clients });
        owners(&claims).into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(list(on_file("f"), None), set(&["a/1", "b/1"]));
    assert_eq!(list(None, clients("a")), set(&["a/1", "a/2"]));
    assert_eq!(list(on_file("f"), clients("a")), set(&["a/1"]));
    assert_eq!(list(on_file("none"), None), set(&[]));
}

#[test]
fn clients_come_in_pages_too() {
    let mut desk = Desk::new();
    for n in 0..10 {
        desk.lock(&format!("c{n}/1"), bytes(n, n), X);
    }
    let (mut names, mut next) = (BTreeSet::new(), Some(0));
    while let Some(from) = next {
        let (page, after) = desk.core.clients_from(from, 3);
        assert!(page.len() <= 3);
        names.extend(page.into_iter().map(|client| client.client_id));
        next = after;
    }
    assert_eq!(names.len(), 10);
}

#[test]
fn a_clear_counts_all_and_names_the_first() {
    let mut desk = Desk::new();
    desk.check_every_step = false;
    for n in 0..150 {
        desk.lock("a/1", bytes(n * 2, n * 2), X);
    }
    desk.lock_wait("a/2", bytes(0, 9), X);
    desk.share("a/3", Access::Read, Access::None);
    let outcome = clear(&mut desk, Clear::Client("a".into()));
    let Outcome::Cleared(cleared) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(cleared.named.len(), Cleared::NAMED_MAX);
    assert_eq!(waits(&cleared.named[0]).waits_for.len(), 5);
    assert_eq!(counts(outcome), (150, 1, 1));
    assert_eq!(desk.core.counters().cleared, 152);
    assert_eq!(desk.core.counters().locks, 0);
    desk.check_image();
}

#[test]
fn one_step_of_a_large_clear_releases_so_much_and_no_more() {
    let step_max = u64::try_from(Clear::STEP_MAX).unwrap();
    let targets = [
        Clear::Client("a".into()),
        Clear::File(file("f")),
        Clear::ClientOnFile("a".into(), file("f")),
    ];
    for what in targets {
        let mut desk = Desk::new();
        desk.check_every_step = false;
        for n in 0..step_max + 10 {
            desk.lock("a/1", bytes(n * 2, n * 2), X);
        }
        for n in 0..20 {
            desk.lock_wait(&format!("a/{}", n + 2), bytes(0, 9), X);
        }
        desk.share("a/1", Access::Read, Access::None);
        let Outcome::Cleared(mut all) = clear(&mut desk, what.clone()) else { panic!() };
        // All that waited goes before any lock.
        assert_eq!((all.locks, all.shares, all.waiters), (step_max - 20, 0, 20));
        assert!(all.more);
        assert_eq!(desk.core.counters().locks, 30);
        // Somebody else is served in between, by what is free now.
        assert_eq!(desk.lock("b/1", bytes(0, 0), X), Outcome::Granted);
        desk.unlock("b/1", bytes(0, 0));
        let Outcome::Cleared(further) = clear(&mut desk, what.clone()) else { panic!() };
        assert!(!further.more);
        all.add(further);
        assert_eq!((all.claims(), all.shares), (step_max + 31, 1));
        assert_eq!(all.named.len(), Cleared::NAMED_MAX);
        assert_eq!(clear(&mut desk, what), Outcome::NotFound);
        desk.check_image();
    }
}

#[test]
fn a_lock_is_cleared_by_its_name_wherever_its_ends_are_now() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 99), X);
    let listed = all(&mut desk, &Filter::default()).remove(0);
    // Shrunk since it was listed.
    desk.unlock("a", bytes(0, 9));
    let Claimed::Range { range, .. } = listed.what else { panic!("a range") };
    let what = Clear::Lock { lock: listed.id.unwrap(), owner: owner("a"), file: file("f"), range };
    assert_eq!(counts(clear(&mut desk, what.clone())), (1, 0, 0));
    assert_eq!(desk.held(), "");
    // Another lock in the same place is not it.
    desk.lock("a", bytes(0, 99), X);
    assert_eq!(clear(&mut desk, what), Outcome::NotFound);
    assert_eq!(desk.held(), "a 0-99 X");
}

#[test]
fn a_request_that_was_granted_meanwhile_is_not_cleared_as_one_that_waits() {
    let mut desk = Desk::new();
    desk.lock("a", bytes(0, 9), X);
    desk.lock_wait("b", bytes(0, 9), X);
    let listed = all(&mut desk, &Filter::default()).remove(0);
    let waiter = waits(&listed).waiter;
    desk.unlock("a", bytes(0, 9));
    assert_eq!(clear(&mut desk, Clear::Waiter(waiter)), Outcome::NotFound);
    assert_eq!(desk.held(), "b 0-9 X");
}

#[test]
fn no_answer_to_a_grant_brings_back_what_was_cleared() {
    // b holds its first bytes in a stronger mode than its grant gave it.
    let grant = |desk: &mut Desk| {
        desk.lock("b", bytes(0, 4), X);
        desk.lock("a", bytes(5, 9), X);
        desk.lock_wait("b", bytes(0, 9), S);
        let granted = desk.unlock("a", bytes(5, 9));
        grant_to(&granted, "b")
    };
    for accepts in [true, false] {
        let mut desk = Desk::new();
        let waiter = grant(&mut desk);
        let claims = all(&mut desk, &Filter::default());
        for claim in claims {
            let Claimed::Range { range, .. } = claim.what else { panic!("a range") };
            let (lock, owner) = (claim.id.unwrap(), claim.owner);
            let what = Clear::Lock { lock, owner, file: file("f"), range };
            assert_eq!(counts(clear(&mut desk, what)), (1, 0, 0));
        }
        if accepts {
            desk.accept(waiter)
        } else {
            desk.refuse(waiter)
        };
        assert_eq!(desk.held(), "");
    }
}
