//! Forgets clients that hold nothing: their number is bounded for all, and each on record is
//! called at every start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cleat_lock::{ClientView, Input};
use tokio_util::sync::CancellationToken;

use super::driver::Lockd;

/// How long a client that holds nothing stays on record: to be put there again costs it one write
/// that waits for the disk.
pub const IDLE: Duration = Duration::from_secs(60 * 60);
/// How often it is looked for such clients.
pub const LOOK: Duration = Duration::from_secs(10 * 60);
/// How many clients are looked at while those who lock wait.
const PAGE: u32 = 512;

/// Forgets, `every` so often and until `stop`, the clients on record that hold and await nothing
/// and have asked for nothing for `idle`, but for those at an address of others that stay: see
/// [`Contacts::apart`](super::Contacts::apart).
pub async fn forget_idle(lockd: Lockd, every: Duration, idle: Duration, stop: CancellationToken) {
    let start_ms = lockd.now_ms();
    let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        let before_ms = lockd.now_ms().saturating_sub(idle_ms);
        // A client of an earlier instance is not seen until it asks for something.
        if start_ms > before_ms {
            continue;
        }
        let Some(idle) = idle_since(&lockd, before_ms).await else { return };
        for client_id in lockd.contacts().apart(idle) {
            let (token, _) = lockd.ticket();
            // Where it has come back meanwhile it stays.
            lockd.ask(Input::ForgetClient { token, client_id }).await;
        }
    }
}

async fn idle_since(lockd: &Lockd, before_ms: u64) -> Option<BTreeSet<Arc<str>>> {
    let is_idle = |client: &ClientView| {
        client.record.is_some()
            && client.locks + client.waiters + client.shares == 0
            && client.seen_ms <= before_ms
    };
    let (mut idle, mut next) = (BTreeSet::new(), Some(0));
    while let Some(from) = next {
        let page;
        (page, next) = lockd.look(move |core| core.clients_from(from, PAGE)).await?;
        idle.extend(page.into_iter().filter(is_idle).map(|client| client.client_id));
    }
    Some(idle)
}
