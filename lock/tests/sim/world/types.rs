//! What travels between clients and server, and what is due when.

use std::collections::BTreeMap;
use std::sync::Arc;

use cleat_lock::{Access, GrantAck, Mode, Outcome, Owner, Range, WaiterId};

/// Bytes 0 to 9; the last cell stands for everything from byte 9 on.
pub const CELLS: usize = 10;
pub const FILES: usize = 3;

/// What a host speaks. To the core they are all the same; their clients behave differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// No connection; a blocked request is sent again and again.
    Nlm,
    /// A connection; a blocked request is sent once, with a time limit.
    Smb,
    Nfs4,
}

impl Protocol {
    /// Whether the server sees its clients come and go.
    pub fn is_connected(self) -> bool {
        self != Protocol::Nlm
    }
}

/// How the core knows a host and its processes.
#[derive(Clone, Debug)]
pub struct Names {
    pub client_id: Arc<str>,
    pub owners: Vec<Owner>,
}

impl Names {
    pub fn new(host: usize, protocol: Protocol, processes: usize) -> Names {
        let prefix = match protocol {
            Protocol::Nlm => "nlm",
            Protocol::Smb => "smb",
            Protocol::Nfs4 => "nfs4",
        };
        let client_id: Arc<str> = Arc::from(format!("{prefix}:h{host}"));
        let owner = |process| Owner {
            owner_id: Arc::from(format!("{prefix}:h{host}/{process}")),
            client_id: Arc::clone(&client_id),
            share_name: Arc::from("share"),
            note: Arc::from([host, process].map(|n| u8::try_from(n).expect("few"))),
        };
        Names { owners: (0..processes).map(owner).collect(), client_id }
    }
}

/// Host and process, from what the core has of an owner.
pub fn who(owner: &Owner) -> (usize, usize) {
    (usize::from(owner.note[0]), usize::from(owner.note[1]))
}

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

    pub fn cells(self) -> impl Iterator<Item = (usize, usize)> {
        (self.first..=self.last).map(move |cell| (self.file, cell))
    }

    pub fn has(self, (file, cell): (usize, usize)) -> bool {
        file == self.file && (self.first..=self.last).contains(&cell)
    }
}

/// One wish for a lock, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    pub span: Span,
    /// Its number, where it waits.
    pub wait: Option<u64>,
    /// By the explicit upgrade.
    pub upgrade: bool,
}

/// More than there are hosts: the number of a wish tells whose it is.
pub const EPISODE_STEP: u64 = 8;

/// The host whose wish this is.
pub fn wisher(episode: u64) -> usize {
    usize::try_from(episode % EPISODE_STEP).expect("small")
}

/// How long a wish of a client with a connection waits, in milliseconds; 0 = for ever, `None` = as
/// the server's configuration says.
pub fn timeout_ms(episode: u64) -> Option<u64> {
    [Some(0), Some(3_000), None][usize::try_from(episode / EPISODE_STEP % 3).expect("small")]
}

/// A share reservation apart from its owner and file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deal {
    pub access: Access,
    pub deny: Access,
}

impl Deal {
    pub fn covers(self, other: Deal) -> bool {
        self.access.covers(other.access) && self.deny.covers(other.deny)
    }

    pub fn conflicts(self, other: Deal) -> bool {
        self.access.meets(other.deny) || self.deny.meets(other.access)
    }

    /// What both include.
    pub fn common(self, other: Deal) -> Deal {
        let meet = |a: Access, b: Access| Access::ALL[a as usize & b as usize];
        Deal { access: meet(self.access, other.access), deny: meet(self.deny, other.deny) }
    }
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    Lock {
        wish: Wish,
        find_deadlock: bool,
    },
    Reclaim {
        span: Span,
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
    Share {
        file: usize,
        deal: Deal,
        reclaim: bool,
    },
    Unshare {
        file: usize,
    },
    /// SM_NOTIFY: the host restarted.
    Restarted,
    /// The host has a connection.
    Register,
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
    /// Which of the host's connections it came on, one after the other. An answer goes back on it.
    pub connection: u32,
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
    /// A wait is over without the lock.
    WaitOver {
        host: usize,
        episode: u64,
        epoch: u64,
    },
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
    Deliver(Box<Message>),
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
    /// The connection of a host breaks.
    Away {
        host: usize,
    },
    /// The server has noticed.
    Unplugged {
        host: usize,
    },
    /// The host has a connection again.
    Back {
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
    FreeHost {
        host: usize,
    },
    Clear(Order),
    /// A host is not watched any more, if it has nothing.
    ForgetHost {
        host: usize,
    },
    Quiet,
    /// Users look after those of their requests that wait and did not ask for deadlocks to be found.
    Patience,
}

/// What an administrator wants cleared.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Host(usize),
    File(usize),
    HostOnFile(usize, usize),
    /// One of those that are held, and that wait, by then.
    Lock(usize),
    Waiter(usize),
}

/// What waits for the driver.
#[derive(Clone, Debug)]
pub enum Inbound {
    Request(Request),
    GrantOutcome(WaiterId, GrantAck),
    EndGrace,
    FreeHost(usize),
    Clear(Order),
    ForgetHost(usize),
    Disconnected(usize),
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

/// A reservation as a client believes to have it: fields as in [`Held`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reserved {
    pub deal: Deal,
    pub sure: Deal,
    pub epoch: u64,
    pub lost: bool,
}
