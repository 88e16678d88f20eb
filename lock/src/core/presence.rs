//! Clients that come and go by connection: registered, disconnected, back again or lapsed.

use std::sync::Arc;

use super::Core;
use crate::effect::{Effect, Outcome};

impl Core {
    /// Makes a client known, or notes that a known one is there.
    pub(super) fn register_client(
        &mut self,
        client_id: &Arc<str>,
        incarnation: u32,
        contact: &Arc<[u8]>,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        if let Some(refusal) = self.room_for_client(client_id, fx) {
            return refusal;
        }
        let client = self.table.names.intern_client(client_id);
        self.table.names.clients[client].registered = true;
        self.record_client(client, incarnation, contact, fx);
        Outcome::Done
    }

    /// Starts the time after which a client that does not come back loses all it has.
    pub(super) fn disconnected(&mut self, client_id: &str, fx: &mut Vec<Effect>) {
        let Some(client) = self.table.names.client(client_id) else {
            return;
        };
        let slot = &mut self.table.names.clients[client];
        if slot.lapses_ms.is_none() {
            let lapses_ms = self.now_ms.saturating_add(self.config.disconnect_ttl_ms);
            slot.lapses_ms = Some(lapses_ms);
            self.leaving.insert((lapses_ms, client));
        }
        self.release_lapsed(fx);
    }

    /// A client shows itself: it stays.
    pub(super) fn came_back(&mut self, client_id: &str) {
        if let Some(client) = self.table.names.client(client_id) {
            self.stay(client);
        }
    }

    pub(super) fn stay(&mut self, client: u32) {
        if let Some(lapses_ms) = self.table.names.clients[client].lapses_ms.take() {
            self.leaving.remove(&(lapses_ms, client));
            self.table.names.client_shrank(client);
        }
    }

    /// Releases what clients have whose time after their disconnection is over.
    pub(super) fn release_lapsed(&mut self, fx: &mut Vec<Effect>) {
        while let Some(&(lapses_ms, client)) = self.leaving.first()
            && lapses_ms <= self.now_ms
        {
            if !self.release_client(client, None, fx) {
                // The rest goes with the next step.
                return;
            }
            self.leaving.pop_first();
            let slot = &mut self.table.names.clients[client];
            slot.lapses_ms = None;
            slot.registered = false;
            let client_id = Arc::clone(&slot.id);
            self.table.names.client_shrank(client);
            self.counters.lapsed += 1;
            fx.push(Effect::Lapsed { client_id });
        }
    }
}
