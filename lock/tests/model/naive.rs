//! The model: what every owner has on every byte, and who waits, in the plainest way.

use std::collections::BTreeMap;

use cleat_lock::{Access, Mode, Range, WaiterId};

use crate::common::{S, X, bytes};
use crate::ops::{CELLS, FILES, Finding, OWNERS, Share, Target};

/// As the core has it by default.
const FAIR_WAIT_MS: u64 = 5_000;

pub type Hold = (Mode, u32);

/// What an owner holds on a byte: as it knows, and what a grant lays over that until acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    pub base: Option<Hold>,
    pub layer: Option<(WaiterId, Hold)>,
}

impl Cell {
    pub fn held(self) -> Option<Hold> {
        match (self.base, self.layer) {
            (Some(base), Some((_, (S, _)))) if base.0 == X => Some(base),
            (_, Some((_, hold))) => Some(hold),
            (base, None) => base,
        }
    }

    /// What is held, and by which unacknowledged grant: where that differs, a piece ends.
    pub fn piece(self) -> Option<(Hold, Option<WaiterId>)> {
        let of_grant = self.layer.filter(|(_, hold)| self.held() == Some(*hold));
        let stronger = matches!((self.base, self.layer), (Some((X, _)), Some((_, (S, _)))));
        Some((self.held()?, of_grant.filter(|_| !stronger).map(|(name, _)| name)))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub name: WaiterId,
    pub target: Target,
    pub incarnation: u32,
    pub finding: Finding,
    /// Granted only over what its owner holds.
    pub upgrade: bool,
    pub granted: bool,
    /// When it came.
    pub since_ms: u64,
}

#[derive(Default)]
pub struct Model {
    pub cells: BTreeMap<(usize, usize), [Cell; CELLS]>,
    pub queue: Vec<Waiting>,
    pub shares: BTreeMap<(usize, usize), Share>,
    pub now_ms: u64,
}

impl Model {
    pub fn cell(&mut self, owner: usize, file: usize, at: usize) -> &mut Cell {
        &mut self.cells.entry((owner, file)).or_default()[at]
    }

    pub fn held(&self, owner: usize, file: usize, at: usize) -> Option<Hold> {
        self.cells.get(&(owner, file)).and_then(|cells| cells[at].held())
    }

    pub fn each(&mut self, target: Target, mut change: impl FnMut(&mut Cell)) {
        for at in target.first..=target.last {
            change(self.cell(target.owner, target.file, at));
        }
    }

    /// Whether `owner` holds something that conflicts with what another one asks.
    pub fn blocks(&self, owner: usize, target: Target) -> bool {
        (target.first..=target.last).any(|at| {
            self.held(owner, target.file, at).is_some_and(|(mode, _)| mode.conflicts(target.mode))
        })
    }

    pub fn conflict(&self, target: Target) -> bool {
        (0..OWNERS.len()).any(|other| other != target.owner && self.blocks(other, target))
    }

    /// Whether the target yields to one of the first `ahead` in the queue, having come then.
    pub fn yields(&self, target: Target, ahead: usize, since_ms: u64) -> bool {
        let client = |owner: usize| &OWNERS[owner][..1];
        let holds =
            |owner: usize, file: usize| (0..CELLS).any(|at| self.held(owner, file, at).is_some());
        let of_client = |owner: &usize| client(*owner) == client(target.owner);
        let to = |other: &Waiting| {
            !other.granted
                && other.target.owner != target.owner
                && other.target.overlaps(target)
                && other.target.mode.conflicts(target.mode)
        };
        self.now_ms < since_ms + FAIR_WAIT_MS
            && !(0..FILES.len()).any(|file| holds(target.owner, file))
            && !(0..OWNERS.len()).filter(of_client).any(|owner| holds(owner, target.file))
            && self.queue[..ahead].iter().any(to)
    }

    /// Whom the target waits for.
    pub fn awaits(&self, target: Target) -> Vec<usize> {
        let others = (0..OWNERS.len()).filter(|&other| other != target.owner);
        others.filter(|&other| self.blocks(other, target)).collect()
    }

    pub fn deadlock(&self, target: Target) -> bool {
        self.cycle(target, |_| true)
    }

    /// Whether the target waits for itself by requests of this kind.
    fn cycle(&self, target: Target, kind: impl Fn(&Waiting) -> bool) -> bool {
        let mut open = self.awaits(target);
        let mut met = [false; OWNERS.len()];
        while let Some(owner) = open.pop() {
            if !std::mem::replace(&mut met[owner], true) {
                let own = self.queue.iter();
                let own = own.filter(|w| !w.granted && w.target.owner == owner && kind(w));
                open.extend(own.flat_map(|waiting| self.awaits(waiting.target)));
            }
        }
        met[target.owner]
    }

    /// Those in a cycle of requests that all want it found: there must be none.
    pub fn overlooked(&self) -> Vec<Waiting> {
        let finds = |waiting: &Waiting| waiting.finding == Finding::Deadlocks;
        let waiting = self.queue.iter().filter(|w| !w.granted && finds(w));
        waiting.filter(|w| self.cycle(w.target, finds)).copied().collect()
    }

    /// Ends a wait that the core says is in a cycle.
    pub fn end_deadlocked(&mut self, name: WaiterId) {
        let at = self.queue.iter().position(|waiting| waiting.name == name).unwrap();
        let Waiting { target, finding, granted, .. } = self.queue[at];
        assert!(!granted && finding == Finding::Deadlocks && self.deadlock(target));
        self.abandon(at);
    }

    /// Who waits under this name.
    pub fn owner_of(&self, name: WaiterId) -> Option<usize> {
        let found = self.queue.iter().find(|waiting| waiting.name == name);
        found.map(|waiting| waiting.target.owner)
    }

    pub fn find(&self, target: Target) -> Option<usize> {
        self.queue.iter().position(|waiting| waiting.target.same(target))
    }

    pub fn accept(&mut self, at: usize) {
        let waiting = self.queue.remove(at);
        self.each(waiting.target, |cell| {
            if let Some((name, hold)) = cell.layer
                && name == waiting.name
            {
                *cell = Cell { base: Some(hold), layer: None };
            }
        });
    }

    pub fn refuse(&mut self, at: usize) {
        let waiting = self.queue.remove(at);
        self.each(waiting.target, |cell| {
            if cell.layer.is_some_and(|(name, _)| name == waiting.name) {
                cell.layer = None;
            }
        });
    }

    /// The owner may have the grant: it has that much, and keeps what was stronger in this life.
    pub fn assume(&mut self, at: usize) {
        let waiting = self.queue.remove(at);
        self.each(waiting.target, |cell| {
            if let Some((name, hold)) = cell.layer
                && name == waiting.name
            {
                let former = cell.base.is_some_and(|(_, from)| from != hold.1);
                *cell = Cell { base: if former { Some(hold) } else { cell.held() }, layer: None };
            }
        });
    }

    /// The owner gives a request up; what a grant gave it stays for now.
    pub fn abandon(&mut self, at: usize) {
        let waiting = self.queue.remove(at);
        self.each(waiting.target, |cell| {
            if cell.layer.is_some_and(|(name, _)| name == waiting.name) {
                *cell = Cell { base: cell.held(), layer: None };
            }
        });
    }

    pub fn abandon_where(&mut self, give_up: impl Fn(&Waiting) -> bool) {
        while let Some(at) = self.queue.iter().position(&give_up) {
            self.abandon(at);
        }
    }

    /// What an owner waits for, or was granted, in another life than this.
    fn end_former_life(&mut self, owner: usize, incarnation: u32) {
        let former = |w: &Waiting| w.target.owner == owner && w.incarnation != incarnation;
        while let Some(at) = self.queue.iter().position(former) {
            self.refuse(at);
        }
    }

    pub fn lock(
        &mut self,
        target: Target,
        wait: Option<Finding>,
        incarnation: u32,
        upgrade: bool,
    ) -> &'static str {
        self.end_former_life(target.owner, incarnation);
        // Who asks for the same in another mode has gone on, and is not told of its grant again.
        let other = Target { mode: if target.mode == S { X } else { S }, ..target };
        if let Some(at) = self.find(other).filter(|&at| self.queue[at].granted) {
            self.assume(at);
        }
        if let Some(at) = self.find(target) {
            if self.queue[at].granted {
                self.accept(at);
            } else if wait == Some(Finding::Deadlocks) && self.deadlock(target) {
                self.abandon(at);
                return "deadlock";
            } else if let Some(finding) = wait {
                let waiting = &mut self.queue[at];
                (waiting.incarnation, waiting.finding) = (incarnation, finding);
                waiting.upgrade &= upgrade;
                return "blocked";
            }
        }
        let wanted = Cell { base: Some((target.mode, incarnation)), layer: None };
        let mut all = true;
        self.each(target, |cell| all &= *cell == wanted);
        if all {
            return "granted";
        }
        if self.conflict(target) {
            return match wait {
                Some(Finding::Deadlocks) if self.deadlock(target) => "deadlock",
                Some(_) => "blocked",
                None => "conflict",
            };
        }
        if wait.is_some() && !upgrade && self.yields(target, self.queue.len(), self.now_ms) {
            return "blocked";
        }
        self.each(target, |cell| *cell = wanted);
        "granted"
    }

    pub fn upgrade(
        &mut self,
        target: Target,
        wait: Option<Finding>,
        incarnation: u32,
    ) -> &'static str {
        self.end_former_life(target.owner, incarnation);
        let (mut all_held, mut all_exclusive) = (true, true);
        self.each(target, |cell| {
            let piece = cell.piece();
            all_held &= piece.is_some();
            let settled = cell.layer.is_none();
            all_exclusive &= settled && piece.is_some_and(|(hold, _)| hold == (X, incarnation));
        });
        // A grant of the same bytes is over by it, as by a lock.
        all_exclusive &= !self.is_granted_in(target);
        let waits = |waiting: &Waiting| waiting.upgrade && !waiting.granted;
        match (all_held, all_exclusive) {
            (_, true) => "granted",
            (false, _) => {
                if let Some(at) = self.find(target).filter(|&at| waits(&self.queue[at])) {
                    self.abandon(at);
                }
                "not found"
            }
            _ => self.lock(target, wait, incarnation, true),
        }
    }

    pub fn share(&mut self, owner: usize, file: usize, share: Share) -> &'static str {
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
    pub fn pieces(&self, owner: usize) -> u64 {
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

    pub fn restarted(&mut self, client: &str, incarnation: u32) {
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
    pub fn reclaim(&mut self, who: &str, on: &str, range: Range, hold: Hold) {
        let owner = OWNERS.iter().position(|name| *name == who).unwrap();
        let file = FILES.iter().position(|name| *name == on).unwrap();
        for at in (0..CELLS).filter(|&at| bytes(at as u64, at as u64).overlaps(range)) {
            let cell = self.cell(owner, file, at);
            if cell.layer.is_some() && cell.base.is_none_or(|(mode, _)| mode < hold.0) {
                cell.base = Some(hold);
            }
        }
    }

    /// Grants the foremost that can be granted, until there is none. An upgrade of what its owner
    /// lost since is over.
    pub fn settle(&mut self) -> Vec<WaiterId> {
        let mut granted = Vec::new();
        while let Some(at) = (0..self.queue.len()).find(|&at| self.may_go(at)) {
            let Waiting { name, target, incarnation, upgrade, .. } = self.queue[at];
            let held = |cell| self.held(target.owner, target.file, cell).is_some();
            if upgrade && !(target.first..=target.last).all(held) {
                self.abandon(at);
                continue;
            }
            self.queue[at].granted = true;
            self.each(target, |cell| cell.layer = Some((name, (target.mode, incarnation))));
            granted.push(name);
        }
        granted
    }

    pub fn may_go(&self, at: usize) -> bool {
        let Waiting { target, granted, upgrade, since_ms, .. } = self.queue[at];
        let yields = !upgrade && self.yields(target, at, since_ms);
        !granted && !self.is_granted_in(target) && !self.conflict(target) && !yields
    }

    /// Whether the owner has not yet answered a grant of any of these bytes.
    fn is_granted_in(&self, target: Target) -> bool {
        let owner = target.owner;
        let own = |other: &&Waiting| other.granted && other.target.owner == owner;
        self.queue.iter().filter(own).any(|other| other.target.overlaps(target))
    }
}
