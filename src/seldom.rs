//! Rate limits of the log: for what a peer can make happen at any rate.

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

/// The most lines of one kind in a minute. What is beyond is said at the level of debugging.
pub(crate) const LINES_PER_MINUTE_MAX: u64 = 20;

/// Lines of one kind: each is worth telling, and a peer can have as many written as it likes.
#[derive(Debug)]
pub(crate) struct Limited(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    since: Option<Instant>,
    said: u64,
    unsaid: u64,
}

impl Limited {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Lines { since: None, said: 0, unsaid: 0 }))
    }

    /// One more is to be said. Returns whether it may, and how many were not said before it.
    pub(crate) fn may_say(&self) -> Option<u64> {
        self.may_say_at(Instant::now())
    }

    fn may_say_at(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.since.is_none_or(|since| now.duration_since(since) >= SAID_EVERY) {
            (lines.since, lines.said) = (Some(now), 0);
        }
        if lines.said == LINES_PER_MINUTE_MAX {
            lines.unsaid += 1;
            return None;
        }
        lines.said += 1;
        Some(std::mem::take(&mut lines.unsaid))
    }
}

/// Writes a line as `tracing`'s macro of that level does, where the place it stands at has not
/// written too many lately; else at the level of debugging.
macro_rules! limited {
    ($level:ident, $($line:tt)+) => {{
        static LINES: $crate::seldom::Limited = $crate::seldom::Limited::new();
        match LINES.may_say() {
            Some(0) => tracing::$level!($($line)+),
            Some(unsaid) => tracing::$level!(unsaid, $($line)+),
            None => tracing::debug!($($line)+),
        }
    }};
}
pub(crate) use limited;

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

    #[test]
    fn so_many_lines_are_said_in_a_minute_and_then_how_many_were_not() {
        let (limited, now) = (Limited::new(), Instant::now());
        for _ in 0..LINES_PER_MINUTE_MAX {
            assert_eq!(limited.may_say_at(now), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(limited.may_say_at(now + SAID_EVERY / 2), None);
        }
        assert_eq!(limited.may_say_at(now + SAID_EVERY), Some(1000));
        assert_eq!(limited.may_say_at(now + SAID_EVERY), Some(0));
    }
}
