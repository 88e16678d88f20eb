//! Forgets clients that hold nothing: their number is bounded for all, and each on record is
//! called at every start.

use std::sync::Arc;
use std::time::Duration;

use cleat_lock::{ClientView, Core, Input};
use tokio_util::sync::CancellationToken;

use super::driver::Lockd;

/// How long a client that holds nothing stays on record: to be put there again costs it one write
/// that waits for the disk.
pub const IDLE: Duration = Duration::from_secs(60 * 60);
/// How often it is looked for such clients.
pub const LOOK: Duration = Duration::from_secs(10 * 60);

/// Forgets, `every` so often and until `stop`, the clients on record that hold and await nothing
/// and have asked for nothing for `idle`.
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
        let Some(clients) = lockd.look(move |core| idle_since(core, before_ms)).await else {
            return;
        };
        for client_id in clients {
            let (token, _) = lockd.ticket();
            // Where it has come back meanwhile it stays.
            lockd.ask(Input::ForgetClient { token, client_id }).await;
        }
    }
}

fn idle_since(core: &Core, before_ms: u64) -> Vec<Arc<str>> {
    let idle = |client: &ClientView| {
        client.record.is_some()
            && client.locks + client.waiters + client.shares == 0
            && client.seen_ms <= before_ms
    };
    core.clients().into_iter().filter(idle).map(|client| client.client_id).collect()
}
