//! Whom to tell by SM_NOTIFY that this server restarted, from which addresses, and when.
//!
//! Clients reclaim only after they were told, and only a call from the address that they mounted
//! tells them: so every recorded client is called from each address of ours that it used. Each
//! call is repeated until it is answered or its time is over: [`PATIENCE_MS_MIN`], or as long as
//! locks may stand whose clients were not told. Such a client may come back at any time, and what
//! it has not heard of by then it cannot reclaim.
//!
//! A client that is up answers within a moment, so every call is tried once, for a short time,
//! before any is tried again: clients that are gone, however many, then cost those that are up one
//! such time for each [`IN_FLIGHT_MAX`] of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use bytes::Bytes;
use cleat_rpc::Writer;

use crate::contact::{Contact, Server};
use crate::nsm::StateChange;
use crate::owner::Transport;

/// How long a client is tried at the least, in milliseconds: 15 minutes, as Linux's sm-notify does.
pub const PATIENCE_MS_MIN: u64 = 15 * 60 * 1000;

/// The time from the first attempt to the second, in milliseconds; it doubles with each further.
pub const RETRY_MS_MIN: u64 = 2_000;

/// The longest time between two attempts, in milliseconds: how late a client may hear that is back.
pub const RETRY_MS_MAX: u64 = 60_000;

/// How long the first attempt may take, in milliseconds, the question to the client's rpcbind
/// included; each further one may take as long again, up to [`TIMEOUT_MS_MAX`].
pub const TIMEOUT_MS_MIN: u64 = 1_000;

/// The longest that one attempt may take, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 5_000;

/// The most attempts that may be under way at one time. Each has a socket.
pub const IN_FLIGHT_MAX: usize = 1024;

/// Names one call of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoticeId(usize);

/// What a driver tells a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The end of [`Action::Call`]: the client's status monitor answered.
    Answered(NoticeId),
    /// The end of [`Action::Call`]: no port was found, no connection made, or no reply came.
    Failed(NoticeId),
    /// Time passed and nothing else.
    Tick,
}

/// What a plan wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask `client`'s rpcbind for the port of its status monitor and call SM_NOTIFY there, once for
    /// each of `arguments` in turn, all from the address `local`. Ends in [`Event::Answered`] where
    /// one was taken and each of the others taken or refused, as by a status monitor that does not
    /// know us by that name; else in [`Event::Failed`].
    Call {
        /// Names the call.
        id: NoticeId,
        /// Whom to call.
        client: IpAddr,
        /// The address of ours to call from.
        local: IpAddr,
        /// How.
        transport: Transport,
        /// The XDR of each call's arguments: one for each name of ours.
        arguments: Vec<Bytes>,
        /// How long it may take until one is taken, the question included, and each after that.
        timeout_ms: u64,
    },
    /// A client was told, or could not be; said once of each. What calls to it are left go on until
    /// they end: one that mounted several addresses of ours wants to hear from each.
    Settled {
        /// The client, as the lock core knows it.
        client_id: String,
        /// Whether its status monitor answered: this is its first answer, and it is alive. Else
        /// the last of its calls was given up.
        answered: bool,
    },
}

/// The SM_NOTIFY calls of one start.
#[derive(Debug)]
pub struct NotifyPlan {
    state: i32,
    give_up_ms: u64,
    notices: Vec<Notice>,
    /// Those never tried yet come first, then those to be tried again, by the time they are due.
    untried: VecDeque<usize>,
    due: BTreeSet<(u64, usize)>,
    in_flight: usize,
    in_flight_max: usize,
    /// How many calls are left of each client that is not settled.
    unsettled: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Notice {
    client_id: String,
    client: IpAddr,
    local: IpAddr,
    transport: Transport,
    names: Vec<Vec<u8>>,
    attempt: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Due,
    InFlight { started_ms: u64 },
    Ended,
}

const fn retry_ms(attempt: u32) -> u64 {
    let doublings = attempt.saturating_sub(1);
    let doublings = if doublings > 16 { 16 } else { doublings };
    let retry_ms = RETRY_MS_MIN << doublings;
    if retry_ms < RETRY_MS_MAX { retry_ms } else { RETRY_MS_MAX }
}

impl NotifyPlan {
    /// The plan of a start at `now_ms` with the NSM state `state`, which tries each client for
    /// `patience_ms` and has at most `in_flight_max` attempts under way.
    ///
    /// A client knows us by the name that its contact has, an address, or by one of `host_names`
    /// where it mounted us by name; NLM does not say which. Linux's status monitor goes by the
    /// caller's address too, but others compare names alone (FreeBSD's and macOS's resolve them,
    /// older ones compare text). So it is told under each, in one attempt; a name that it does not
    /// know does no harm.
    #[must_use]
    pub fn new<'a>(
        now_ms: u64,
        state: i32,
        contacts: impl IntoIterator<Item = &'a Contact>,
        host_names: &[Vec<u8>],
        patience_ms: u64,
        in_flight_max: usize,
    ) -> Self {
        let mut plan = Self {
            state,
            give_up_ms: now_ms.saturating_add(patience_ms.max(PATIENCE_MS_MIN)),
            notices: Vec::new(),
            untried: VecDeque::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            in_flight_max: in_flight_max.clamp(1, IN_FLIGHT_MAX),
            unsettled: BTreeMap::new(),
        };
        let mut seen = BTreeSet::new();
        for contact in contacts {
            for server in &contact.servers {
                // One that came over both transports is told once.
                if seen.insert((contact.client_id(), server.address)) {
                    plan.add(contact, server, host_names);
                }
            }
        }
        plan
    }

    fn add(&mut self, contact: &Contact, server: &Server, host_names: &[Vec<u8>]) {
        let client_id = contact.client_id();
        let mut names: Vec<Vec<u8>> = Vec::new();
        for name in std::iter::once(&server.name).chain(host_names) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        *self.unsettled.entry(client_id.clone()).or_default() += 1;
        self.untried.push_back(self.notices.len());
        self.notices.push(Notice {
            client_id,
            client: contact.client,
            local: server.address,
            transport: server.transport,
            names,
            attempt: 0,
            state: State::Due,
        });
    }

    /// Takes one event at `now_ms` and appends what is to be done.
    pub fn step(&mut self, now_ms: u64, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Answered(id) => {
                if self.landed(id).is_some() {
                    self.end(id, true, actions);
                }
            }
            Event::Failed(id) => self.failed(now_ms, id, actions),
            Event::Tick => {}
        }
        while self.in_flight < self.in_flight_max
            && let Some(index) = self.next(now_ms)
        {
            if let Some(notice) = self.notices.get_mut(index) {
                self.in_flight += 1;
                actions.push(notice.call(now_ms, NoticeId(index), self.state));
            }
        }
    }

    fn next(&mut self, now_ms: u64) -> Option<usize> {
        if let Some(index) = self.untried.pop_front() {
            return Some(index);
        }
        self.due.first().filter(|(due_ms, _)| *due_ms <= now_ms)?;
        self.due.pop_first().map(|(_, index)| index)
    }

    /// When to call [`NotifyPlan::step`] at the latest; `None` where only an event can bring more
    /// to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        // What was never tried waits for nothing but room.
        let (due_ms, _) = self.due.first()?;
        (self.in_flight < self.in_flight_max).then_some(*due_ms)
    }

    /// Whether every call was answered or given up.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.untried.is_empty() && self.due.is_empty() && self.in_flight == 0
    }

    /// The clients not yet settled.
    #[must_use]
    pub fn clients_left(&self) -> usize {
        self.unsettled.len()
    }

    /// The start of the attempt that ended; `None` where none was under way.
    fn landed(&mut self, id: NoticeId) -> Option<(u64, u32)> {
        let notice = self.notices.get_mut(id.0)?;
        let State::InFlight { started_ms } = notice.state else { return None };
        notice.state = State::Due;
        self.in_flight = self.in_flight.saturating_sub(1);
        Some((started_ms, notice.attempt))
    }

    fn failed(&mut self, now_ms: u64, id: NoticeId, actions: &mut Vec<Action>) {
        let Some((started_ms, attempt)) = self.landed(id) else { return };
        let due_ms = now_ms.max(started_ms.saturating_add(retry_ms(attempt)));
        if due_ms < self.give_up_ms {
            self.due.insert((due_ms, id.0));
        } else {
            self.end(id, false, actions);
        }
    }

    fn end(&mut self, id: NoticeId, answered: bool, actions: &mut Vec<Action>) {
        let Some(notice) = self.notices.get_mut(id.0) else { return };
        notice.state = State::Ended;
        let Some(left) = self.unsettled.get_mut(&notice.client_id) else { return };
        *left = left.saturating_sub(1);
        if answered || *left == 0 {
            self.unsettled.remove(&notice.client_id);
            actions.push(Action::Settled { client_id: notice.client_id.clone(), answered });
        }
    }
}

impl Notice {
    fn call(&mut self, now_ms: u64, id: NoticeId, state: i32) -> Action {
        self.state = State::InFlight { started_ms: now_ms };
        self.attempt = self.attempt.saturating_add(1);
        let arguments = |name: &Vec<u8>| {
            let mut writer = Writer::new();
            writer.put(&StateChange { mon_name: name, state });
            writer.into_bytes()
        };
        Action::Call {
            id,
            client: self.client,
            local: self.local,
            transport: self.transport_now(),
            arguments: self.names.iter().map(arguments).collect(),
            timeout_ms: TIMEOUT_MS_MAX.min(TIMEOUT_MS_MIN.saturating_mul(self.attempt.into())),
        }
    }

    /// First as the client came to us, then the other way in turn: a firewall between may let
    /// only one through, and status monitors listen to both.
    const fn transport_now(&self) -> Transport {
        match (self.transport, self.attempt % 2) {
            (Transport::Tcp, 1) | (Transport::Udp, 0) => Transport::Tcp,
            _ => Transport::Udp,
        }
    }
}
