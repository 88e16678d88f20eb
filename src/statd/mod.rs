//! NSM: hears which clients restarted, and tells clients that this server did (XNFS ch. 11).

mod counters;
mod local;
mod monitors;
mod notify;
mod system;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cleat_lock::Input;
use cleat_mount::ExportTable;
use cleat_nlm::announced::Announcements;
use cleat_nlm::monitor::PRIVATE_BYTES;
use cleat_nlm::nsm::{Ignored, Name, PROGRAM, StatRes, StateChange, VERSION, procedure};
use cleat_rpc::{Fault, Reply, Writer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::lockd::Lockd;
use crate::pool;
use crate::rpc_server::{Answer, Call, Once, Program, Repeat, Work};
use crate::seldom::limited;
use crate::store::Identity;

pub use counters::Counters;
use counters::{Tally, Told, count};
pub use monitors::{MONITORED_MAX, Monitors};

/// How clients are told that this server restarted.
#[derive(Debug, Clone, Default)]
pub struct Telling {
    /// The names that clients may know this server by, besides the addresses that they mounted and
    /// the host's own.
    pub names: Vec<String>,
    /// How long the locks of a client stand that could not be told: for as long it is tried.
    pub hold: Duration,
}

/// The NSM program. Cheap to clone.
#[derive(Clone)]
pub struct Statd {
    inner: Arc<Inner>,
}

struct Inner {
    lockd: Lockd,
    state: i32,
    telling: Telling,
    key: [u8; PRIVATE_BYTES],
    exports: Arc<ExportTable>,
    monitors: Arc<Monitors>,
    /// The restarts that were announced lately.
    announced: Mutex<Announcements>,
    /// The hosts of which a lock manager here is being told.
    calling: Mutex<HashSet<monitors::Key>>,
    /// Ends the telling of monitored hosts that is under way.
    owing: Mutex<Option<CancellationToken>>,
    tally: Tally,
    told: Told,
    stop: CancellationToken,
}

impl Statd {
    /// Speaks for this instance, until `stop`.
    #[must_use]
    pub fn new(
        lockd: Lockd,
        identity: &Identity,
        telling: Telling,
        exports: Arc<ExportTable>,
        monitors: Monitors,
        stop: CancellationToken,
    ) -> Self {
        let inner = Inner {
            lockd,
            state: identity.nsm_state,
            telling,
            key: identity.monitor_key,
            exports,
            monitors: Arc::new(monitors),
            announced: Mutex::default(),
            calling: Mutex::default(),
            owing: Mutex::default(),
            tally: Tally::default(),
            told: Told::default(),
            stop,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Serves the calls back of a rpc.statd of this host; where, unless there is no loopback.
    #[must_use]
    pub fn serve_callbacks(&self) -> Option<SocketAddr> {
        system::serve_callbacks(self)
            .inspect_err(|error| warn!(%error, "a rpc.statd of this host could not call back"))
            .ok()
    }

    /// Once clients find us: tells hosts of the restart, takes up calls back that an earlier
    /// instance did not finish, and has clients monitored by the rpc.statd of this host for as long
    /// as it has our program (`theirs`).
    pub fn start(&self, theirs: watch::Receiver<bool>) {
        tokio::spawn(notify::notify_clients(self.clone()));
        tokio::spawn(notify::notify_owed(self.clone()));
        tokio::spawn(system::have_clients_monitored(self.clone(), theirs));
        self.resume();
    }

    /// What was counted since the server started.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.tally.read()
    }

    /// How many hosts are monitored for lock managers of this host.
    #[must_use]
    pub fn monitored(&self) -> usize {
        self.inner.monitors.count()
    }

    /// SM_STAT: this server's state, and that it would monitor whoever is named (XNFS ch. 11).
    fn stat(&self, call: &Call) -> Reply {
        let _name: Name<'_> = call.arguments().get()?;
        let mut results = Writer::new();
        results.put(&StatRes { success: true, state: self.inner.state });
        Ok(results)
    }

    /// SM_NOTIFY: a host restarted. What it held here is released and who waits for that is
    /// served, and lock managers of this host that asked for it are told. The answer says nothing,
    /// and comes once all of it is on record.
    async fn notify(self, call: Call) -> Reply {
        let change: StateChange<'_> = call.arguments().get()?;
        let source = call.peer.ip();
        let monitored = self.tell_local(source, &change).await?;
        if !self.inner.exports.speaks_for_host(call.peer) {
            count(&self.inner.tally.ignored_port);
            if let Some(times) = self.inner.told.port.happens() {
                warn!(peer = %call.peer, times, "SM_NOTIFY ignored: an export is \"secure\" to that \
                       host, and the call came from a port above 1023");
            }
            return Ok(Writer::new());
        }
        self.restarted(source, Some(change.mon_name), change.state, monitored).await?;
        Ok(Writer::new())
    }

    /// Releases what the clients at `source` held that are so named, or the one client there where
    /// no name is known, unless that was announced before. `monitored`: the host is known at least
    /// to a lock manager of this host.
    async fn restarted(
        &self,
        source: IpAddr,
        mon_name: Option<&[u8]>,
        state: i32,
        monitored: bool,
    ) -> Result<(), Fault> {
        let lockd = &self.inner.lockd;
        if !self.announced().hear(lockd.now_ms(), source, mon_name, state) {
            count(&self.inner.tally.ignored_repeated);
            let name = mon_name.unwrap_or_default().escape_ascii();
            debug!(%source, %name, state, "SM_NOTIFY repeated: that restart was heard before");
            return Ok(());
        }
        let clients = match lockd.contacts().restarted(source, mon_name) {
            Ok(clients) => clients,
            Err(Ignored::UnknownAddress) if monitored => return Ok(()),
            Err(why) => {
                self.ignored(source, mon_name, why);
                return Ok(());
            }
        };
        let put = |client_id: String| {
            limited!(info, %source, state, client = client_id, "a client restarted");
            count(&self.inner.tally.clients_restarted);
            let (token, _) = lockd.ticket();
            let (client_id, incarnation) = (client_id.into(), state.cast_unsigned());
            lockd.put(Input::ClientRestarted { token, client_id, incarnation })
        };
        // All before the first is awaited: a caller that goes away must not leave it half done.
        let outcomes: Vec<_> = clients.into_iter().map(put).collect();
        for outcome in outcomes {
            if outcome.await.is_err() {
                self.announced().forget(source, mon_name, state);
                return Err(Fault::SystemError);
            }
        }
        Ok(())
    }

    /// It is whole between any two uses, so a panic elsewhere leaves it usable.
    fn announced(&self) -> MutexGuard<'_, Announcements> {
        self.inner.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ignored(&self, source: IpAddr, mon_name: Option<&[u8]>, why: Ignored) {
        let name = mon_name.unwrap_or_default().escape_ascii();
        match why {
            Ignored::UnknownAddress => {
                count(&self.inner.tally.ignored_unknown_address);
                if let Some(times) = self.inner.told.unknown_address.happens() {
                    info!(%source, %name, times, "SM_NOTIFY ignored: {why}");
                }
            }
            Ignored::UnknownName => {
                count(&self.inner.tally.ignored_unknown_name);
                // What the client held stays, and nobody else will say so.
                if let Some(times) = self.inner.told.unknown_name.happens() {
                    warn!(%source, %name, times, "SM_NOTIFY ignored: {why}");
                }
            }
        }
    }
}

impl Program for Statd {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn work(&self) -> Work {
        Work::Locks
    }

    /// A second SM_SIMU_CRASH is a second crash.
    fn once(&self, call: &Call) -> Option<Once> {
        let crash = call.header.procedure == procedure::SIMU_CRASH;
        crash.then(|| Once::new(Repeat::Answered, Vec::new()))
    }

    fn call(&self, call: Call) -> Answer {
        let this = self.clone();
        match call.header.procedure {
            procedure::NULL => Answer::Now(Ok(Writer::new())),
            procedure::STAT => Answer::Now(self.stat(&call)),
            procedure::MON => Answer::later(this.mon(call)),
            procedure::UNMON => Answer::later(this.unmon(call)),
            procedure::UNMON_ALL => Answer::later(this.unmon_all(call)),
            procedure::SIMU_CRASH => Answer::later(this.simu_crash(call)),
            procedure::NOTIFY => Answer::later(this.notify(call)),
            _ => Answer::Now(Err(Fault::ProcedureUnavailable)),
        }
    }
}

/// Runs what waits for the disk; `None` where it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    pool::STATE.run(work).await.ok()
}
