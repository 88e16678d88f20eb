//! One run: hosts, a network, a server and its store, all from one seed, on virtual time.
//!
//! The network drops, repeats, delays and reorders. Two orders it keeps, since without them NLM
//! itself is unsound and no server could help: copies of a request do not arrive after the next
//! request of the same process did (TCP, or a duplicate request cache), and nothing of a host's
//! former life arrives after something of its next. And a GRANTED call is not repeated by the
//! network, only by the server, which counts its attempts.

pub mod check;
pub mod client;
pub mod recovery;
pub mod rng;
pub mod server;
pub mod types;

use std::collections::{BTreeMap, BTreeSet};

use cleat_lock::WaiterId;
use cleat_lock::store::MemoryStore;

use client::{Host, Kind};
use rng::Rng;
use server::Server;
use types::{Event, Inbound, Lane, Message, Request};

/// How long a run is loud, and how long it may take to come to rest.
const LOUD_MS: u64 = 400_000;
const REST_MS: u64 = 1_500_000;

/// A run that went wrong.
#[allow(dead_code, reason = "the test shows all of it by Debug, the command field by field")]
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub at_ms: u64,
    pub what: String,
    pub trace: Vec<String>,
}

/// A run that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    pub hash: u64,
    pub steps: u64,
    pub epochs: u64,
    pub recovery: recovery::Seen,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub rng: Rng,
    pub now_ms: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next: u64,
    pub hosts: Vec<Host>,
    pub server: Option<Server>,
    pub store: MemoryStore,
    pub epoch: u64,
    /// The machine died since the server last started.
    pub machine_died: bool,
    /// Newest request seen by the server, per lane, and newest life per host.
    arrived: BTreeMap<(usize, Lane), u64>,
    lives: BTreeMap<usize, u32>,
    pub steps: u64,
    pub tokens: u64,
    pub episodes: u64,
    /// The step in which the latest grace window closed.
    pub closed: u64,
    pub granted_before: BTreeSet<WaiterId>,
    pub hash: u64,
    pub quiet: bool,
    pub files: usize,
    pub power: bool,
    pub plan: recovery::Plan,
    pub seen: recovery::Seen,
    pub grace_ms: u64,
    pub think_ms_max: u64,
    pub server_life_ms_max: u64,
    pub machine_crash_per_mille: u64,
    pub kill_per_mille: u64,
    drop_per_mille: u64,
    repeat_per_mille: u64,
    pub tracing: bool,
    pub lines: Vec<String>,
    failure: Option<String>,
}

/// Plays one seed. With `tracing`, a failure comes with what led to it.
pub fn run(seed: u64, tracing: bool) -> Result<Report, Failure> {
    run_to(seed, tracing).map(|(report, _)| report)
}

/// As [`run`]; gives the trace of a good run too.
pub fn run_to(seed: u64, tracing: bool) -> Result<(Report, Vec<String>), Failure> {
    let mut world = World::new(seed, tracing);
    world.play();
    match world.failure.take() {
        Some(what) => Err(Failure { seed, at_ms: world.now_ms, what, trace: world.lines }),
        None => {
            let World { steps, epoch: epochs, seen: recovery, .. } = world;
            let report = Report { hash: world.hash ^ world.rng.0, steps, epochs, recovery };
            Ok((report, world.lines))
        }
    }
}

impl World {
    fn new(seed: u64, tracing: bool) -> World {
        let mut rng = Rng(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5151);
        let hosts = 2 + rng.index(3);
        let mut kinds = || {
            let count = 1 + rng.index(3);
            let kind = |whole: bool| if whole { Kind::Whole } else { Kind::Ranges };
            (0..count).map(|_| kind(rng.chance(250))).collect::<Vec<_>>()
        };
        let hosts = (0..hosts).map(|_| Host::new(&kinds())).collect();
        let pick = |rng: &mut Rng, choices: &[u64]| choices[rng.index(choices.len())];
        World {
            now_ms: 1_000_000,
            queue: BTreeMap::new(),
            next: 0,
            hosts,
            server: None,
            store: MemoryStore::new(),
            epoch: 0,
            machine_died: true,
            arrived: BTreeMap::new(),
            lives: BTreeMap::new(),
            steps: 0,
            tokens: 0,
            episodes: 0,
            closed: 0,
            granted_before: BTreeSet::new(),
            hash: 0,
            quiet: false,
            files: 1 + rng.index(types::FILES),
            power: rng.chance(200),
            plan: recovery::Plan::new(&mut rng),
            seen: recovery::Seen::default(),
            grace_ms: pick(&mut rng, &[45_000, 90_000]),
            think_ms_max: pick(&mut rng, &[200, 2_000, 20_000]),
            server_life_ms_max: pick(&mut rng, &[20_000, 100_000, 300_000]),
            machine_crash_per_mille: pick(&mut rng, &[0, 300, 700]),
            kill_per_mille: pick(&mut rng, &[0, 1, 5]),
            drop_per_mille: pick(&mut rng, &[0, 50, 300]),
            repeat_per_mille: pick(&mut rng, &[0, 50, 300]),
            tracing,
            lines: Vec::new(),
            failure: None,
            rng,
        }
    }

    fn play(&mut self) {
        self.start_server();
        for host in 0..self.hosts.len() {
            for process in 0..self.hosts[host].processes.len() {
                self.after(0, Event::Think { host, life: 1, process });
            }
            for at_ms in [LOUD_MS / 4, LOUD_MS / 2] {
                if self.rng.chance(300) {
                    let after_ms = self.rng.between(1, at_ms);
                    self.after(after_ms, Event::HostDown { host });
                }
            }
            if self.rng.chance(50) {
                let after_ms = self.rng.between(1, LOUD_MS);
                self.after(after_ms, Event::ClearHost { host });
            }
        }
        self.plan_freezes(LOUD_MS);
        self.after(LOUD_MS, Event::Quiet);
        let end_ms = self.now_ms + LOUD_MS + REST_MS;
        while let Some(((at_ms, _), event)) = self.queue.pop_first() {
            self.now_ms = at_ms;
            if at_ms > end_ms {
                break;
            }
            self.handle(event);
            self.check_clients();
            if self.failure.is_some() {
                return;
            }
        }
        self.check_end();
    }

    fn handle(&mut self, event: Event) {
        let (now, epoch) = (self.now_ms, self.epoch);
        if self.tracing && !matches!(event, Event::Wake { .. }) {
            self.lines.push(format!("{now:>9} {event:?}"));
        }
        let Some(event) = self.unless_frozen(event) else { return };
        match event {
            Event::Deliver(message) => self.deliver(message),
            Event::Think { host, life, process } => self.think(host, life, process),
            Event::Again { host, life, lane, xid } => self.again(host, life, lane, xid),
            Event::Poll { host, life, process, job } => self.poll(host, life, process, job),
            Event::Interrupt { host, life, process, job } => {
                self.interrupt(host, life, process, job);
            }
            Event::HostDown { host } => self.host_down(host),
            Event::HostUp { host } => self.host_up(host),
            Event::ServerStart => self.start_server(),
            Event::ServerKill { epoch: of } if of == epoch && !self.quiet => {
                self.kill_server("at some time");
            }
            Event::Wake { epoch: of } if of == epoch => self.wake(),
            Event::Alarm { epoch: of } if of == epoch => self.alarm(),
            Event::CallbackTimeout { epoch: of, waiter, attempt } if of == epoch => {
                self.callback_timeout(waiter, attempt);
            }
            Event::NotifyAgain { epoch: of, host } if of == epoch => self.notify_again(host),
            Event::Freeze { host } => self.freeze(host),
            Event::Probe { epoch: of } if of == epoch => self.probe(epoch),
            Event::EndGrace => self.tell_server(Inbound::EndGrace),
            Event::ClearHost { host } => self.tell_server(Inbound::ClearHost(host)),
            Event::Quiet => {
                self.quiet = true;
                self.thaw_all();
                for host in 0..self.hosts.len() {
                    self.tell_server(Inbound::ForgetHost(host));
                }
            }
            _ => {}
        }
    }

    pub fn after(&mut self, wait_ms: u64, event: Event) {
        self.next += 1;
        self.queue.insert((self.now_ms + wait_ms, self.next), event);
    }

    /// Hands a message to the network.
    pub fn post(&mut self, message: Message) {
        if self.quiet {
            return self.after(1, Event::Deliver(message));
        }
        let once = matches!(message, Message::Callback(_) | Message::CallbackAnswer(..));
        let copies = if once || !self.rng.chance(self.repeat_per_mille) { 1 } else { 2 };
        for _ in 0..copies {
            if !self.rng.chance(self.drop_per_mille) {
                let slow = self.rng.chance(100);
                let delay_ms = self.rng.between(0, if slow { 3_000 } else { 50 });
                self.after(delay_ms, Event::Deliver(message.clone()));
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Request(request) => {
                if self.arrives(&request) {
                    self.tell_server(Inbound::Request(request));
                }
            }
            Message::Reply(reply) => self.replied(&reply),
            Message::Callback(call) => self.called_back(call),
            Message::CallbackAnswer(call, stat) => self.callback_answered(call, stat),
            Message::ServerRestarted { host, epoch } => self.server_restarted(host, epoch),
            Message::Heard { host, epoch } => self.heard(host, epoch),
        }
    }

    fn arrives(&mut self, request: &Request) -> bool {
        let &Request { host, life, lane, xid, process, .. } = request;
        let newest = self.lives.entry(host).or_default();
        *newest = life.max(*newest);
        let latest = self.arrived.entry((host, lane)).or_default();
        let in_order = life == *newest && xid >= *latest;
        *latest = xid.max(*latest);
        let own = self.arrived.get(&(host, Lane::Process(process)));
        let overtaken = lane == Lane::Reclaim
            && !self.hosts[host].is_under_way(request)
            && own.is_some_and(|&latest| latest > xid);
        in_order && !overtaken && self.server.is_some()
    }

    pub fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            self.lines.push(format!("{:>9}   -- {}", self.now_ms, line()));
        }
    }

    /// Notes the first thing that is wrong.
    pub fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(what());
        }
    }
}
