//! The table `[limits]`: bounds of the lock table, each a count.

use cleat_lock::Limits;

use super::mistake::{Mistakes, Said};

/// The largest number that a limit may be: what the table can count with some room.
pub const LIMIT_MAX: u64 = 1_000_000_000;

/// The limits that can be set.
pub(super) const KEYS: [&str; 13] = [
    "locks_per_file",
    "locks_per_client",
    "locks_total",
    "waiters_per_file",
    "waiters_per_client",
    "shares_per_file",
    "shares_per_client",
    "shares_total",
    "clients",
    "clients_per_source",
    "claims_per_source",
    "owner_bytes_per_source",
    "owner_bytes_total",
];

fn limit<'a>(limits: &'a mut Limits, key: &str) -> Option<&'a mut u64> {
    Some(match key {
        "locks_per_file" => &mut limits.locks_per_file,
        "locks_per_client" => &mut limits.locks_per_client,
        "locks_total" => &mut limits.locks_total,
        "waiters_per_file" => &mut limits.waiters_per_file,
        "waiters_per_client" => &mut limits.waiters_per_client,
        "shares_per_file" => &mut limits.shares_per_file,
        "shares_per_client" => &mut limits.shares_per_client,
        "shares_total" => &mut limits.shares_total,
        "clients" => &mut limits.clients,
        "clients_per_source" => &mut limits.clients_per_source,
        "claims_per_source" => &mut limits.claims_per_source,
        "owner_bytes_per_source" => &mut limits.owner_bytes_per_source,
        "owner_bytes_total" => &mut limits.owner_bytes_total,
        _ => return None,
    })
}

/// The defaults with what is said of them.
pub(super) fn judge(said: &[Said<(String, String)>], mistakes: &mut Mistakes) -> Limits {
    let mut limits = Limits::default();
    // Others of the table are judged elsewhere.
    let own = said.iter().filter(|said| KEYS.contains(&said.value.0.as_str()));
    for Said { place, value: (key, number) } in own {
        let fits = |number: &u64| (1..=LIMIT_MAX).contains(number);
        match (limit(&mut limits, key), number.trim().parse().ok().filter(fits)) {
            (Some(limit), Some(number)) => *limit = number,
            _ => {
                let text = format_args!("\"{number}\" is not from 1 to {LIMIT_MAX}; write a count");
                mistakes.add(place, text);
            }
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_a_limit_of_its_own() {
        let mut limits = Limits::default();
        for (number, key) in (7..).zip(KEYS) {
            *limit(&mut limits, key).expect("a limit") = number;
        }
        let read: Vec<u64> = KEYS.map(|key| *limit(&mut limits, key).expect("a limit")).to_vec();
        assert_eq!(read, (7..).take(KEYS.len()).collect::<Vec<u64>>());
    }
}
