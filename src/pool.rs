//! Threads for what may block and is neither a call for a file nor one for a lock.
//!
//! Each sort has a number of its own, so that none takes the threads of another, nor of the
//! exports: see [`crate::disk`]. What is beyond that waits.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Threads for all of these, with one for the end of the lock service.
pub const OTHER_THREADS_MAX: usize = 64;

const ADMIN_THREADS: usize = 16;
const STATE_THREADS: usize = 16;
const NAME_THREADS: usize = 8;
const TELL_THREADS: usize = 8;
const _: () =
    assert!(ADMIN_THREADS + STATE_THREADS + NAME_THREADS + TELL_THREADS < OTHER_THREADS_MAX);

/// What an administrator asks of the exports.
pub(crate) static ADMIN: Pool = Pool::new(ADMIN_THREADS);
/// What the status monitor keeps in the state directory.
pub(crate) static STATE: Pool = Pool::new(STATE_THREADS);
/// Names that are looked for in the network.
pub(crate) static NAMES: Pool = Pool::new(NAME_THREADS);
/// Paths that the log is to tell.
pub(crate) static TELL: Pool = Pool::new(TELL_THREADS);

/// A number of threads.
#[derive(Debug)]
pub(crate) struct Pool(Semaphore);

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoResult {
    /// It was not done in time, or not begun; in the first case a thread is still at it.
    #[error("it takes too long: does a disk hang?")]
    Late,
    /// It panicked.
    #[error("it ended by a panic")]
    Panicked,
}

impl Pool {
    pub(crate) const fn new(threads: usize) -> Self {
        Self(Semaphore::const_new(threads))
    }

    /// Runs what may block, once there is a thread for it.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoResult> {
        let permit = self.0.acquire().await.expect("never closed");
        let run = move || {
            let result = run();
            // Whoever asked may be gone, and the thread is at work as long as it is.
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| NoResult::Panicked)
    }

    /// The same for so long.
    pub(crate) async fn run_within<T: Send + 'static>(
        &'static self,
        time: Duration,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoResult> {
        timeout(time, self.run(run)).await.unwrap_or(Err(NoResult::Late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn what_hangs_takes_so_many_threads_and_no_more() {
        static POOL: Pool = Pool::new(2);
        let (wake, hang) = channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..100 {
            let (hang, begun) = (Arc::clone(&hang), begun.clone());
            let hangs = move || {
                begun.send(()).expect("it is counted");
                drop(hang.lock().map(|hang| hang.recv()));
            };
            let late = POOL.run_within(Duration::from_millis(1), hangs).await;
            assert_eq!(late, Err(NoResult::Late));
        }
        drop((begun, wake));
        let mut count = 0;
        while begins.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 2);
        assert_eq!(POOL.run(|| 7).await, Ok(7), "they are free again");
        assert_eq!(POOL.run(|| panic!("told to")).await, Err::<(), _>(NoResult::Panicked));
        assert_eq!(POOL.0.available_permits(), 2);
    }
}
