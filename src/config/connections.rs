//! The keys of the table `[limits]` that are about connections.

use std::time::Duration;

use super::mistake::{Mistakes, Place, Said};
use crate::rpc_server::{CONNECTIONS_MAX, ConnectionLimits};

/// The most connections that may be asked for: each is a descriptor, of which a process has a
/// million at the most as a rule.
pub const CONNECTIONS_LIMIT_MAX: usize = 100_000;
/// The longest time for which a connection may be idle, in seconds.
pub const CONNECTION_IDLE_S_MAX: usize = 24 * 3600;

/// The keys.
pub(super) const KEYS: [&str; 4] =
    ["connections", "connections_per_host", "connections_of_strangers", "connection_idle_s"];

/// The defaults with what is said of them. A part of all connections cannot be more than all.
pub(super) fn judge(said: &[Said<(String, String)>], mistakes: &mut Mistakes) -> ConnectionLimits {
    let mut number = |key: &str, max: usize, what: &str| -> Option<(&Place, usize)> {
        let Said { place, value: (_, number) } =
            said.iter().rev().find(|Said { value, .. }| value.0 == key)?;
        let count = number.trim().parse().ok().filter(|count| (1..=max).contains(count));
        if count.is_none() {
            let text = format_args!("\"{number}\" is not from 1 to {max}; write {what}");
            mistakes.add(place, text);
        }
        Some((place, count?))
    };
    let [all, per_host, strangers, idle_s] = [
        number(KEYS[0], CONNECTIONS_LIMIT_MAX, "a count"),
        number(KEYS[1], CONNECTIONS_LIMIT_MAX, "a count"),
        number(KEYS[2], CONNECTIONS_LIMIT_MAX, "a count"),
        number(KEYS[3], CONNECTION_IDLE_S_MAX, "seconds, as 900"),
    ];
    let mut limits = ConnectionLimits::new(all.map_or(CONNECTIONS_MAX, |(_, count)| count));
    for (said, part) in [(per_host, &mut limits.per_host), (strangers, &mut limits.strangers)] {
        let Some((place, count)) = said else { continue };
        if count > limits.all {
            let all = limits.all;
            let text = format_args!(
                "{count} is more than all connections, {all}; write less, or more of \
                 limits.connections"
            );
            mistakes.add(place, text);
        }
        *part = count;
    }
    if let Some((_, seconds)) = idle_s {
        limits.idle = Duration::from_secs(seconds as u64);
    }
    limits
}
