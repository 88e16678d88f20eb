//! What the administrator's requests do: look page by page, release, close the window, tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cleat_lock::{
    Claim, ClaimState, Claimed, Clear, Cleared, ClientView, Core, Counters, Cursor, FileId, Filter,
    Input, Outcome, PageLimits, WaitTimes,
};
use tokio::net::unix::UCred;
use tracing::{info, warn};

use super::listing::{claim_line, client_line, is_called, quoted, shown, summary};
use super::paths::Paths;
use super::wire::{
    Answer, ClaimLine, Duplicates, Grace, Released, Request, StatusReport, Target, Waits, Which,
};
use super::{Failure, Out};
use crate::exports::Exports;
use crate::lockd::Lockd;
use crate::pool;
use crate::rpc_server::{ANSWERS_MAX, DuplicateCounts};
use crate::statd::Statd;

/// What one look at the core takes at the most: a fraction of a millisecond, after which those who
/// lock have their turn.
const PAGE: PageLimits = PageLimits { claims: 256, looks: 8192 };
/// Likewise for clients.
const CLIENTS_PAGE: u32 = 512;
/// The fewest digits that name a lock.
const ID_DIGITS_MIN: usize = 8;
/// How long the exports may take to tell of their files, for one page.
const FIND: Duration = Duration::from_secs(60);
/// How often a lock is looked for again that changed while it was about to be released.
const TRIES_MAX: usize = 3;

type Answered<T> = Result<T, Failure>;

/// What the administrator is told of, and has a hand on.
pub struct Admin {
    /// The locks.
    pub lockd: Lockd,
    /// The files.
    pub exports: Arc<Exports>,
    /// The duplicate request cache.
    pub duplicates: Box<dyn Fn() -> DuplicateCounts + Send + Sync>,
    /// The status monitor.
    pub statd: Statd,
    /// Where the server listens.
    pub listen: Vec<SocketAddr>,
    /// Its NSM state.
    pub nsm_state: i32,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
}

impl Admin {
    pub(super) async fn answer(
        &self,
        request: Request,
        out: &mut Out,
        peer: &UCred,
    ) -> Answered<()> {
        match request {
            Request::Locks(which) => self.locks(which, out).await,
            Request::Clients => self.clients(out).await,
            Request::Clear(Target::All(which)) => self.clear_all(which, out, peer).await,
            Request::Clear(Target::Id(id)) => self.clear_one(&id, out, peer).await,
            Request::EndGrace => self.end_grace(out, peer).await,
            Request::Status => out.send(&[Answer::Status(Box::new(self.status()))]).await,
        }
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Answered<T> {
        self.lockd.look(look).await.ok_or_else(Failure::stopping)
    }

    async fn locks(&self, which: Which, out: &mut Out) -> Answered<()> {
        let filter = Arc::new(self.filter(which).await?);
        let mut paths = Paths::new(Arc::clone(&self.exports));
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let page;
            (page, next) = self.page(&filter, from).await?;
            let lines;
            (lines, paths) = self.lines(page, paths).await?;
            let lines: Vec<Answer> =
                lines.into_iter().map(|line| Answer::Claim(Box::new(line))).collect();
            out.send(&lines).await?;
        }
        Ok(())
    }

    async fn page(
        &self,
        filter: &Arc<Filter>,
        from: Cursor,
    ) -> Answered<(Vec<Claim>, Option<Cursor>)> {
        let filter = Arc::clone(filter);
        self.look(move |core| core.claims(&filter, from, PAGE)).await
    }

    /// Claims as lines, their paths found on a thread that may block.
    async fn lines(
        &self,
        claims: Vec<Claim>,
        mut paths: Paths,
    ) -> Answered<(Vec<ClaimLine>, Paths)> {
        let now_ms = self.lockd.now_ms();
        let find = move || {
            let line = |claim| claim_line(claim, &mut paths, now_ms);
            let lines = claims.into_iter().map(line).collect();
            (lines, paths)
        };
        pool::ADMIN.run_within(FIND, find).await.map_err(|error| Failure::told(error.to_string()))
    }

    async fn filter(&self, which: Which) -> Answered<Filter> {
        let file = match which.file {
            Some(path) => Some(self.file_at(path.into()).await?),
            None => None,
        };
        let clients = match which.client {
            Some(called) => Some(self.clients_called(&called).await?),
            None => None,
        };
        Ok(Filter { file, clients })
    }

    async fn file_at(&self, path: PathBuf) -> Answered<FileId> {
        let (exports, shown) = (Arc::clone(&self.exports), path.display().to_string());
        let found = pool::ADMIN.run_within(FIND, move || exports.identity_at(&path)).await;
        match found.map_err(|error| Failure::told(error.to_string()))? {
            Ok(Some(identity)) => Ok(FileId::new(identity.0)),
            Ok(None) => Err(Failure::told(format!("{shown} is in no export"))),
            Err(error) => Err(Failure::told(format!("{shown}: {error}"))),
        }
    }

    /// The clients that are called so; at least one.
    async fn clients_called(&self, called: &str) -> Answered<BTreeSet<Arc<str>>> {
        let (mut found, mut next) = (BTreeSet::new(), Some(0));
        while let Some(from) = next {
            let page;
            (page, next) = self.look(move |core| core.clients_from(from, CLIENTS_PAGE)).await?;
            let ids = page.into_iter().map(|client| client.client_id);
            found.extend(ids.filter(|client_id| is_called(client_id, called)));
        }
        if found.is_empty() {
            return Err(Failure::told(format!("no client is known as {}", called.escape_debug())));
        }
        Ok(found)
    }

    async fn clients(&self, out: &mut Out) -> Answered<()> {
        let unreclaimed = self.unreclaimed().await?;
        let mut next = Some(0);
        while let Some(from) = next {
            let page;
            (page, next) = self.look(move |core| core.clients_from(from, CLIENTS_PAGE)).await?;
            let line = |client: &ClientView| {
                let left = unreclaimed.get(&client.client_id).copied().unwrap_or_default();
                Answer::Client(client_line(client, left))
            };
            let lines: Vec<Answer> = page.iter().map(line).collect();
            out.send(&lines).await?;
        }
        Ok(())
    }

    /// How much each client has not reclaimed. Nothing is looked at where all is reclaimed.
    async fn unreclaimed(&self) -> Answered<HashMap<Arc<str>, u64>> {
        let mut left = HashMap::new();
        if self.lockd.metrics().counters.unreclaimed == 0 {
            return Ok(left);
        }
        let filter = Arc::new(Filter::default());
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let page;
            (page, next) = self.page(&filter, from).await?;
            for claim in page.iter().filter(|claim| claim.state == ClaimState::Unreclaimed) {
                *left.entry(Arc::clone(&claim.owner.client_id)).or_default() += 1;
            }
        }
        Ok(left)
    }

    async fn clear_all(&self, which: Which, out: &mut Out, peer: &UCred) -> Answered<()> {
        let path = which.file.as_ref().map(quoted);
        let Filter { file, clients } = self.filter(which).await?;
        let client = match clients {
            Some(clients) => Some(only_one(clients)?),
            None => None,
        };
        let mut order = "all".to_owned();
        order.extend(client.iter().map(|client| format!(" of client {}", shown(client))));
        order.extend(path.iter().map(|path| format!(" on {path}")));
        let what = match (client, file) {
            (Some(client), Some(file)) => Clear::ClientOnFile(client, file),
            (Some(client), None) => Clear::Client(client),
            (None, Some(file)) => Clear::File(file),
            (None, None) => return Err(Failure::told("say what to clear: a client or a file")),
        };
        match self.clear(what, &order, peer).await? {
            Some(released) => out.send(&[Answer::Released(released)]).await,
            None => Err(Failure::told("nothing is held or awaited there")),
        }
    }

    async fn clear_one(&self, id: &str, out: &mut Out, peer: &UCred) -> Answered<()> {
        let digits = digits(id)?;
        for _ in 0..TRIES_MAX {
            let (name, claim) = self.claim_of_id(id, &digits).await?;
            let what = match (claim.state, claim.what, claim.id) {
                (ClaimState::Waiting(waiting), ..) => Clear::Waiter(waiting.waiter),
                (_, Claimed::Range { range, .. }, Some(lock)) => {
                    Clear::Lock { lock, owner: claim.owner, file: claim.file, range }
                }
                _ => continue,
            };
            let order = format!("the one of id {name}");
            if let Some(released) = self.clear(what, &order, peer).await? {
                return out.send(&[Answer::Released(released)]).await;
            }
        }
        Err(Failure::told(format!("{id} changes as fast as it is looked at: try again")))
    }

    /// The one claim whose id has these digits in a row, and its whole id.
    async fn claim_of_id(&self, id: &str, digits: &str) -> Answered<(String, Claim)> {
        let filter = Arc::new(Filter::default());
        let mut next = Some(Cursor::default());
        let mut found: BTreeMap<String, Claim> = BTreeMap::new();
        while let Some(from) = next {
            let page;
            (page, next) = self.page(&filter, from).await?;
            for claim in page {
                let Some(name) = claim.id.map(|id| id.uuid()) else { continue };
                if name.simple().to_string().contains(digits) {
                    found.insert(name.to_string(), claim);
                }
            }
            if found.len() > 1 {
                let names: Vec<String> = found.into_keys().collect();
                return Err(Failure::told(format!("{id} may be {}", names.join(" or "))));
            }
        }
        match found.pop_first() {
            Some(found) => Ok(found),
            None => Err(Failure::told(format!("no lock or waiting request has the id {id}"))),
        }
    }

    /// Releases, step by step, and notes in the log what that was, because its client hears
    /// nothing of it; `None` where there is nothing of it.
    async fn clear(&self, what: Clear, order: &str, peer: &UCred) -> Answered<Option<Released>> {
        let (cleared, whole) = self.clear_stepwise(&what).await;
        if cleared.claims() == 0 {
            return whole.map(|()| None);
        }
        let Cleared { locks, shares, waiters, named, .. } = cleared;
        let paths = Paths::new(Arc::clone(&self.exports));
        let (claims, _) = self.lines(named, paths).await?;
        let released = Released { locks, shares, waiters, claims };
        let (uid, pid, told) = (peer.uid(), peer.pid(), summary(&released));
        warn!(uid, pid, locks, shares, waiters, "an administrator cleared {order}: {told}");
        whole.map(|()| Some(released))
    }

    /// One step of the core is a few thousand claims, and all who ask meanwhile have their turn
    /// between two. Those may claim as fast as this releases: no more is released than there was.
    /// Returns what went, and whether that is all.
    async fn clear_stepwise(&self, what: &Clear) -> (Cleared, Answered<()>) {
        let Counters { locks, shares, waiting, .. } = self.lockd.metrics().counters;
        let mut all = Cleared { more: true, ..Cleared::default() };
        while all.more {
            let (token, id) = self.lockd.ticket();
            let input = Input::Clear { token, id, what: what.clone() };
            match self.lockd.ask(input).await {
                Some(Outcome::Cleared(further)) => all.add(further),
                Some(_) => break,
                None => return (all, Err(Failure::stopping())),
            }
            all.more &= all.claims() < locks + shares + waiting;
        }
        (all, Ok(()))
    }

    async fn end_grace(&self, out: &mut Out, peer: &UCred) -> Answered<()> {
        let before = self.lockd.metrics().grace;
        let (token, _) = self.lockd.ticket();
        match (self.lockd.ask(Input::EndGrace { token }).await, before) {
            (Some(Outcome::Done), before) => {
                info!(uid = peer.uid(), pid = peer.pid(), "an administrator ended grace");
                let (reclaimed, left) =
                    before.map_or((0, 0), |window| (window.reclaimed, window.left));
                let kept = self.lockd.metrics().counters.unreclaimed;
                let dropped = left.saturating_sub(kept);
                out.send(&[Answer::GraceEnded { reclaimed, dropped, kept }]).await
            }
            (Some(_), _) => Err(Failure::told("no grace window is open")),
            (None, _) => Err(Failure::stopping()),
        }
    }

    fn status(&self) -> StatusReport {
        let (metrics, now_ms) = (self.lockd.metrics(), self.lockd.now_ms());
        let DuplicateCounts { answers, clients, repeated } = (self.duplicates)();
        let [mut now, mut since_start] = counts(&metrics.counters);
        now.insert("nsm_monitored".to_owned(), self.statd.monitored() as u64);
        let heard = self.statd.counters().named();
        let refused = self.lockd.refusals().counts();
        since_start
            .extend(refused.into_iter().map(|(limit, n)| (format!("refused_limit_{limit}"), n)));
        since_start.extend(heard.into_iter().map(|(name, count)| (format!("nsm_{name}"), count)));
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ms: self.started_ms,
            uptime_ms: now_ms.saturating_sub(self.started_ms),
            listen: self.listen.iter().map(ToString::to_string).collect(),
            nsm_state: self.nsm_state,
            grace: metrics.grace.map(|window| Grace {
                left_ms: window.until_ms.saturating_sub(now_ms),
                early_end: window.exact,
                reclaimed: window.reclaimed,
                unreclaimed: window.left,
            }),
            now,
            since_start,
            waits: waits(&metrics.counters.waits),
            duplicates: Duplicates {
                answers: answers as u64,
                answers_max: ANSWERS_MAX as u64,
                clients: clients as u64,
                repeated,
            },
        }
    }
}

/// The client that is meant, where no other may be.
fn only_one(clients: BTreeSet<Arc<str>>) -> Answered<Arc<str>> {
    let mut names = clients.iter().map(|client_id| shown(client_id));
    let (Some(_), Some(_)) = (names.next(), names.next()) else {
        return clients.into_iter().next().ok_or_else(|| Failure::told("no such client"));
    };
    let names: Vec<&str> = clients.iter().map(|client_id| shown(client_id)).collect();
    Err(Failure::told(format!("that is {} clients, say which: {}", names.len(), names.join(" "))))
}

/// The digits of a lock's id as a uuid has them.
fn digits(id: &str) -> Answered<String> {
    let digits: String = id.chars().filter(|one| *one != '-').collect();
    let hexadecimal = digits.chars().all(|one| one.is_ascii_hexdigit());
    if !hexadecimal || digits.len() < ID_DIGITS_MIN {
        let text = format!("an id is {ID_DIGITS_MIN} or more digits of those in the list");
        return Err(Failure::Told(text));
    }
    Ok(digits.to_ascii_lowercase())
}

/// What there is now, and what happened since the start.
fn counts(counters: &cleat_lock::Counters) -> [BTreeMap<String, u64>; 2] {
    let named = |pairs: &[(&str, u64)]| {
        pairs.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    };
    let now = [
        ("locks", counters.locks),
        ("shares", counters.shares),
        ("files", counters.files),
        ("owners", counters.owners),
        ("clients", counters.clients),
        ("waiting", counters.waiting),
        ("unacknowledged", counters.unacknowledged),
        ("unreclaimed", counters.unreclaimed),
    ];
    let since_start = [
        ("granted", counters.granted),
        ("granted_waited", counters.granted_waited),
        ("shared", counters.shared),
        ("unshared", counters.unshared),
        ("reclaimed", counters.reclaimed),
        ("unlocked", counters.unlocked),
        ("refused_conflict", counters.refused_conflict),
        ("refused_share", counters.refused_share),
        ("refused_grace", counters.refused_grace),
        ("refused_limit", counters.refused_limit),
        ("refused_reclaim", counters.refused_reclaim),
        ("refused_deadlock", counters.deadlocks),
        ("deadlock_searches_cut", counters.deadlock_searches_cut),
        ("blocked", counters.blocked),
        ("cancelled", counters.cancelled),
        ("expired", counters.expired),
        ("timed_out", counters.timed_out),
        ("rolled_back", counters.rolled_back),
        ("cleared", counters.cleared),
        ("taken", counters.taken),
        ("lapsed", counters.lapsed),
    ];
    [named(&now), named(&since_start)]
}

fn waits(times: &WaitTimes) -> Waits {
    let bounds = WaitTimes::BOUNDS_MS.into_iter().map(Some).chain([None]);
    Waits {
        count: times.total(),
        sum_ms: times.sum_ms,
        buckets: bounds.zip(times.counts).collect(),
    }
}
