//! Threads for what waits for the disk behind an export.
//!
//! Each export has a number of its own: one whose disk hangs, a network disk that is gone say,
//! takes no thread from the others. And of these, locks have some that reads and writes cannot
//! take.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::pool::OTHER_THREADS_MAX;
use crate::rpc_server::Work;
use crate::seldom::{Seldom, limited};

/// The most calls of NFS and MOUNT that are at work in one export at a time; more wait.
pub const EXPORT_CALLS_MAX: usize = 128;
/// The same of lock requests.
pub const EXPORT_LOCK_CALLS_MAX: usize = 16;
/// How long a call waits for others of its export to end. Then they hang, and its client is to ask
/// again: what waits takes the place of calls to other disks.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many threads may block in a server of so many exports: none of them waits for another's, nor
/// for those of `crate::pool`.
#[must_use]
pub const fn threads_max(exports: usize) -> usize {
    exports * (EXPORT_CALLS_MAX + EXPORT_LOCK_CALLS_MAX) + OTHER_THREADS_MAX
}

/// The disk behind one export. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Disk {
    files: Arc<Semaphore>,
    locks: Arc<Semaphore>,
    patience: Duration,
    /// What people know its export by.
    export: Arc<str>,
    refused: Arc<Seldom>,
}

/// Why what was to be done did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// It was not begun: the disk hangs with what was asked of it before.
    Hangs,
    /// It panicked.
    Panicked,
}

impl Disk {
    /// The disk behind the export of this name.
    #[must_use]
    pub fn new(export: Arc<str>) -> Self {
        Self {
            files: Arc::new(Semaphore::new(EXPORT_CALLS_MAX)),
            locks: Arc::new(Semaphore::new(EXPORT_LOCK_CALLS_MAX)),
            patience: PATIENCE,
            export,
            refused: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_patience(patience: Duration) -> Self {
        Self { patience, ..Self::new("".into()) }
    }

    /// Has as much hang as can, until the returned is dropped.
    #[cfg(test)]
    pub(crate) async fn hang(&self, work: Work) -> std::sync::mpsc::Sender<()> {
        let (wake, hang) = std::sync::mpsc::channel();
        let hang = Arc::new(std::sync::Mutex::new(hang));
        let permits = self.permits(work);
        while permits.available_permits() > 0 {
            let (disk, hang) = (self.clone(), Arc::clone(&hang));
            let hangs = move || drop(hang.lock().map(|hang| hang.recv()));
            tokio::spawn(async move { disk.run(work, hangs).await });
            tokio::task::yield_now().await;
        }
        wake
    }

    const fn permits(&self, work: Work) -> &Arc<Semaphore> {
        match work {
            Work::Files => &self.files,
            Work::Locks => &self.locks,
        }
    }

    /// Runs what may block, once there is a thread for it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let permit = Arc::clone(self.permits(work)).acquire_owned();
        let Ok(permit) = timeout(self.patience, permit).await else {
            if let Some(refused) = self.refused.happens() {
                tracing::warn!(export = &*self.export, refused, "the disk of an export hangs");
            }
            return Err(Unfinished::Hangs);
        };
        let run = move || {
            let result = run();
            // Whoever asked may be gone, and the thread is at work as long as it is.
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(run)
            .await
            .inspect_err(|error| limited!(error, %error, "what was asked of a disk did not end"))
            .map_err(|_| Unfinished::Panicked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many threads as a server of two exports has.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(threads_max(2))
            .enable_all()
            .build()
            .expect("a runtime")
    }

    #[test]
    fn a_disk_that_hangs_takes_no_thread_from_locks_or_from_another_disk() {
        let runtime = runtime();
        let (hung, well) = (Disk::new("".into()), Disk::new("".into()));
        let wake = runtime.block_on(hung.hang(Work::Files));
        // More of them than there are threads.
        for _ in 0..threads_max(2) {
            let hung = hung.clone();
            runtime.spawn(async move { hung.run(Work::Files, || ()).await });
        }
        for (disk, work) in [(&hung, Work::Locks), (&well, Work::Files), (&well, Work::Locks)] {
            let answer = async { timeout(2 * PATIENCE, disk.run(work, || 7)).await };
            assert_eq!(runtime.block_on(answer), Ok(Ok(7)), "{work:?}");
        }
        drop(wake);
    }

    #[tokio::test]
    async fn who_would_wait_for_long_is_told() {
        let disk = Disk::with_patience(Duration::from_millis(50));
        let wake = disk.hang(Work::Locks).await;
        assert_eq!(disk.run(Work::Locks, || ()).await, Err(Unfinished::Hangs));
        assert_eq!(disk.run(Work::Files, || ()).await, Ok(()));
        drop(wake);
    }

    #[tokio::test]
    async fn a_panic_is_no_answer() {
        let disk = Disk::new("".into());
        let panics = disk.run(Work::Files, || panic!("told to"));
        assert_eq!(panics.await, Err::<(), _>(Unfinished::Panicked));
        assert_eq!(disk.files.available_permits(), EXPORT_CALLS_MAX);
    }
}
