//! The clients on record and how to reach them, by address: what the core keeps unread.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use cleat_lock::{ClientRecord, Record, RecordKey, RecordOp};
use cleat_nlm::contact::contact_bytes;
use cleat_nlm::nsm::{self, Ignored, StateChange};
use cleat_nlm::{Contact, Origin};
use tracing::warn;

/// A copy of the client records that were committed. It follows them and is never ahead.
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

    /// The contact to record with a request from `origin`.
    #[must_use]
    pub fn bytes_for(&self, origin: &Origin) -> Vec<u8> {
        let recorded = self.with(|all| {
            let there = all.get(&origin.client())?;
            there.iter().find(|known| known.caller_name == origin.caller_name()).cloned()
        });
        contact_bytes(origin, recorded.map(|contact| contact.to_bytes()).as_deref())
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
