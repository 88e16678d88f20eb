//! The clients that were seen and how to reach them, by address: what the core keeps unread.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::seldom::limited;
use cleat_lock::{ClientRecord, Record, RecordKey, RecordOp};
use cleat_nlm::nsm::{self, Ignored};
use cleat_nlm::owner::ADDRESS_MARK;
use cleat_nlm::{Contact, Origin};
use tokio::sync::Notify;

/// All clients on record, and those whose first LOCK is still on its way there: two first LOCKs of
/// one client, through two addresses of ours, must not overwrite each other.
#[derive(Debug, Default)]
pub struct Contacts {
    by_address: Mutex<HashMap<IpAddr, Vec<Known>>>,
    changed: Notify,
}

#[derive(Debug)]
struct Known {
    contact: Contact,
    /// Its NSM state as last recorded; 0 where none is.
    incarnation: u32,
    on_record: bool,
    /// LOCKs under way that carry this contact.
    locking: usize,
}

/// A LOCK under way: what it records of its client is kept in mind for as long.
#[derive(Debug)]
pub struct Locking<'a> {
    contacts: &'a Contacts,
    origin: &'a Origin,
}

impl Locking<'_> {
    /// Hands the LOCK to the core by `put`, which is given the contact to record with it, all that
    /// is known of its client, and the NSM state that its client is known to have, 0 where none is.
    ///
    /// One LOCK is handed over after the other, or a contact might be recorded after one that knows
    /// more: so `put` must not wait for anything.
    pub fn put<T>(&self, put: impl FnOnce(Arc<[u8]>, u32) -> T) -> T {
        self.contacts.with(|all| {
            let known = all.get(&self.origin.client()).into_iter().flatten();
            let named = |known: &&Known| known.contact.caller_name == self.origin.caller_name();
            match known.into_iter().find(named) {
                Some(known) => put(known.contact.to_bytes().into(), known.incarnation),
                // It is kept in mind for as long as this lives.
                None => put(Contact::new(self.origin).to_bytes().into(), 0),
            }
        })
    }
}

impl Drop for Locking<'_> {
    fn drop(&mut self) {
        self.contacts.end(self.origin);
    }
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
                self.with(|all| forget(all, client_id));
                self.changed.notify_one();
            }
            RecordOp::Put(_) | RecordOp::Delete(_) => {}
        }
    }

    fn put(&self, client: &ClientRecord) {
        let contact = match Contact::from_bytes(&client.contact) {
            Ok(contact) => contact,
            Err(error) => {
                limited!(
                    warn,
                    client = %client.client_id, %error,
                    "cannot read how to reach a client"
                );
                return;
            }
        };
        let new = self.with(|all| {
            let there = all.entry(contact.client).or_default();
            let new = !there.iter().any(|known| known.on_record);
            match there.iter_mut().find(|known| known.contact.caller_name == contact.caller_name) {
                // A LOCK under way may have brought an address that this record is too old for.
                Some(known) => {
                    known.contact.join(&contact);
                    known.incarnation = client.incarnation;
                    known.on_record = true;
                }
                None => {
                    let incarnation = client.incarnation;
                    there.push(Known { contact, incarnation, on_record: true, locking: 0 });
                }
            }
            new
        });
        if new {
            self.changed.notify_one();
        }
    }

    /// Begins a LOCK or SHARE from `origin`.
    #[must_use]
    pub fn begin<'a>(&'a self, origin: &'a Origin) -> Locking<'a> {
        self.with(|all| {
            let there = all.entry(origin.client()).or_default();
            let named = |known: &&mut Known| known.contact.caller_name == origin.caller_name();
            if let Some(known) = there.iter_mut().find(named) {
                known.locking += 1;
                known.contact.merge(origin);
                return;
            }
            let contact = Contact::new(origin);
            there.push(Known { contact, incarnation: 0, on_record: false, locking: 1 });
        });
        Locking { contacts: self, origin }
    }

    fn end(&self, origin: &Origin) {
        self.with(|all| {
            let Some(there) = all.get_mut(&origin.client()) else { return };
            let named = |known: &&mut Known| known.contact.caller_name == origin.caller_name();
            if let Some(known) = there.iter_mut().find(named) {
                known.locking = known.locking.saturating_sub(1);
            }
            there.retain(Known::is_needed);
            if there.is_empty() {
                all.remove(&origin.client());
            }
        });
    }

    /// The clients that an SM_NOTIFY from `source` under the name `mon_name` speaks of.
    pub fn restarted(
        &self,
        source: IpAddr,
        mon_name: Option<&[u8]>,
    ) -> Result<Vec<String>, Ignored> {
        self.with(|all| {
            let there = all.get(&source.to_canonical()).map(Vec::as_slice).unwrap_or_default();
            let there = there.iter().map(|known| &known.contact);
            let restarted = nsm::restarted(source, mon_name, there)?;
            Ok(restarted.into_iter().map(Contact::client_id).collect())
        })
    }

    /// Of these clients, those that share their address with no other that is not among them.
    ///
    /// Hosts behind a gateway are told apart by name only while several are known there, so none
    /// of them is to be forgotten before the others: it may restart and say so, and that would be
    /// taken for a restart of the one that is left.
    pub fn apart(&self, mut clients: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        let addresses: BTreeSet<_> = clients.iter().filter_map(|id| address_of(id)).collect();
        self.with(|all| {
            let shared = addresses.iter().filter_map(|address| all.get(address));
            for there in shared.filter(|there| there.len() > 1) {
                let ids: Vec<_> = there.iter().map(|known| known.contact.client_id()).collect();
                if ids.iter().any(|client_id| !clients.contains(client_id.as_str())) {
                    for client_id in &ids {
                        clients.remove(client_id.as_str());
                    }
                }
            }
        });
        clients
    }

    /// Every contact on record.
    #[must_use]
    pub fn all(&self) -> Vec<Contact> {
        let on_record = |known: &&Known| known.on_record;
        self.with(|all| {
            all.values().flatten().filter(on_record).map(|known| known.contact.clone()).collect()
        })
    }

    /// The addresses of every client on record.
    #[must_use]
    pub fn addresses(&self) -> HashSet<IpAddr> {
        let on_record = |there: &[Known]| there.iter().any(|known| known.on_record);
        self.with(|all| {
            all.iter().filter(|(_, there)| on_record(there)).map(|(ip, _)| *ip).collect()
        })
    }

    /// Returns when a client has come on record, or off it, since the last time. For one caller at
    /// a time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The map is whole between any two uses, so a panic elsewhere leaves it usable.
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<IpAddr, Vec<Known>>) -> T) -> T {
        work(&mut self.by_address.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The address of a client, which its name tells: nobody is looked for among all.
fn address_of(client_id: &str) -> Option<IpAddr> {
    client_id.rsplit_once(ADDRESS_MARK).and_then(|(_, address)| address.parse().ok())
}

/// Takes a client off the record.
fn forget(all: &mut HashMap<IpAddr, Vec<Known>>, client_id: &str) {
    let Some(address) = address_of(client_id) else { return };
    let Some(there) = all.get_mut(&address) else { return };
    if let Some(known) = there.iter_mut().find(|known| known.contact.client_id() == client_id) {
        known.on_record = false;
    }
    there.retain(Known::is_needed);
    if there.is_empty() {
        all.remove(&address);
    }
}

impl Known {
    fn is_needed(&self) -> bool {
        self.on_record || self.locking > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cleat_nlm::Transport;

    fn origin(name: &str, server: u8) -> Origin {
        Origin::new(
            name.as_bytes(),
            [10, 0, 0, 2].into(),
            [10, 0, 1, server].into(),
            Transport::Tcp,
        )
    }

    /// The commit of a LOCK that recorded this.
    fn commit(contacts: &Contacts, origin: &Origin, contact: Arc<[u8]>) {
        let (client_id, incarnation) = (origin.client_id().into(), 1);
        let record = ClientRecord { client_id, incarnation, contact, since_ms: 0 };
        contacts.apply(&RecordOp::Put(Record::Client(record)));
    }

    fn put(locking: &Locking<'_>) -> Arc<[u8]> {
        locking.put(|contact, _| contact)
    }

    #[test]
    fn first_locks_through_two_addresses_do_not_overwrite_each_other() {
        for first_is_first in [true, false] {
            let (contacts, one, two) = (Contacts::default(), origin("a", 1), origin("a", 2));
            let (first, second) = (contacts.begin(&one), contacts.begin(&two));
            // Whichever comes to the core last, what it records is all that is known.
            let (early, late) = if first_is_first { (&first, &second) } else { (&second, &first) };
            let (early, late) = (put(early), put(late));
            let recorded = Contact::from_bytes(&late).expect("a contact");
            assert_eq!(recorded.servers.len(), 2);
            commit(&contacts, &one, early);
            commit(&contacts, &one, late);
            drop((first, second));
            assert_eq!(contacts.all(), [recorded]);
        }
    }

    #[test]
    fn a_commit_does_not_take_away_what_a_lock_under_way_has_brought() {
        let (contacts, one, two) = (Contacts::default(), origin("a", 1), origin("a", 2));
        let first = contacts.begin(&one);
        let early = put(&first);
        let second = contacts.begin(&two);
        commit(&contacts, &one, early);
        let recorded = Contact::from_bytes(&put(&second)).expect("a contact");
        assert_eq!(recorded.servers.len(), 2);
    }

    #[test]
    fn none_behind_a_gateway_is_forgotten_before_the_others() {
        let contacts = Contacts::default();
        let alone = Origin::new(b"c", [10, 0, 0, 3].into(), [10, 0, 1, 1].into(), Transport::Tcp);
        let origins = [origin("a", 1), origin("b", 1), alone];
        for origin in &origins {
            commit(&contacts, origin, Contact::new(origin).to_bytes().into());
        }
        let [a, b, c] = origins.map(|origin| Arc::<str>::from(origin.client_id()));
        let apart = |ids: &[&Arc<str>]| contacts.apart(ids.iter().copied().cloned().collect());
        assert_eq!(apart(&[&a, &c]), [c.clone()].into());
        assert_eq!(apart(&[&b]), [].into());
        assert_eq!(apart(&[&a, &b]), [a, b].into());
    }

    #[test]
    fn a_lock_that_was_refused_leaves_no_client_behind() {
        let (contacts, origin) = (Contacts::default(), origin("a", 1));
        let (first, second) = (contacts.begin(&origin), contacts.begin(&origin));
        drop(first);
        assert_eq!(contacts.with(|all| all.len()), 1);
        drop(second);
        assert_eq!(contacts.with(|all| all.len()), 0);
    }
}
