//! Waits that the server cannot see. A Linux client asks nobody where one of its own processes is in
//! the way: that process's lock has to go first, and only then is the request sent. So the server
//! knows a part of who waits for whom, and must not add anything to it that no lock makes true: then
//! whoever waits for ever is in a cycle of held locks, seen or not, and whoever is refused for a
//! deadlock is in one that the server sees.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;

use cleat_lock::{Effect, Mode, Outcome, Range, WaitEnd};
use common::{Desk, S, X, bytes, grants, waiting};
use proptest::prelude::*;

const CLIENTS: usize = 3;
const PROCESSES: usize = 3;
const CELLS: u64 = 8;
/// Longer than anybody yields.
const LONG_MS: u64 = 6_000;

/// Client and process.
type Who = (usize, usize);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Wish {
    range: Range,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Runs,
    /// For another process of its client; nothing was sent.
    WaitsLocally(Wish),
    /// The server said that it has to wait.
    WaitsThere(Wish),
}

#[derive(Clone, Debug)]
enum Op {
    Lock(Who, Wish),
    UnlockAll(Who),
    Pass(u64),
}

struct World {
    desk: Desk,
    steps: [[Step; PROCESSES]; CLIENTS],
}

fn name((client, process): Who) -> String {
    format!("c{client}/{process}")
}

fn everybody() -> impl Iterator<Item = Who> {
    (0..CLIENTS).flat_map(|client| (0..PROCESSES).map(move |process| (client, process)))
}

impl World {
    fn step(&mut self, (client, process): Who) -> &mut Step {
        &mut self.steps[client][process]
    }

    /// Who holds what is in the way of a wish, by the server's table.
    fn in_the_way(&self, who: Who, wish: Wish) -> BTreeSet<Who> {
        let locks: Vec<_> = self.desk.core.locks().collect();
        let blocks = |other: &Who| {
            *other != who
                && locks.iter().any(|lock| {
                    *lock.owner.owner_id == *name(*other)
                        && lock.range.overlaps(wish.range)
                        && lock.mode.conflicts(wish.mode)
                })
        };
        everybody().filter(blocks).collect()
    }

    /// Whether somebody waits for itself at the server, by holders alone.
    fn is_deadlocked(&self, who: Who, wish: Wish) -> bool {
        let (mut open, mut met) = (self.in_the_way(who, wish), BTreeSet::new());
        while let Some(other) = open.pop_first() {
            if met.insert(other)
                && let Step::WaitsThere(wish) = self.steps[other.0][other.1]
            {
                open.extend(self.in_the_way(other, wish));
            }
        }
        met.contains(&who)
    }

    fn lock(&mut self, who: Who, wish: Wish) {
        let of_own_client = |other: &Who| other.0 == who.0;
        if self.in_the_way(who, wish).iter().any(of_own_client) {
            *self.step(who) = Step::WaitsLocally(wish);
            return;
        }
        let Wish { range, mode } = wish;
        let free = self.in_the_way(who, wish).is_empty();
        let deadlocked = self.is_deadlocked(who, wish);
        let (outcome, effects) = self.desk.lock_full(&name(who), "f", range, mode, waiting());
        match outcome {
            Outcome::Granted => {
                assert!(free, "{who:?} {wish:?}");
                *self.step(who) = Step::Runs;
            }
            Outcome::Blocked => {
                assert!(!deadlocked, "{who:?} {wish:?}");
                *self.step(who) = Step::WaitsThere(wish);
            }
            Outcome::Deadlock { .. } => {
                assert!(deadlocked, "{who:?} {wish:?} is refused for no cycle");
                *self.step(who) = Step::Runs;
            }
            other => panic!("{other:?}"),
        }
        self.hear(effects);
    }

    /// Clients hear of their grants, and what waited for their own processes goes on.
    fn hear(&mut self, effects: Vec<Effect>) {
        for effect in &effects {
            if let Effect::WaitOver { why, .. } = effect {
                assert!(
                    !matches!(why, WaitEnd::Deadlock { .. }),
                    "nobody gets what it did not ask"
                );
            }
        }
        for (owner, waiter) in grants(&effects) {
            let who = everybody().find(|who| name(*who) == owner).unwrap();
            *self.step(who) = Step::Runs;
            let more = self.desk.accept(waiter);
            self.hear(more);
        }
    }

    fn unlock_all(&mut self, who: Who) {
        let effects = self.desk.unlock(&name(who), Range::ALL);
        self.hear(effects);
    }

    /// Sends what no process of the client is in the way of any more.
    fn go_on(&mut self) {
        for who in everybody() {
            if let Step::WaitsLocally(wish) = *self.step(who)
                && self.in_the_way(who, wish).iter().all(|other| other.0 != who.0)
            {
                self.lock(who, wish);
            }
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Lock(who, wish) if *self.step(who) == Step::Runs => self.lock(who, wish),
            Op::UnlockAll(who) if *self.step(who) == Step::Runs => self.unlock_all(who),
            Op::Lock(..) | Op::UnlockAll(_) => {}
            Op::Pass(ms) => {
                let effects = self.desk.tick_at(self.desk.now_ms + ms);
                self.hear(effects);
            }
        }
        // A downgrade lets others of the client go on too.
        self.go_on();
    }

    /// Has everybody who can give up all it has, until nothing moves.
    fn end(&mut self) {
        for _ in 0..4 * CLIENTS * PROCESSES {
            for who in everybody() {
                self.run(&Op::UnlockAll(who));
            }
            self.run(&Op::Pass(LONG_MS));
        }
        for who in everybody() {
            let (Step::WaitsLocally(wish) | Step::WaitsThere(wish)) = *self.step(who) else {
                continue;
            };
            let holders = self.in_the_way(who, wish);
            assert!(!holders.is_empty(), "{who:?} waits for nobody: {:?}", self.steps);
            // Whoever runs has given up all, so these wait too: for each other, in the end.
            assert!(holders.into_iter().all(|holder| *self.step(holder) != Step::Runs));
        }
    }
}

fn wish() -> impl Strategy<Value = Wish> {
    let mode = prop_oneof![Just(S), Just(X)];
    (0..CELLS, 0..CELLS, mode)
        .prop_map(|(one, two, mode)| Wish { range: bytes(one.min(two), one.max(two)), mode })
}

fn op() -> impl Strategy<Value = Op> {
    let who = || (0..CLIENTS, 0..PROCESSES);
    prop_oneof![
        6 => (who(), wish()).prop_map(|(who, wish)| Op::Lock(who, wish)),
        2 => who().prop_map(Op::UnlockAll),
        1 => (1..LONG_MS).prop_map(Op::Pass),
    ]
}

fn world() -> World {
    let mut desk = Desk::new();
    desk.check_every_step = false;
    World { desk, steps: [[Step::Runs; PROCESSES]; CLIENTS] }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn who_waits_for_ever_is_in_a_cycle_of_held_locks(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = world();
        for op in &ops {
            world.run(op);
        }
        world.end();
    }
}

#[test]
fn two_processes_of_one_client_and_one_of_another_all_come_to_an_end() {
    let mut world = world();
    let (a, c, b) = ((0, 0), (0, 1), (1, 0));
    let exclusive = |first, last| Wish { range: bytes(first, last), mode: X };
    world.lock(a, exclusive(0, 1));
    world.lock(c, exclusive(5, 6));
    world.lock(b, exclusive(0, 3));
    world.lock(c, exclusive(2, 3));
    world.lock(a, exclusive(5, 6));
    assert_eq!(*world.step(c), Step::Runs);
    assert_eq!(*world.step(a), Step::WaitsLocally(exclusive(5, 6)));
    world.end();
    assert!(everybody().all(|who| *world.step(who) == Step::Runs));
}
