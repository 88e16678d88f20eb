//! Tells people what was taken from clients without their word: whose, which, and why.

use std::sync::Arc;
use std::time::Duration;

use cleat_lock::{LockRecord, Mode, Taken, TakenWhy};
use tokio::sync::mpsc;

use crate::exports::Exports;
use crate::pool;
use crate::seldom::limited;
use crate::vfs::Whereabouts;

/// How long the paths of one line may take to be found.
const FIND: Duration = Duration::from_secs(2);
/// The most lines that wait for those before them; one more is written at once, without paths.
pub const LINES_WAITING_MAX: usize = 1024;

/// Writes lines to the log in the order in which they come.
pub(super) struct Teller(mpsc::Sender<(Taken, u64)>);

impl Teller {
    /// A teller of files of these exports.
    pub(super) fn new(exports: Arc<Exports>) -> Self {
        let find = move |taken: Taken| {
            let exports = Arc::clone(&exports);
            async move {
                let find =
                    move || taken.named.iter().map(|lock| in_words(&exports, lock)).collect();
                pool::TELL.run_within(FIND, find).await.ok()
            }
        };
        Self::with(find, say)
    }

    /// One that finds names by `find` and writes by `say`. Where no names are found in time, for a
    /// disk hangs say, the line goes without them: those behind it are not to wait for ever.
    fn with<Found: Future<Output = Option<Vec<String>>> + Send>(
        find: impl Fn(Taken) -> Found + Send + 'static,
        say: impl Fn(&Taken, &str) + Send + 'static,
    ) -> Self {
        let (lines, mut waiting) = mpsc::channel::<(Taken, u64)>(LINES_WAITING_MAX);
        tokio::spawn(async move {
            while let Some((taken, now_ms)) = waiting.recv().await {
                let names = find(taken.clone()).await;
                say(&taken, &what(&taken, now_ms, names));
            }
        });
        Self(lines)
    }

    pub(super) fn tell(&self, taken: Taken, now_ms: u64) {
        if let Err(error) = self.0.try_send((taken, now_ms)) {
            let (taken, now_ms) = error.into_inner();
            say(&taken, &what(&taken, now_ms, None));
        }
    }
}

fn say(taken: &Taken, what: &str) {
    let Taken { client_id, locks, shares, .. } = taken;
    limited!(warn, client = %client_id, locks, shares, "locks are taken from a client: {what}");
}

fn what(taken: &Taken, now_ms: u64, names: Option<Vec<String>>) -> String {
    let names = names.unwrap_or_else(|| taken.named.iter().map(without_path).collect());
    format!("{}: {}", reason(&taken.why, now_ms), names.join(", "))
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
    let share = &lock.owner.share_name;
    // The debug form of a path is one word of a line, whatever its bytes.
    let file = match exports.whereabouts(lock.file.as_bytes()) {
        Some(Whereabouts::At(path)) => format!("{path:?}"),
        Some(Whereabouts::Deleted(Some(path))) => format!("{path:?} (deleted)"),
        Some(Whereabouts::Deleted(None)) => format!("a deleted file of {share}"),
        Some(Whereabouts::Nameless { inode, .. }) => format!("inode {inode} of {share}"),
        None => return without_path(lock),
    };
    on_file(lock, &file)
}

fn without_path(lock: &LockRecord) -> String {
    on_file(lock, &format!("{:?} of {}", lock.file, lock.owner.share_name))
}

fn on_file(lock: &LockRecord, file: &str) -> String {
    let mode = if lock.mode == Mode::Exclusive { "exclusive" } else { "shared" };
    format!("{:?} {mode} of {} on {file}", lock.range, lock.owner.owner_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, threads_max};
    use crate::rpc_server::Work;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    fn taken(client: usize) -> Taken {
        let (client_id, why) = (client.to_string().into(), TakenWhy::NotReclaimed);
        Taken { client_id, why, locks: 1, shares: 0, named: Vec::new() }
    }

    /// A disk hangs, and with it whoever looks for a path there.
    #[test]
    fn many_lines_about_a_disk_that_hangs_hold_up_no_other_export() {
        static POOL: pool::Pool = pool::Pool::new(8);
        const LINES: usize = 900;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(threads_max(1))
            .enable_all()
            .build()
            .expect("a runtime");
        let _inside = runtime.enter();
        let (wake, hang) = channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let find = move |_| {
            let hang = Arc::clone(&hang);
            let hangs = move || drop(hang.lock().map(|hang| hang.recv()));
            async move {
                let time = Duration::from_millis(1);
                POOL.run_within(time, hangs).await.ok().map(|()| Vec::new())
            }
        };
        let (said, lines) = channel();
        let teller = Teller::with(find, move |taken, _| {
            said.send(taken.client_id.clone()).expect("it is heard");
        });
        (0..LINES).for_each(|client| teller.tell(taken(client), 0));
        let well = Disk::new("".into());
        let answer = tokio::time::timeout(Duration::from_secs(20), well.run(Work::Files, || 7));
        assert_eq!(runtime.block_on(answer), Ok(Ok(7)));
        for client in 0..LINES {
            assert_eq!(*lines.recv().expect("a line"), *client.to_string(), "in order");
        }
        drop(wake);
    }
}
