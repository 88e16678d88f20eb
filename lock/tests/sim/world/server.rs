//! The server's surroundings of the core, modelled after `src/lockd/driver.rs` and the GRANTED
//! schedule of the `nlm` crate: batch, persist, then speak; and die at any point of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use cleat_lock::store::{Crash, Durability};
use cleat_lock::{
    Core, Effect, Epoch, FileId, GraceEnd, GraceEvent, Grant, GrantAck, Input, LockId, LockRequest,
    Outcome, Owner, Query, Record, RecordOp, Store, Token, Wait, WaiterId,
};
use uuid::Uuid;

use super::World;
use super::recovery::Presence;
use super::types::{Body, Callback, Event, Inbound, Message, Reply, Request, Stat};

/// How long a waiter is kept after its client last asked, as in `nlm`.
const WAITER_SILENCE_MS: u64 = 330_000;

/// A GRANTED that is not answered yet.
#[derive(Debug)]
struct Pending {
    call: Callback,
    /// Whether an attempt may have reached the client.
    told: bool,
    /// The latest attempt that surely did not.
    undelivered: u32,
}

/// One life of the server.
#[derive(Debug)]
pub struct Server {
    pub core: Core,
    pub exact: bool,
    inbox: Vec<Inbound>,
    awake: bool,
    effects: Vec<(u64, Effect)>,
    asked: BTreeMap<Token, Request>,
    calls: BTreeMap<WaiterId, Pending>,
    unheard: Vec<usize>,
    pub presence: Presence,
    restoring: bool,
    alarm_ms: u64,
}

impl Server {
    /// Whether the step changed what is on record of locks or waiters.
    pub fn changed(&self, step: u64) -> bool {
        self.effects.iter().any(|(stamp, effect)| {
            *stamp == step && matches!(effect, Effect::Persist(op) if !op.is_client())
        })
    }
}

pub fn file_id(file: usize) -> FileId {
    FileId::new([b'f', b'0' + u8::try_from(file).unwrap_or(0)])
}

pub fn client_id(host: usize) -> Arc<str> {
    Arc::from(format!("h{host}"))
}

pub fn owner(host: usize, process: usize) -> Owner {
    let owner_id: Arc<str> = Arc::from(format!("h{host}/{process}"));
    let note = Arc::from(owner_id.as_bytes());
    Owner { owner_id, client_id: client_id(host), share_name: Arc::from("share"), note }
}

pub fn host_of(client_id: &str) -> usize {
    client_id[1..].parse().expect("named by client_id()")
}

impl World {
    pub fn start_server(&mut self) {
        let survived = !std::mem::take(&mut self.machine_died) || self.power;
        let started = self.store.next_epoch(survived).expect("the memory store writes");
        let Epoch { number: epoch, exact } = started;
        self.epoch = epoch;
        let records = self.store.list(&Query::All).expect("the memory store reads");
        let hosts: Vec<usize> = records
            .iter()
            .filter_map(|record| match record {
                Record::Client(client) => Some(host_of(&client.client_id)),
                _ => None,
            })
            .collect();
        self.trace(|| format!("server {epoch} starts, {} records, exact {exact}", records.len()));
        let config = self.plan.config(self.rng.next());
        let grace_ms = self.grace_ms;
        let core = Core::restore(config, self.now_ms, records, grace_ms, exact);
        if !core.rejected().is_empty() {
            self.fail(|| format!("records contradict each other: {:?}", core.rejected()));
        }
        let granted = core.waiters().filter(|waiter| waiter.granted.is_some());
        self.granted_before = granted.map(|waiter| waiter.waiter).collect();
        self.server = Some(Server {
            core,
            exact,
            inbox: Vec::new(),
            awake: false,
            effects: Vec::new(),
            asked: BTreeMap::new(),
            calls: BTreeMap::new(),
            unheard: hosts.clone(),
            presence: Presence::new(self.now_ms),
            restoring: true,
            alarm_ms: u64::MAX,
        });
        for host in hosts {
            self.after(1, Event::NotifyAgain { epoch, host });
        }
        if self.plan.lease_ms > 0 {
            self.after(1, Event::Probe { epoch });
        }
        self.step(Input::Tick);
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
        if self.server.take().is_none() {
            return;
        }
        let machine = self.rng.chance(self.machine_crash_per_mille);
        let kept = self.rng.index(self.store.unsynced() + 1);
        let crash = if machine { Crash::Machine { kept } } else { Crash::Process };
        self.store.crash(crash);
        self.machine_died |= machine;
        self.trace(|| format!("server dies {why}: {crash:?}"));
        let down_ms = self.rng.between(500, 20_000);
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

    fn take(&mut self, inbound: Inbound) {
        let token = self.token();
        let input = match inbound {
            Inbound::Request(request) => return self.take_request(request),
            Inbound::GrantOutcome(waiter, outcome) => Input::GrantOutcome { waiter, outcome },
            Inbound::EndGrace => Input::EndGrace { token },
            Inbound::ClearHost(host) => {
                self.step(Input::FreeAll { token, client_id: client_id(host) });
                self.hosts[host].cleared = self.steps;
                return self.mark_lost(Some(host));
            }
            Inbound::Reached(host) => self.reached(host),
            Inbound::Silent(host, since_ms) => {
                Input::ClientSilent { client_id: client_id(host), since_ms }
            }
            Inbound::ForgetHost(host) => Input::ForgetClient { token, client_id: client_id(host) },
        };
        self.step(input);
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn take_request(&mut self, request: Request) {
        let token = self.token();
        let Request { host, life, process, body, .. } = request;
        let owner = owner(host, process);
        let id = LockId::new(Uuid::from_u128(u128::from(self.tokens)));
        let input = match body {
            Body::Lock { span, wait, reclaim, find_deadlock } => Input::Lock(LockRequest {
                token,
                id,
                owner,
                file: file_id(span.file),
                range: span.range(),
                mode: span.mode,
                wait: wait.map(|episode| Wait {
                    context: Arc::from(&episode.to_be_bytes()[..]),
                    expires_ms: self.now_ms + WAITER_SILENCE_MS,
                    timeout_ms: 0,
                    find_deadlock,
                }),
                reclaim,
                incarnation: life,
                contact: Arc::from(&b"statd"[..]),
            }),
            Body::Unlock { span } => {
                let (file, range) = (file_id(span.file), span.range());
                Input::Unlock { token, id, owner, file, range }
            }
            Body::Cancel { span } => {
                let (file, range) = (file_id(span.file), span.range());
                Input::Cancel { token, owner, file, range, mode: span.mode }
            }
            Body::Test { span } => {
                let (file, range) = (file_id(span.file), span.range());
                Input::Test { token, owner, file, range, mode: span.mode }
            }
            Body::Restarted => {
                let client_id = client_id(host);
                Input::ClientRestarted { token, client_id, incarnation: life }
            }
        };
        let now_ms = self.now_ms;
        if let Some(server) = &mut self.server {
            server.asked.insert(token, request);
            server.presence.asked(host, now_ms);
        }
        let open = self.grace_open();
        let outcome = self.step(input);
        self.check_answer(&request, outcome.as_ref(), open);
    }

    /// Steps the core; gives the reply, if there is one.
    fn step(&mut self, input: Input) -> Option<Outcome> {
        self.steps += 1;
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
        let mut outcome = None;
        let mut closed = None;
        let mut taken = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Reply { outcome: reply, .. } => outcome = Some(reply.clone()),
                Effect::Grace(GraceEvent::Closed { why, dropped, kept, .. }) => {
                    closed = Some((*why, *dropped));
                    self.seen.kept += u64::from(*kept > 0);
                }
                Effect::Grace(GraceEvent::Instant { .. }) => self.seen.instant += 1,
                Effect::Taken(one) => taken.push(one.clone()),
                _ => {}
            }
        }
        let stamp = self.steps;
        server.effects.extend(effects.into_iter().map(|effect| (stamp, effect)));
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
        self.check_holds();
        outcome
    }

    /// Writes what the steps changed, then says what they said.
    fn settle(&mut self) {
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
        self.check_image();
        self.note_committed(&ops);
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
        server.restoring = false;
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

    fn note_committed(&mut self, ops: &[RecordOp]) {
        self.hash = self.hash.rotate_left(7) ^ ops.len() as u64 ^ self.rng.0;
    }

    fn say(&mut self, stamp: u64, word: Effect) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        match word {
            Effect::Reply { token, outcome } => {
                if let Some(to) = server.asked.remove(&token) {
                    self.post(Message::Reply(Reply { to, epoch, stamp, outcome }));
                }
            }
            Effect::Grant(grant) => self.grant(stamp, &grant),
            Effect::GrantOver { waiter } => {
                server.calls.remove(&waiter);
            }
            _ => {}
        }
    }

    fn grant(&mut self, stamp: u64, grant: &Grant) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        let bytes: Result<[u8; 8], _> = (&*grant.context).try_into();
        let episode = bytes.map_or(0, u64::from_be_bytes);
        let host = host_of(&grant.owner.client_id);
        let waiter = grant.waiter;
        let told = server.restoring;
        let call = Callback { host, episode, epoch, stamp, waiter, attempt: 0 };
        let pending = server.calls.entry(waiter).or_insert(Pending { call, told, undelivered: 0 });
        pending.told |= told;
        pending.call.episode = episode;
        self.call_back(waiter);
    }

    fn call_back(&mut self, waiter: WaiterId) {
        let epoch = self.epoch;
        let Some(server) = &mut self.server else { return };
        let Some(pending) = server.calls.get_mut(&waiter) else { return };
        pending.call.attempt += 1;
        let call = pending.call;
        let attempt = call.attempt;
        self.post(Message::Callback(call));
        let timeout_ms = 1_000 << attempt.min(5);
        self.after(timeout_ms, Event::CallbackTimeout { epoch, waiter, attempt });
    }

    pub fn callback_timeout(&mut self, waiter: WaiterId, attempt: u32) {
        let Some(server) = &mut self.server else { return };
        let Some(pending) = server.calls.get_mut(&waiter) else { return };
        if pending.call.attempt != attempt {
            return;
        }
        pending.told |= pending.undelivered != attempt;
        self.call_back(waiter);
    }

    /// No connection: the client has surely not heard this attempt.
    pub fn undelivered(&mut self, call: Callback) {
        if call.epoch != self.epoch {
            return;
        }
        let Some(server) = &mut self.server else { return };
        if let Some(pending) = server.calls.get_mut(&call.waiter) {
            pending.undelivered = call.attempt;
        }
    }

    pub fn callback_answered(&mut self, call: Callback, stat: Stat) {
        if call.epoch != self.epoch {
            return;
        }
        let Some(server) = &mut self.server else { return };
        let waiter = call.waiter;
        let Some(pending) = server.calls.get(&waiter) else { return };
        if pending.call.attempt != call.attempt {
            return;
        }
        let ack = match stat {
            // The timeout repeats it; that attempt told the client nothing.
            Stat::DeniedGrace => return self.undelivered(call),
            Stat::Granted => GrantAck::Accepted,
            // It may have taken the lock from an earlier attempt.
            Stat::Denied if pending.told => GrantAck::Assumed,
            Stat::Denied => GrantAck::Refused,
        };
        server.calls.remove(&waiter);
        self.tell_server(Inbound::GrantOutcome(waiter, ack));
    }

    pub fn notify_again(&mut self, host: usize) {
        let epoch = self.epoch;
        let Some(server) = &self.server else { return };
        if server.unheard.contains(&host) {
            self.post(Message::ServerRestarted { host, epoch });
            let wait_ms = self.rng.between(1_000, 15_000);
            self.after(wait_ms, Event::NotifyAgain { epoch, host });
        }
    }

    pub fn heard(&mut self, host: usize, epoch: u64) {
        if epoch == self.epoch
            && let Some(server) = &mut self.server
        {
            server.unheard.retain(|&unheard| unheard != host);
            self.tell_server(Inbound::Reached(host));
        }
    }
}
