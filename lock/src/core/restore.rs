//! From records to a table: after a restart, and in every test that compares the two.

use std::collections::BTreeMap;

use super::Core;
use super::grace::Window;
use super::grants::not_stronger;
use crate::config::{Config, Recovery};
use crate::effect::{Effect, GraceEvent};
use crate::record::{LockRecord, Record, RecordOp, ShareRecord, WaiterRecord};
use crate::table::{Attrs, ClientSlot, Held, Share, Standing, Waiter};
use crate::types::Reservation;

/// Numbers beyond this are damage: no queue ever gets there.
const SEQ_MAX: u64 = u64::MAX >> 1;

impl Core {
    /// The table as the records have it.
    ///
    /// Where they hold locks or shares, the grace window opens: those stand, and for `grace_ms`
    /// milliseconds only reclaims are admitted. `exact` = the records are all that was held (the
    /// server stopped, the machine did not): then the window closes as soon as every one of
    /// them is reclaimed or released, and does not open where there is none, nor where
    /// [`Config::recovery`] is [`Recovery::Instant`]. Otherwise the records are advice, and it opens
    /// wherever a client is on record that may hold more than they say.
    ///
    /// What is not reclaimed in these `grace_ms` is dropped then, unless
    /// [`Config::unreachable_hold_ms`] lets it stand.
    ///
    /// Grants that were not acknowledged are sent again, waiters keep their places, however long the
    /// server was down, and their times begin anew when somebody can be served. The first
    /// [`Core::step`] gives out the effects of all this, so a [`Input::Tick`](crate::Input::Tick)
    /// is due at once. Records that contradict each other are kept out and deleted:
    /// [`Core::rejected`].
    #[must_use]
    pub fn restore(
        config: Config,
        now_ms: u64,
        records: impl IntoIterator<Item = Record>,
        grace_ms: u64,
        exact: bool,
    ) -> Core {
        let mut core = Core::new(config);
        core.now_ms = now_ms;
        // Names of waiters are not given out twice, even where the last ones left no record.
        core.table.queue.next_seq = now_ms.checked_mul(1 << 20).map_or(0, |seq| seq.min(SEQ_MAX));
        let mut waiters = Vec::new();
        for record in records {
            match record {
                Record::Lock(lock) => core.restore_lock(lock),
                Record::Waiter(waiter) => waiters.push(waiter),
                Record::Share(share) => core.restore_share(share),
                Record::Client(record) => {
                    let client = core.table.names.intern_client(&record.client_id);
                    let slot = &mut core.table.names.clients[client];
                    slot.incarnation = record.incarnation;
                    slot.record = Some(record);
                }
            }
        }
        for waiter in waiters {
            core.restore_waiter(waiter);
        }
        core.mark_pending();
        core.table.note_obstacles();
        core.open_grace(grace_ms, exact);
        if core.grace.is_none() {
            core.table.queue.count_all(now_ms);
        }
        if core.grace.as_ref().is_none_or(|window| window.exact) {
            let grants = core.tell_grants();
            core.unsaid.extend(grants);
        }
        core.table.wake_all();
        core
    }

    /// The records a restore kept out because they contradict others: a damaged store.
    #[must_use]
    pub fn rejected(&self) -> &[Record] {
        &self.rejected
    }

    fn reject(&mut self, record: Record) {
        self.unsaid.push(Effect::Persist(RecordOp::Delete(record.record_key())));
        self.rejected.push(record);
    }

    fn restore_lock(&mut self, lock: LockRecord) {
        let owner = self.table.names.intern_owner(&lock.owner);
        let file = self.table.names.intern_file(&lock.file);
        let table = &self.table;
        if table.locks.own_in(owner, file, lock.range).next().is_some()
            || table.blocker(Some(owner), file, lock.range, lock.mode).is_some()
        {
            return self.reject(Record::Lock(lock));
        }
        let LockRecord { id, range, mode, incarnation, acquired_ms, blocking, reclaim, .. } = lock;
        let attrs = Attrs { mode, incarnation, standing: Standing::Unreclaimed };
        self.table
            .insert_lock(range, Held { id, owner, file, attrs, acquired_ms, blocking, reclaim });
    }

    fn restore_share(&mut self, record: ShareRecord) {
        let owner = self.table.names.intern_owner(&record.owner);
        let file = self.table.names.intern_file(&record.file);
        let &ShareRecord { access, deny, incarnation, acquired_ms, reclaim, .. } = &record;
        let reservation = Reservation { access, deny };
        let shares = &self.table.shares;
        if shares.get(owner, file).is_some()
            || shares.in_the_way(Some(owner), file, reservation).next().is_some()
        {
            return self.reject(Record::Share(record));
        }
        let share = Share { reservation, incarnation, acquired_ms, reclaim, unreclaimed: true };
        self.table.set_share(owner, file, share);
    }

    fn restore_waiter(&mut self, record: WaiterRecord) {
        if record.granted.is_none() && !self.config.keep_waiters {
            let key = Record::Waiter(record).record_key();
            return self.unsaid.push(Effect::Persist(RecordOp::Delete(key)));
        }
        let owner = self.table.names.intern_owner(&record.owner);
        let file = self.table.names.intern_file(&record.file);
        let queue = &self.table.queue;
        let seq = record.waiter.0;
        let granted = record.granted.is_some();
        if queue.exact(owner, file, record.range, record.mode).is_some()
            || queue.by_seq(seq).is_some()
            || seq > SEQ_MAX
            || (granted && !self.table.grants_in(owner, file, record.range).is_empty())
        {
            return self.reject(Record::Waiter(record));
        }
        let waiter = Waiter {
            id: record.id,
            owner,
            file,
            mode: record.mode,
            incarnation: record.incarnation,
            queued_ms: record.queued_ms,
            silence_ms: record.silence_ms,
            timeout_ms: record.timeout_ms,
            expires_ms: 0,
            deadline_ms: 0,
            find_deadlock: record.find_deadlock,
            upgrade: record.upgrade,
            context: record.context,
            granted: record.granted,
            told: granted,
        };
        self.table.insert_waiter(record.range, seq, waiter);
    }

    /// Finds the pieces that unacknowledged grants left.
    fn mark_pending(&mut self) {
        let queue = &self.table.queue;
        let grants: Vec<u32> =
            queue.in_order().filter(|&ix| queue.get(ix).granted.is_some()).collect();
        for ix in grants {
            let (waiter, range) = (self.table.queue.get(ix), self.table.queue.range(ix));
            let &Waiter { owner, file, mode, incarnation, ref granted, .. } = waiter;
            let given = granted.as_ref().map(|granted| not_stronger(&granted.undo, mode));
            let attrs = Attrs { mode, incarnation, standing: Standing::Unreclaimed };
            let locks = &self.table.locks;
            let pieces: Vec<u32> = locks
                .own_in(owner, file, range)
                .filter(|&lock| locks.get(lock).attrs == attrs)
                .filter(|&lock| given.iter().flatten().any(|part| part.contains(locks.range(lock))))
                .collect();
            for lock in pieces {
                let reclaim = self.table.locks.get(lock).reclaim;
                let attrs = Attrs { standing: Standing::Pending(ix), ..attrs };
                self.table.restate_lock(lock, attrs, reclaim);
            }
        }
    }

    fn open_grace(&mut self, grace_ms: u64, exact: bool) {
        let names = &self.table.names;
        let left = self.unreclaimed();
        let advice = !exact && names.clients.iter().any(|(_, slot)| slot.record.is_some());
        if left == 0 && !advice {
            return;
        }
        let until_ms = self.now_ms.saturating_add(grace_ms);
        let holds = |slot: &ClientSlot| slot.held + slot.shares > 0;
        let holders: Vec<u32> =
            names.clients.iter().filter(|(_, slot)| holds(slot)).map(|(ix, _)| ix).collect();
        let clients = holders.len() as u64;
        self.hold_unreclaimed(holders, grace_ms);
        if exact && self.config.recovery == Recovery::Instant {
            let standing = GraceEvent::Instant { locks: left, clients };
            return self.unsaid.push(Effect::Grace(standing));
        }
        let opened = GraceEvent::Opened { locks: left, clients, until_ms, exact };
        self.unsaid.push(Effect::Grace(opened));
        self.grace = Some(Window {
            until_ms,
            exact,
            reclaimed: 0,
            told_left: left,
            told_reclaimed: 0,
            under_grants: BTreeMap::new(),
        });
    }
}
