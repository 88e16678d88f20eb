//! Hosts and their processes: what Linux does with NLM, NSM and its own users.

use std::collections::BTreeMap;

use cleat_lock::{Mode, Outcome};

use super::World;
use super::types::{
    Body, CELLS, Callback, Cells, Event, FILES, Held, Lane, Message, Reply, Request, Span, Stat,
};

/// How users of a file behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// fcntl(2): byte ranges, both modes, upgrades, holds some while it waits for others.
    Ranges,
    /// flock(2): a whole file or nothing, never two.
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    Idle,
    /// A LOCK is under way. `flag`: GRANTED came already, in that epoch and step.
    Asking {
        span: Span,
        wait: Option<u64>,
        flag: Option<(u64, u64)>,
    },
    Blocked {
        span: Span,
        episode: u64,
    },
    /// The server is in grace: ask again later.
    Later {
        span: Span,
        wait: Option<u64>,
    },
    Cancelling {
        span: Span,
        episode: u64,
        took: bool,
    },
    Unlocking,
    Testing,
    /// Gives up everything, file by file.
    Closing {
        file: usize,
    },
    Over,
}

#[derive(Clone, Debug)]
pub struct Process {
    pub kind: Kind,
    pub job: Job,
    /// Counts changes of `job`, so that a timer knows whether it is still meant.
    pub jobs: u64,
    pub held: Cells,
}

#[derive(Debug)]
pub struct Outstanding {
    pub request: Request,
    tries: u64,
}

#[derive(Debug)]
pub struct Host {
    pub up: bool,
    /// Until then it stands still.
    pub frozen_until_ms: u64,
    pub life: u32,
    pub processes: Vec<Process>,
    /// The latest server instance that it heard of.
    pub known_epoch: u64,
    pub under_way: BTreeMap<Lane, Outstanding>,
    /// What is left to reclaim; `None` = no recovery goes on.
    pub reclaiming: Option<Vec<(usize, Span)>>,
    /// Step of the latest administrator's clear.
    pub cleared: u64,
    xid: u64,
}

impl Host {
    pub fn new(kinds: &[Kind]) -> Host {
        let process = |&kind| Process { kind, job: Job::Idle, jobs: 0, held: Cells::new() };
        Host {
            up: true,
            frozen_until_ms: 0,
            life: 1,
            processes: kinds.iter().map(process).collect(),
            known_epoch: 0,
            under_way: BTreeMap::new(),
            reclaiming: None,
            cleared: 0,
            xid: 0,
        }
    }

    /// Whether the host still waits for the answer to just this request.
    pub fn is_under_way(&self, request: &Request) -> bool {
        let under_way = self.under_way.get(&request.lane);
        under_way.is_some_and(|it| (it.request.life, it.request.xid) == (request.life, request.xid))
    }
}

impl World {
    /// Puts a request and repeats it until it is answered.
    fn request(&mut self, host: usize, process: usize, lane: Lane, body: Body) {
        let it = &mut self.hosts[host];
        it.xid += 1;
        let request = Request { host, life: it.life, process, lane, xid: it.xid, body };
        it.under_way.insert(lane, Outstanding { request, tries: 0 });
        self.transmit(host, lane);
    }

    fn transmit(&mut self, host: usize, lane: Lane) {
        let Some(under_way) = self.hosts[host].under_way.get_mut(&lane) else { return };
        under_way.tries += 1;
        let (request, tries) = (under_way.request, under_way.tries);
        self.post(Message::Request(request));
        let wait_ms = (1_000 << tries.min(3)) + self.rng.below(500);
        let Request { life, xid, .. } = request;
        self.after(wait_ms, Event::Again { host, life, lane, xid });
    }

    pub fn again(&mut self, host: usize, life: u32, lane: Lane, xid: u64) {
        let it = &self.hosts[host];
        let current = it.under_way.get(&lane).is_some_and(|under_way| under_way.request.xid == xid);
        if it.life == life && current {
            self.transmit(host, lane);
        }
    }

    fn job(&mut self, host: usize, process: usize, job: Job) -> u64 {
        let it = &mut self.hosts[host].processes[process];
        it.job = job;
        it.jobs += 1;
        it.jobs
    }

    fn idle(&mut self, host: usize, process: usize) {
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
        }
    }

    fn next_of_ranges(&mut self, host: usize, process: usize) {
        let rng = &mut self.rng;
        let (a, b) = (rng.index(CELLS), rng.index(CELLS));
        let mode = if rng.chance(400) { Mode::Shared } else { Mode::Exclusive };
        let file = rng.index(self.files);
        let mut span = Span { file, first: a.min(b), last: a.max(b), mode };
        let dice = rng.below(100);
        let mine: Vec<_> = self.hosts[host].processes[process].held.keys().copied().collect();
        // Most changes are to what the process holds.
        if !mine.is_empty() && self.rng.chance(600) {
            let (file, cell) = mine[self.rng.index(mine.len())];
            let reach = self.rng.index(4);
            span = Span { file, first: cell.min(span.first), last: cell.max(cell + reach), mode };
            span.last = span.last.min(CELLS - 1);
        }
        match dice {
            0..=44 => self.lock(host, process, span, true),
            45..=59 => self.lock(host, process, span, false),
            60..=94 => self.unlock(host, process, span),
            _ => {
                self.job(host, process, Job::Testing);
                self.request(host, process, Lane::Process(process), Body::Test { span });
            }
        }
    }

    fn next_of_whole(&mut self, host: usize, process: usize) {
        let held = self.hosts[host].processes[process].held.keys().next().copied();
        if let Some((file, _)) = held {
            return self.unlock(host, process, Span::all(file, Mode::Exclusive));
        }
        let mode = if self.rng.chance(500) { Mode::Shared } else { Mode::Exclusive };
        let span = Span::all(self.rng.index(self.files), mode);
        let block = self.rng.chance(700);
        self.lock(host, process, span, block);
    }

    fn lock(&mut self, host: usize, process: usize, span: Span, block: bool) {
        self.episodes += 1;
        let episode = self.episodes;
        let wait = block.then_some(episode);
        self.ask(host, process, span, wait);
        if block && !self.quiet && self.rng.chance(250) {
            let (life, job) = (self.hosts[host].life, episode);
            let after_ms = self.rng.between(1, 60_000);
            self.after(after_ms, Event::Interrupt { host, life, process, job });
        }
    }

    fn ask(&mut self, host: usize, process: usize, span: Span, wait: Option<u64>) {
        self.job(host, process, Job::Asking { span, wait, flag: None });
        let it = &mut self.hosts[host].processes[process];
        let find_deadlock = it.kind == Kind::Ranges;
        if span.mode == Mode::Shared {
            // From here on the server may have weakened it.
            for cell in span.first..=span.last {
                if let Some(held) = it.held.get_mut(&(span.file, cell)) {
                    held.sure = Mode::Shared;
                }
            }
        }
        let body = Body::Lock { span, wait, reclaim: false, find_deadlock };
        self.request(host, process, Lane::Process(process), body);
    }

    fn give_up(&mut self, host: usize, process: usize, span: Span) {
        let held = &mut self.hosts[host].processes[process].held;
        held.retain(|&(file, cell), _| {
            file != span.file || !(span.first..=span.last).contains(&cell)
        });
        self.request(host, process, Lane::Process(process), Body::Unlock { span });
    }

    fn unlock(&mut self, host: usize, process: usize, span: Span) {
        self.job(host, process, Job::Unlocking);
        self.give_up(host, process, span);
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
        self.job(host, process, Job::Closing { file });
        self.give_up(host, process, Span::all(file, Mode::Exclusive));
    }

    /// The client learns that it has a lock.
    fn hold(&mut self, host: usize, process: usize, span: Span, (epoch, stamp): (u64, u64)) {
        let cleared = stamp < self.hosts[host].cleared;
        let lost = cleared || (epoch < self.epoch && stamp < self.closed);
        let held = &mut self.hosts[host].processes[process].held;
        for cell in span.first..=span.last {
            held.insert((span.file, cell), Held { mode: span.mode, sure: span.mode, epoch, lost });
        }
        self.trace(|| format!("h{host}/{process} holds {span:?}, lost: {lost}"));
        self.idle(host, process);
    }

    pub fn replied(&mut self, reply: &Reply) {
        let Request { host, life, process, lane, xid, body } = reply.to;
        let it = &mut self.hosts[host];
        let current = it.under_way.get(&lane).is_some_and(|under_way| under_way.request.xid == xid);
        if it.life != life || !it.up || !current {
            return;
        }
        it.under_way.remove(&lane);
        let (outcome, told) = (&reply.outcome, (reply.epoch, reply.stamp));
        match (lane, it.processes[process].job) {
            (Lane::Notify, _) => {}
            (Lane::Reclaim, _) => self.reclaimed(host, process, body, reply),
            (_, Job::Asking { span, wait, flag }) => {
                self.answered(host, process, (span, wait, flag), outcome, told);
            }
            (_, Job::Cancelling { span, took, .. }) => {
                if took || *outcome == Outcome::AlreadyHeld {
                    self.unlock(host, process, span);
                } else {
                    self.without(host, process, span);
                }
            }
            (_, Job::Closing { file }) => self.close(host, process, file + 1),
            _ => self.idle(host, process),
        }
    }

    fn answered(
        &mut self,
        host: usize,
        process: usize,
        (span, wait, flag): (Span, Option<u64>, Option<(u64, u64)>),
        outcome: &Outcome,
        told: (u64, u64),
    ) {
        let (life, known) = (self.hosts[host].life, self.hosts[host].known_epoch);
        match outcome {
            // The server that said so is gone: ask its successor.
            Outcome::Granted if told.0 < known => self.ask(host, process, span, wait),
            Outcome::Granted => self.hold(host, process, span, told),
            Outcome::Blocked => match flag.filter(|flag| flag.0 == told.0) {
                Some(flag) => self.hold(host, process, span, flag),
                None => {
                    let Some(episode) = wait else {
                        return self.fail(|| format!("h{host}/{process} blocked unasked"));
                    };
                    let job = self.job(host, process, Job::Blocked { span, episode });
                    self.after(30_000, Event::Poll { host, life, process, job });
                }
            },
            Outcome::Grace { .. } => {
                let job = self.job(host, process, Job::Later { span, wait });
                self.after(5_000, Event::Poll { host, life, process, job });
            }
            _ => self.without(host, process, span),
        }
    }

    /// The lock is not to be had. Where it would have been a downgrade, a repetition of the request
    /// may have been granted after all: the process gives the range up.
    fn without(&mut self, host: usize, process: usize, span: Span) {
        let held = &self.hosts[host].processes[process].held;
        let mut cells = (span.first..=span.last).filter_map(|cell| held.get(&(span.file, cell)));
        if cells.any(|held| held.sure != held.mode) {
            self.unlock(host, process, span);
        } else {
            self.idle(host, process);
        }
    }

    pub fn poll(&mut self, host: usize, life: u32, process: usize, job: u64) {
        let it = &self.hosts[host];
        if it.life != life || !it.up || it.processes[process].jobs != job {
            return;
        }
        match it.processes[process].job {
            Job::Blocked { span, episode } => self.ask(host, process, span, Some(episode)),
            Job::Later { span, .. } if self.quiet => self.without(host, process, span),
            Job::Later { .. } if it.reclaiming.is_some() => {
                self.after(200, Event::Poll { host, life, process, job });
            }
            Job::Later { span, wait } => self.ask(host, process, span, wait),
            _ => {}
        }
    }

    pub fn interrupt(&mut self, host: usize, life: u32, process: usize, episode: u64) {
        let it = &self.hosts[host];
        if it.life != life || !it.up {
            return;
        }
        if let Job::Blocked { span, episode: now } = it.processes[process].job
            && now == episode
        {
            self.job(host, process, Job::Cancelling { span, episode, took: false });
            self.request(host, process, Lane::Process(process), Body::Cancel { span });
        }
    }

    /// NLM_GRANTED arrives. A client matches it to the request that waits: here by the cookie,
    /// since no server can help one that takes a grant meant for an earlier wish.
    pub fn called_back(&mut self, call: Callback) {
        let Callback { host, episode, epoch, stamp, .. } = call;
        let it = &mut self.hosts[host];
        if !it.up {
            return self.undelivered(call);
        }
        if epoch < it.known_epoch {
            return;
        }
        let mut stat = Stat::Denied;
        let mut take = None;
        for (number, process) in it.processes.iter_mut().enumerate() {
            match &mut process.job {
                Job::Asking { wait: Some(wait), flag, .. } if *wait == episode => {
                    *flag = Some((epoch, stamp));
                    stat = Stat::Granted;
                }
                Job::Blocked { span, episode: now } if *now == episode => {
                    take = Some((number, *span));
                    stat = Stat::Granted;
                }
                Job::Cancelling { episode: now, took, .. }
                    if *now == episode && self.rng.chance(500) =>
                {
                    *took = true;
                    stat = Stat::Granted;
                }
                _ => {}
            }
        }
        if stat == Stat::Granted && take.is_some() && !self.quiet && self.rng.chance(50) {
            // A lock manager that has just started.
            return self.post(Message::CallbackAnswer(call, Stat::DeniedGrace));
        }
        if let Some((process, span)) = take {
            self.hold(host, process, span, (epoch, stamp));
        }
        self.post(Message::CallbackAnswer(call, stat));
    }

    /// SM_NOTIFY from the server: everything held is reclaimed, everything blocked put anew.
    pub fn server_restarted(&mut self, host: usize, epoch: u64) {
        let it = &mut self.hosts[host];
        if !it.up {
            return;
        }
        if epoch > it.known_epoch {
            it.known_epoch = epoch;
            let mut blocked = Vec::new();
            let mut reclaims = Vec::new();
            for (number, process) in it.processes.iter_mut().enumerate() {
                match &mut process.job {
                    Job::Asking { flag, .. } => *flag = None,
                    Job::Blocked { span, episode } => blocked.push((number, *span, *episode)),
                    _ => {}
                }
                reclaims.extend(spans(&process.held).into_iter().map(|span| (number, span)));
            }
            it.reclaiming = Some(reclaims);
            it.under_way.remove(&Lane::Reclaim);
            self.reclaim_next(host);
            for (process, span, episode) in blocked {
                self.ask(host, process, span, Some(episode));
            }
        }
        self.post(Message::Heard { host, epoch });
    }

    fn reclaim_next(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        let Some(reclaims) = &mut it.reclaiming else { return };
        let Some((process, span)) = reclaims.pop() else {
            it.reclaiming = None;
            return;
        };
        let body = Body::Lock { span, wait: None, reclaim: true, find_deadlock: false };
        self.request(host, process, Lane::Reclaim, body);
    }

    fn reclaimed(&mut self, host: usize, process: usize, body: Body, reply: &Reply) {
        let Body::Lock { span, .. } = body else { return };
        let granted = reply.outcome == Outcome::Granted;
        let cleared = reply.stamp < self.hosts[host].cleared;
        let lost = cleared || (reply.epoch < self.epoch && reply.stamp < self.closed);
        let held = &mut self.hosts[host].processes[process].held;
        for cell in span.first..=span.last {
            if let Some(cell) = held.get_mut(&(span.file, cell)).filter(|_| granted) {
                *cell = Held { epoch: reply.epoch, lost, mode: cell.sure, ..*cell };
            } else if !granted {
                held.remove(&(span.file, cell));
            }
        }
        self.trace(|| format!("h{host}/{process} reclaimed {span:?}: {granted}"));
        self.reclaim_next(host);
    }

    pub fn host_down(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        if self.quiet || !it.up {
            return;
        }
        it.up = false;
        it.life += 2;
        it.known_epoch = 0;
        it.under_way.clear();
        it.reclaiming = None;
        for process in &mut it.processes {
            process.job = Job::Idle;
            process.held.clear();
        }
        let after_ms = self.rng.between(1_000, 40_000);
        self.after(after_ms, Event::HostUp { host });
    }

    pub fn host_up(&mut self, host: usize) {
        self.hosts[host].up = true;
        self.request(host, 0, Lane::Notify, Body::Restarted);
        for process in 0..self.hosts[host].processes.len() {
            self.idle(host, process);
        }
    }
}

/// What a process holds as it would reclaim it: neighbours of one mode are one lock.
fn spans(held: &Cells) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (&(file, cell), &Held { sure: mode, .. }) in held {
        match spans.last_mut() {
            Some(last) if (last.file, last.mode) == (file, mode) && last.last + 1 == cell => {
                last.last = cell;
            }
            _ => spans.push(Span { file, first: cell, last: cell, mode }),
        }
    }
    spans
}
