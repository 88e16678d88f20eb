//! Share reservations: by owner and file, and by file and kind, so that no check is a scan.

use std::collections::{BTreeMap, BTreeSet};

use super::Table;
use crate::effect::Effect;
use crate::record::{Record, RecordKey, RecordOp, ShareRecord};
use crate::types::{Access, Reservation};

/// A reservation, apart from its owner and file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) reservation: Reservation,
    pub(crate) incarnation: u32,
    pub(crate) acquired_ms: u64,
    pub(crate) reclaim: bool,
    /// On record at a restart and not reclaimed yet.
    pub(crate) unreclaimed: bool,
}

/// All reservations.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// By owner and file: one each.
    own: BTreeMap<(u32, u32), Share>,
    /// File, kind, owner. There are 16 kinds, so whatever a request conflicts with is found in at
    /// most 16 places, however many share the file.
    by_kind: BTreeSet<(u32, u8, u32)>,
    /// How many are unreclaimed.
    pub(crate) unreclaimed: u64,
}

fn kind(reservation: Reservation) -> u8 {
    reservation.access as u8 * 4 + reservation.deny as u8
}

impl Shares {
    pub(crate) fn len(&self) -> u64 {
        self.own.len() as u64
    }

    pub(crate) fn get(&self, owner: u32, file: u32) -> Option<&Share> {
        self.own.get(&(owner, file))
    }

    /// Owner and file of each.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, u32)> {
        self.own.keys().copied()
    }

    /// Owner and file of each from these on.
    pub(crate) fn from(&self, first: (u32, u32)) -> impl Iterator<Item = (u32, u32)> {
        self.own.range(first..).map(|(&key, _)| key)
    }

    /// The files the owner has reserved.
    pub(crate) fn own_all(&self, owner: u32) -> impl Iterator<Item = u32> {
        self.own.range((owner, 0)..=(owner, u32::MAX)).map(|(&(_, file), _)| file)
    }

    /// The owners that have reserved the file.
    pub(crate) fn on_file(&self, file: u32) -> impl Iterator<Item = u32> {
        self.by_kind.range((file, 0, 0)..=(file, u8::MAX, u32::MAX)).map(|&(_, _, owner)| owner)
    }

    /// The other owners whose reservations of the file exclude this one.
    pub(crate) fn in_the_way(
        &self,
        owner: Option<u32>,
        file: u32,
        wanted: Reservation,
    ) -> impl Iterator<Item = u32> {
        let kinds = Access::ALL
            .into_iter()
            .flat_map(|access| Access::ALL.map(|deny| Reservation { access, deny }));
        let there = kinds.filter(move |other| other.conflicts(wanted)).flat_map(move |other| {
            let kind = kind(other);
            self.by_kind.range((file, kind, 0)..=(file, kind, u32::MAX))
        });
        there.map(|&(_, _, other)| other).filter(move |&other| Some(other) != owner)
    }

    fn insert(&mut self, owner: u32, file: u32, share: Share) {
        self.own.insert((owner, file), share);
        self.by_kind.insert((file, kind(share.reservation), owner));
        self.unreclaimed += u64::from(share.unreclaimed);
    }

    fn remove(&mut self, owner: u32, file: u32) -> Option<Share> {
        let share = self.own.remove(&(owner, file))?;
        self.by_kind.remove(&(file, kind(share.reservation), owner));
        self.unreclaimed -= u64::from(share.unreclaimed);
        Some(share)
    }
}

impl Table {
    /// Gives the owner this reservation of the file, in the place of the one it has.
    pub(crate) fn set_share(&mut self, owner: u32, file: u32, share: Share) {
        if self.shares.remove(owner, file).is_none() {
            self.names.use_owner(owner);
            self.names.files[file].rest_mut().shares += 1;
            let client = self.names.owners[owner].client;
            self.names.clients[client].shares += 1;
            self.names.count_claim(client, true);
        }
        self.shares.insert(owner, file, share);
    }

    /// Takes the owner's reservation of the file away, with its record. Says whether it had one.
    pub(crate) fn release_share(&mut self, owner: u32, file: u32, fx: &mut Vec<Effect>) -> bool {
        if self.shares.remove(owner, file).is_none() {
            return false;
        }
        let (slot, holder) = (&mut self.names.files[file], &self.names.owners[owner]);
        slot.rest_mut().shares -= 1;
        let client = holder.client;
        self.names.clients[client].shares -= 1;
        let key = RecordKey::Share {
            file: slot.id.clone(),
            owner_id: std::sync::Arc::clone(&holder.owner.owner_id),
        };
        fx.push(Effect::Persist(RecordOp::Delete(key)));
        self.names.count_claim(client, false);
        self.names.disuse_owner(owner);
        self.names.file_shrank(file);
        true
    }

    /// The owner's reservation of the file as a record.
    pub(crate) fn share_record(&self, owner: u32, file: u32) -> Option<ShareRecord> {
        let &Share { reservation, incarnation, acquired_ms, reclaim, .. } =
            self.shares.get(owner, file)?;
        let Reservation { access, deny } = reservation;
        let owner = self.names.owners[owner].owner.clone();
        let file = self.names.files[file].id.clone();
        Some(ShareRecord { owner, file, access, deny, incarnation, acquired_ms, reclaim })
    }

    pub(crate) fn put_share(&self, owner: u32, file: u32) -> Option<Effect> {
        let record = Record::Share(self.share_record(owner, file)?);
        Some(Effect::Persist(RecordOp::Put(record)))
    }
}
