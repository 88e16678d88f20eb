//! Hosts: their life and death, their connections, and what they do when the server restarted.

use std::collections::BTreeMap;

use cleat_lock::Outcome;

use super::World;
use super::types::{
    Body, Cells, Deal, Event, Held, Lane, Message, Protocol, Reply, Request, Reserved, Span, Wish,
};

/// How users of a file behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// fcntl(2): byte ranges, both modes, upgrades, holds some while it waits for others.
    Ranges,
    /// flock(2): a whole file or nothing, never two.
    Whole,
    /// Reserves files against others, and locks ranges.
    Opens,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    Idle,
    /// A LOCK is under way. `flag`: GRANTED came already, in that epoch and step.
    Asking {
        wish: Wish,
        flag: Option<(u64, u64)>,
    },
    Blocked {
        wish: Wish,
    },
    /// The server is in grace: ask again later.
    Later {
        wish: Wish,
    },
    Cancelling {
        span: Span,
        episode: u64,
        took: bool,
    },
    Sharing {
        file: usize,
        deal: Deal,
    },
    /// An UNLOCK, an UNSHARE or a TEST is under way.
    Busy,
    /// Gives up everything, file by file; of each its locks and then its reservation.
    Closing {
        file: usize,
        unshare: bool,
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
    pub shares: BTreeMap<usize, Reserved>,
}

/// Something to reclaim.
#[derive(Clone, Copy, Debug)]
pub enum Claim {
    Lock(Span),
    Share(usize),
}

#[derive(Debug)]
pub struct Outstanding {
    pub request: Request,
    pub tries: u64,
}

#[derive(Debug)]
pub struct Host {
    pub protocol: Protocol,
    pub up: bool,
    /// It is up and has no connection.
    pub away: bool,
    /// Until then it stands still.
    pub frozen_until_ms: u64,
    pub life: u32,
    pub processes: Vec<Process>,
    /// The latest server instance that it heard of.
    pub known_epoch: u64,
    pub under_way: BTreeMap<Lane, Outstanding>,
    /// What is left to reclaim, and for which process; `None` = no recovery goes on.
    pub reclaiming: Option<Vec<(usize, Claim)>>,
    /// Step of the latest administrator's clear, or of the host's lapse.
    pub cleared: u64,
    /// How often its connection was made anew.
    pub connection: u32,
    pub xid: u64,
}

impl Host {
    pub fn new(protocol: Protocol, kinds: &[Kind]) -> Host {
        let process = |&kind| Process {
            kind,
            job: Job::Idle,
            jobs: 0,
            held: Cells::new(),
            shares: BTreeMap::new(),
        };
        Host {
            protocol,
            up: true,
            away: false,
            frozen_until_ms: 0,
            life: 1,
            processes: kinds.iter().map(process).collect(),
            known_epoch: 0,
            under_way: BTreeMap::new(),
            reclaiming: None,
            cleared: 0,
            xid: 0,
            connection: 0,
        }
    }

    /// Whether the host still waits for the answer to just this request.
    pub fn is_under_way(&self, request: &Request) -> bool {
        let under_way = self.under_way.get(&request.lane);
        under_way.is_some_and(|it| (it.request.life, it.request.xid) == (request.life, request.xid))
    }

    pub fn is_reachable(&self) -> bool {
        self.up && !self.away
    }
}

impl World {
    /// Puts a request and repeats it until it is answered.
    pub fn request(&mut self, host: usize, process: usize, lane: Lane, body: Body) {
        let it = &mut self.hosts[host];
        it.xid += 1;
        let (life, connection, xid) = (it.life, it.connection, it.xid);
        let request = Request { host, life, connection, process, lane, xid, body };
        it.under_way.insert(lane, Outstanding { request, tries: 0 });
        self.transmit(host, lane);
    }

    fn transmit(&mut self, host: usize, lane: Lane) {
        let Host { away, connection, .. } = self.hosts[host];
        let Some(under_way) = self.hosts[host].under_way.get_mut(&lane) else { return };
        under_way.tries += 1;
        under_way.request.connection = connection;
        let (request, tries) = (under_way.request, under_way.tries);
        if !away {
            self.post(Message::Request(request));
        }
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

    /// Says that it has a connection, if its protocol has such.
    pub fn register(&mut self, host: usize) {
        let it = &self.hosts[host];
        if it.protocol.is_connected() && !it.under_way.contains_key(&Lane::Notify) {
            self.request(host, 0, Lane::Notify, Body::Register);
        }
    }

    /// The host's own news was heard.
    pub fn notified(&mut self, host: usize, body: Body) {
        if body == Body::Restarted {
            self.register(host);
        }
    }

    /// SM_NOTIFY from the server: everything held is reclaimed, everything blocked put anew.
    pub fn server_restarted(&mut self, host: usize, epoch: u64) {
        let it = &mut self.hosts[host];
        if !it.is_reachable() {
            return;
        }
        if epoch > it.known_epoch {
            it.known_epoch = epoch;
            let mut claims = Vec::new();
            for (number, process) in it.processes.iter_mut().enumerate() {
                if let Job::Asking { flag, .. } = &mut process.job {
                    *flag = flag.filter(|flag| flag.0 >= epoch);
                }
                claims.extend(spans(&process.held).into_iter().map(|it| (number, Claim::Lock(it))));
                claims.extend(process.shares.keys().map(|&file| (number, Claim::Share(file))));
            }
            it.reclaiming = Some(claims);
            it.under_way.remove(&Lane::Reclaim);
            self.register(host);
            self.reclaim_next(host);
            self.ask_anew(host);
        }
        self.post(Message::Heard { host, epoch });
    }

    fn ask_anew(&mut self, host: usize) {
        for process in 0..self.hosts[host].processes.len() {
            if let Job::Blocked { wish } = self.hosts[host].processes[process].job {
                self.ask(host, process, wish);
            }
        }
    }

    fn reclaim_next(&mut self, host: usize) {
        loop {
            let it = &mut self.hosts[host];
            let Some(claims) = &mut it.reclaiming else { return };
            let Some((process, claim)) = claims.pop() else {
                it.reclaiming = None;
                return;
            };
            // Some may have been given up since.
            let Process { held, shares, .. } = &it.processes[process];
            let body = match claim {
                Claim::Lock(span) => {
                    let still = span.cells().all(|cell| held.contains_key(&cell));
                    still.then_some(Body::Reclaim { span })
                }
                Claim::Share(file) => shares.get(&file).map(|it| {
                    let deal = it.sure;
                    Body::Share { file, deal, reclaim: true }
                }),
            };
            if let Some(body) = body {
                return self.request(host, process, Lane::Reclaim, body);
            }
        }
    }

    pub fn reclaimed(&mut self, host: usize, process: usize, body: Body, reply: &Reply) {
        let granted = reply.outcome == Outcome::Granted;
        let (epoch, lost) = (reply.epoch, self.is_lost(host, reply.epoch, reply.stamp));
        self.touched = true;
        let Process { held, shares, .. } = &mut self.hosts[host].processes[process];
        match body {
            // What came meanwhile is more than was reclaimed, and stands or falls by itself.
            Body::Reclaim { span } if granted => {
                for cell in span.cells() {
                    if let Some(cell) = held.get_mut(&cell).filter(|cell| cell.sure <= span.mode) {
                        *cell = Held { epoch, lost, mode: cell.sure, ..*cell };
                    }
                }
            }
            Body::Reclaim { span } => held.retain(|&cell, _| !span.has(cell)),
            Body::Share { file, deal, .. } if granted => {
                if let Some(share) = shares.get_mut(&file).filter(|it| deal.covers(it.sure)) {
                    *share = Reserved { deal, epoch, lost, ..*share };
                }
            }
            Body::Share { file, .. } => {
                shares.remove(&file);
            }
            _ => {}
        }
        self.trace(|| format!("h{host}/{process} reclaimed {body:?}: {granted}"));
        self.reclaim_next(host);
    }

    /// Whether what the server said in that epoch and step has been taken away since, as the
    /// protocol permits.
    pub fn is_lost(&self, host: usize, epoch: u64, stamp: u64) -> bool {
        let doubted = self.doubted == self.epoch || stamp < self.closed;
        stamp < self.hosts[host].cleared || (epoch < self.epoch && doubted)
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
            process.shares.clear();
        }
        let after_ms = self.rng.between(1_000, 40_000);
        self.after(after_ms, Event::HostUp { host });
        self.unplug(host);
    }

    pub fn host_up(&mut self, host: usize) {
        self.hosts[host].up = true;
        self.request(host, 0, Lane::Notify, Body::Restarted);
        for process in 0..self.hosts[host].processes.len() {
            self.idle(host, process);
        }
    }

    fn unplug(&mut self, host: usize) {
        if self.hosts[host].protocol.is_connected() {
            let notice_ms = self.rng.between(0, 5_000);
            self.after(notice_ms, Event::Unplugged { host });
        }
    }

    pub fn go_away(&mut self, host: usize) {
        if self.quiet || self.hosts[host].away {
            return;
        }
        self.hosts[host].away = true;
        let back_ms = self.rng.between(1, 60_000);
        self.after(back_ms, Event::Back { host });
        self.unplug(host);
    }

    pub fn come_back(&mut self, host: usize) {
        self.hosts[host].away = false;
        if self.hosts[host].protocol.is_connected() {
            self.hosts[host].connection += 1;
        }
        if self.hosts[host].up {
            self.register(host);
            self.ask_anew(host);
        }
        if self.rng.chance(700) {
            let stay_ms = self.rng.between(1, 100_000);
            self.after(stay_ms, Event::Away { host });
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
