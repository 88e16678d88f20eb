//! The server's surroundings of the core, modelled after `src/lockd/driver.rs`: batch, persist, then
//! speak; and die at any point of that.

use std::collections::BTreeMap;

use cleat_lock::store::{Crash, Durability};
use cleat_lock::{
    Config, Core, Effect, Epoch, FileId, GraceEnd, GraceEvent, Input, Outcome, Query, Record,
    RecordOp, Store, Token, WaiterId,
};

use super::World;
use super::calls::{Pending, episode};
use super::recovery::{Plan, Presence};
use super::table::{Table, Waiter};
use super::types::{Body, Event, Inbound, Lane, Message, Reply, Request, Wish, wisher};
use super::waits::Waits;

/// One life of the server.
#[derive(Debug)]
pub struct Server {
    pub core: Core,
    /// What the core held after its latest step.
    pub table: Table,
    /// What it held before the step of this number, the latest one that changed something.
    pub before: (u64, Table),
    pub exact: bool,
    inbox: Vec<Inbound>,
    awake: bool,
    effects: Vec<(u64, Effect)>,
    pub asked: BTreeMap<Token, Request>,
    /// The latest to each lane of each host.
    pub replies: BTreeMap<(usize, Lane), Reply>,
    pub calls: BTreeMap<WaiterId, Pending>,
    pub unheard: Vec<usize>,
    /// Hosts said to be disconnected that showed no sign of life since, and when.
    pub gone: BTreeMap<usize, u64>,
    pub presence: Presence,
    pub waits: Waits,
    alarm_ms: u64,
}

impl Server {
    /// Whether the step put a lock or a share on record. (It may end what is left of the client's
    /// former life.)
    pub fn added(&self, step: u64) -> bool {
        let adds = |op: &RecordOp| {
            matches!(op, RecordOp::Put(Record::Lock(_)) | RecordOp::Put(Record::Share(_)))
        };
        self.effects.iter().any(|(stamp, effect)| {
            *stamp == step && matches!(effect, Effect::Persist(op) if adds(op))
        })
    }
}

impl Server {
    /// Whether it is by this step that the request has its lock.
    pub fn grants_now(&self, step: u64, waiter: &Waiter) -> bool {
        let (changed, before) = &self.before;
        let known = || before.granted().any(|it| it.waiter == waiter.waiter);
        waiter.granted && *changed == step && !known()
    }

    /// What the host was told to have may be gone.
    pub fn forget_grants(&mut self, host: usize) {
        let granted = |reply: &Reply| reply.to.host == host && reply.outcome == Outcome::Granted;
        self.replies.retain(|_, reply| !granted(reply));
    }

    /// Nobody waits with this wish any more.
    fn forget_wish(&mut self, episode: u64) {
        let waits = |body: Body| matches!(body, Body::Lock { wish: Wish { wait: Some(wait), .. }, .. } if wait == episode);
        self.replies.retain(|_, reply| !waits(reply.to.body));
    }
}

pub fn file_id(file: usize) -> FileId {
    FileId::new([b'f', b'0' + u8::try_from(file).unwrap_or(0)])
}

impl World {
    pub fn config(&mut self) -> Config {
        let &Plan { recovery, unreachable_hold_ms, .. } = &self.plan;
        Config {
            recovery,
            unreachable_hold_ms,
            limits: self.limits.clone(),
            disconnect_ttl_ms: self.ttl_ms,
            hash_seed: self.rng.next(),
            ..Config::default()
        }
    }

    pub fn host_of(&self, client_id: &str) -> usize {
        let found = self.names.iter().position(|names| *names.client_id == *client_id);
        found.expect("a client that exists")
    }

    pub fn start_server(&mut self) {
        let survived = !std::mem::take(&mut self.machine_died) || self.power;
        let started = self.store.next_epoch(survived).expect("the memory store writes");
        let Epoch { number: epoch, exact } = started;
        self.epoch = epoch;
        let records = self.store.list(&Query::All).expect("the memory store reads");
        let hosts: Vec<usize> = records
            .iter()
            .filter_map(|record| match record {
                Record::Client(client) => Some(self.host_of(&client.client_id)),
                _ => None,
            })
            .collect();
        self.trace(|| format!("server {epoch} starts, {} records, exact {exact}", records.len()));
        let (config, grace_ms) = (self.config(), self.grace_ms);
        let core = Core::restore(config, self.now_ms, records, grace_ms, exact);
        if !core.rejected().is_empty() {
            self.fail(|| format!("records contradict each other: {:?}", core.rejected()));
        }
        self.server = Some(Server {
            table: Table::of(&core),
            before: (0, Table::default()),
            core,
            exact,
            inbox: Vec::new(),
            awake: false,
            effects: Vec::new(),
            asked: BTreeMap::new(),
            replies: BTreeMap::new(),
            calls: BTreeMap::new(),
            unheard: hosts.clone(),
            gone: BTreeMap::new(),
            presence: Presence::new(self.now_ms),
            waits: Waits::default(),
            alarm_ms: u64::MAX,
        });
        for &host in &hosts {
            self.after(1, Event::NotifyAgain { epoch, host });
        }
        if self.plan.lease_ms > 0 {
            self.after(1, Event::Probe { epoch });
        }
        self.step(Input::Tick);
        // No connection outlives the server.
        for host in hosts {
            if self.hosts[host].protocol.is_connected() {
                self.disconnected(host);
            }
        }
        self.settle();
        if !self.quiet {
            let life_ms = self.rng.between(1, self.server_life_ms_max);
            self.after(life_ms, Event::ServerKill { epoch });
            if self.rng.chance(100) {
                let wait_ms = self.rng.between(1, grace_ms);
                self.after(wait_ms, Event::EndGrace);
            }
        }
    }

    pub fn kill_server(&mut self, why: &str) {
        let Some(server) = self.server.take() else { return };
        self.met.add(&server.core.counters());
        let machine = self.rng.chance(self.machine_crash_per_mille);
        let kept = self.rng.index(self.store.unsynced() + 1);
        let crash = if machine { Crash::Machine { kept } } else { Crash::Process };
        self.store.crash(crash);
        self.machine_died |= machine;
        self.strays |= machine;
        self.trace(|| format!("server dies {why}: {crash:?}"));
        let long = self.rng.chance(self.long_down_per_mille);
        let longest_ms = if long { self.silence_ms + 30_000 } else { 20_000 };
        let down_ms = self.rng.between(if long { self.silence_ms } else { 500 }, longest_ms);
        self.after(down_ms, Event::ServerStart);
    }

    pub fn tell_server(&mut self, inbound: Inbound) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        server.inbox.push(inbound);
        if !server.awake {
            server.awake = true;
            let wait_ms = self.rng.below(30);
            self.after(wait_ms, Event::Wake { epoch });
        }
    }

    /// A turn of the driver's loop.
    pub fn wake(&mut self) {
        let Some(server) = &mut self.server else { return };
        server.awake = false;
        let count = server.inbox.len().min(1 + self.rng.index(8));
        let batch: Vec<Inbound> = server.inbox.drain(..count).collect();
        if !server.inbox.is_empty() {
            server.awake = true;
            let epoch = self.epoch;
            self.after(0, Event::Wake { epoch });
        }
        for inbound in batch {
            self.take(inbound);
        }
        self.settle();
    }

    /// The core's deadline has come.
    pub fn alarm(&mut self) {
        self.step(Input::Tick);
        self.settle();
    }

    /// Steps the core; gives the reply, if there is one.
    pub fn step(&mut self, input: Input) -> Option<Outcome> {
        self.steps += 1;
        let was_open = self.grace_open();
        let server = self.server.as_mut()?;
        let mut effects = Vec::new();
        if self.tracing {
            self.lines.push(format!("{:>9}   in  {input:?}", self.now_ms));
        }
        server.core.step(self.now_ms, input, &mut effects);
        if self.tracing {
            let line = |effect: &Effect| format!("{:>9}   out {effect:?}", self.now_ms);
            self.lines.extend(effects.iter().map(line));
        }
        let stamp = self.steps;
        let (mut outcome, mut closed, mut lapsed) = (None, None, Vec::new());
        let (mut recorded, mut taken) = (false, Vec::new());
        for effect in &effects {
            match effect {
                Effect::Reply { outcome: reply, .. } => outcome = Some(reply.clone()),
                Effect::Grace(GraceEvent::Closed { why, dropped, kept, .. }) => {
                    closed = Some((*why, *dropped));
                    if *kept > 0 {
                        self.met.note("held beyond a window");
                    }
                }
                Effect::Grace(GraceEvent::Instant { .. }) => self.met.note("recovered at once"),
                Effect::Taken(one) => taken.push(one.clone()),
                Effect::Lapsed { client_id } => lapsed.push(client_id.clone()),
                Effect::Persist(_) => recorded = true,
                _ => {}
            }
        }
        server.effects.extend(effects.into_iter().map(|effect| (stamp, effect)));
        self.look(recorded, closed.is_some());
        for client_id in lapsed {
            self.lapsed(self.host_of(&client_id));
        }
        if let Some((why, dropped)) = closed {
            self.closed = stamp;
            self.check_close(why);
            let exact = self.server.as_ref().is_some_and(|server| server.exact);
            if why != GraceEnd::AllSettled && (dropped > 0 || !exact) {
                self.mark_lost(None);
            }
        }
        taken.iter().for_each(|taken| self.taken(taken));
        self.check_step();
        self.check_waits(was_open);
        self.check_holds();
        outcome
    }

    /// Writes what the steps changed, then says what they said.
    pub fn settle(&mut self) {
        let Some(server) = &mut self.server else { return };
        let mut ops = Vec::new();
        let mut words = Vec::new();
        for (stamp, effect) in std::mem::take(&mut server.effects) {
            match effect {
                Effect::Persist(op) => ops.push(op),
                other => words.push((stamp, other)),
            }
        }
        if self.dies() {
            return self.kill_server("before its batch");
        }
        if self.dies() && !ops.is_empty() {
            self.store.freeze_after(0);
        }
        let durability = Durability::needed(&ops, self.power);
        if !ops.is_empty() && self.store.commit(&ops, durability).is_err() {
            return self.kill_server("as its store fails");
        }
        self.check_image(&ops);
        for (stamp, word) in words {
            if self.dies() {
                return self.kill_server("between two words");
            }
            self.say(stamp, word);
        }
        self.after_settle();
    }

    fn after_settle(&mut self) {
        let Some(server) = &mut self.server else { return };
        if server.core.grace().is_none() {
            let settled = self.store.settle();
            settled.expect("the memory store writes");
        }
        self.set_alarm();
        if self.dies() {
            self.kill_server("after its batch");
        }
    }

    fn set_alarm(&mut self) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        let due_ms = server.core.next_deadline().unwrap_or(u64::MAX);
        if due_ms < server.alarm_ms || server.alarm_ms <= self.now_ms {
            server.alarm_ms = due_ms;
            if due_ms != u64::MAX {
                let wait_ms = due_ms.saturating_sub(self.now_ms);
                self.after(wait_ms, Event::Alarm { epoch });
            }
        }
    }

    fn dies(&mut self) -> bool {
        !self.quiet && self.rng.chance(self.kill_per_mille)
    }

    fn say(&mut self, stamp: u64, word: Effect) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        match word {
            Effect::Reply { token, outcome } => {
                if let Some(to) = server.asked.remove(&token) {
                    let reply = Reply { to, epoch, stamp, outcome };
                    server.replies.insert((to.host, to.lane), reply.clone());
                    self.post(Message::Reply(reply));
                }
            }
            Effect::Grant(grant) => self.grant(stamp, &grant),
            Effect::GrantOver { waiter } => {
                server.calls.remove(&waiter);
            }
            Effect::WaitOver { context, .. } => {
                let episode = episode(&context);
                server.forget_wish(episode);
                self.post(Message::WaitOver { host: wisher(episode), episode, epoch });
            }
            _ => {}
        }
    }
}
