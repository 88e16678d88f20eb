//! The core and its model side by side: each gets the same requests, and then they are compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use cleat_lock::{Effect, GrantAck, Input, Outcome, Range, Wait, WaitEnd, WaiterId};

use crate::common::{Ask, Desk, X, ask, file, grants, owner};
use crate::naive::{Cell, Model, Waiting};
use crate::ops::{CELLS, FILES, Finding, OWNERS, Op, Share, Target, byte};

/// Those whose waits ended because they came into a cycle.
fn deadlocked(effects: &[Effect]) -> impl Iterator<Item = WaiterId> {
    effects.iter().filter_map(|effect| match effect {
        Effect::WaitOver { waiter, why: WaitEnd::Deadlock { .. }, .. } => Some(*waiter),
        _ => None,
    })
}

/// The core and its model side by side.
pub struct Pair {
    pub desk: Desk,
    pub model: Model,
}

impl Pair {
    pub fn run(&mut self, op: &Op) {
        let effects = match *op {
            Op::Lock { target, wait, incarnation } => {
                let expected = self.model.lock(target, wait, incarnation, false);
                self.lock(target, wait, incarnation, expected, false)
            }
            Op::Upgrade { target, wait, incarnation } => {
                let target = Target { mode: X, ..target };
                let expected = self.model.upgrade(target, wait, incarnation);
                self.lock(target, wait, incarnation, expected, true)
            }
            Op::Share { owner, file, share } => self.share(owner, file, share),
            Op::Unshare { owner: who, file: on } => {
                self.model.shares.remove(&(who, on));
                let (owner, file) = (owner(OWNERS[who]), file(FILES[on]));
                self.desk.call(|token| Input::Unshare { token, owner, file }).1
            }
            Op::Unlock(target) => {
                self.model.abandon_where(|waiting| {
                    waiting.target.owner == target.owner && waiting.target.overlaps(target)
                });
                self.model.each(target, |cell| *cell = Cell::default());
                let (who, on) = (OWNERS[target.owner], FILES[target.file]);
                self.desk.unlock_full(who, on, target.range()).1
            }
            Op::Cancel(target) => self.cancel(target),
            Op::Test(target) => {
                let free = !self.model.conflict(target);
                let (owner, file) = (owner(OWNERS[target.owner]), file(FILES[target.file]));
                let (range, mode) = (target.range(), target.mode);
                let (outcome, _) =
                    self.desk.call(|token| Input::Test { token, owner, file, range, mode });
                assert_eq!(outcome == Outcome::Free, free);
                vec![]
            }
            Op::Answer { pick, ack } => self.answer(pick, ack),
            Op::FreeAll { owner } => {
                let client = &OWNERS[owner][..1];
                self.model.abandon_where(|w| OWNERS[w.target.owner].starts_with(client));
                self.model.shares.retain(|&(owner, _), _| !OWNERS[owner].starts_with(client));
                self.model.cells.retain(|&(owner, _), _| !OWNERS[owner].starts_with(client));
                let client_id = Arc::from(client);
                self.desk.call(|token| Input::FreeAll { token, client_id }).1
            }
            Op::Restarted { owner, incarnation } => {
                let client = &OWNERS[owner][..1];
                self.model.restarted(client, incarnation);
                let client_id = Arc::from(client);
                let input = |token| Input::ClientRestarted { token, client_id, incarnation };
                self.desk.call(input).1
            }
            Op::ServerRestart => self.server_restart(),
            Op::Pass { ms } => self.pass(ms),
        };
        let mut told: Vec<WaiterId> = grants(&effects).into_iter().map(|(_, name)| name).collect();
        told.sort();
        let mut expected = self.model.settle();
        // All waits of an owner that are in cycles end before anybody is served.
        let mut names = deadlocked(&effects).peekable();
        while let Some(name) = names.next() {
            let owner = self.model.owner_of(name);
            self.model.end_deadlocked(name);
            if names.peek().is_none_or(|&next| self.model.owner_of(next) != owner) {
                expected.extend(self.model.settle());
            }
        }
        expected.sort();
        assert_eq!(told, expected, "grants");
        assert_eq!(self.model.overlooked().len(), 0, "{:?}", self.model.overlooked());
        self.compare();
    }

    fn pass(&mut self, ms: u64) -> Vec<Effect> {
        self.model.now_ms += ms;
        self.desk.tick_at(self.model.now_ms)
    }

    pub fn share(&mut self, owner: usize, file: usize, share: Share) -> Vec<Effect> {
        let expected = self.model.share(owner, file, share);
        let (access, deny, incarnation) = share;
        let asked = Ask { incarnation, ..ask() };
        let (outcome, effects) =
            self.desk.share_full(OWNERS[owner], FILES[file], (access, deny), asked);
        match outcome {
            Outcome::Granted => assert_eq!(expected, "granted"),
            Outcome::ShareConflict(conflict) => {
                assert_eq!(expected, "conflict");
                assert_ne!(&*conflict.owner.owner_id, OWNERS[owner]);
                assert!(conflict.access.meets(deny) || conflict.deny.meets(access));
            }
            other => panic!("{other:?}"),
        }
        effects
    }

    pub fn lock(
        &mut self,
        target: Target,
        wait: Option<Finding>,
        incarnation: u32,
        expected: &str,
        upgrade: bool,
    ) -> Vec<Effect> {
        let context = Arc::from(&b""[..]);
        let finding = wait.unwrap_or(Finding::Nothing);
        let wait = wait.map(|finding| Wait {
            context,
            silence_ms: 0,
            timeout_ms: Some(0),
            find_deadlock: finding == Finding::Deadlocks,
        });
        let (who, on) = (OWNERS[target.owner], FILES[target.file]);
        let asked = Ask { wait, incarnation, ..ask() };
        let (outcome, effects) = if upgrade {
            self.desk.upgrade_on(who, on, target.range(), asked)
        } else {
            self.desk.lock_full(who, on, target.range(), target.mode, asked)
        };
        match &outcome {
            Outcome::Granted => assert_eq!(expected, "granted"),
            Outcome::Blocked => {
                assert_eq!(expected, "blocked");
                if self.model.find(target).is_none() {
                    let name = self.desk.core.waiters().last().unwrap().waiter;
                    let granted = false;
                    let since_ms = self.desk.now_ms;
                    let waiting =
                        Waiting { name, target, incarnation, finding, upgrade, granted, since_ms };
                    self.model.queue.push(waiting);
                }
            }
            Outcome::Conflict(conflict) => {
                assert_eq!(expected, "conflict");
                assert_ne!(&*conflict.owner.owner_id, who);
                assert!(conflict.mode.conflicts(target.mode));
                assert!(conflict.range.overlaps(target.range()));
            }
            Outcome::NotFound => assert_eq!(expected, "not found"),
            Outcome::Deadlock { cycle } => {
                assert_eq!(expected, "deadlock");
                assert_eq!(&*cycle[0].owner_id, who);
                assert!(cycle.len() > 1);
            }
            other => panic!("{other:?}"),
        }
        effects
    }

    pub fn cancel(&mut self, target: Target) -> Vec<Effect> {
        let found = self.model.find(target);
        let granted = found.is_some_and(|at| self.model.queue[at].granted);
        let holds = (target.first..=target.last).all(|at| {
            let held = self.model.held(target.owner, target.file, at);
            held.is_some_and(|(mode, _)| mode >= target.mode)
        });
        let waits = found.filter(|_| !granted);
        if let Some(at) = waits {
            self.model.abandon(at);
        }
        let held_already = granted || (waits.is_none() && holds);
        let expected = if held_already { Outcome::AlreadyHeld } else { Outcome::Done };
        let (owner, file) = (owner(OWNERS[target.owner]), file(FILES[target.file]));
        let (range, mode) = (target.range(), target.mode);
        let input = |token| Input::Cancel { token, owner, file, range, mode };
        let (outcome, effects) = self.desk.call(input);
        assert_eq!(outcome, expected);
        effects
    }

    pub fn answer(&mut self, pick: usize, ack: GrantAck) -> Vec<Effect> {
        let granted: Vec<usize> =
            (0..self.model.queue.len()).filter(|&at| self.model.queue[at].granted).collect();
        if granted.is_empty() {
            return vec![];
        }
        let at = granted[pick % granted.len()];
        let waiter = self.model.queue[at].name;
        match ack {
            GrantAck::Accepted => self.model.accept(at),
            GrantAck::Assumed => self.model.assume(at),
            GrantAck::Refused => self.model.refuse(at),
        }
        self.desk.step(Input::GrantOutcome { waiter, outcome: ack })
    }

    /// The server dies and comes back, and every client reclaims what it holds. Then cycles are
    /// looked for that somebody closed who did not want to know.
    pub fn server_restart(&mut self) -> Vec<Effect> {
        let mut told = grants(&self.desk.restart(90_000, true));
        told.sort_by_key(|&(_, name)| name);
        let told: Vec<WaiterId> = told.into_iter().map(|(_, name)| name).collect();
        let unheard = self.model.queue.iter().filter(|waiting| waiting.granted);
        assert_eq!(told, unheard.map(|waiting| waiting.name).collect::<Vec<_>>());
        let locks: Vec<_> = self.desk.core.locks().collect();
        let mut all = vec![];
        for lock in locks {
            let on = String::from_utf8(lock.file.as_bytes().to_vec()).unwrap();
            let asked = Ask { reclaim: true, incarnation: lock.incarnation, ..ask() };
            let who = &lock.owner.owner_id;
            let (outcome, effects) = self.desk.lock_full(who, &on, lock.range, lock.mode, asked);
            assert_eq!(outcome, Outcome::Granted);
            all.extend(effects);
            self.model.reclaim(who, &on, lock.range, (lock.mode, lock.incarnation));
        }
        let shares: Vec<_> = self.desk.core.shares().collect();
        for share in shares {
            let on = String::from_utf8(share.file.as_bytes().to_vec()).unwrap();
            let asked = Ask { reclaim: true, incarnation: share.incarnation, ..ask() };
            let what = (share.access, share.deny);
            let (outcome, effects) = self.desk.share_full(&share.owner.owner_id, &on, what, asked);
            assert_eq!(outcome, Outcome::Granted);
            all.extend(effects);
        }
        assert!(self.desk.core.grace().is_none(), "everything was reclaimed");
        all
    }

    /// What is counted for the limits is what is there: a split is one more, a merge one less.
    pub fn compare_counts(&self) {
        let counters = self.desk.core.counters();
        let waiting = |of: &dyn Fn(usize) -> bool| {
            let waits = self.model.queue.iter().filter(|w| !w.granted && of(w.target.owner));
            waits.count() as u64
        };
        let pieces: Vec<u64> = (0..OWNERS.len()).map(|owner| self.model.pieces(owner)).collect();
        assert_eq!(counters.locks, pieces.iter().sum::<u64>(), "locks");
        assert_eq!(counters.shares, self.model.shares.len() as u64, "shares");
        assert_eq!(counters.waiting, waiting(&|_| true), "waiters");
        for client in ["a", "b", "c"] {
            let view = self.desk.core.client(client);
            let found = view.map_or((0, 0, 0), |view| (view.locks, view.shares, view.waiters));
            let of = |owner: usize| OWNERS[owner].starts_with(client);
            let locks = (0..OWNERS.len()).filter(|&owner| of(owner)).map(|owner| pieces[owner]);
            let shares = self.model.shares.keys().filter(|(owner, _)| of(*owner)).count() as u64;
            assert_eq!(found, (locks.sum(), shares, waiting(&of)), "client {client}");
        }
    }

    pub fn compare(&self) {
        let queue: Vec<(WaiterId, bool)> =
            self.desk.core.waiters().map(|w| (w.waiter, w.granted.is_some())).collect();
        let expected: Vec<(WaiterId, bool)> =
            self.model.queue.iter().map(|w| (w.name, w.granted)).collect();
        assert_eq!(queue, expected, "queue");
        self.compare_counts();
        let place = |name: &str, names: &[&str]| names.iter().position(|n| *n == name).unwrap();
        let shares: BTreeMap<(usize, usize), Share> = (self.desk.core.shares())
            .map(|share| {
                let on = str::from_utf8(share.file.as_bytes()).unwrap();
                let key = (place(&share.owner.owner_id, &OWNERS), place(on, &FILES));
                (key, (share.access, share.deny, share.incarnation))
            })
            .collect();
        assert_eq!(shares, self.model.shares, "shares");
        for (number, name) in FILES.iter().enumerate() {
            let mut held = BTreeMap::new();
            for lock in self.desk.core.locks_of_file(&file(name), Range::ALL) {
                let who = OWNERS.iter().position(|name| *name == &*lock.owner.owner_id).unwrap();
                for at in (0..CELLS).filter(|&at| lock.range.contains(byte(at))) {
                    let twice = held.insert((who, at), (lock.mode, lock.incarnation));
                    assert_eq!(twice, None, "one owner's pieces overlap");
                }
            }
            for (who, owner) in OWNERS.iter().enumerate() {
                for at in 0..CELLS {
                    let expected = self.model.held(who, number, at);
                    let found = held.get(&(who, at)).copied();
                    assert_eq!(found, expected, "{owner} on {name} byte {at}");
                }
            }
        }
    }
}
