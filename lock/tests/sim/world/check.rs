//! The claims, checked after every step.
//!
//! What a client believes is judged against the core, byte by byte: *a client that was told it has
//! a lock, and neither gave it up nor lost it, is held to have it by the server*. As the core's own
//! locks exclude each other, so do then the clients' beliefs (which are compared too). A client's
//! byte is given up when it sends the UNLOCK or the downgrade, not when that is answered. It is
//! lost, which the protocol permits, in these cases only, and then set apart by
//! [`World::mark_lost`] or [`World::taken`]: the server took it in a way that `recovery.rs` finds
//! right; a grace window was closed by its deadline or by order before the client had reclaimed it;
//! an administrator cleared the client, or its time after a disconnection was over; another one,
//! which had lost the lock that way and did not know either, reclaimed it first where the records
//! were advice; or a reclaim was refused, which is itself a failure where the client is honest.
//! While the server is down the claim rests on its store: it is judged when the next one has
//! started, at once where the records are exact, and from the end of the window where they are
//! advice.

use std::collections::BTreeMap;
use std::fmt::Debug;

use cleat_lock::{Config, Core, GraceEnd, Outcome, Query, Record, RecordOp, Store};

use super::World;
use super::host::Job;
use super::table::{Lock, Share, Table, Who};
use super::types::{Body, Deal, Request, Span, who};

type Image = BTreeMap<Vec<u8>, Vec<u8>>;

fn image_of(core: &Core) -> Image {
    core.records().map(|record| (record.key(), record.encode())).collect()
}

impl World {
    pub fn grace_open(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.core.grace().is_some())
    }

    /// Sets apart what the server has just taken from clients in a way the protocol permits. What is
    /// on record of a client's former life alone is as good as taken: it stands until the server
    /// hears of the restart.
    pub fn mark_lost(&mut self, only: Option<usize>) {
        let Some(server) = &self.server else { return };
        let Table { mut locks, waiters, shares } = server.table.clone();
        // Who is granted something only now did not reclaim it: what it says to that decides.
        if only.is_none() {
            for waiter in waiters.iter().filter(|waiter| server.grants_now(self.steps, waiter)) {
                let given = |lock: &Lock| {
                    lock.who == waiter.who && lock.span.cells().any(|cell| waiter.span.has(cell))
                };
                locks.retain(|lock| !given(lock));
            }
        }
        let whole = Table { locks, waiters, shares };
        for (number, host) in self.hosts.iter_mut().enumerate() {
            if only.is_some_and(|only| only != number) {
                continue;
            }
            let table = whole.of_life(number, host.life);
            for (process, it) in host.processes.iter_mut().enumerate() {
                let who = (number, process);
                for (&place, held) in &mut it.held {
                    let old = only.is_some() || held.epoch < self.epoch;
                    held.lost |= old && !table.covers(who, place, held.sure);
                }
                for (&file, share) in &mut it.shares {
                    let old = only.is_some() || share.epoch < self.epoch;
                    share.lost |= old && !table.reserves(who, file, share.sure);
                }
            }
        }
    }

    /// A client that slept through a whole window, and so lost a lock without knowing, reclaims it
    /// in the next one. Over records that are advice the first to reclaim is believed: NLM has
    /// nothing by which to tell who is right.
    fn mark_taken(&mut self, span: Span, by: Who) {
        let epoch = self.epoch;
        self.doubted = epoch;
        for (who, it) in self.others(by) {
            for (&place, held) in &mut it.held {
                held.lost |= who != by
                    && span.has(place)
                    && held.epoch < epoch
                    && held.sure.conflicts(span.mode);
            }
        }
    }

    fn mark_share_taken(&mut self, file: usize, deal: Deal, by: Who) {
        let epoch = self.epoch;
        self.doubted = epoch;
        for (who, it) in self.others(by) {
            if let Some(share) = it.shares.get_mut(&file) {
                share.lost |= who != by && share.epoch < epoch && share.sure.conflicts(deal);
            }
        }
    }

    fn others(&mut self, by: Who) -> impl Iterator<Item = (Who, &mut super::host::Process)> {
        let hosts = self.hosts.iter_mut().enumerate();
        let all = hosts.flat_map(|(number, host)| {
            let processes = host.processes.iter_mut().enumerate();
            processes.map(move |(process, it)| ((number, process), it))
        });
        all.filter(move |(who, _)| *who != by)
    }

    /// Whether the client was told so, and has neither given it up nor lost it.
    fn is_honest(&self, request: &Request, span: Span) -> bool {
        let it = &self.hosts[request.host];
        let held = &it.processes[request.process].held;
        it.life == request.life
            && span.cells().all(|cell| {
                let held = held.get(&cell);
                held.is_some_and(|held| !held.lost && held.sure >= span.mode)
            })
    }

    fn is_honest_share(&self, request: &Request, file: usize, deal: Deal) -> bool {
        let it = &self.hosts[request.host];
        let share = it.processes[request.process].shares.get(&file);
        it.life == request.life && share.is_some_and(|it| !it.lost && it.sure.covers(deal))
    }

    /// Judges the answer to a request by what the core holds now.
    pub fn check_answer(&mut self, request: &Request, outcome: Option<&Outcome>, open: bool) {
        let Some(outcome) = outcome else {
            return self.fail(|| format!("no answer to {request:?}"));
        };
        let granted = *outcome == Outcome::Granted;
        match request.body {
            Body::Lock { wish, .. } => {
                if granted {
                    let had = |table: &Table, who: Who| {
                        let span = wish.span;
                        span.cells().all(|cell| table.covers(who, cell, span.mode))
                    };
                    self.check_new(request, open, had);
                    self.check_held(request, wish.span);
                    if wish.upgrade {
                        self.met.note("upgraded");
                    }
                }
                let held = Span { mode: cleat_lock::Mode::Shared, ..wish.span };
                if *outcome == Outcome::NotFound && self.is_honest(request, held) {
                    self.fail(|| format!("an honest upgrade finds nothing: {request:?}"));
                }
                self.check_limits((request.host, wish.span.file), request);
            }
            Body::Reclaim { span } => self.check_reclaim(request, span, outcome, open),
            Body::Unlock { span } => self.check_limits((request.host, span.file), request),
            Body::Share { file, deal, reclaim } => {
                if granted && !reclaim {
                    let had = |table: &Table, who: Who| table.reserves(who, file, deal);
                    self.check_new(request, open, had);
                }
                self.check_share(request, (file, deal, reclaim), outcome, open);
                self.check_limits((request.host, file), request);
            }
            Body::Unshare { file } => self.check_unshared(request, file),
            Body::Restarted => self.check_restarted(request.host, request.life),
            Body::Cancel { .. } | Body::Test { .. } | Body::Register => {}
        }
    }

    /// Nothing new comes in while a window is open: over records that are exact only what the owner
    /// `had` all the time, over advice nothing at all.
    fn check_new(&mut self, request: &Request, open: bool, had: impl Fn(&Table, Who) -> bool) {
        let Some(server) = &self.server else { return };
        if !open || server.core.grace().is_none() {
            return;
        }
        let (step, before) = &server.before;
        let before = if *step == self.steps { before } else { &server.table };
        let new = !had(before, (request.host, request.process));
        if new || !server.exact && server.added(self.steps) {
            self.fail(|| format!("admitted in grace: {request:?}"));
        }
    }

    fn check_held(&mut self, request: &Request, span: Span) {
        let Some(server) = &self.server else { return };
        let who = (request.host, request.process);
        if !span.cells().all(|cell| server.table.covers(who, cell, span.mode)) {
            self.fail(|| format!("granted but not held: {request:?}"));
        }
    }

    fn check_reclaim(&mut self, request: &Request, span: Span, outcome: &Outcome, open: bool) {
        let Some(server) = &self.server else { return };
        let (exact, honest) = (server.exact, self.is_honest(request, span));
        if *outcome == Outcome::Granted {
            if open && !exact && !honest {
                self.mark_taken(span, (request.host, request.process));
            }
            self.check_held(request, span);
        } else if honest && !may_refuse(outcome, exact) {
            self.fail(|| format!("an honest reclaim is refused: {request:?} {outcome:?}"));
        }
    }

    fn check_share(
        &mut self,
        request: &Request,
        (file, deal, reclaim): (usize, Deal, bool),
        outcome: &Outcome,
        open: bool,
    ) {
        let Some(server) = &self.server else { return };
        let who = (request.host, request.process);
        let (exact, honest) = (server.exact, self.is_honest_share(request, file, deal));
        if *outcome == Outcome::Granted {
            if !server.table.reserves(who, file, deal) {
                return self.fail(|| format!("granted but not reserved: {request:?}"));
            }
            if reclaim && open && !exact && !honest {
                self.mark_share_taken(file, deal, who);
            }
        } else if reclaim && honest && !may_refuse(outcome, exact) {
            self.fail(|| format!("an honest reclaim is refused: {request:?} {outcome:?}"));
        }
    }

    fn check_unshared(&mut self, request: &Request, file: usize) {
        let Some(server) = &self.server else { return };
        let who = (request.host, request.process);
        if server.table.shares.iter().any(|share| (share.who, share.file) == (who, file)) {
            self.fail(|| format!("still reserved: {request:?}"));
        }
    }

    /// What a request or an acknowledgement of a host's, for a file, adds stays within the limits. (Reclaims of what is on record may pass them,
    /// and while something is left to reclaim a request may turn out to be such.)
    pub fn check_limits(&mut self, place: (usize, usize), what: &dyn Debug) {
        let Some(server) = &self.server else { return };
        let (step, before) = &server.before;
        if *step == self.steps
            && !self.recovering
            && let Some(beyond) = server.table.beyond(&self.limits, before, place)
        {
            self.fail(|| format!("{beyond}: {what:?}"));
        }
    }

    fn check_restarted(&mut self, host: usize, life: u32) {
        let Some(server) = &self.server else { return };
        let mut left: Vec<String> = Vec::new();
        let locks = server.table.locks.iter();
        let old = locks.filter(|lock| lock.who.0 == host && lock.incarnation != life);
        left.extend(old.map(|lock| format!("{lock:?}")));
        let shares = server.table.shares.iter();
        let old = shares.filter(|share| share.who.0 == host && share.incarnation != life);
        left.extend(old.map(|share| format!("{share:?}")));
        for waiter in server.core.waiters().filter(|waiter| who(&waiter.owner).0 == host) {
            let undo = waiter.granted.iter().flat_map(|granted| &granted.undo);
            let old = undo.filter_map(|part| part.held).any(|(_, from)| from != life);
            if waiter.incarnation != life || old {
                left.push(format!("{waiter:?}"));
            }
        }
        if !left.is_empty() {
            self.fail(|| format!("left of h{host}'s former life: {left:?}"));
        }
    }

    /// Nothing of the host is left.
    pub fn check_cleared(&mut self, host: usize) {
        let Some(server) = &self.server else { return };
        let Table { locks, waiters, shares } = &server.table;
        let left = locks.iter().any(|lock| lock.who.0 == host)
            || waiters.iter().any(|waiter| waiter.who.0 == host)
            || shares.iter().any(|share| share.who.0 == host);
        if left {
            self.fail(|| format!("left of h{host}"));
        }
    }

    pub fn check_close(&mut self, why: GraceEnd) {
        let Some(server) = &self.server else { return };
        if why == GraceEnd::AllSettled && !server.exact {
            self.fail(|| "a window over advice closed early".to_owned());
        }
    }

    /// Looks at what the core holds after a step. One that recorded nothing is to have changed
    /// nothing, which is looked into now and then.
    pub fn look(&mut self, recorded: bool, closed: bool) {
        let Some(server) = &mut self.server else { return };
        self.touched |= recorded || closed;
        if !recorded && !self.steps.is_multiple_of(8) {
            return;
        }
        let table = Table::of(&server.core);
        if !recorded && table != server.table {
            return self.fail(|| "something changed and nothing was recorded".to_owned());
        }
        server.before = (self.steps, std::mem::replace(&mut server.table, table));
    }

    /// What must hold between any two steps of the core.
    pub fn check_step(&mut self) {
        let (now_ms, ttl_ms, acting) = (self.now_ms, self.ttl_ms, self.acting);
        let Some(server) = &self.server else { return };
        let away = server.gone.iter().filter(|&(&host, _)| acting != Some(host));
        for (&host, since_ms) in away {
            let client = server.core.client(&self.names[host].client_id);
            if client.is_some_and(|client| client.lapses_ms != Some(since_ms + ttl_ms)) {
                return self.fail(|| format!("h{host} is gone and may stay so"));
            }
        }
        if let Some(due_ms) = server.core.next_deadline().filter(|&due_ms| due_ms <= now_ms) {
            return self.fail(|| format!("due since {due_ms} and not done"));
        }
        if !self.touched {
            return;
        }
        let (table, (step, _)) = (&server.table, &server.before);
        let mut wrong = table.shared_by_two();
        if server.core.grace().is_none() {
            wrong = wrong.or_else(|| table.stuck(now_ms));
        } else if *step == self.steps {
            let new = table.granted().find(|waiter| server.grants_now(self.steps, waiter));
            wrong = wrong.or_else(|| new.map(|waiter| format!("granted in grace: {waiter:?}")));
        }
        wrong = wrong.or_else(|| table.miscounted(&server.core));
        if let Some(wrong) = wrong {
            self.fail(|| wrong);
        }
    }

    /// The store has just what the core has, and what it has makes the same core.
    pub fn check_image(&mut self, ops: &[RecordOp]) {
        for op in ops {
            let (key, value) = match op {
                RecordOp::Put(record) => (record.key(), record.encode()),
                RecordOp::Delete(key) => (key.to_bytes(), Vec::new()),
            };
            self.hash = key.iter().chain(&value).fold(self.hash, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        }
        let Some(server) = &self.server else { return };
        if ops.is_empty() && !self.steps.is_multiple_of(8) {
            return;
        }
        let image = image_of(&server.core);
        if !self.store.image_is(&image) {
            let records = self.store.list(&Query::All);
            return self.fail(|| format!("the store has something else: {records:?}"));
        }
        if self.steps.is_multiple_of(8) {
            let records = self.store.list(&Query::All).unwrap_or_default();
            let restored = Core::restore(Config::default(), self.now_ms, records, 1, true);
            if image_of(&restored) != image || !restored.rejected().is_empty() {
                self.fail(|| "the records make another core".to_owned());
            }
        }
    }

    /// The clients' view, against each other and against the core.
    pub fn check_clients(&mut self) {
        let server = self.server.as_ref();
        let judged = server.filter(|server| server.exact || server.core.grace().is_none());
        let mut believed = Table::default();
        let mut wrong = None;
        for (host, it) in self.hosts.iter().enumerate() {
            for (process, it) in it.processes.iter().enumerate() {
                let who = (host, process);
                for (&place, held) in it.held.iter().filter(|(_, held)| !held.lost) {
                    let (file, cell) = place;
                    let span = Span { file, first: cell, last: cell, mode: held.sure };
                    believed.locks.push(Lock { who, span, incarnation: 0 });
                    if judged.is_some_and(|server| !server.table.covers(who, place, held.sure)) {
                        wrong = Some(format!("{who:?} believes to hold {place:?}: {held:?}"));
                    }
                }
                for (&file, share) in it.shares.iter().filter(|(_, share)| !share.lost) {
                    believed.shares.push(Share { who, file, deal: share.sure, incarnation: 0 });
                    if judged.is_some_and(|server| !server.table.reserves(who, file, share.sure)) {
                        wrong = Some(format!("{who:?} believes to reserve {file}: {share:?}"));
                    }
                }
            }
        }
        if let Some(wrong) = wrong.or_else(|| believed.shared_by_two()) {
            self.fail(|| wrong);
        }
    }

    /// After a long quiet: everybody got what they waited for and gave it up.
    pub fn check_end(&mut self) {
        let Some(server) = &self.server else {
            return self.fail(|| "the server is not back".to_owned());
        };
        let left: Vec<Record> =
            server.core.records().filter(|record| !matches!(record, Record::Client(_))).collect();
        let busy: Vec<String> = self
            .hosts
            .iter()
            .enumerate()
            .flat_map(|(number, host)| {
                let busy = host.processes.iter().enumerate();
                let busy = busy.filter(|(_, it)| it.job != Job::Over);
                busy.map(move |(process, it)| format!("h{number}/{process}: {:?}", it.job))
            })
            .collect();
        if !left.is_empty() || !busy.is_empty() {
            self.fail(|| format!("never ends: {busy:?}; left: {left:?}"));
        }
    }
}

/// A limit may stand in the way of a reclaim that is not on record.
fn may_refuse(outcome: &Outcome, exact: bool) -> bool {
    !exact && matches!(outcome, Outcome::Limit { .. })
}
