//! Room for one more client: where there is none, those that hold and await nothing make it.

use std::sync::Arc;

use super::Core;
use crate::effect::{Effect, Outcome};
use crate::error::Limit;

/// How long after a search in vain no client is looked for that could go, in milliseconds: who
/// comes too many must not cost those who are there a look at all of them each time.
const CROWDED_MS: u64 = 1000;

impl Core {
    /// The refusal, where this client is new and no further one may be known.
    pub(super) fn room_for_client(
        &mut self,
        client_id: &str,
        fx: &mut Vec<Effect>,
    ) -> Option<Outcome> {
        let (names, limits) = (&self.table.names, &self.config.limits);
        if names.client(client_id).is_some() {
            return None;
        }
        let mut current = names.clients.len() as u64;
        let (all_max, of_source_max) = (limits.clients, limits.clients_per_source);
        if let Some(of_source) = names.of_source(client_id)
            && of_source.len() as u64 >= of_source_max
        {
            let of_source: Vec<u32> = of_source.iter().copied().collect();
            let gone = self.forget_longest_idle(&of_source, fx);
            if gone == 0 {
                let (which, current) = (Limit::ClientsPerSource, of_source.len() as u64);
                return Some(Outcome::Limit { which, current, maximum: of_source_max });
            }
            current -= gone;
        }
        if current >= all_max && self.forget_of_all(fx) == 0 {
            return Some(Outcome::Limit { which: Limit::Clients, current, maximum: all_max });
        }
        None
    }

    fn forget_of_all(&mut self, fx: &mut Vec<Effect>) -> u64 {
        if self.now_ms < self.crowded_until_ms {
            return 0;
        }
        let all: Vec<u32> = self.table.names.clients.iter().map(|(client, _)| client).collect();
        let gone = self.forget_longest_idle(&all, fx);
        if gone == 0 {
            self.crowded_until_ms = self.now_ms.saturating_add(CROWDED_MS);
        }
        gone
    }

    /// Forgets, of these clients, one and one more for each thousand that are only on record: those
    /// that were not seen for longest. Returns how many. None goes while a grace window is open:
    /// what it held before the restart may not be on record.
    fn forget_longest_idle(&mut self, among: &[u32], fx: &mut Vec<Effect>) -> u64 {
        if self.grace.is_some() {
            return 0;
        }
        let clients = &self.table.names.clients;
        let mut idle: Vec<(u64, u32)> = among
            .iter()
            .filter_map(|&ix| clients.get(ix).filter(|slot| slot.is_only_on_record()).zip(Some(ix)))
            .map(|(slot, ix)| (slot.seen_ms, ix))
            .collect();
        idle.sort_unstable();
        idle.truncate(1 + among.len() / 1000);
        for &(_, ix) in &idle {
            let client_id = Arc::clone(&self.table.names.clients[ix].id);
            self.forget(&client_id, fx);
        }
        idle.len() as u64
    }
}
