//! A new lock that comes while a grace window is about to close waits for that, instead of being
//! refused: Linux, once refused, asks again only after 5 s, and the window is over long before.
//!
//! It waits before its turn comes, so nothing that its owner sends behind it overtakes it. Reclaims
//! do not wait, and what their owners ask for later is in their way for no longer than this.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::driver::Metrics;

/// How long after the server's start. Who then has not reclaimed may not do so at all, and a client
/// that is refused at least knows why it waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most calls of one client that wait here: fewer than one connection has in flight, since its
/// reclaims may come on the same one.
const PATIENT_MAX: usize = 32;

/// Those who wait for the window to close.
#[derive(Debug)]
pub(super) struct Patience {
    metrics: watch::Receiver<Metrics>,
    until: Instant,
    waiting: Arc<Waiting>,
}

/// How many calls wait, by client.
type Waiting = Mutex<HashMap<IpAddr, usize>>;

/// A call that waits.
struct Place(Arc<Waiting>, IpAddr);

impl Patience {
    /// For a server that starts now.
    pub(super) fn new(metrics: watch::Receiver<Metrics>) -> Self {
        Self { metrics, until: Instant::now() + PATIENCE, waiting: Arc::default() }
    }

    /// Returns when no grace window is open that may close early, or where that took too long.
    pub(super) async fn closed(&self, client: IpAddr) {
        if Instant::now() >= self.until {
            return;
        }
        let Some(_place) = Place::take(&self.waiting, client) else { return };
        let mut metrics = self.metrics.clone();
        let may_close = |now: &Metrics| now.grace.is_some_and(|window| window.exact);
        let closed = metrics.wait_for(|now| !may_close(now));
        // Too late, or a service that has stopped: the core's word will do.
        let _ = tokio::time::timeout_at(self.until, closed).await;
    }
}

impl Place {
    fn take(waiting: &Arc<Waiting>, client: IpAddr) -> Option<Self> {
        let mut counts = lock(waiting);
        let count = counts.entry(client).or_default();
        if *count >= PATIENT_MAX {
            return None;
        }
        *count += 1;
        Some(Self(Arc::clone(waiting), client))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// The counts are whole between any two uses, so a panic elsewhere leaves them usable.
fn lock(waiting: &Waiting) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cleat_lock::GraceView;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn window(exact: bool) -> Metrics {
        let grace = GraceView { until_ms: 90_000, exact, reclaimed: 0, left: 1 };
        Metrics { grace: Some(grace), ..Metrics::default() }
    }

    async fn returns_at_once(patience: &Patience) -> bool {
        tokio::time::timeout(Duration::from_millis(50), patience.closed(CLIENT)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_lock_waits_for_a_window_that_may_close_and_for_no_other() {
        let (publish, metrics) = watch::channel(window(true));
        let patience = Patience::new(metrics);
        assert!(!returns_at_once(&patience).await);
        publish.send_replace(window(false));
        assert!(returns_at_once(&patience).await);
        publish.send_replace(window(true));
        let close = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            publish.send_replace(Metrics::default());
        };
        let before = Instant::now();
        tokio::join!(patience.closed(CLIENT), close);
        assert_eq!(before.elapsed(), Duration::from_secs(1));
        assert!(lock(&patience.waiting).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_no_longer_than_it_takes_those_who_live_to_reclaim() {
        let (_publish, metrics) = watch::channel(window(true));
        let patience = Patience::new(metrics);
        let before = Instant::now();
        patience.closed(CLIENT).await;
        assert_eq!(before.elapsed(), PATIENCE);
        assert!(returns_at_once(&patience).await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_client_only_so_many_wait() {
        let (_publish, metrics) = watch::channel(window(true));
        let patience = Patience::new(metrics);
        let places: Vec<_> =
            (0..PATIENT_MAX).map(|_| Place::take(&patience.waiting, CLIENT)).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(returns_at_once(&patience).await);
        drop(places);
        assert!(!returns_at_once(&patience).await);
    }
}
