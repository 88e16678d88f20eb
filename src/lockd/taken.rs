//! Tells people what was taken from clients without their word: whose, which, and why.

use std::sync::Arc;

use cleat_lock::{LockRecord, Mode, Taken, TakenWhy};
use tracing::warn;

use crate::exports::Exports;
use crate::vfs::Whereabouts;

/// Writes a line to the log, from a thread of its own: to find a path may take a disk's time.
pub(super) fn tell(exports: &Arc<Exports>, taken: Taken, now_ms: u64) {
    let exports = Arc::clone(exports);
    tokio::task::spawn_blocking(move || {
        let named: Vec<String> = taken.named.iter().map(|lock| in_words(&exports, lock)).collect();
        let Taken { client_id, why, locks, shares, .. } = taken;
        warn!(
            client = %client_id, locks, shares,
            "locks are taken from a client: {}: {}", reason(&why, now_ms), named.join(", ")
        );
    });
}

fn reason(why: &TakenWhy, now_ms: u64) -> String {
    match why {
        TakenWhy::Unreachable => {
            "it did not reclaim them, nor acknowledge the restart in all this time".to_owned()
        }
        TakenWhy::NotReclaimed => "it acknowledged the restart and did not reclaim them".to_owned(),
        TakenWhy::Ordered => "grace was ended by order before it reclaimed them".to_owned(),
        TakenWhy::Contradicted { by } => {
            format!("{by} reclaimed the same first, and the records may lack what came last")
        }
        TakenWhy::Silent { since_ms } => {
            let seconds = now_ms.saturating_sub(*since_ms) / 1000;
            format!("others wait for them, and it has answered nothing for {seconds} s")
        }
    }
}

fn in_words(exports: &Exports, lock: &LockRecord) -> String {
    let mode = if lock.mode == Mode::Exclusive { "exclusive" } else { "shared" };
    let (owner, range, share) = (&lock.owner.owner_id, lock.range, &lock.owner.share_name);
    // The debug form of a path is one word of a line, whatever its bytes.
    let file = match exports.whereabouts(lock.file.as_bytes()) {
        Some(Whereabouts::At(path)) => format!("{path:?}"),
        Some(Whereabouts::Deleted(Some(path))) => format!("{path:?} (deleted)"),
        Some(Whereabouts::Deleted(None)) => format!("a deleted file of {share}"),
        Some(Whereabouts::Nameless { inode, .. }) => format!("inode {inode} of {share}"),
        None => format!("{:?} of {share}", lock.file),
    };
    format!("{range:?} {mode} of {owner} on {file}")
}
