//! Drives the lock core: batch, persist, then answer.
//!
//! One thread owns the core. It takes what waits, steps each request, writes one batch to the
//! store and only then lets go of the replies and callbacks that rode on it. So nothing is told
//! to a client that is not on record, and a busy server pays for one write per batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cleat_lock::{
    Config, Core, Counters, Durability, Effect, GraceView, Grant, Input, LockId, Outcome, Record,
    Store, Taken, Token, WaiterId,
};
use cleat_nlm::owner::ADDRESS_MARK;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::contacts::Contacts;
use super::limits::Refusals;
use super::log::{log_grace, log_refusal, log_rejected, log_wait_over};
use super::patience::Patience;
use crate::seldom::limited;

/// The most requests that share one write to the store.
const BATCH_REQUESTS_MAX: usize = 1024;

/// Where the records live.
pub type SharedStore = Arc<dyn Store + Send + Sync>;

/// What the driver tells those who call back and watch.
#[derive(Debug)]
pub enum Event {
    /// Send GRANTED until it is acknowledged.
    Grant(Grant),
    /// Stop sending this GRANTED.
    GrantOver(WaiterId),
    /// Tell people what was taken from a client.
    Taken(Taken),
}

/// What the core counts, as it was after the last batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Metrics {
    /// The counters.
    pub counters: Counters,
    /// The grace window, while it is open.
    pub grace: Option<GraceView>,
}

/// How the driver works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every batch is brought to the disk before it is answered, so that the table survives the
    /// machine and not only the process.
    pub power: bool,
    /// How long the grace window stays open at the most, in milliseconds.
    pub grace_ms: u64,
    /// Whether the records are all that was ever granted: false after a reboot in which batches
    /// may have been lost.
    pub exact: bool,
    /// The core's settings. The driver gives them a random `hash_seed` and the `source_mark` of
    /// NLM's names.
    pub core: Config,
}

type Look = Box<dyn FnOnce(&Core) + Send>;

enum Message {
    Ask(Input, oneshot::Sender<Outcome>),
    Tell(Input),
    Look(Look),
    Stop,
}

/// The lock service's front: requests go in, outcomes come out. Cheap to clone.
#[derive(Clone)]
pub struct Lockd {
    messages: Sender<Message>,
    tokens: Arc<AtomicU64>,
    contacts: Arc<Contacts>,
    clock: Clock,
    metrics: watch::Receiver<Metrics>,
    refusals: Arc<Refusals>,
}

/// Milliseconds since 1970 that never go back while the process lives: what the core calls now.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
    start_ms: u64,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_ms: milliseconds(since) }
    }

    fn now_ms(&self) -> u64 {
        self.start_ms + milliseconds(self.start.elapsed())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The thread that owns the core, to be joined after [`Lockd::stop`].
pub type Thread = JoinHandle<()>;

impl Lockd {
    /// Restores the core from the store's records and starts its thread. `failed` is cancelled
    /// where the store no longer takes records, the table in memory being then ahead of the disk,
    /// or where the thread panics: the process must end rather than answer without them.
    pub fn start(
        store: SharedStore,
        records: Vec<Record>,
        settings: Settings,
        events: mpsc::UnboundedSender<Event>,
        failed: CancellationToken,
    ) -> std::io::Result<(Self, Thread)> {
        let (messages, inbox) = channel();
        let clock = Clock::new();
        let config = Config {
            hash_seed: uuid::Uuid::new_v4().as_u64_pair().0,
            source_mark: Some(ADDRESS_MARK),
            ..settings.core
        };
        let now_ms = clock.now_ms();
        let contacts = Arc::new(Contacts::new(&records));
        let core = Core::restore(config, now_ms, records, settings.grace_ms, settings.exact);
        log_rejected(core.rejected());
        let counted = Metrics { counters: core.counters(), grace: core.grace() };
        let (published, metrics) = watch::channel(counted);
        let driver = Driver {
            core,
            store,
            power: settings.power,
            clock,
            inbox,
            waiting: HashMap::new(),
            effects: Vec::new(),
            looks: Vec::new(),
            settled: false,
            metrics: published,
            contacts: Arc::clone(&contacts),
            events,
            failed,
        };
        let thread = std::thread::Builder::new().name("lockd".into()).spawn(|| driver.run())?;
        let (tokens, refusals) = (Arc::default(), Arc::default());
        Ok((Self { messages, tokens, contacts, clock, metrics, refusals }, thread))
    }

    /// The core's clock, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// What the core counts. It does not stop for that.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        *self.metrics.borrow()
    }

    /// Whom a grace window that may close any moment is waited for by.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.metrics.clone())
    }

    /// The clients on record.
    #[must_use]
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// What was refused because a limit was reached.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// A token for a request, and a fresh id for the lock that may come of it.
    #[must_use]
    pub fn ticket(&self) -> (Token, LockId) {
        let token = Token(self.tokens.fetch_add(1, Ordering::Relaxed));
        (token, LockId::new(uuid::Uuid::new_v4()))
    }

    /// Puts a request to the core and returns its outcome once it is on record, or `None` where
    /// the store failed or the service has stopped.
    ///
    /// The queue has no bound of its own: each waiting request is one that the listener has let
    /// in, and the listener's bounds are its bounds.
    pub async fn ask(&self, request: Input) -> Option<Outcome> {
        self.put(request).await.ok()
    }

    /// Puts a request to the core, in the order of these calls, and returns where its outcome will
    /// come: an error there is the `None` of [`Lockd::ask`].
    pub fn put(&self, request: Input) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        // What cannot be sent is dropped, and its reply with it.
        let _ = self.messages.send(Message::Ask(request, reply));
        outcome
    }

    /// Tells the core something that has no answer.
    pub fn tell(&self, input: Input) {
        // A service that has stopped needs no news.
        let _ = self.messages.send(Message::Tell(input));
    }

    /// Looks at the core between two batches. The look holds everybody up: it must be short.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Option<T> {
        let (send, seen) = oneshot::channel();
        let look = Box::new(move |core: &Core| {
            let _ = send.send(look(core));
        });
        self.messages.send(Message::Look(look)).ok()?;
        seen.await.ok()
    }

    /// Ends the thread once everything before this is answered.
    pub fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
    }
}

/// Tells the server that the core's thread ended by a panic: nothing answers for locks any more.
struct Alarm(CancellationToken);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}

struct Driver {
    core: Core,
    store: SharedStore,
    power: bool,
    clock: Clock,
    inbox: Receiver<Message>,
    waiting: HashMap<Token, oneshot::Sender<Outcome>>,
    effects: Vec<Effect>,
    /// Those who look when the batch is on record.
    looks: Vec<Look>,
    /// Whether the store knows that no window is open.
    settled: bool,
    metrics: watch::Sender<Metrics>,
    contacts: Arc<Contacts>,
    events: mpsc::UnboundedSender<Event>,
    failed: CancellationToken,
}

impl Driver {
    fn run(mut self) {
        let _alarm = Alarm(self.failed.clone());
        // What the restored table already calls for: a window to open, waiters whose turn it is.
        self.step(Input::Tick);
        let mut stop = false;
        while !stop {
            if !self.settle() {
                return;
            }
            match self.receive() {
                Some(first) => stop = self.take(first),
                None => self.step(Input::Tick),
            }
            for _ in 1..BATCH_REQUESTS_MAX {
                match self.inbox.try_recv() {
                    Ok(message) if !stop => stop = self.take(message),
                    _ => break,
                }
            }
            // However much is asked, what takes the core several steps goes on.
            if self.core.next_deadline().is_some_and(|due_ms| due_ms <= self.clock.now_ms()) {
                self.step(Input::Tick);
            }
        }
        self.settle();
    }

    /// The next message, or `None` when the core's next deadline has come.
    fn receive(&mut self) -> Option<Message> {
        let Some(deadline_ms) = self.core.next_deadline() else {
            return Some(self.inbox.recv().unwrap_or(Message::Stop));
        };
        let wait = Duration::from_millis(deadline_ms.saturating_sub(self.clock.now_ms()));
        match self.inbox.recv_timeout(wait) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// Steps one message. Returns whether it was the last.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Ask(input, reply) => {
                if let Some(token) = input.token() {
                    self.waiting.insert(token, reply);
                }
                self.step(input);
            }
            Message::Tell(input) => self.step(input),
            Message::Look(look) => self.looks.push(look),
            Message::Stop => return true,
        }
        false
    }

    fn step(&mut self, input: Input) {
        self.core.step(self.clock.now_ms(), input, &mut self.effects);
    }

    /// Writes what the steps since the last time changed, then says what they said. Returns
    /// whether the store took it.
    fn settle(&mut self) -> bool {
        let mut ops = Vec::new();
        let mut words = Vec::new();
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Persist(op) => ops.push(op),
                other => words.push(other),
            }
        }
        if !ops.is_empty() {
            let durability = Durability::needed(&ops, self.power);
            if let Err(error) = self.store.commit(&ops, durability) {
                error!(%error, "lock records cannot be written: stopping, nothing is granted");
                self.waiting.clear();
                self.looks.clear();
                self.failed.cancel();
                return false;
            }
            ops.iter().for_each(|op| self.contacts.apply(op));
        }
        // Before the words: whoever hears an answer finds it counted.
        let (counters, grace) = (self.core.counters(), self.core.grace());
        self.metrics.send_replace(Metrics { counters, grace });
        words.into_iter().for_each(|word| self.say(word));
        self.looks.drain(..).for_each(|look| look(&self.core));
        self.note_settled();
        true
    }

    /// Tells the store, once, that no window is open: what was lost before can be lost no more.
    fn note_settled(&mut self) {
        if self.settled || self.core.grace().is_some() {
            return;
        }
        self.settled = true;
        if let Err(error) = self.store.settle() {
            // The next start then waits a whole window for nobody.
            warn!(%error, "cannot note that grace is over");
        }
    }

    fn say(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { token, outcome } => {
                log_refusal(&outcome);
                if let Some(reply) = self.waiting.remove(&token) {
                    // A caller whose connection is gone re-sends, and meets what was recorded.
                    let _ = reply.send(outcome);
                }
            }
            Effect::Grant(grant) => {
                let _ = self.events.send(Event::Grant(grant));
            }
            Effect::GrantOver { waiter } => {
                let _ = self.events.send(Event::GrantOver(waiter));
            }
            Effect::Grace(event) => log_grace(event, self.clock.now_ms()),
            // Clients of NLM send what is blocked again.
            Effect::WaitOver { waiter, why, .. } => log_wait_over(waiter, &why),
            Effect::Lapsed { client_id } => {
                limited!(
                    info,
                    client = %client_id,
                    "client did not come back: all it had is released"
                );
            }
            Effect::Taken(taken) => {
                let _ = self.events.send(Event::Taken(taken));
            }
            Effect::Monitor { client_id } => {
                limited!(info, client = %client_id, "client on record")
            }
            Effect::Unmonitor { client_id } => {
                limited!(info, client = %client_id, "client forgotten")
            }
            Effect::Persist(_) => unreachable!("written before anything is said"),
        }
    }
}
