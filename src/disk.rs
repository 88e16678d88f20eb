//! Threads for what waits for the disk behind an export.
//!
//! Each export has a number of its own: one whose disk hangs, a network disk that is gone say,
//! takes no thread from the others. And of these, locks have some that reads and writes cannot
//! take.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::rpc_server::Work;

/// The most calls of NFS and MOUNT that are at work in one export at a time; more wait.
pub const EXPORT_CALLS_MAX: usize = 128;
/// The same of lock requests.
pub const EXPORT_LOCK_CALLS_MAX: usize = 16;
/// Threads for all else that may block: the state directory, the administrator's questions.
const OTHER_THREADS_MAX: usize = 64;

/// How many threads may block in a server of so many exports: none of them waits for another's.
#[must_use]
pub const fn threads_max(exports: usize) -> usize {
    exports * (EXPORT_CALLS_MAX + EXPORT_LOCK_CALLS_MAX) + OTHER_THREADS_MAX
}

/// The disk behind one export. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Disk {
    files: Arc<Semaphore>,
    locks: Arc<Semaphore>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            files: Arc::new(Semaphore::new(EXPORT_CALLS_MAX)),
            locks: Arc::new(Semaphore::new(EXPORT_LOCK_CALLS_MAX)),
        }
    }
}

impl Disk {
    /// Runs what may block, once there is a thread for it; `None` where it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: Work,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permits = match work {
            Work::Files => &self.files,
            Work::Locks => &self.locks,
        };
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        let run = move || {
            let result = run();
            // Whoever asked may be gone, and the thread is at work as long as it is.
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(run)
            .await
            .inspect_err(|error| tracing::error!(%error, "what was asked of a disk did not end"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn a_disk_that_hangs_takes_no_thread_from_locks_or_from_another_disk() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(threads_max(2))
            .enable_all()
            .build()
            .expect("a runtime");
        let (hung, well) = (Disk::default(), Disk::default());
        let (wake, hang) = channel::<()>();
        let hang = Arc::new(std::sync::Mutex::new(hang));
        let patience = Duration::from_secs(20);
        for _ in 0..threads_max(2) + 100 {
            let (hung, hang) = (hung.clone(), Arc::clone(&hang));
            let hangs = move || drop(hang.lock().map(|hang| hang.recv()));
            runtime.spawn(async move { hung.run(Work::Files, hangs).await });
        }
        while hung.files.available_permits() > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        for (disk, work) in [(&hung, Work::Locks), (&well, Work::Files), (&well, Work::Locks)] {
            let answer = async { tokio::time::timeout(patience, disk.run(work, || 7)).await };
            assert_eq!(runtime.block_on(answer), Ok(Some(7)), "{work:?}");
        }
        drop(wake);
    }

    #[tokio::test]
    async fn a_panic_is_no_answer() {
        let disk = Disk::default();
        assert_eq!(disk.run(Work::Files, || panic!("told to")).await, None::<()>);
        assert_eq!(disk.files.available_permits(), EXPORT_CALLS_MAX);
    }
}
