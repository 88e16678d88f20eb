//! Processes: what the users of a host want next, and how they ask for it.

use cleat_lock::{Access, Mode};

use super::World;
use super::host::{Job, Kind, Process};
use super::types::{
    Body, CELLS, Deal, EPISODE_STEP, Event, FILES, Held, Lane, Reserved, Span, Wish,
};

impl World {
    pub fn job(&mut self, host: usize, process: usize, job: Job) -> u64 {
        let it = &mut self.hosts[host].processes[process];
        it.job = job;
        it.jobs += 1;
        it.jobs
    }

    pub fn idle(&mut self, host: usize, process: usize) {
        self.job(host, process, Job::Idle);
        let life = self.hosts[host].life;
        let wait_ms = if self.quiet { 1 } else { self.rng.between(1, self.think_ms_max) };
        self.after(wait_ms, Event::Think { host, life, process });
    }

    pub fn think(&mut self, host: usize, life: u32, process: usize) {
        let it = &self.hosts[host];
        if it.life != life || !it.up || it.processes[process].job != Job::Idle {
            return;
        }
        if it.reclaiming.is_some() {
            return self.after(200, Event::Think { host, life, process });
        }
        if self.quiet || self.rng.chance(30) {
            return self.close(host, process, 0);
        }
        match it.processes[process].kind {
            Kind::Ranges => self.next_of_ranges(host, process),
            Kind::Whole => self.next_of_whole(host, process),
            Kind::Opens if self.rng.chance(400) => self.next_of_ranges(host, process),
            Kind::Opens => self.next_of_opens(host, process),
        }
    }

    fn mode(&mut self, shared_per_mille: u64) -> Mode {
        if self.rng.chance(shared_per_mille) { Mode::Shared } else { Mode::Exclusive }
    }

    fn next_of_ranges(&mut self, host: usize, process: usize) {
        let (a, b) = (self.rng.index(CELLS), self.rng.index(CELLS));
        let mode = self.mode(400);
        let file = self.rng.index(self.files);
        let mut span = Span { file, first: a.min(b), last: a.max(b), mode };
        let dice = self.rng.below(100);
        let mine: Vec<_> = self.hosts[host].processes[process].held.keys().copied().collect();
        // Most changes are to what the process holds.
        if !mine.is_empty() && self.rng.chance(600) {
            let (file, cell) = mine[self.rng.index(mine.len())];
            let reach = self.rng.index(4);
            span = Span { file, first: cell.min(span.first), last: cell.max(cell + reach), mode };
            span.last = span.last.min(CELLS - 1);
        }
        let upgraded = if dice < 15 { self.next_upgrade(host, process) } else { None };
        match (dice, upgraded) {
            (_, Some(span)) => self.lock(host, process, span, dice < 12, true),
            (0..=44, None) => self.lock(host, process, span, true, false),
            (45..=59, None) => self.lock(host, process, span, false, false),
            (60..=94, None) => self.unlock(host, process, span),
            _ => {
                self.job(host, process, Job::Busy);
                self.request(host, process, Lane::Process(process), Body::Test { span });
            }
        }
    }

    /// Some of what the process holds, to be made exclusive; now and then a byte too much.
    fn next_upgrade(&mut self, host: usize, process: usize) -> Option<Span> {
        let held = &self.hosts[host].processes[process].held;
        let (count, too_far) = (held.len(), self.rng.chance(50));
        let start = self.rng.index(count);
        let (&(file, first), _) = held.iter().nth(start)?;
        let reach = self.rng.index(CELLS);
        let mut last = first;
        while last < first + reach && held.contains_key(&(file, last + 1)) {
            last += 1;
        }
        let last = if too_far { (last + 1).min(CELLS - 1) } else { last };
        Some(Span { file, first, last, mode: Mode::Exclusive })
    }

    fn next_of_whole(&mut self, host: usize, process: usize) {
        let held = self.hosts[host].processes[process].held.keys().next().copied();
        if let Some((file, _)) = held {
            return self.unlock(host, process, Span::all(file, Mode::Exclusive));
        }
        let mode = self.mode(500);
        let span = Span::all(self.rng.index(self.files), mode);
        let block = self.rng.chance(700);
        self.lock(host, process, span, block, false);
    }

    fn next_of_opens(&mut self, host: usize, process: usize) {
        let file = self.rng.index(self.files);
        let has = self.hosts[host].processes[process].shares.contains_key(&file);
        if has && self.rng.chance(500) {
            return self.unshare(host, process, file);
        }
        // Denying little is what most do; else nobody would get anything.
        let access = Access::ALL[self.rng.index(4)];
        let deny = Access::ALL[self.rng.index(4).min(self.rng.index(4))];
        let deal = Deal { access, deny };
        let shares = &mut self.hosts[host].processes[process].shares;
        if let Some(share) = shares.get_mut(&file) {
            // From here on the server may have put the new one in its place.
            share.sure = share.sure.common(deal);
        }
        self.job(host, process, Job::Sharing { file, deal });
        let body = Body::Share { file, deal, reclaim: false };
        self.request(host, process, Lane::Process(process), body);
    }

    fn lock(&mut self, host: usize, process: usize, span: Span, block: bool, upgrade: bool) {
        self.episodes += 1;
        let episode = self.episodes * EPISODE_STEP + host as u64;
        let wait = block.then_some(episode);
        self.ask(host, process, Wish { span, wait, upgrade });
        if block && !self.quiet && self.rng.chance(250) {
            let (life, job) = (self.hosts[host].life, episode);
            let after_ms = self.rng.between(1, 60_000);
            self.after(after_ms, Event::Interrupt { host, life, process, job });
        }
    }

    pub fn ask(&mut self, host: usize, process: usize, wish: Wish) {
        self.job(host, process, Job::Asking { wish, flag: None });
        let it = &mut self.hosts[host].processes[process];
        let find_deadlock = it.kind != Kind::Whole;
        if wish.span.mode == Mode::Shared {
            // From here on the server may have weakened it.
            for cell in wish.span.cells() {
                if let Some(held) = it.held.get_mut(&cell) {
                    held.sure = Mode::Shared;
                }
            }
        }
        let body = Body::Lock { wish, find_deadlock };
        self.request(host, process, Lane::Process(process), body);
    }

    fn give_up(&mut self, host: usize, process: usize, span: Span) {
        let held = &mut self.hosts[host].processes[process].held;
        held.retain(|&cell, _| !span.has(cell));
        self.request(host, process, Lane::Process(process), Body::Unlock { span });
    }

    pub fn unlock(&mut self, host: usize, process: usize, span: Span) {
        self.job(host, process, Job::Busy);
        self.give_up(host, process, span);
    }

    pub fn unshare(&mut self, host: usize, process: usize, file: usize) {
        self.job(host, process, Job::Busy);
        self.give_up_share(host, process, file);
    }

    fn give_up_share(&mut self, host: usize, process: usize, file: usize) {
        self.hosts[host].processes[process].shares.remove(&file);
        self.request(host, process, Lane::Process(process), Body::Unshare { file });
    }

    fn close(&mut self, host: usize, process: usize, file: usize) {
        if self.hosts[host].reclaiming.is_some() {
            // An unlock waits for the recovery's end, or a reclaim under way would come after it.
            return self.idle(host, process);
        }
        if file == FILES {
            if self.quiet {
                self.job(host, process, Job::Over);
            } else {
                self.idle(host, process);
            }
            return;
        }
        let unshare = self.hosts[host].processes[process].kind == Kind::Opens;
        self.job(host, process, Job::Closing { file, unshare });
        self.give_up(host, process, Span::all(file, Mode::Exclusive));
    }

    /// The locks of one file (or its reservation) are given up: on with the next.
    pub fn close_next(&mut self, host: usize, process: usize, file: usize, unshare: bool) {
        if self.hosts[host].reclaiming.is_some() {
            // Some of it is being reclaimed: later, and from the start.
            return self.idle(host, process);
        }
        if !unshare {
            return self.close(host, process, file + 1);
        }
        self.job(host, process, Job::Closing { file, unshare: false });
        self.give_up_share(host, process, file);
    }

    /// The client learns that it has a lock.
    pub fn hold(&mut self, host: usize, process: usize, span: Span, (epoch, stamp): (u64, u64)) {
        let lost = self.is_lost(host, epoch, stamp);
        self.touched = true;
        let Process { held, .. } = &mut self.hosts[host].processes[process];
        for cell in span.cells() {
            held.insert(cell, Held { mode: span.mode, sure: span.mode, epoch, lost });
        }
        self.trace(|| format!("h{host}/{process} holds {span:?}, lost: {lost}"));
        self.idle(host, process);
    }

    /// The client learns that it has a reservation.
    pub fn reserve(
        &mut self,
        host: usize,
        process: usize,
        (file, deal): (usize, Deal),
        (epoch, stamp): (u64, u64),
    ) {
        let lost = self.is_lost(host, epoch, stamp);
        self.touched = true;
        let Process { shares, .. } = &mut self.hosts[host].processes[process];
        shares.insert(file, Reserved { deal, sure: deal, epoch, lost });
        self.idle(host, process);
    }

    /// The lock is not to be had. Where it would have been a downgrade, a repetition of the request
    /// may have been granted after all: the process gives the range up.
    pub fn without(&mut self, host: usize, process: usize, span: Span) {
        let held = &self.hosts[host].processes[process].held;
        let mut cells = span.cells().filter_map(|cell| held.get(&cell));
        if cells.any(|held| held.sure != held.mode) {
            self.unlock(host, process, span);
        } else {
            self.idle(host, process);
        }
    }

    /// Nor is the reservation: likewise.
    pub fn without_share(&mut self, host: usize, process: usize, file: usize) {
        match self.hosts[host].processes[process].shares.get(&file) {
            Some(share) if share.sure != share.deal => self.unshare(host, process, file),
            _ => self.idle(host, process),
        }
    }
}
