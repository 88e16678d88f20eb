//! The clients that were seen and how to reach them, by address: what the core keeps unread.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use cleat_lock::{ClientRecord, Record, RecordKey, RecordOp};
use cleat_nlm::nsm::{self, Ignored, StateChange};
use cleat_nlm::{Contact, Origin};
use tracing::warn;

/// The most client addresses that are kept in mind; the core's own limit on clients is the same.
pub const CLIENTS_MAX: usize = 100_000;

/// The most names that one address is known to call itself; more are not told of a restart
/// through a second address of ours.
pub const CALLER_NAMES_MAX: usize = 1024;

/// All clients on record, and those whose first request is still on its way there: two first
/// requests of one client, through two addresses of ours, must not overwrite each other.
#[derive(Debug, Default)]
pub struct Contacts {
    by_address: Mutex<HashMap<IpAddr, Vec<Contact>>>,
}

impl Contacts {
    /// The contacts that these records have.
    #[must_use]
    pub fn new<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let contacts = Self::default();
        for record in records {
            if let Record::Client(client) = record {
                contacts.put(client);
            }
        }
        contacts
    }

    /// Follows a change that was committed.
    pub(super) fn apply(&self, op: &RecordOp) {
        match op {
            RecordOp::Put(Record::Client(client)) => self.put(client),
            RecordOp::Delete(RecordKey::Client { client_id }) => {
                self.with(|all| {
                    for there in all.values_mut() {
                        there.retain(|contact| contact.client_id() != **client_id);
                    }
                    all.retain(|_, there| !there.is_empty());
                });
            }
            RecordOp::Put(_) | RecordOp::Delete(_) => {}
        }
    }

    fn put(&self, client: &ClientRecord) {
        let contact = match Contact::from_bytes(&client.contact) {
            Ok(contact) => contact,
            Err(error) => {
                warn!(client = %client.client_id, %error, "cannot read how to reach a client");
                return;
            }
        };
        self.with(|all| {
            let there = all.entry(contact.client).or_default();
            there.retain(|known| known.caller_name != contact.caller_name);
            there.push(contact);
        });
    }

    /// The contact to record with a request from `origin`: all that is known of its client.
    #[must_use]
    pub fn bytes_for(&self, origin: &Origin) -> Vec<u8> {
        self.with(|all| {
            let mut contact = Contact::new(origin);
            if all.len() >= CLIENTS_MAX && !all.contains_key(&contact.client) {
                return contact.to_bytes();
            }
            let there = all.entry(contact.client).or_default();
            let room = there.len() < CALLER_NAMES_MAX;
            match there.iter_mut().find(|known| known.caller_name == contact.caller_name) {
                Some(known) => {
                    known.merge(origin);
                    contact = known.clone();
                }
                None if room => there.push(contact.clone()),
                None => {}
            }
            contact.to_bytes()
        })
    }

    /// The clients that an SM_NOTIFY from `source` speaks of.
    pub fn restarted(
        &self,
        source: IpAddr,
        change: &StateChange<'_>,
    ) -> Result<Vec<String>, Ignored> {
        self.with(|all| {
            let there = all.get(&source.to_canonical()).map(Vec::as_slice).unwrap_or_default();
            let restarted = nsm::restarted(source, change, there)?;
            Ok(restarted.into_iter().map(Contact::client_id).collect())
        })
    }

    /// Every contact.
    #[must_use]
    pub fn all(&self) -> Vec<Contact> {
        self.with(|all| all.values().flatten().cloned().collect())
    }

    /// The map is whole between any two uses, so a panic elsewhere leaves it usable.
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<IpAddr, Vec<Contact>>) -> T) -> T {
        work(&mut self.by_address.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
