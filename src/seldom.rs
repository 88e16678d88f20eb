//! What a peer can make happen at any rate, and the log is to tell once in a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the log speaks of it.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Something that happens, and when it was told.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(u64, Option<Instant>)>);

impl Seldom {
    /// It happens once more. Returns how often it did since it was last told where it is to be
    /// told again.
    pub(crate) fn happens(&self) -> Option<u64> {
        self.happens_at(Instant::now())
    }

    fn happens_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, said) = &mut *state;
        *count += 1;
        if said.is_some_and(|said| now.duration_since(said) < SAID_EVERY) {
            return None;
        }
        *said = Some(now);
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_one_a_minute_with_the_number_of_all() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.happens_at(now), Some(1));
        assert_eq!(seldom.happens_at(now), None);
        assert_eq!(seldom.happens_at(now + SAID_EVERY / 2), None);
        assert_eq!(seldom.happens_at(now + SAID_EVERY), Some(3));
    }
}
