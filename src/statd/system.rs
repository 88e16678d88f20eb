//! Beside a rpc.statd that has program 100024 on this host: clients' SM_NOTIFYs go there, so it
//! monitors our clients for us and calls us back, as it does for the kernel's own lock manager.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cleat_nlm::monitor::{
    CALLBACK_PROCEDURE, CALLBACK_VERSION, Mon, MonId, MyId, PRIVATE_BYTES, Status,
};
use cleat_nlm::nsm::{PROGRAM, StatRes, VERSION, procedure};
use cleat_nlm::wire;
use cleat_rpc::{Encode, Fault, Reader, Reply, Writer};
use tokio::sync::watch;
use tracing::debug;

use super::Statd;
use super::counters::count;
use super::notify::host_name;
use crate::rpc_client::{self, CallError, Procedure, Resend, Route};
use crate::rpc_server::{Answer, Call, Listener, Program, Sockets, Transport};
use crate::seldom::limited;

/// How long rpc.statd may take: it looks names up, one call after the other.
const PATIENCE: Duration = Duration::from_secs(15);
/// How soon it is asked again where it refused or did not answer.
const RETRY: Duration = Duration::from_secs(10);
/// How often it is asked again for all: its own records may have been lost.
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// How long changes of the table of clients gather.
const GATHER: Duration = Duration::from_millis(50);

/// Serves the calls back of this host's rpc.statd on a port of the loopback interface. Returns its
/// address.
pub(super) fn serve_callbacks(statd: &Statd) -> io::Result<SocketAddr> {
    let sockets = Sockets::bind(&[SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)])?;
    let address = sockets.addresses().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let callbacks = Callbacks { statd: statd.clone() };
    let listener = Listener::new(vec![Arc::new(callbacks)]);
    listener.serve(sockets);
    let stop = statd.inner.stop.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        listener.stop(Duration::from_secs(1)).await;
    });
    Ok(address)
}

/// The private version of NLM's program.
struct Callbacks {
    statd: Statd,
}

impl Callbacks {
    /// A client of which we know the address alone has restarted.
    fn called(&self, call: &Call) -> Result<Answer, Fault> {
        let status: Status<'_> = call.arguments().get()?;
        let name = std::str::from_utf8(status.mon_name).ok();
        let client = name.and_then(|name| name.parse::<IpAddr>().ok());
        let Some(client) = client.filter(|_| status.private == self.statd.inner.key) else {
            count(&self.statd.inner.tally.ignored_key);
            limited!(info, peer = %call.peer, "a call back without our key ignored");
            return Ok(Answer::Now(Ok(Writer::new())));
        };
        let (statd, state) = (self.statd.clone(), status.state);
        Ok(Answer::later(async move {
            statd.restarted(client, None, state, false).await?;
            Ok(Writer::new())
        }))
    }
}

impl Program for Callbacks {
    fn number(&self) -> u32 {
        wire::PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        CALLBACK_VERSION..=CALLBACK_VERSION
    }

    fn call(&self, call: Call) -> Answer {
        match call.header.procedure {
            0 => Answer::Now(Ok(Writer::new())),
            CALLBACK_PROCEDURE => {
                self.called(&call).unwrap_or_else(|fault| Answer::Now(Reply::Err(fault)))
            }
            _ => Answer::Now(Err(Fault::ProcedureUnavailable)),
        }
    }
}

/// Has rpc.statd monitor every client on record while it has the program (`theirs`).
///
/// SM_MON comes after the client's first lock was granted, by a moment that no restart fits in:
/// a client must not wait for a rpc.statd that looks its name up.
pub(super) async fn have_clients_monitored(statd: Statd, theirs: watch::Receiver<bool>) {
    let mut monitor = Monitor {
        key: statd.inner.key,
        my_name: host_name(),
        monitored: HashSet::new(),
        complained: HashSet::new(),
    };
    let stop = statd.inner.stop.clone();
    let _ = stop.run_until_cancelled(monitor.run(&statd, theirs)).await;
}

struct Monitor {
    key: [u8; PRIVATE_BYTES],
    my_name: Vec<u8>,
    monitored: HashSet<IpAddr>,
    /// Those of which it was said that they are not.
    complained: HashSet<IpAddr>,
}

impl Monitor {
    async fn run(&mut self, statd: &Statd, mut theirs: watch::Receiver<bool>) {
        let contacts = statd.inner.lockd.contacts();
        // Where the sender is gone the server stops.
        while theirs.wait_for(|theirs| *theirs).await.is_ok() {
            let whole = self.follow(&contacts.addresses()).await;
            let wait = if whole { AGAIN } else { RETRY };
            tokio::select! {
                () = contacts.changed() => tokio::time::sleep(GATHER).await,
                changed = theirs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.monitored.clear();
                }
                () = tokio::time::sleep(wait) => {
                    if whole {
                        self.monitored.clear();
                    }
                }
            }
        }
    }

    /// Has the clients at these addresses monitored, and no others. Whether that was done.
    async fn follow(&mut self, wanted: &HashSet<IpAddr>) -> bool {
        let mut whole = true;
        for client in wanted.difference(&self.monitored.clone()) {
            let answer = self.mon(*client).await;
            if matches!(answer, Ok(true)) {
                limited!(info, %client, "this host's rpc.statd will tell when the client restarts");
                self.monitored.insert(*client);
                self.complained.remove(client);
                continue;
            }
            whole = false;
            if self.complained.insert(*client) {
                limited!(warn, %client, ?answer,
                       "this host's rpc.statd does not monitor the client: its \
                       restart will not be heard; it is asked again");
            }
            if answer.is_err() {
                // It has as little time for the others.
                break;
            }
        }
        for client in self.monitored.clone().difference(wanted) {
            let forgotten = self.unmon(*client).await;
            debug!(%client, ?forgotten, "the client need not be monitored any more");
            self.monitored.remove(client);
        }
        self.complained.retain(|client| wanted.contains(client));
        whole
    }

    async fn mon(&self, client: IpAddr) -> Result<bool, CallError> {
        let name = client.to_string();
        let mon = Mon { mon_id: self.mon_id(&name), private: self.key };
        let results = ask(procedure::MON, &mon).await?;
        Ok(Reader::new(&results).get::<StatRes>().is_ok_and(|result| result.success))
    }

    async fn unmon(&self, client: IpAddr) -> Result<(), CallError> {
        ask(procedure::UNMON, &self.mon_id(&client.to_string())).await.map(drop)
    }

    fn mon_id<'a>(&'a self, name: &'a str) -> MonId<'a> {
        MonId {
            mon_name: name.as_bytes(),
            my_id: MyId {
                my_name: &self.my_name,
                program: wire::PROGRAM,
                version: CALLBACK_VERSION,
                procedure: CALLBACK_PROCEDURE,
            },
        }
    }
}

/// Calls this host's rpc.statd, which hears lock managers over IPv4's loopback alone.
async fn ask(number: u32, arguments: &impl Encode) -> Result<bytes::Bytes, CallError> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let route = Route { to: here, from: here, transport: Transport::Udp };
    let port = rpc_client::find_port(route, PROGRAM, VERSION, PATIENCE).await?;
    let mut writer = Writer::new();
    writer.put(arguments);
    let procedure = Procedure { program: PROGRAM, version: VERSION, number };
    let resend = Resend::UntilAnswered;
    rpc_client::call(route, port, procedure, &writer.into_bytes(), resend, PATIENCE).await
}
