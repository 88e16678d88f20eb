//! Share reservations: who may open a file beside whom (XNFS ch. 10, NLM_SHARE and NLM_UNSHARE).

use std::collections::BTreeMap;

use super::Core;
use super::requests::beyond;
use crate::effect::{Effect, Outcome, ShareConflict};
use crate::error::Limit;
use crate::input::ShareRequest;
use crate::table::Share;
use crate::types::{FileId, Owner, Reservation};

impl Core {
    /// Reserves. What the owner reserved before counts for nothing against the new reservation and
    /// is replaced by it; where another owner's is in the way the old one stays. As with locks, what
    /// others have on record and did not reclaim is not in the way of a reclaim where the records
    /// are advice: it may have been given up since.
    pub(super) fn share(&mut self, request: &ShareRequest, fx: &mut Vec<Effect>) -> Outcome {
        if self.is_freed(&request.owner.client_id) {
            return Outcome::Grace { left_ms: 1 };
        }
        let owner = self.asker(&request.owner);
        let file = self.table.names.file(&request.file);
        let wanted = Reservation { access: request.access, deny: request.deny };
        if let (Some(owner), Some(file)) = (owner, file)
            && let Some(&held) = self.table.shares.get(owner, file)
            && self.is_known(&held, request)
        {
            return self.confirm_share(owner, file, held, request, fx);
        }
        match self.grace_left_ms() {
            Some(left_ms) if !request.reclaim => return Outcome::Grace { left_ms },
            None if request.reclaim => return Outcome::ReclaimRefused,
            _ => {}
        }
        let Some(file) = file else {
            return self.place_share(request, wanted, fx);
        };
        let shares = &self.table.shares;
        let doubtful = |other: &u32| {
            self.records_are_advice()
                && shares.get(*other, file).is_some_and(|share| share.unreclaimed)
        };
        let (advice, firm): (Vec<u32>, Vec<u32>) =
            shares.in_the_way(owner, file, wanted).partition(doubtful);
        if let Some(&other) = firm.first() {
            return self.share_conflict(other, file);
        }
        let outcome = self.place_share(request, wanted, fx);
        if outcome == Outcome::Granted {
            let mut taken = BTreeMap::new();
            for other in advice {
                self.contradicted(other, &request.owner, &mut taken).shares += 1;
                self.table.release_share(other, file, fx);
            }
            self.tell_contradicted(taken, fx);
        }
        outcome
    }

    /// Serves a reclaim of what its owner has on record.
    pub(super) fn reclaim_share_of_record(
        &mut self,
        request: &ShareRequest,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let names = &self.table.names;
        let place = names.owner(&request.owner).zip(names.file(&request.file));
        let held = place.and_then(|(owner, file)| self.table.shares.get(owner, file));
        if held.is_some_and(|held| self.is_known(held, request)) {
            self.share(request, fx)
        } else {
            Outcome::ReclaimRefused
        }
    }

    /// Whether a request asks for what its owner has already: sent again, or a reclaim, or where
    /// the records are exact one whose reply was lost with the server.
    fn is_known(&self, held: &Share, request: &ShareRequest) -> bool {
        let wanted = Reservation { access: request.access, deny: request.deny };
        if request.reclaim {
            return held.reservation.covers(wanted);
        }
        let stands = !held.unreclaimed || !self.records_are_advice();
        stands && (held.reservation, held.incarnation) == (wanted, request.incarnation)
    }

    fn confirm_share(
        &mut self,
        owner: u32,
        file: u32,
        held: Share,
        request: &ShareRequest,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        self.register(owner, request.incarnation, &request.contact, fx);
        let reclaimed = request.reclaim || held.unreclaimed;
        let wanted = Reservation { access: request.access, deny: request.deny };
        // As with locks: where the records are all there is, one that reclaims less asked before it
        // got more.
        let same_life = held.incarnation == request.incarnation;
        let keep = request.reclaim && same_life && !self.records_are_advice();
        let share = Share {
            reservation: if keep { held.reservation } else { wanted },
            incarnation: request.incarnation,
            reclaim: held.reclaim || reclaimed,
            unreclaimed: false,
            ..held
        };
        if reclaimed {
            self.counters.reclaimed += 1;
        }
        if held.unreclaimed
            && let Some(window) = &mut self.grace
        {
            window.reclaimed += 1;
        }
        if share != held {
            self.table.set_share(owner, file, share);
            fx.extend(self.table.put_share(owner, file));
        }
        Outcome::Granted
    }

    fn place_share(
        &mut self,
        request: &ShareRequest,
        reservation: Reservation,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let names = &self.table.names;
        let (known, file) = (names.owner(&request.owner), names.file(&request.file));
        let client = self.client_of(known, &request.owner);
        let refusal = self
            .too_many_shares(known, client, file)
            .or_else(|| self.room_of_source(known, &request.owner, 1));
        if let Some(refusal) = refusal.or_else(|| self.room_for(client, &request.owner, fx)) {
            return refusal;
        }
        let owner = self.table.names.intern_owner(&request.owner);
        let file = self.table.names.intern_file(&request.file);
        let &ShareRequest { incarnation, reclaim, .. } = request;
        self.register(owner, incarnation, &request.contact, fx);
        let acquired_ms = self.now_ms;
        let share = Share { reservation, incarnation, acquired_ms, reclaim, unreclaimed: false };
        self.table.set_share(owner, file, share);
        fx.extend(self.table.put_share(owner, file));
        if reclaim {
            self.counters.reclaimed += 1;
        } else {
            self.counters.shared += 1;
        }
        Outcome::Granted
    }

    pub(super) fn unshare(
        &mut self,
        owner: &Owner,
        file: &FileId,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        if let (Some(owner), Some(file)) = (self.asker(owner), self.table.names.file(file))
            && self.table.release_share(owner, file, fx)
        {
            self.counters.unshared += 1;
        }
        Outcome::Done
    }

    fn share_conflict(&self, other: u32, file: u32) -> Outcome {
        let Some(share) = self.table.share_record(other, file) else {
            return Outcome::NotFound;
        };
        let (owner, access, deny) = (share.owner, share.access, share.deny);
        Outcome::ShareConflict(ShareConflict { owner, access, deny })
    }

    /// The refusal, where the owner may not have one more reservation.
    fn too_many_shares(
        &self,
        owner: Option<u32>,
        client: Option<u32>,
        file: Option<u32>,
    ) -> Option<Outcome> {
        if owner.zip(file).is_some_and(|(owner, file)| self.table.shares.get(owner, file).is_some())
        {
            return None;
        }
        let (names, limits) = (&self.table.names, &self.config.limits);
        let of_file = file.map_or(0, |file| names.files[file].shares());
        let of_client = client.map_or(0, |client| names.clients[client].shares);
        let counts = [
            (Limit::SharesPerFile, of_file, limits.shares_per_file),
            (Limit::SharesPerClient, of_client, limits.shares_per_client),
            (Limit::SharesTotal, self.table.shares.len(), limits.shares_total),
        ];
        beyond(counts, 1)
    }
}
