//! What lock managers of this host ask of us: to be called when a host restarts (XNFS ch. 11,
//! SM_MON, SM_UNMON, SM_UNMON_ALL, SM_SIMU_CRASH), and the calls themselves.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cleat_nlm::monitor::{Mon, MonId, Monitored, MyId, State};
use cleat_nlm::nsm::{StatRes, StateChange};
use cleat_rpc::{Fault, Reply, Writer};
use tracing::{debug, warn};

use super::counters::count;
use super::monitors::Key;
use super::{Statd, blocking, notify};
use crate::pool;
use crate::rpc_client::{self, CallError, Procedure, Resend, Route};
use crate::rpc_server::{Call, Transport};
use crate::seldom::limited;
use crate::store::StoreError;

/// How long the addresses of a host's name may take to be found.
const RESOLVE: Duration = Duration::from_secs(5);
/// How long one call back may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time from the first call back to the second; it doubles with each further.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest time between two calls back.
const RETRY_MAX: Duration = Duration::from_secs(60);

impl Statd {
    /// Whether a caller is a lock manager of this host: on the loopback interface, and with a port
    /// that only root may have, or else any user could have us call whom he likes.
    fn is_local(&self, call: &Call) -> bool {
        let local = call.peer.ip().is_loopback() && call.peer.port() < 1024;
        if !local {
            count(&self.inner.tally.refused_callers);
            if let Some(times) = self.inner.told.callers.happens() {
                let (peer, procedure) = (call.peer, call.header.procedure);
                warn!(%peer, procedure, times, "only a lock manager of this host may call that");
            }
        }
        local
    }

    /// SM_MON: on record before it is answered. STAT_FAIL where the caller may not, the host's
    /// name is unknown, or too many are monitored. The state is this host's.
    pub(super) async fn mon(self, call: Call) -> Reply {
        let mon: Mon<'_> = call.arguments().get()?;
        let mut success = false;
        if self.is_local(&call) {
            let addresses = resolve(mon.mon_id.mon_name).await;
            let mon_name = mon.mon_id.mon_name.escape_ascii().to_string();
            if addresses.is_empty() {
                limited!(warn, mon_name, "SM_MON refused: no address of that host is known");
            } else {
                let asked = Monitored::new(&mon, addresses);
                success = self.change(move |this| this.inner.monitors.monitor(asked)).await?;
                limited!(info, mon_name, success, "SM_MON");
            }
        }
        let mut results = Writer::new();
        results.put(&StatRes { success, state: self.inner.monitors.host_state() });
        Ok(results)
    }

    /// SM_UNMON.
    pub(super) async fn unmon(self, call: Call) -> Reply {
        let _: MonId<'_> = call.arguments().get()?;
        if self.is_local(&call) {
            let arguments = call.arguments.clone();
            self.change(move |this| {
                let mon_id = cleat_rpc::Reader::new(&arguments).get();
                mon_id.map_or(Ok(()), |mon_id| this.inner.monitors.unmonitor(&mon_id))
            })
            .await?;
        }
        Ok(self.host_state())
    }

    /// SM_UNMON_ALL.
    pub(super) async fn unmon_all(self, call: Call) -> Reply {
        let _: MyId<'_> = call.arguments().get()?;
        if self.is_local(&call) {
            let arguments = call.arguments.clone();
            self.change(move |this| {
                let my_id = cleat_rpc::Reader::new(&arguments).get();
                my_id.map_or(Ok(()), |my_id| this.inner.monitors.unmonitor_all(&my_id))
            })
            .await?;
        }
        Ok(self.host_state())
    }

    /// SM_SIMU_CRASH: the lock managers of this host lost what they held elsewhere, as if it had
    /// booted. So the host gets its next state, and who was monitored for them is told of it and
    /// monitored no more. What clients hold here was not lost, and stays.
    pub(super) async fn simu_crash(self, call: Call) -> Reply {
        if self.is_local(&call) {
            let state = self.change(|this| this.inner.monitors.crash()).await?;
            limited!(warn, state, "SM_SIMU_CRASH: this host's lock managers start anew");
            tokio::spawn(notify::notify_owed(self.clone()));
        }
        Ok(Writer::new())
    }

    fn host_state(&self) -> Writer {
        let mut results = Writer::new();
        results.put(&State { state: self.inner.monitors.host_state() });
        results
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        let this = self.clone();
        let changed = blocking(move || change(&this)).await;
        changed.ok_or(Fault::SystemError)?.map_err(|error| {
            limited!(warn, %error, "what a lock manager of this host asked for cannot be recorded");
            Fault::SystemError
        })
    }

    /// Has the lock managers of this host called that had us monitor the host at `source`, unless
    /// they know of that state; whether there are any. What has to be told is on record when this
    /// returns.
    pub(super) async fn tell_local(
        &self,
        source: IpAddr,
        change: &StateChange<'_>,
    ) -> Result<bool, Fault> {
        let mut verified = Vec::new();
        for name in self.inner.monitors.moved(source, change) {
            if resolve(&name).await.contains(&source) {
                verified.push(name);
            }
        }
        let state = change.state;
        let heard = move |this: &Self| this.inner.monitors.heard(source, state, &verified);
        let (known, news) = self.change(heard).await?;
        news.into_iter().for_each(|key| self.call_back(key));
        Ok(known)
    }

    /// Takes up the calls back that an earlier instance did not finish.
    pub(super) fn resume(&self) {
        self.inner.monitors.all_untold().into_iter().for_each(|key| self.call_back(key));
    }

    /// Calls a lock manager back until it answers, unless that is under way.
    fn call_back(&self, key: Key) {
        let calling = || self.inner.calling.lock().unwrap_or_else(PoisonError::into_inner);
        if !calling().insert(key.clone()) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let stop = this.inner.stop.clone();
            let _ = stop.run_until_cancelled(this.call_until_answered(&key)).await;
            let calling = || this.inner.calling.lock().unwrap_or_else(PoisonError::into_inner);
            calling().remove(&key);
            // News that came as the last call ended.
            if !stop.is_cancelled() && this.inner.monitors.untold(&key).is_some() {
                this.call_back(key);
            }
        });
    }

    async fn call_until_answered(&self, key: &Key) {
        let (mut wait, mut transport) = (RETRY_MIN, Transport::Udp);
        while let Some(monitored) = self.inner.monitors.untold(key) {
            let Some(state) = monitored.heard else { return };
            match call(&monitored, transport).await {
                Ok(()) => {
                    let (monitors, key) = (Arc::clone(&self.inner.monitors), key.clone());
                    if let Some(Err(error)) = blocking(move || monitors.told(&key, state)).await {
                        limited!(warn, %error, "cannot note that a lock manager was told");
                        return;
                    }
                    count(&self.inner.tally.callbacks_answered);
                    continue;
                }
                Err(error) => debug!(%error, "a lock manager of this host does not answer"),
            }
            tokio::time::sleep(wait).await;
            wait = RETRY_MAX.min(wait * 2);
            transport = match transport {
                Transport::Udp => Transport::Tcp,
                Transport::Tcp => Transport::Udp,
            };
        }
    }
}

/// One call back, on the loopback interface.
async fn call(monitored: &Monitored, transport: Transport) -> Result<(), CallError> {
    let Some(status) = monitored.status() else { return Ok(()) };
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let route = Route { to: here, from: here, transport };
    let (program, version, number) = monitored.callback;
    let port = rpc_client::find_port(route, program, version, PATIENCE).await?;
    let mut arguments = Writer::new();
    arguments.put(&status);
    let procedure = Procedure { program, version, number };
    let resend = Resend::UntilAnswered;
    rpc_client::call(route, port, procedure, &arguments.into_bytes(), resend, PATIENCE)
        .await
        .map(drop)
}

/// The addresses of a host; none where its name is unknown.
async fn resolve(name: &[u8]) -> Vec<IpAddr> {
    let Ok(name) = std::str::from_utf8(name) else { return Vec::new() };
    if let Ok(address) = name.parse::<IpAddr>() {
        return vec![address.to_canonical()];
    }
    let is_host = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    if name.is_empty() || !name.chars().all(is_host) {
        return Vec::new();
    }
    let name = (name.to_owned(), 0);
    let found = pool::NAMES.run_within(RESOLVE, move || name.to_socket_addrs()).await;
    let found = found.ok().and_then(Result::ok);
    found.map(|all| all.map(|each| each.ip().to_canonical()).collect()).unwrap_or_default()
}
