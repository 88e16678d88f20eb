//! What became of the messages of the status monitor, in numbers for people.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::seldom::Seldom;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the status monitor counted since the server started.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Every counter with its name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }

        /// The counters at work.
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Tally {
            pub(super) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Clients whose restart was heard: what they held was released.
    clients_restarted,
    /// SM_NOTIFYs from an address at which no client is known: forged, or of a host that holds
    /// nothing here.
    ignored_unknown_address,
    /// SM_NOTIFYs from an address of several clients, under a name that none of them has, or that
    /// may be of more than one.
    ignored_unknown_name,
    /// SM_NOTIFYs of a restart that was heard before: their senders missed the answer.
    ignored_repeated,
    /// SM_NOTIFYs from a port that any user may have, of a host to which an export is `secure`.
    ignored_port,
    /// Calls back that did not carry our key, though they came from this host.
    ignored_key,
    /// Calls that only a lock manager of this host may make, and somebody else made.
    refused_callers,
    /// Clients that took our SM_NOTIFY.
    clients_told,
    /// Clients that did not take it for as long as they were tried: 15 minutes, or as long as their
    /// locks stood.
    clients_not_told,
    /// Calls back to lock managers of this host that were answered, which is on record.
    callbacks_answered,
}

/// What strangers can make happen at any rate, and the log is to tell once in a while.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// SM_NOTIFYs from an address at which no client is known.
    pub(super) unknown_address: Seldom,
    /// SM_NOTIFYs under a name that names no client.
    pub(super) unknown_name: Seldom,
    /// SM_NOTIFYs from a port that any user may have.
    pub(super) port: Seldom,
    /// Calls that only a lock manager of this host may make.
    pub(super) callers: Seldom,
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
