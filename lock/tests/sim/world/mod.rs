//! One run: hosts, a network, a server and its store, all from one seed, on virtual time.
//!
//! The network drops, repeats, delays and reorders. Two orders it keeps, since without them NLM
//! itself is unsound and no server could help: copies of a request do not arrive after the next
//! request of the same process did (TCP, or a duplicate request cache), and nothing of a host's
//! former life arrives after something of its next. And a GRANTED call is not repeated by the
//! network, only by the server, which counts its attempts.
//!
//! Hosts speak NLM, or a protocol with connections as SMB and NFSv4 are: those register, wait with
//! time limits and ask only once, are disconnected, and come back in time or not. Their sessions
//! answer a copy of a request from memory.

mod answers;
mod calls;
mod check;
mod host;
mod met;
mod orders;
mod process;
mod recovery;
mod requests;
mod rng;
mod server;
mod table;
mod types;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;

use cleat_lock::store::MemoryStore;
use cleat_lock::{FileId, Limits};

use host::{Host, Kind};
pub use met::Met;
use rng::Rng;
use server::Server;
use types::{Event, FILES, Inbound, Lane, Message, Names, Order, Protocol, Request};

/// How long a run is loud, and how long it may take to come to rest.
const LOUD_MS: u64 = 400_000;
const REST_MS: u64 = 1_500_000;

/// How long users wait when all is quiet before they look whether there is a deadlock.
const PATIENCE_MS: u64 = 300_000;

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
    pub met: Met,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub rng: Rng,
    pub now_ms: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next: u64,
    pub hosts: Vec<Host>,
    pub names: Vec<Names>,
    pub files_known: [FileId; FILES],
    pub contact: Arc<[u8]>,
    pub server: Option<Server>,
    pub store: MemoryStore,
    pub epoch: u64,
    /// The machine died since the server last started.
    pub machine_died: bool,
    /// The server may have what no client knows of.
    pub strays: bool,
    /// Newest request seen by the server, per lane, and newest life per host.
    arrived: BTreeMap<(usize, Lane), u64>,
    lives: BTreeMap<usize, u32>,
    pub steps: u64,
    pub tokens: u64,
    pub episodes: u64,
    /// The step in which the latest grace window closed.
    pub closed: u64,
    /// The latest server instance that believed a reclaim it could not know to be right.
    pub doubted: u64,
    /// The host whose request is being served.
    pub acting: Option<usize>,
    /// Something changed that the clients' beliefs are to be judged by.
    pub touched: bool,
    pub met: Met,
    pub hash: u64,
    pub quiet: bool,
    pub files: usize,
    pub power: bool,
    pub plan: recovery::Plan,
    /// Something was left to reclaim when the latest request came.
    pub recovering: bool,
    pub limits: Limits,
    pub ttl_ms: u64,
    pub grace_ms: u64,
    /// How long a waiter is kept after its client last asked; in `nlm` it is the first of these.
    pub silence_ms: u64,
    /// How often the server is down for longer than that.
    pub long_down_per_mille: u64,
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
            let report = Report {
                hash: world.hash ^ world.rng.0,
                steps: world.steps,
                epochs: world.epoch,
                met: world.met,
            };
            Ok((report, world.lines))
        }
    }
}

impl World {
    fn new(seed: u64, tracing: bool) -> World {
        let mut rng = Rng(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5151);
        let hosts: Vec<Host> = (0..2 + rng.index(3)).map(|_| new_host(&mut rng)).collect();
        let names = hosts.iter().enumerate();
        let names = names.map(|(at, it)| Names::new(at, it.protocol, it.processes.len()));
        let pick = |rng: &mut Rng, choices: &[u64]| choices[rng.index(choices.len())];
        World {
            now_ms: 1_000_000,
            queue: BTreeMap::new(),
            next: 0,
            names: names.collect(),
            hosts,
            files_known: std::array::from_fn(server::file_id),
            contact: Arc::from(&b"statd"[..]),
            server: None,
            store: MemoryStore::new(),
            epoch: 0,
            machine_died: true,
            strays: false,
            arrived: BTreeMap::new(),
            lives: BTreeMap::new(),
            steps: 0,
            tokens: 0,
            episodes: 0,
            closed: 0,
            doubted: 0,
            acting: None,
            touched: false,
            met: Met::default(),
            hash: 0,
            quiet: false,
            files: 1 + rng.index(FILES),
            power: rng.chance(200),
            plan: recovery::Plan::new(&mut rng),
            recovering: false,
            limits: if rng.chance(250) { small_limits(&mut rng) } else { Limits::default() },
            ttl_ms: pick(&mut rng, &[0, 5_000, 30_000, 120_000]),
            grace_ms: pick(&mut rng, &[45_000, 90_000]),
            silence_ms: pick(&mut rng, &[330_000, 60_000]),
            long_down_per_mille: pick(&mut rng, &[0, 0, 200]),
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
            self.plan_host(host);
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
            if std::mem::take(&mut self.touched) {
                self.check_clients();
            }
            if self.failure.is_some() {
                return;
            }
        }
        self.check_end();
        if let Some(server) = &self.server {
            self.met.add(&server.core.counters());
        }
    }

    /// What will befall a host.
    fn plan_host(&mut self, host: usize) {
        for process in 0..self.hosts[host].processes.len() {
            self.after(0, Event::Think { host, life: 1, process });
        }
        for at_ms in [LOUD_MS / 4, LOUD_MS / 2] {
            self.perhaps(300, at_ms, Event::HostDown { host });
        }
        self.perhaps(100, LOUD_MS, Event::FreeHost { host });
        let order = match self.rng.below(5) {
            0 => Order::Host(host),
            1 => Order::File(self.rng.index(FILES)),
            2 => Order::HostOnFile(host, self.rng.index(FILES)),
            3 => Order::Lock(self.rng.index(100)),
            _ => Order::Waiter(self.rng.index(100)),
        };
        self.perhaps(100, LOUD_MS, Event::Clear(order));
        self.perhaps(300, LOUD_MS, Event::ForgetHost { host });
        if self.hosts[host].protocol.is_connected() {
            self.register(host);
            self.perhaps(700, LOUD_MS / 2, Event::Away { host });
        }
    }

    fn perhaps(&mut self, per_mille: u64, within_ms: u64, event: Event) {
        if self.rng.chance(per_mille) {
            let after_ms = self.rng.between(1, within_ms);
            self.after(after_ms, event);
        }
    }

    fn handle(&mut self, event: Event) {
        let (now, epoch) = (self.now_ms, self.epoch);
        if self.tracing && !matches!(event, Event::Wake { .. }) {
            self.lines.push(format!("{now:>9} {event:?}"));
        }
        let Some(event) = self.unless_frozen(event) else { return };
        match event {
            Event::Deliver(message) => self.deliver(*message),
            Event::Think { host, life, process } => self.think(host, life, process),
            Event::Again { host, life, lane, xid } => self.again(host, life, lane, xid),
            Event::Poll { host, life, process, job } => self.poll(host, life, process, job),
            Event::Interrupt { host, life, process, job } => {
                self.interrupt(host, life, process, job);
            }
            Event::HostDown { host } => self.host_down(host),
            Event::HostUp { host } => self.host_up(host),
            Event::Away { host } => self.go_away(host),
            Event::Unplugged { host } => self.tell_server(Inbound::Disconnected(host)),
            Event::Back { host } => self.come_back(host),
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
            Event::FreeHost { host } => self.tell_server(Inbound::FreeHost(host)),
            Event::Clear(order) => self.tell_server(Inbound::Clear(order)),
            Event::ForgetHost { host } => self.tell_server(Inbound::ForgetHost(host)),
            Event::Quiet => {
                self.quiet = true;
                self.after(PATIENCE_MS, Event::Patience);
                self.thaw_all();
                for host in 0..self.hosts.len() {
                    self.tell_server(Inbound::ForgetHost(host));
                }
            }
            Event::Patience => {
                self.lose_patience();
                self.after(PATIENCE_MS, Event::Patience);
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
            return self.after(1, Event::Deliver(Box::new(message)));
        }
        // The end of a wait is said once, on a connection that either stands or is known to be gone.
        let sure = matches!(message, Message::WaitOver { .. });
        let once = sure || matches!(message, Message::Callback(_) | Message::CallbackAnswer(..));
        let copies = if once || !self.rng.chance(self.repeat_per_mille) { 1 } else { 2 };
        for _ in 0..copies {
            if sure || !self.rng.chance(self.drop_per_mille) {
                let slow = self.rng.chance(100);
                let delay_ms = self.rng.between(0, if slow { 3_000 } else { 50 });
                self.after(delay_ms, Event::Deliver(Box::new(message.clone())));
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
            Message::WaitOver { host, episode, epoch } => self.wait_over(host, episode, epoch),
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

fn new_host(rng: &mut Rng) -> Host {
    let protocol = match rng.below(10) {
        0..=4 => Protocol::Nlm,
        5..=7 => Protocol::Smb,
        _ => Protocol::Nfs4,
    };
    let mut kind = |_| match rng.below(100) {
        0..=49 => Kind::Ranges,
        50..=69 => Kind::Whole,
        _ => Kind::Opens,
    };
    let kinds: Vec<Kind> = (0..3).map(&mut kind).collect();
    Host::new(protocol, &kinds[..1 + rng.index(3)])
}

/// So few of everything that requests are refused for it.
fn small_limits(rng: &mut Rng) -> Limits {
    Limits {
        locks_per_file: rng.between(2, 12),
        locks_per_client: rng.between(2, 12),
        locks_total: rng.between(4, 20),
        waiters_per_file: rng.between(1, 4),
        waiters_per_client: rng.between(1, 4),
        shares_per_file: rng.between(1, 3),
        shares_per_client: rng.between(1, 3),
        shares_total: rng.between(1, 5),
        clients: rng.between(2, 5),
        ..Limits::default()
    }
}
