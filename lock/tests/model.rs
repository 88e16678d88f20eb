//! Random requests against a model so naive that it is plainly right: a byte is an array cell, the
//! queue a vector. Held ranges, queue, grants and answers must agree after every step, and so must
//! the durable image (the desk sees to that). `PROPTEST_CASES` sets how many runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cleat_lock::{
    Access, Effect, GrantAck, Input, Mode, Outcome, Range, Wait, WaiterId, WaiterRecord,
};
use common::{Ask, Desk, S, X, ask, bytes, file, grants, owner};
use proptest::prelude::*;

/// Bytes 0 to 11; the last cell stands for everything behind them.
const CELLS: usize = 13;
const OWNERS: [&str; 4] = ["a/1", "a/2", "b/1", "c/1"];
const FILES: [&str; 2] = ["f", "g"];

#[derive(Clone, Copy)]
struct Target {
    owner: usize,
    file: usize,
    first: usize,
    last: usize,
    mode: Mode,
}

/// Whether a request that waits wants deadlocks found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finding {
    Deadlocks,
    Nothing,
}

#[derive(Clone)]
enum Op {
    Lock { target: Target, wait: Option<Finding>, incarnation: u32 },
    Upgrade { target: Target, wait: Option<Finding>, incarnation: u32 },
    Unlock(Target),
    Cancel(Target),
    Test(Target),
    Share { owner: usize, file: usize, share: Share },
    Unshare { owner: usize, file: usize },
    Answer { pick: usize, accept: bool },
    FreeAll { owner: usize },
    Restarted { owner: usize, incarnation: u32 },
    ServerRestart,
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Lock { target, wait, incarnation } => {
                write!(f, "lock {target:?} wait {wait:?} incarnation {incarnation}")
            }
            Op::Upgrade { target, wait, incarnation } => {
                write!(f, "upgrade {target:?} wait {wait:?} incarnation {incarnation}")
            }
            Op::Unlock(target) => write!(f, "unlock {target:?}"),
            Op::Cancel(target) => write!(f, "cancel {target:?}"),
            Op::Test(target) => write!(f, "test {target:?}"),
            Op::Share { owner, file, share } => {
                write!(f, "share {} {} {share:?}", OWNERS[*owner], FILES[*file])
            }
            Op::Unshare { owner, file } => {
                write!(f, "unshare {} {}", OWNERS[*owner], FILES[*file])
            }
            Op::Answer { pick, accept } => write!(f, "answer {pick} accept {accept}"),
            Op::FreeAll { owner } => write!(f, "free all of {}", OWNERS[*owner]),
            Op::Restarted { owner, incarnation } => {
                write!(f, "restart of {} as {incarnation}", OWNERS[*owner])
            }
            Op::ServerRestart => write!(f, "restart of the server"),
        }
    }
}

/// A reservation: what its owner does, what it denies the others, and under which incarnation.
type Share = (Access, Access, u32);

type Hold = (Mode, u32);

/// What an owner holds on a byte: as it knows, and what a grant lays over that until acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cell {
    base: Option<Hold>,
    layer: Option<(WaiterId, Hold)>,
}

impl Cell {
    fn held(self) -> Option<Hold> {
        match (self.base, self.layer) {
            (Some(base), Some((_, (S, _)))) if base.0 == X => Some(base),
            (_, Some((_, hold))) => Some(hold),
            (base, None) => base,
        }
    }

    /// What is held, and by which unacknowledged grant: where that differs, a piece ends.
    fn piece(self) -> Option<(Hold, Option<WaiterId>)> {
        let of_grant = self.layer.filter(|(_, hold)| self.held() == Some(*hold));
        let stronger = matches!((self.base, self.layer), (Some((X, _)), Some((_, (S, _)))));
        Some((self.held()?, of_grant.filter(|_| !stronger).map(|(name, _)| name)))
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    name: WaiterId,
    target: Target,
    incarnation: u32,
    granted: bool,
}

#[derive(Default)]
struct Model {
    cells: BTreeMap<(usize, usize), [Cell; CELLS]>,
    queue: Vec<Waiting>,
    shares: BTreeMap<(usize, usize), Share>,
}

// In one line, so that a failing run can be read.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { owner, file, first, last, mode } = *self;
        write!(f, "{} {} {first}-{last} {mode:?}", OWNERS[owner], FILES[file])
    }
}

impl Target {
    fn range(self) -> Range {
        bytes(self.first as u64, if self.last == CELLS - 1 { u64::MAX } else { self.last as u64 })
    }

    fn overlaps(self, other: Target) -> bool {
        self.file == other.file && self.first <= other.last && other.first <= self.last
    }

    fn same(self, other: Target) -> bool {
        (self.owner, self.file, self.first, self.last, self.mode)
            == (other.owner, other.file, other.first, other.last, other.mode)
    }
}

impl Model {
    fn cell(&mut self, owner: usize, file: usize, at: usize) -> &mut Cell {
        &mut self.cells.entry((owner, file)).or_default()[at]
    }

    fn held(&self, owner: usize, file: usize, at: usize) -> Option<Hold> {
        self.cells.get(&(owner, file)).and_then(|cells| cells[at].held())
    }

    fn each(&mut self, target: Target, mut change: impl FnMut(&mut Cell)) {
        for at in target.first..=target.last {
            change(self.cell(target.owner, target.file, at));
        }
    }

    /// Whether `owner` holds something that conflicts with what another one asks.
    fn blocks(&self, owner: usize, target: Target) -> bool {
        (target.first..=target.last).any(|at| {
            self.held(owner, target.file, at).is_some_and(|(mode, _)| mode.conflicts(target.mode))
        })
    }

    fn conflict(&self, target: Target) -> bool {
        (0..OWNERS.len()).any(|other| other != target.owner && self.blocks(other, target))
    }

    /// Those among the first `ahead` in the queue that the target may not overtake.
    fn in_front(&self, target: Target, ahead: usize) -> impl Iterator<Item = usize> {
        let in_front = move |other: &&Waiting| {
            !other.granted
                && other.target.owner != target.owner
                && other.target.overlaps(target)
                && other.target.mode.conflicts(target.mode)
                && !self.blocks(target.owner, other.target)
                && (target.first.max(other.target.first)..=target.last.min(other.target.last))
                    .any(|at| self.held(target.owner, target.file, at).is_none())
        };
        self.queue[..ahead].iter().filter(in_front).map(|other| other.target.owner)
    }

    /// Whom the target waits for, where it is behind the first `ahead`.
    fn awaits(&self, target: Target, ahead: usize) -> Vec<usize> {
        let holders =
            (0..OWNERS.len()).filter(|&other| other != target.owner && self.blocks(other, target));
        holders.chain(self.in_front(target, ahead)).collect()
    }

    fn deadlock(&self, target: Target, ahead: usize) -> bool {
        let mut open = self.awaits(target, ahead);
        let mut met = [false; OWNERS.len()];
        while let Some(owner) = open.pop() {
            if !std::mem::replace(&mut met[owner], true) {
                let own = self.queue.iter().enumerate();
                let own = own.filter(|(_, w)| !w.granted && w.target.owner == owner);
                open.extend(own.flat_map(|(at, waiting)| self.awaits(waiting.target, at)));
            }
        }
        met[target.owner]
    }

    fn find(&self, target: Target) -> Option<usize> {
        self.queue.iter().position(|waiting| waiting.target.same(target))
    }

    fn accept(&mut self, at: usize) {
        let waiting = self.queue.remove(at);
        self.each(waiting.target, |cell| {
            if let Some((name, hold)) = cell.layer
                && name == waiting.name
            {
                *cell = Cell { base: Some(hold), layer: None };
            }
        });
    }

    fn refuse(&mut self, at: usize) {
        let waiting = self.queue.remove(at);
        self.each(waiting.target, |cell| {
            if cell.layer.is_some_and(|(name, _)| name == waiting.name) {
                cell.layer = None;
            }
        });
    }

    /// The owner gives a request up; what a grant gave it stays for now.
    fn abandon(&mut self, at: usize) {
        let waiting = self.queue.remove(at);
        self.each(waiting.target, |cell| {
            if cell.layer.is_some_and(|(name, _)| name == waiting.name) {
                *cell = Cell { base: cell.held(), layer: None };
            }
        });
    }

    fn abandon_where(&mut self, give_up: impl Fn(&Waiting) -> bool) {
        while let Some(at) = self.queue.iter().position(&give_up) {
            self.abandon(at);
        }
    }

    fn lock(&mut self, target: Target, wait: Option<Finding>, incarnation: u32) -> &'static str {
        let former = |w: &Waiting| w.target.owner == target.owner && w.incarnation != incarnation;
        while let Some(at) = self.queue.iter().position(former) {
            self.refuse(at);
        }
        if let Some(at) = self.find(target) {
            if self.queue[at].granted {
                self.accept(at);
            } else if wait == Some(Finding::Deadlocks) && self.deadlock(target, at) {
                self.abandon(at);
                return "deadlock";
            } else if wait.is_some() {
                self.queue[at].incarnation = incarnation;
                return "blocked";
            }
        }
        let wanted = Cell { base: Some((target.mode, incarnation)), layer: None };
        let mut all = true;
        self.each(target, |cell| all &= *cell == wanted);
        if all {
            return "granted";
        }
        if !self.awaits(target, self.queue.len()).is_empty() {
            return match wait {
                Some(Finding::Deadlocks) if self.deadlock(target, self.queue.len()) => "deadlock",
                Some(_) => "blocked",
                None => "conflict",
            };
        }
        self.each(target, |cell| *cell = wanted);
        "granted"
    }

    fn upgrade(&mut self, target: Target, wait: Option<Finding>, incarnation: u32) -> &'static str {
        let (mut all_held, mut all_exclusive) = (true, true);
        self.each(target, |cell| {
            let piece = cell.piece();
            all_held &= piece.is_some();
            all_exclusive &= cell.layer.is_none() && piece.is_some_and(|((mode, _), _)| mode == X);
        });
        match (all_held, all_exclusive) {
            (_, true) => "granted",
            (false, _) => "not found",
            _ => self.lock(target, wait, incarnation),
        }
    }

    fn share(&mut self, owner: usize, file: usize, share: Share) -> &'static str {
        let both = |one: Access, other: Access| {
            (one.reads() && other.reads()) || (one.writes() && other.writes())
        };
        let excludes = |other: &Share| both(share.0, other.1) || both(share.1, other.0);
        let mut others = self.shares.iter().filter(|((who, on), _)| *who != owner && *on == file);
        if others.any(|(_, other)| excludes(other)) {
            return "conflict";
        }
        self.shares.insert((owner, file), share);
        "granted"
    }

    /// How many pieces the owner's locks are in, on all files.
    fn pieces(&self, owner: usize) -> u64 {
        let mut count = 0;
        for (_, cells) in self.cells.iter().filter(|((who, _), _)| *who == owner) {
            let mut before = None;
            for cell in cells {
                let piece = cell.piece();
                count += u64::from(piece.is_some() && piece != before);
                before = piece;
            }
        }
        count
    }

    fn restarted(&mut self, client: &str, incarnation: u32) {
        let of_client = |owner: usize| OWNERS[owner].starts_with(client);
        let old = |waiting: &Waiting| {
            of_client(waiting.target.owner) && waiting.incarnation != incarnation
        };
        while let Some(at) = self.queue.iter().position(|waiting| waiting.granted && old(waiting)) {
            self.refuse(at);
        }
        self.abandon_where(old);
        self.shares.retain(|(owner, _), share| !of_client(*owner) || share.2 == incarnation);
        let dead = |hold: Option<Hold>| hold.is_some_and(|(_, from)| from != incarnation);
        for (_, cells) in self.cells.iter_mut().filter(|((owner, _), _)| of_client(*owner)) {
            for cell in cells {
                if dead(cell.base) {
                    cell.base = None;
                }
            }
        }
    }

    /// An owner says that it holds this, whatever becomes of a grant over it.
    fn reclaim(&mut self, who: &str, on: &str, range: Range, hold: Hold) {
        let owner = OWNERS.iter().position(|name| *name == who).unwrap();
        let file = FILES.iter().position(|name| *name == on).unwrap();
        for at in (0..CELLS).filter(|&at| bytes(at as u64, at as u64).overlaps(range)) {
            let cell = self.cell(owner, file, at);
            if cell.layer.is_some() && cell.base.is_none_or(|(mode, _)| mode < hold.0) {
                cell.base = Some(hold);
            }
        }
    }

    /// Grants the foremost that can be granted, until there is none.
    fn settle(&mut self) -> Vec<WaiterId> {
        let mut granted = Vec::new();
        while let Some(at) = (0..self.queue.len()).find(|&at| self.may_go(at)) {
            let Waiting { name, target, incarnation, .. } = self.queue[at];
            self.queue[at].granted = true;
            self.each(target, |cell| cell.layer = Some((name, (target.mode, incarnation))));
            granted.push(name);
        }
        granted
    }

    fn may_go(&self, at: usize) -> bool {
        let Waiting { target, granted, .. } = self.queue[at];
        let busy = self.queue.iter().any(|other| {
            other.granted && other.target.owner == target.owner && other.target.overlaps(target)
        });
        !granted && !busy && self.awaits(target, at).is_empty()
    }
}

/// The core and its model side by side.
struct Pair {
    desk: Desk,
    model: Model,
}

impl Pair {
    fn run(&mut self, op: &Op) {
        let effects = match *op {
            Op::Lock { target, wait, incarnation } => {
                let expected = self.model.lock(target, wait, incarnation);
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
            Op::Answer { pick, accept } => self.answer(pick, accept),
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
        };
        let mut told: Vec<WaiterId> = grants(&effects).into_iter().map(|(_, name)| name).collect();
        told.sort();
        let mut expected = self.model.settle();
        expected.sort();
        assert_eq!(told, expected, "grants");
        self.compare();
    }

    fn share(&mut self, owner: usize, file: usize, share: Share) -> Vec<Effect> {
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

    fn lock(
        &mut self,
        target: Target,
        wait: Option<Finding>,
        incarnation: u32,
        expected: &str,
        upgrade: bool,
    ) -> Vec<Effect> {
        let context = Arc::from(&b""[..]);
        let wait = wait.map(|finding| Wait {
            context,
            expires_ms: 0,
            timeout_ms: 0,
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
                    self.model.queue.push(Waiting { name, target, incarnation, granted: false });
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

    fn cancel(&mut self, target: Target) -> Vec<Effect> {
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

    fn answer(&mut self, pick: usize, accept: bool) -> Vec<Effect> {
        let granted: Vec<usize> =
            (0..self.model.queue.len()).filter(|&at| self.model.queue[at].granted).collect();
        if granted.is_empty() {
            return vec![];
        }
        let at = granted[pick % granted.len()];
        let waiter = self.model.queue[at].name;
        if accept {
            self.model.accept(at);
        } else {
            self.model.refuse(at);
        }
        let outcome = if accept { GrantAck::Accepted } else { GrantAck::Refused };
        self.desk.step(Input::GrantOutcome { waiter, outcome })
    }

    /// The server dies and comes back, and every client reclaims what it holds.
    fn server_restart(&mut self) -> Vec<Effect> {
        let mut told = grants(&self.desk.restart(90_000, true));
        told.sort_by_key(|&(_, name)| name);
        let told: Vec<WaiterId> = told.into_iter().map(|(_, name)| name).collect();
        let unheard = self.model.queue.iter().filter(|waiting| waiting.granted);
        assert_eq!(told, unheard.map(|waiting| waiting.name).collect::<Vec<_>>());
        let (locks, waiters): (Vec<_>, Vec<_>) =
            (self.desk.core.locks().collect(), self.desk.core.waiters().collect());
        for lock in locks {
            // Who reclaims just what it was granted knows of the grant. Here nobody does yet, but
            // for who asked for the same again by another request.
            let of_grant = waiters.iter().find(|w| {
                w.granted.is_some()
                    && (&w.owner, &w.file, w.range, w.mode)
                        == (&lock.owner, &lock.file, lock.range, lock.mode)
            });
            if let Some(WaiterRecord { waiter, granted: Some(granted), .. }) = of_grant {
                if !granted.undo.is_empty() {
                    continue;
                }
                let at = self.model.queue.iter().position(|w| w.name == *waiter).unwrap();
                self.model.accept(at);
            }
            let on = String::from_utf8(lock.file.as_bytes().to_vec()).unwrap();
            let asked = Ask { reclaim: true, incarnation: lock.incarnation, ..ask() };
            let who = &lock.owner.owner_id;
            let (outcome, effects) = self.desk.lock_full(who, &on, lock.range, lock.mode, asked);
            assert_eq!(outcome, Outcome::Granted);
            assert!(grants(&effects).is_empty());
            self.model.reclaim(who, &on, lock.range, (lock.mode, lock.incarnation));
        }
        let shares: Vec<_> = self.desk.core.shares().collect();
        for share in shares {
            let on = String::from_utf8(share.file.as_bytes().to_vec()).unwrap();
            let asked = Ask { reclaim: true, incarnation: share.incarnation, ..ask() };
            let what = (share.access, share.deny);
            let (outcome, _) = self.desk.share_full(&share.owner.owner_id, &on, what, asked);
            assert_eq!(outcome, Outcome::Granted);
        }
        assert!(self.desk.core.grace().is_none(), "everything was reclaimed");
        vec![]
    }

    /// What is counted for the limits is what is there: a split is one more, a merge one less.
    fn compare_counts(&self) {
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

    fn compare(&self) {
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

fn byte(at: usize) -> Range {
    bytes(at as u64, if at == CELLS - 1 { u64::MAX } else { at as u64 })
}

fn target() -> impl Strategy<Value = Target> {
    let file = prop_oneof![4 => Just(0usize), 1 => Just(1usize)];
    let mode = prop_oneof![Just(S), Just(X)];
    (0..OWNERS.len(), file, 0..CELLS, 0..CELLS, mode).prop_map(|(owner, file, one, two, mode)| {
        Target { owner, file, first: one.min(two), last: one.max(two), mode }
    })
}

fn share() -> impl Strategy<Value = Share> {
    let access = || prop::sample::select(&Access::ALL[..]);
    (access(), access(), 1u32..3)
}

fn op() -> impl Strategy<Value = Op> {
    let finding =
        prop_oneof![Just(None), Just(Some(Finding::Nothing)), Just(Some(Finding::Deadlocks))];
    prop_oneof![
        12 => (target(), finding.clone(), 1u32..3).prop_map(|(target, wait, incarnation)| {
            Op::Lock { target, wait, incarnation }
        }),
        2 => (target(), finding.clone(), 1u32..3).prop_map(|(target, wait, incarnation)| {
            Op::Upgrade { target, wait, incarnation }
        }),
        3 => (0..OWNERS.len(), 0..FILES.len(), share()).prop_map(|(owner, file, share)| {
            Op::Share { owner, file, share }
        }),
        1 => (0..OWNERS.len(), 0..FILES.len()).prop_map(|(owner, file)| {
            Op::Unshare { owner, file }
        }),
        4 => target().prop_map(Op::Unlock),
        2 => target().prop_map(Op::Cancel),
        1 => target().prop_map(Op::Test),
        5 => (0usize..4, any::<bool>()).prop_map(|(pick, accept)| Op::Answer { pick, accept }),
        1 => (0..OWNERS.len()).prop_map(|owner| Op::FreeAll { owner }),
        1 => (0..OWNERS.len(), 1u32..3).prop_map(|(owner, incarnation)| {
            Op::Restarted { owner, incarnation }
        }),
        1 => Just(Op::ServerRestart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_core_agrees_with_the_model(ops in prop::collection::vec(op(), 1..80)) {
        let mut pair = Pair { desk: Desk::new(), model: Model::default() };
        for op in &ops {
            pair.run(op);
        }
    }
}
