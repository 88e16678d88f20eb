//! What one can read off the core without changing it.

use std::sync::Arc;

use super::Core;
use crate::effect::Conflict;
use crate::record::{ClientRecord, LockRecord, Record, ShareRecord, WaiterRecord};
use crate::table::ClientSlot;
use crate::types::{FileId, Mode, Owner, Range};

/// The open grace window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraceView {
    /// When it closes at the latest, on the core's clock.
    pub until_ms: u64,
    /// Whether it may close as soon as nothing is left.
    pub exact: bool,
    /// Reclaims granted so far of what was on record and not reclaimed before.
    pub reclaimed: u64,
    /// Locks and shares still waited for.
    pub left: u64,
}

/// A client the core knows: on record, registered, or holding or awaiting something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientView {
    /// Which client.
    pub client_id: Arc<str>,
    /// Its record; `None` where it left no contact.
    pub record: Option<ClientRecord>,
    /// The state number that it named last, the recorded one after a restart; 0 = none.
    pub incarnation: u32,
    /// Locks it holds.
    pub locks: u64,
    /// Requests of its that wait.
    pub waiters: u64,
    /// Its share reservations.
    pub shares: u64,
    /// Whether it is known even where it has nothing: [`Input::Register`](crate::Input::Register).
    pub registered: bool,
    /// When all it has is released, on the core's clock, unless it comes back; `None` where it was
    /// not disconnected.
    pub lapses_ms: Option<u64>,
    /// When it last asked for anything, on the core's clock; 0 = not since the start.
    pub seen_ms: u64,
}

impl Core {
    /// All held locks, in no particular but a repeatable order.
    pub fn locks(&self) -> impl Iterator<Item = LockRecord> + '_ {
        self.table.locks.numbers().map(|ix| self.table.lock_record(ix))
    }

    /// The locks on one file that overlap a range, by their first byte.
    #[must_use]
    pub fn locks_of_file(&self, file: &FileId, range: Range) -> Vec<LockRecord> {
        let mut found = Vec::new();
        if let Some(file) = self.table.names.file(file) {
            self.table.each_lock(file, range, &mut |ix| found.push(self.table.lock_record(ix)));
        }
        found.sort_by_key(|lock| (lock.range, lock.id));
        found
    }

    /// The locks of one client, by owner, file and place.
    pub fn locks_of_client(&self, client_id: &str) -> impl Iterator<Item = LockRecord> + '_ {
        let names = &self.table.names;
        let owners = names.client(client_id).map(|client| &names.clients[client].owners);
        let locks = owners.into_iter().flatten().flat_map(|&o| self.table.locks.own_all(o));
        locks.map(|ix| self.table.lock_record(ix))
    }

    /// All waiters and unacknowledged grants, the foremost first.
    pub fn waiters(&self) -> impl Iterator<Item = WaiterRecord> + '_ {
        self.table.queue.in_order().map(|ix| self.table.waiter_record(ix))
    }

    /// All share reservations, in no particular but a repeatable order.
    pub fn shares(&self) -> impl Iterator<Item = ShareRecord> + '_ {
        self.table.shares.all().filter_map(|(owner, file)| self.table.share_record(owner, file))
    }

    /// The share reservations of one file, by owner.
    #[must_use]
    pub fn shares_of_file(&self, file: &FileId) -> Vec<ShareRecord> {
        let file = self.table.names.file(file);
        let mut found: Vec<ShareRecord> = file
            .into_iter()
            .flat_map(|file| self.table.shares.on_file(file).map(move |owner| (owner, file)))
            .filter_map(|(owner, file)| self.table.share_record(owner, file))
            .collect();
        found.sort_by(|a, b| a.owner.owner_id.cmp(&b.owner.owner_id));
        found
    }

    /// Whether somebody else's lock forbids an input or output, for servers whose locks are
    /// mandatory: `Shared` = a read, which other owners' exclusive locks forbid; `Exclusive` = a
    /// write, which all their locks forbid. `owner` = `None` has no locks of its own.
    ///
    /// Locks that wait to be reclaimed count, waiters and share reservations do not. Where nothing
    /// is locked this looks at one number, where the file is not locked at one hash more. (A range
    /// is never empty: an I/O of no bytes is nobody's intrusion and must not be asked about.)
    #[must_use]
    pub fn intrudes(
        &self,
        owner: Option<&Owner>,
        file: &FileId,
        range: Range,
        mode: Mode,
    ) -> Option<Conflict> {
        if self.table.locks.len() == 0 {
            return None;
        }
        let file = self.table.names.file(file)?;
        if self.table.names.files[file].held() == 0 {
            return None;
        }
        let owner = owner.and_then(|owner| self.table.names.owner(owner));
        let lock = self.table.blocker(owner, file, range, mode)?;
        let held = self.table.locks.get(lock);
        let owner = self.table.names.owners[held.owner].owner.clone();
        let (range, mode) = (self.table.locks.range(lock), held.attrs.mode);
        Some(Conflict { owner, range, mode })
    }

    /// [`Core::intrudes`] by reading.
    #[must_use]
    pub fn may_read(&self, owner: Option<&Owner>, file: &FileId, range: Range) -> bool {
        self.intrudes(owner, file, range, Mode::Shared).is_none()
    }

    /// [`Core::intrudes`] by writing.
    #[must_use]
    pub fn may_write(&self, owner: Option<&Owner>, file: &FileId, range: Range) -> bool {
        self.intrudes(owner, file, range, Mode::Exclusive).is_none()
    }

    /// All clients, by name.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientView> {
        let mut clients: Vec<ClientView> =
            self.table.names.clients.iter().map(|(_, slot)| view_client(slot)).collect();
        clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        clients
    }

    /// The clients in up to `slots_max` places from `from` on, and where the next page begins;
    /// `None` = there is none. Consistent over pages as [`Core::claims`].
    #[must_use]
    pub fn clients_from(&self, from: u32, slots_max: u32) -> (Vec<ClientView>, Option<u32>) {
        let clients = &self.table.names.clients;
        let end = from.saturating_add(slots_max).min(clients.slots());
        let found = (from..end).filter_map(|slot| clients.get(slot)).map(view_client).collect();
        (found, (end < clients.slots()).then_some(end))
    }

    /// One client, if it is known.
    #[must_use]
    pub fn client(&self, client_id: &str) -> Option<ClientView> {
        let client = self.table.names.client(client_id)?;
        Some(view_client(&self.table.names.clients[client]))
    }

    /// The whole durable image, as a restore would want it; in no particular but a repeatable
    /// order.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let clients = self.table.names.clients.iter();
        let clients = clients.filter_map(|(_, slot)| slot.record.clone()).map(Record::Client);
        clients
            .chain(self.locks().map(Record::Lock))
            .chain(self.waiters().map(Record::Waiter))
            .chain(self.shares().map(Record::Share))
    }

    /// The grace window, while it is open.
    #[must_use]
    pub fn grace(&self) -> Option<GraceView> {
        let window = self.grace.as_ref()?;
        Some(GraceView {
            until_ms: window.until_ms,
            exact: window.exact,
            reclaimed: window.reclaimed,
            left: self.unreclaimed(),
        })
    }
}

fn view_client(slot: &ClientSlot) -> ClientView {
    ClientView {
        client_id: Arc::clone(&slot.id),
        record: slot.record.clone(),
        incarnation: slot.incarnation,
        locks: slot.held,
        waiters: slot.waiting,
        shares: slot.shares,
        registered: slot.registered,
        lapses_ms: slot.lapses_ms,
        seen_ms: slot.seen_ms,
    }
}
