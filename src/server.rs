//! Wires the rooms together: what starts in which order, and what stops in which.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cleat_lock::{FileId, Record};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Admin};
use crate::config::{Config, Durability};
use crate::exports::{self, Exports, ExportsError};
use crate::lockd::{self, Lockd, Nlm};
use crate::mountd::Mountd;
use crate::nfs::Nfs;
use crate::portmap::{RegisterError, Registration};
use crate::rpc_server::{Listener, Program, Sockets};
use crate::statd::{Monitors, Statd, Telling};
use crate::store::{Identity, Store, StoreError};
use crate::vfs::FileIdentity;
use crate::vfs::local::{self, LocalOptions};

/// How long a stop waits for what is in flight.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// The most NLM_GRANTED_RES that wait to be looked at; one more is dropped, and the grant told again.
const GRANT_RESULTS_MAX: usize = 1024;

/// Why the server did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state directory cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {}: {error}; stop what listens there, or give another with --listen", addresses(.listen))]
    Listen {
        /// The addresses that were asked for.
        listen: Vec<SocketAddr>,
        /// What the system said.
        error: io::Error,
    },
    /// A directory cannot be exported.
    #[error("{0}")]
    Exports(#[from] ExportsError),
    /// Clients would not find the port in the way that was asked for.
    #[error("{0}")]
    Register(#[from] RegisterError),
    /// The system refused a thread or a signal handler.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The lock records could not be written.
    #[error(
        "stopped because lock records cannot be written; nothing was granted that is not on record"
    )]
    RecordsFailed,
    /// The lock service met a mistake of ours.
    #[error("stopped because the lock service ended by a panic; what it granted is on record")]
    Panicked,
}

fn addresses(all: &[SocketAddr]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Serves until SIGTERM or SIGINT, and returns when everything in flight is answered and on
/// record.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let mut stop = Stop::new()?;
    let Opened { store, records, sockets, identity, monitors, exports } = open(&config)?;
    let settings = lock_settings(&config, identity.epoch.exact);
    let (events, granted) = mpsc::unbounded_channel();
    let (failed, background) = (CancellationToken::new(), CancellationToken::new());
    let (lockd, thread) =
        Lockd::start(Arc::clone(&store) as _, records, settings, events, failed.clone())?;

    let bound = sockets.addresses();
    let (grants, grant_results) = mpsc::channel(GRANT_RESULTS_MAX);
    let results = lockd::Results::new(sockets.outbox());
    let nlm = Nlm::new(Arc::clone(&exports), lockd.clone(), results.clone(), grants);
    let (table, told) = (Arc::clone(&config.exports), telling(&config));
    let statd = Statd::new(lockd.clone(), &identity, told, table, monitors, background.clone());
    let clients = Arc::clone(&exports);
    let listener = Listener::new(programs(&config, &exports, nlm, &statd))
        .admitting(config.connections, move |peer| clients.admits(peer));
    listener.serve(sockets);
    let callback = statd.serve_callbacks();
    let (called, watched) = (lockd.clone(), Arc::clone(&exports));
    let take_back = config.unreachable_grant;
    let stop_calls = background.clone();
    tokio::spawn(lockd::call_back(called, watched, take_back, granted, grant_results, stop_calls));
    watch_clients(&config, &lockd, &background);
    exports::keep_tidy(&exports, exports::TIDY, &background);
    let admin = Admin {
        lockd: lockd.clone(),
        exports,
        duplicates: Box::new(listener.duplicates()),
        statd: statd.clone(),
        listen: bound.clone(),
        nsm_state: identity.nsm_state,
        started_ms: lockd.now_ms(),
    };
    let administrators = open_to_administrators(admin, &config.state_dir, &background);
    let registered = match Registration::start(config.rpcbind, &bound, callback).await {
        Ok(registration) => {
            statd.start(registration.foreign_statd());
            announce(&bound);
            stop.wait(&failed).await;
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
            registration.stop().await;
            Ok(())
        }
        // Some may have been served by now: it stops as any other.
        Err(error) => Err(error),
    };
    finish(&listener, &results).await;
    background.cancel();
    if let Some(administrators) = administrators {
        // Its socket must be gone before another server may have the directory.
        let _ = administrators.await;
    }
    end(&lockd, thread, &failed).await?;
    store.flush()?;
    registered?;
    info!("stopped");
    Ok(())
}

/// What there is before anybody is served.
struct Opened {
    store: Arc<Store>,
    records: Vec<Record>,
    sockets: Sockets,
    identity: Identity,
    monitors: Monitors,
    exports: Arc<Exports>,
}

/// Opens all that may be missing or taken, and begins another instance once that is there.
fn open(config: &Config) -> Result<Opened, ServeError> {
    local::prepare_process();
    raise_descriptors();
    if !local::switches() {
        warn!("not root: every caller acts as the user who started this server");
    }
    let (store, records) = Store::open(&config.state_dir)?;
    let store = Arc::new(store);
    let listen = config.listen.clone();
    let sockets = Sockets::bind(&listen).map_err(|error| ServeError::Listen { listen, error })?;
    let power = config.durability == Durability::Power;
    // From here on this is another instance: nothing before may fail halfway.
    let identity = store.new_instance(power)?;
    let monitors = Monitors::open(Arc::clone(&store), identity.host_state)?;
    let (table, key) = (Arc::clone(&config.exports), identity.handle_key);
    let (handles, numbers) = (Arc::clone(&store) as _, recorded_numbers(&records));
    let exports = Exports::open(table, key, handles, numbers, LocalOptions::default())?;
    Ok(Opened { store, records, sockets, identity, monitors, exports: Arc::new(exports) })
}

/// The numbers of the file systems of which locks are on record: see [`FileIdentity`].
fn recorded_numbers(records: &[Record]) -> HashSet<u64> {
    let file = |record: &Record| match record {
        Record::Lock(lock) => Some(lock.file.clone()),
        Record::Waiter(waiter) => Some(waiter.file.clone()),
        Record::Share(share) => Some(share.file.clone()),
        Record::Client(_) => None,
    };
    let number = |file: FileId| FileIdentity(file.as_bytes().into()).number();
    records.iter().filter_map(file).filter_map(number).collect()
}

/// Waits for what was asked: calls are answered by replies, messages by calls of ours.
async fn finish(listener: &Listener, results: &lockd::Results) {
    let (deadline, answered) = (Instant::now() + STOP_PATIENCE, listener.stop(STOP_PATIENCE).await);
    let left = deadline.saturating_duration_since(Instant::now());
    if !results.finish(left).await || !answered {
        warn!("some requests were not answered within {} s", STOP_PATIENCE.as_secs());
    }
}

/// Ends the lock service. What it was asked is answered, and on record, unless this says otherwise.
async fn end(
    lockd: &Lockd,
    thread: lockd::Thread,
    failed: &CancellationToken,
) -> Result<(), ServeError> {
    lockd.stop();
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    if !matches!(joined, Ok(Ok(()))) {
        return Err(ServeError::Panicked);
    }
    // It may have failed on the way out too.
    if failed.is_cancelled() {
        return Err(ServeError::RecordsFailed);
    }
    Ok(())
}

/// Looks after clients that hold nothing for long, and those that answer nothing while others wait.
fn watch_clients(config: &Config, lockd: &Lockd, stop: &CancellationToken) {
    tokio::spawn(lockd::forget_idle(lockd.clone(), lockd::LOOK, lockd::IDLE, stop.clone()));
    if let Some(lease) = config.client_lease {
        tokio::spawn(lockd::watch(lockd.clone(), lease, stop.clone()));
    }
}

fn telling(config: &Config) -> Telling {
    let hold = config.grace + config.unreachable_hold;
    Telling { names: config.notify_names.clone(), hold }
}

fn lock_settings(config: &Config, exact: bool) -> lockd::Settings {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    lockd::Settings {
        power: config.durability == Durability::Power,
        grace_ms: milliseconds(config.grace),
        exact,
        core: cleat_lock::Config {
            limits: config.limits.clone(),
            recovery: config.recovery,
            unreachable_hold_ms: milliseconds(config.unreachable_hold),
            fair_wait_ms: milliseconds(config.fair_wait),
            ..cleat_lock::Config::default()
        },
    }
}

/// Answers the administrator's commands, until `stop`. Clients are served also where that cannot be.
fn open_to_administrators(
    admin: Admin,
    state_dir: &Path,
    stop: &CancellationToken,
) -> Option<JoinHandle<()>> {
    match admin::Socket::bind(state_dir) {
        Ok(socket) => Some(tokio::spawn(admin::serve(admin, socket, stop.clone()))),
        Err(error) => {
            warn!(%error, "no socket for cleat locks and the like in the state directory");
            None
        }
    }
}

/// Takes as many descriptors as the system permits: the common 1024 are fewer than the listener
/// alone may open, and the store fails where it gets none.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

fn programs(
    config: &Config,
    exports: &Arc<Exports>,
    nlm: Nlm,
    statd: &Statd,
) -> Vec<Arc<dyn Program>> {
    let mount_exports = Arc::clone(exports);
    let find_root = move |path: &[u8], call: &_| mount_exports.mount_root(path, call);
    let mountd = Mountd::new(Arc::clone(&config.exports), exports.disks().to_vec(), find_root);
    vec![
        Arc::new(Nfs::new(Arc::clone(exports))),
        Arc::new(mountd),
        Arc::new(nlm),
        Arc::new(statd.clone()),
    ]
}

/// Tells people, scripts and systemd that the server can be used.
fn announce(bound: &[SocketAddr]) {
    println!("ready {}", addresses(bound));
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!(%error, "cannot tell the service manager");
    }
}

/// What ends the server.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when the server is to end, or where the lock service has.
    async fn wait(&mut self, failed: &CancellationToken) {
        tokio::select! {
            _ = self.terminate.recv() => info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => info!("SIGINT: stopping"),
            () = failed.cancelled() => {}
        }
    }
}
