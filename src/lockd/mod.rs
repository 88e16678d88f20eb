//! The lock service: drives the lock core, speaks NLM, and calls back.

mod contacts;
mod deadlines;
mod driver;
mod file;
mod granted;
mod idle;
mod lease;
mod limits;
mod log;
mod once;
mod patience;
mod program;
mod results;
mod taken;
mod turns;
mod ways;

pub use contacts::Contacts;
pub use driver::{Event, Lockd, Metrics, Settings, SharedStore, Thread};
pub use granted::call_back;
pub use idle::{IDLE, LOOK, forget_idle};
pub use lease::watch;
pub use limits::Refusals;
pub use program::{GrantedResult, Nlm};
pub use results::{PENDING_MAX, PENDING_PER_CLIENT_MAX, Results};

/// How NLM names a transport of the listener.
pub(crate) const fn nlm_transport(transport: crate::rpc_server::Transport) -> cleat_nlm::Transport {
    match transport {
        crate::rpc_server::Transport::Tcp => cleat_nlm::Transport::Tcp,
        crate::rpc_server::Transport::Udp => cleat_nlm::Transport::Udp,
    }
}

/// The transport that NLM names.
pub(crate) const fn transport(transport: cleat_nlm::Transport) -> crate::rpc_server::Transport {
    match transport {
        cleat_nlm::Transport::Tcp => crate::rpc_server::Transport::Tcp,
        cleat_nlm::Transport::Udp => crate::rpc_server::Transport::Udp,
    }
}
