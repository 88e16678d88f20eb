//! Files, owners and clients under small numbers, so that each text is stored once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::file::FileSlot;
use super::register::{Named, Register};
use super::slab::Slab;
use crate::record::ClientRecord;
use crate::types::{FileId, Owner};

/// An owner that holds or awaits something.
#[derive(Debug)]
pub(crate) struct OwnerSlot {
    pub(crate) owner: Owner,
    pub(crate) client: u32,
    /// How many locks, shares and waiters name this slot.
    pub(crate) uses: u32,
}

impl Named for OwnerSlot {
    fn name(&self) -> &[u8] {
        self.owner.owner_id.as_bytes()
    }
}

/// A client on record, registered, or with owners.
#[derive(Debug)]
pub(crate) struct ClientSlot {
    pub(crate) id: Arc<str>,
    /// Where it comes from.
    source: Option<u32>,
    pub(crate) owners: BTreeSet<u32>,
    pub(crate) held: u64,
    pub(crate) waiting: u64,
    pub(crate) shares: u64,
    pub(crate) record: Option<ClientRecord>,
    /// The latest that it named.
    pub(crate) incarnation: u32,
    pub(crate) seen_ms: u64,
    /// Whether it is known even where it has nothing.
    pub(crate) registered: bool,
    /// When all it has is released, unless it comes back before.
    pub(crate) lapses_ms: Option<u64>,
}

impl Named for ClientSlot {
    fn name(&self) -> &[u8] {
        self.id.as_bytes()
    }
}

impl ClientSlot {
    fn is_idle(&self) -> bool {
        let known = self.record.is_some() || self.registered || self.lapses_ms.is_some();
        self.owners.is_empty() && !known
    }

    /// Whether it holds and awaits nothing, and nobody said that it is there.
    pub(crate) fn is_only_on_record(&self) -> bool {
        let there = self.registered || self.lapses_ms.is_some();
        self.owners.is_empty() && !there && self.record.is_some()
    }
}

/// The three registers of names.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) files: Register<FileSlot>,
    pub(crate) owners: Register<OwnerSlot>,
    pub(crate) clients: Register<ClientSlot>,
    /// Slots that may have nothing left to name: looked at when the step is over, because within
    /// a step a slot may empty and fill again.
    idle_files: Vec<u32>,
    idle_owners: Vec<u32>,
    idle_clients: Vec<u32>,
    /// Parts the source of a client's name from the rest.
    pub(crate) source_mark: Option<char>,
    by_source: BTreeMap<Box<str>, u32>,
    sources: Slab<Source>,
    /// Bytes of the names of all owners.
    owner_bytes: u64,
}

/// Where clients come from, a host say, and what all of them have.
#[derive(Debug, Default)]
pub(crate) struct Source {
    clients: BTreeSet<u32>,
    /// Locks, waiting requests and share reservations.
    pub(crate) claims: u64,
    /// Bytes of the names of its owners.
    pub(crate) owner_bytes: u64,
}

/// Bytes that an owner's names take.
fn bytes_of(owner: &Owner) -> u64 {
    (owner.owner_id.len() + owner.note.len()) as u64
}

impl Names {
    pub(crate) fn new(seed: u64) -> Self {
        Names {
            files: Register::new(seed),
            owners: Register::new(seed),
            clients: Register::new(seed),
            idle_files: Vec::new(),
            idle_owners: Vec::new(),
            idle_clients: Vec::new(),
            source_mark: None,
            by_source: BTreeMap::new(),
            sources: Slab::default(),
            owner_bytes: 0,
        }
    }

    pub(crate) fn file(&self, id: &FileId) -> Option<u32> {
        self.files.find(id.as_bytes())
    }

    pub(crate) fn owner(&self, owner: &Owner) -> Option<u32> {
        self.owners.find(owner.owner_id.as_bytes())
    }

    pub(crate) fn client(&self, client_id: &str) -> Option<u32> {
        self.clients.find(client_id.as_bytes())
    }

    pub(crate) fn intern_file(&mut self, id: &FileId) -> u32 {
        if let Some(file) = self.file(id) {
            return file;
        }
        let file = self.files.insert(FileSlot::new(id.clone()));
        self.idle_files.push(file);
        file
    }

    pub(crate) fn intern_owner(&mut self, owner: &Owner) -> u32 {
        if let Some(known) = self.owner(owner) {
            return known;
        }
        let client = self.intern_client(&owner.client_id);
        let mut owner = owner.clone();
        owner.client_id = Arc::clone(&self.clients[client].id);
        let bytes = bytes_of(&owner);
        self.owner_bytes += bytes;
        if let Some(source) = self.source_mut(client) {
            source.owner_bytes += bytes;
        }
        let number = self.owners.insert(OwnerSlot { owner, client, uses: 0 });
        self.clients[client].owners.insert(number);
        self.idle_owners.push(number);
        number
    }

    pub(crate) fn intern_client(&mut self, client_id: &Arc<str>) -> u32 {
        if let Some(client) = self.client(client_id) {
            return client;
        }
        let source = self.source(client_id).map(|source| match self.by_source.get(source) {
            Some(&known) => known,
            None => {
                let (name, new) = (source.into(), self.sources.insert(Source::default()));
                self.by_source.insert(name, new);
                new
            }
        });
        let client = self.clients.insert(ClientSlot {
            id: Arc::clone(client_id),
            source,
            owners: BTreeSet::new(),
            held: 0,
            waiting: 0,
            shares: 0,
            record: None,
            incarnation: 0,
            seen_ms: 0,
            registered: false,
            lapses_ms: None,
        });
        if let Some(source) = source {
            self.sources[source].clients.insert(client);
        }
        self.idle_clients.push(client);
        client
    }

    /// One more lock, share or waiter names the owner.
    pub(crate) fn use_owner(&mut self, owner: u32) {
        self.owners[owner].uses += 1;
    }

    /// One lock, share or waiter less names the owner.
    pub(crate) fn disuse_owner(&mut self, owner: u32) {
        let slot = &mut self.owners[owner];
        slot.uses -= 1;
        if slot.uses == 0 {
            self.idle_owners.push(owner);
        }
    }

    /// Notes that the file may have nothing left.
    pub(crate) fn file_shrank(&mut self, file: u32) {
        if self.files[file].shrink() {
            self.idle_files.push(file);
        }
    }

    /// Notes that the client's record or registration is gone.
    pub(crate) fn client_shrank(&mut self, client: u32) {
        self.idle_clients.push(client);
    }

    /// Forgets names that name nothing any more.
    pub(crate) fn sweep(&mut self) {
        while let Some(file) = self.idle_files.pop() {
            if self.files.get(file).is_some_and(FileSlot::is_idle) {
                self.files.remove(file);
            }
        }
        while let Some(owner) = self.idle_owners.pop() {
            if self.owners.get(owner).is_some_and(|slot| slot.uses == 0) {
                let slot = self.owners.remove(owner);
                let bytes = bytes_of(&slot.owner);
                self.owner_bytes -= bytes;
                if let Some(source) = self.source_mut(slot.client) {
                    source.owner_bytes -= bytes;
                }
                self.clients[slot.client].owners.remove(&owner);
                self.idle_clients.push(slot.client);
            }
        }
        while let Some(client) = self.idle_clients.pop() {
            if self.clients.get(client).is_some_and(ClientSlot::is_idle) {
                let slot = self.clients.remove(client);
                self.leave_source(client, &slot);
            }
        }
    }

    /// Where a client comes from, by its name.
    fn source<'a>(&self, client_id: &'a str) -> Option<&'a str> {
        client_id.rsplit_once(self.source_mark?).map(|(_, source)| source)
    }

    /// The clients that come from where this one does.
    pub(crate) fn of_source(&self, client_id: &str) -> Option<&BTreeSet<u32>> {
        self.source_of(client_id).map(|source| &source.clients)
    }

    /// Where this client comes from, if any client of there is known.
    pub(crate) fn source_of(&self, client_id: &str) -> Option<&Source> {
        let &source = self.by_source.get(self.source(client_id)?)?;
        self.sources.get(source)
    }

    /// Where an owner's client comes from; `known` is the owner's number, if it has one.
    pub(crate) fn source_of_owner(&self, known: Option<u32>, owner: &Owner) -> Option<&Source> {
        match known {
            Some(known) => self.sources.get(self.clients[self.owners[known].client].source?),
            None => self.source_of(&owner.client_id),
        }
    }

    /// Bytes of the names of all owners.
    pub(crate) fn owner_bytes(&self) -> u64 {
        self.owner_bytes
    }

    fn source_mut(&mut self, client: u32) -> Option<&mut Source> {
        self.clients[client].source.map(|source| &mut self.sources[source])
    }

    /// One lock, waiting request or share reservation more or less is the client's.
    pub(super) fn count_claim(&mut self, client: u32, more: bool) {
        if let Some(source) = self.source_mut(client) {
            source.claims = if more { source.claims + 1 } else { source.claims - 1 };
        }
    }

    fn leave_source(&mut self, client: u32, slot: &ClientSlot) {
        let Some(source) = slot.source else { return };
        let there = &mut self.sources[source].clients;
        there.remove(&client);
        if there.is_empty() {
            self.sources.remove(source);
            let name = self.source(&slot.id).map(Box::<str>::from);
            name.and_then(|name| self.by_source.remove(&name));
        }
    }
}
