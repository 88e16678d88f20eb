//! What travels between clients and server, and what is due when.

use std::collections::BTreeMap;

use cleat_lock::{GrantAck, Mode, Outcome, Range, WaiterId};

/// Bytes 0 to 9; the last cell stands for everything from byte 9 on.
pub const CELLS: usize = 10;
pub const FILES: usize = 3;

/// A lock that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub file: usize,
    pub first: usize,
    pub last: usize,
    pub mode: Mode,
}

impl Span {
    pub fn all(file: usize, mode: Mode) -> Span {
        Span { file, first: 0, last: CELLS - 1, mode }
    }

    pub fn range(self) -> Range {
        let last = if self.last == CELLS - 1 { u64::MAX } else { self.last as u64 };
        Range::between(self.first as u64, last).expect("first is not after last")
    }
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    /// `wait` is the episode: one wish of one process, however often it is sent.
    Lock {
        span: Span,
        wait: Option<u64>,
        reclaim: bool,
        find_deadlock: bool,
    },
    Unlock {
        span: Span,
    },
    Cancel {
        span: Span,
    },
    Test {
        span: Span,
    },
    /// SM_NOTIFY: the host restarted.
    Restarted,
}

/// One stream of requests of a host, each sent until it is answered, then the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Process(usize),
    /// Reclaims for the process.
    Reclaim,
    Notify,
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub host: usize,
    /// The host's state number when it was sent.
    pub life: u32,
    /// Whose locks it is about.
    pub process: usize,
    pub lane: Lane,
    pub xid: u64,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub to: Request,
    /// The server instance that answers, and the step in which it did.
    pub epoch: u64,
    pub stamp: u64,
    pub outcome: Outcome,
}

/// NLM_GRANTED.
#[derive(Clone, Copy, Debug)]
pub struct Callback {
    pub host: usize,
    pub episode: u64,
    pub epoch: u64,
    pub stamp: u64,
    pub waiter: WaiterId,
    pub attempt: u32,
}

/// What a client says to NLM_GRANTED.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stat {
    Granted,
    Denied,
    DeniedGrace,
}

#[derive(Clone, Debug)]
pub enum Message {
    Request(Request),
    Reply(Reply),
    Callback(Callback),
    CallbackAnswer(Callback, Stat),
    /// The server tells a host that it restarted.
    ServerRestarted {
        host: usize,
        epoch: u64,
    },
    /// The host knows.
    Heard {
        host: usize,
        epoch: u64,
    },
}

#[derive(Clone, Debug)]
pub enum Event {
    Deliver(Message),
    /// A process decides what to do next.
    Think {
        host: usize,
        life: u32,
        process: usize,
    },
    /// A request is sent again unless answered.
    Again {
        host: usize,
        life: u32,
        lane: Lane,
        xid: u64,
    },
    /// A blocked request is put anew, or one that met the grace period.
    Poll {
        host: usize,
        life: u32,
        process: usize,
        job: u64,
    },
    /// A user loses patience with a blocked request.
    Interrupt {
        host: usize,
        life: u32,
        process: usize,
        job: u64,
    },
    HostDown {
        host: usize,
    },
    HostUp {
        host: usize,
    },
    ServerStart,
    ServerKill {
        epoch: u64,
    },
    /// The driver looks into its inbox.
    Wake {
        epoch: u64,
    },
    /// The core's next deadline.
    Alarm {
        epoch: u64,
    },
    /// No answer to this attempt of a GRANTED.
    CallbackTimeout {
        epoch: u64,
        waiter: WaiterId,
        attempt: u32,
    },
    NotifyAgain {
        epoch: u64,
        host: usize,
    },
    /// A host stands still for a while, and does not know it.
    Freeze {
        host: usize,
    },
    /// The server looks after clients that are in others' way.
    Probe {
        epoch: u64,
    },
    /// An administrator's order.
    EndGrace,
    ClearHost {
        host: usize,
    },
    Quiet,
}

/// What waits for the driver.
#[derive(Clone, Debug)]
pub enum Inbound {
    Request(Request),
    GrantOutcome(WaiterId, GrantAck),
    EndGrace,
    ClearHost(usize),
    ForgetHost(usize),
    /// The host knows of the restart.
    Reached(usize),
    /// The host answers nothing, since then.
    Silent(usize, u64),
}

/// One cell as a client believes to hold it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// As the server said.
    pub mode: Mode,
    /// What the client counts on, and would reclaim: weaker from when it asks for a downgrade.
    pub sure: Mode,
    /// The server instance that said so last.
    pub epoch: u64,
    /// It was taken from the client in a way the protocol allows and the client cannot see.
    pub lost: bool,
}

pub type Cells = BTreeMap<(usize, usize), Held>;
