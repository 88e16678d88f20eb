//! What a sender of grants and its driver tell each other.

use std::net::IpAddr;

use bytes::Bytes;
use cleat_lock::{GrantAck, WaiterId};

use crate::contact::Waiting;
use crate::owner::Transport;
use crate::procedure::{Operation, Procedure};
use crate::version::Version;
use crate::wire::Stat;

/// The way to a client's lock manager, and the address of ours that its calls must come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The client.
    pub client: IpAddr,
    /// The address of ours to call from.
    pub server: IpAddr,
    /// How its LOCKs came, and how it is called unless that does not work.
    pub transport: Transport,
    /// The version of NLM.
    pub version: Version,
}

/// One attempt to deliver one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The grant.
    pub waiter: WaiterId,
    /// Its attempts so far, this one included.
    pub attempt: u32,
}

impl Ticket {
    /// The cookie of an attempt in the form of a message: the attempt itself, so that each result
    /// names the message that it answers. Linux's lockd has always sent its grants as messages
    /// with cookies of its own, so clients that know messages take them; those that look for their
    /// LOCK's cookie find it in the called form, see [`Waiting::granted_args`].
    #[must_use]
    pub fn cookie(self) -> [u8; 12] {
        let mut cookie = [0; 12];
        cookie[..8].copy_from_slice(&self.waiter.0.to_be_bytes());
        cookie[8..].copy_from_slice(&self.attempt.to_be_bytes());
        cookie
    }

    /// The attempt that a cookie names. Any twelve bytes name one: whether it was made, and to
    /// whom, a [`super::Sender`] knows.
    #[must_use]
    pub fn of_cookie(cookie: &[u8]) -> Option<Self> {
        let (waiter, attempt) = cookie.split_first_chunk::<8>()?;
        let attempt = u32::from_be_bytes(attempt.try_into().ok()?);
        Some(Self { waiter: WaiterId(u64::from_be_bytes(*waiter)), attempt })
    }
}

/// The form of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// NLM_GRANTED, which is answered with the client's word.
    Call,
    /// NLM_GRANTED_MSG, which is answered with nothing; the word follows as NLM_GRANTED_RES.
    Message,
}

impl Form {
    /// The procedure.
    #[must_use]
    pub const fn procedure(self) -> Procedure {
        match self {
            Self::Call => Procedure::Call(Operation::Granted),
            Self::Message => Procedure::Message(Operation::Granted),
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Call => Self::Message,
            Self::Message => Self::Call,
        }
    }
}

/// Why a call brought no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It was not sent, or surely not received: no connection, port unreachable.
    NotDelivered,
    /// No reply came in time, or the connection was lost: the client may have acted on it.
    NoReply,
    /// The client's RPC layer refused it and nothing was run: PROG_UNAVAIL, AUTH_ERROR, ...
    NotRun,
    /// The driver gave it up, because its grant is over: that says nothing of the way.
    Withdrawn,
}

/// What a driver tells a [`super::Sender`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The core handed a lock to a waiter.
    Grant {
        /// Names the grant.
        waiter: WaiterId,
        /// The call that it expects: from the grant's context.
        waiting: Box<Waiting>,
        /// Whether it may have been told before: true where the grant comes from the store.
        told: bool,
    },
    /// The core says that nothing is to be told any more.
    Over {
        /// Which grant.
        waiter: WaiterId,
    },
    /// The end of [`Action::AskPort`].
    Port {
        /// For which route.
        route: Route,
        /// The port, or `None` where the client's rpcbind does not answer or knows none.
        port: Option<u16>,
    },
    /// The end of [`Action::Call`] in the form of a message: the client has it.
    Delivered {
        /// Which message.
        ticket: Ticket,
    },
    /// NLM_GRANTED_RES came from this client. The end of no action: it may come before the end of
    /// its message, long after it, or twice.
    Result {
        /// What its cookie names.
        ticket: Ticket,
        /// The client's word.
        stat: Stat,
    },
    /// The end of [`Action::Call`]: a result.
    Answered {
        /// Of which call.
        ticket: Ticket,
        /// The client's word.
        stat: Stat,
    },
    /// The end of [`Action::Call`]: no result.
    Failed {
        /// Of which call.
        ticket: Ticket,
        /// Why.
        failure: Failure,
    },
    /// Time passed and nothing else.
    Tick,
}

/// What a [`super::Sender`] wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the client's rpcbind for the port of its lock manager. Ends in [`Event::Port`].
    AskPort {
        /// Whose, and for which version.
        route: Route,
        /// For which transport.
        via: Transport,
    },
    /// Send the grant, once: a datagram that is sent twice within one attempt would make the
    /// client's "no" unreadable (see [`Because::DeniedWhenRepeated`]), and the repetition is this
    /// schedule's. Ends in [`Event::Answered`], or [`Event::Delivered`] where it is a message, or
    /// [`Event::Failed`].
    Call {
        /// Which procedure.
        form: Form,
        /// Names the attempt.
        ticket: Ticket,
        /// Whom to call, and from which address.
        route: Route,
        /// How.
        via: Transport,
        /// The port to call.
        port: u16,
        /// The arguments' XDR.
        arguments: Bytes,
        /// How long to wait for the reply.
        timeout_ms: u64,
    },
    /// Tell the core: [`cleat_lock::Input::GrantOutcome`].
    Outcome {
        /// Which grant.
        waiter: WaiterId,
        /// What the client said.
        outcome: GrantAck,
        /// How it said it, for the log.
        because: Because,
    },
}

/// What an outcome was concluded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The client answered NLM4_GRANTED: it has the lock.
    Granted,
    /// The client refused the first call that can have reached it: it does not want the lock.
    Denied(Stat),
    /// The client refused, but an earlier call may have reached it, and its reply been lost. A
    /// client that took the lock from the earlier call is no longer waiting and refuses the
    /// repetition, and to take the lock from it would give it to two. One that gave up says so
    /// by CANCEL or UNLOCK. So the lock stays.
    DeniedWhenRepeated(Stat),
    /// No attempt can have reached the client, for too long: it does not know of the grant.
    Unreachable,
}
