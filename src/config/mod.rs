//! A TOML file and flags become one validated configuration, or all the mistakes in them.

mod connections;
pub mod draft;
mod exports;
mod file;
mod limits;
pub mod listen;
pub mod mistake;
mod names;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cleat_mount::ExportTable;

use crate::rpc_server::ConnectionLimits;

pub use cleat_lock::{Limits, Recovery};
pub use connections::{CONNECTION_IDLE_S_MAX, CONNECTIONS_LIMIT_MAX};
pub use draft::Draft;
pub use limits::LIMIT_MAX;
pub use mistake::{Mistake, Mistakes, Place, Said};
pub use names::{NOTIFY_NAME_BYTES_MAX, NOTIFY_NAMES_MAX};

/// The most addresses to listen on.
pub const LISTEN_MAX: usize = 16;
/// How long clients may reclaim their locks after a restart unless said otherwise, in seconds.
pub const GRACE_S: u32 = 90;
/// The longest grace period, in seconds.
pub const GRACE_S_MAX: u32 = 3600;

/// How long what a client did not reclaim stands beyond the grace period while the client cannot
/// be told of the restart, unless said otherwise, in seconds; 0 = not at all.
pub const UNREACHABLE_HOLD_S: u32 = 600;
/// The longest such time, in seconds.
pub const UNREACHABLE_HOLD_S_MAX: u32 = 7 * 24 * 3600;
/// The shortest lease of a client that keeps others waiting, in seconds. Below it a lost packet
/// could cost a live client its locks.
pub const CLIENT_LEASE_S_MIN: u32 = 5;
/// The longest such lease, in seconds.
pub const CLIENT_LEASE_S_MAX: u32 = 24 * 3600;

/// How long a grant stands that its client cannot be told, unless said otherwise, in seconds; 0 =
/// for ever.
pub const UNREACHABLE_GRANT_S: u32 = 60;
/// The shortest such time, in seconds: a client's port mapper may take some to answer.
pub const UNREACHABLE_GRANT_S_MIN: u32 = 10;
/// The longest such time, in seconds.
pub const UNREACHABLE_GRANT_S_MAX: u32 = 24 * 3600;
/// How long a blocking lock request yields at most to one that came before it, unless said
/// otherwise, in seconds; 0 = not at all.
pub const FAIR_WAIT_S: u32 = 5;
/// The longest such time, in seconds.
pub const FAIR_WAIT_S_MAX: u32 = 60;

/// What the lock table survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the server process.
    #[default]
    Process,
    /// The death of the machine: every batch is synced.
    Power,
}

/// How clients find the port of NLM and the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rpcbind {
    /// `System` where a rpcbind runs, else `Embedded` where port 111 can be had, else `Off`.
    #[default]
    Auto,
    /// By the rpcbind that runs on this host.
    System,
    /// By this server, which answers on port 111 itself.
    Embedded,
    /// Not at all: clients must be told with mount options.
    Off,
}

/// Everything that is decided before a server starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen: never empty, no two that overlap. IPv6 sockets take IPv6 alone.
    pub listen: Vec<SocketAddr>,
    /// The state directory; absolute, may not exist yet, and in no export.
    pub state_dir: PathBuf,
    /// The longest time in which clients may reclaim their locks after a restart.
    pub grace: Duration,
    /// What new locks wait for after a restart.
    pub recovery: Recovery,
    /// How long what a client did not reclaim stands beyond `grace` while the client cannot be told
    /// of the restart.
    pub unreachable_hold: Duration,
    /// How long a client may answer nothing while others wait for its locks; `None` = for ever.
    pub client_lease: Option<Duration>,
    /// How long a grant stands whose client cannot be reached at all to be told of it; `None` = for
    /// ever.
    pub unreachable_grant: Option<Duration>,
    /// How long a blocking lock request that nothing held forbids yields at most to one that came
    /// before it; zero = not at all.
    pub fair_wait: Duration,
    /// Bounds of the lock table.
    pub limits: Limits,
    /// How many connections there may be.
    pub connections: ConnectionLimits,
    /// What the lock table survives.
    pub durability: Durability,
    /// How clients find ports.
    pub rpcbind: Rpcbind,
    /// The names under which clients are told of a restart, besides its addresses and its own.
    pub notify_names: Vec<String>,
    /// What is logged: a directive as `tracing_subscriber::EnvFilter` reads it.
    pub log: String,
    /// What is exported; each path is a directory that was there when this was checked.
    pub exports: Arc<ExportTable>,
}

impl Config {
    /// Puts a file, if there is one, and flags together and judges them. The flags' words
    /// replace the file's; their exports are more exports.
    pub fn load(file: Option<&Path>, flags: Draft) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Mistakes::default();
        let said = file.map(|path| file::read(path, &mut mistakes)).unwrap_or_default();
        Self::judge(said.overlaid(flags), mistakes)
    }

    /// The state directory alone, as [`Config::load`] would have it: for those who speak to a
    /// server that runs, and need no more of its configuration.
    pub fn state_dir(
        file: Option<&Path>,
        flag: Option<Said<PathBuf>>,
    ) -> Result<PathBuf, Vec<Mistake>> {
        let mut mistakes = Mistakes::default();
        let said = file.map(|path| file::read(path, &mut mistakes)).unwrap_or_default();
        let said = flag.or(said.state_dir).or_else(|| default_state_dir(&mut mistakes));
        match said {
            Some(said) if mistakes.is_empty() => Ok(said.value),
            _ => Err(mistakes.into_sorted()),
        }
    }

    /// Judges what a draft says. `mistakes` are those that were made in writing it.
    fn judge(draft: Draft, mut mistakes: Mistakes) -> Result<Self, Vec<Mistake>> {
        // What a broken file would have said is not missing.
        let whole = mistakes.is_empty();
        let listen = judge_listen(&draft.listen, &mut mistakes);
        let state_dir = draft.state_dir.or_else(|| default_state_dir(&mut mistakes));
        let grace_s = judge_seconds(draft.grace_s.as_ref(), GRACE_S, &mut mistakes, &GRACE);
        let hold_s = draft.unreachable_hold_s.as_ref();
        let hold_s = judge_seconds(hold_s, UNREACHABLE_HOLD_S, &mut mistakes, &HOLD);
        let lease_s = judge_seconds(draft.client_lease_s.as_ref(), 0, &mut mistakes, &LEASE);
        let untold_s = draft.unreachable_grant_s.as_ref();
        let untold_s = judge_seconds(untold_s, UNREACHABLE_GRANT_S, &mut mistakes, &UNTOLD);
        let fair_s = draft.fair_wait_s.as_ref();
        let fair_s = judge_seconds(fair_s, FAIR_WAIT_S, &mut mistakes, &FAIR_WAIT);
        let recovery = judge_recovery(draft.recovery.as_ref(), &mut mistakes);
        let limits = limits::judge(&draft.limits, &mut mistakes);
        let connections = connections::judge(&draft.limits, &mut mistakes);
        let durability = judge_word(draft.durability.as_ref(), &mut mistakes);
        let rpcbind = judge_word(draft.rpcbind.as_ref(), &mut mistakes);
        let notify_names = names::judge(&draft.notify_names, &mut mistakes);
        let log = judge_log(draft.log, &mut mistakes);
        let nothing = draft.exports.is_empty();
        let exports = exports::judge(draft.exports, state_dir.as_ref(), &mut mistakes);
        if nothing && whole {
            let text = "nothing to serve; give --export DIR, or [[export]] in a file";
            mistakes.add(&Place::Default("export"), text);
        }
        match (state_dir, mistakes.is_empty()) {
            (Some(state_dir), true) => Ok(Self {
                listen,
                state_dir: state_dir.value,
                grace: Duration::from_secs(grace_s.into()),
                recovery,
                unreachable_hold: Duration::from_secs(hold_s.into()),
                client_lease: (lease_s > 0).then(|| Duration::from_secs(lease_s.into())),
                unreachable_grant: (untold_s > 0).then(|| Duration::from_secs(untold_s.into())),
                fair_wait: Duration::from_secs(fair_s.into()),
                limits,
                connections,
                durability,
                rpcbind,
                notify_names,
                log,
                exports: Arc::new(exports),
            }),
            _ => Err(mistakes.into_sorted()),
        }
    }
}

fn judge_listen(said: &[Said<String>], mistakes: &mut Mistakes) -> Vec<SocketAddr> {
    let default = [Said::new(Place::Default("listen"), "*".to_owned())];
    let ipv6 = listen::host_has_ipv6();
    let mut listen: Vec<SocketAddr> = Vec::new();
    for one in if said.is_empty() { &default } else { said } {
        for address in
            mistakes.take(&one.place, listen::parse(&one.value, ipv6)).unwrap_or_default()
        {
            match listen.iter().find(|other| listen::overlaps(**other, address)) {
                Some(other) => mistakes.add(
                    &one.place,
                    format_args!("{address} and {other} overlap; leave one of them out"),
                ),
                None if listen.len() >= LISTEN_MAX => {
                    mistakes.add(
                        &one.place,
                        format_args!("more than {LISTEN_MAX} addresses; use \"*\""),
                    );
                    return listen;
                }
                None => listen.push(address),
            }
        }
    }
    listen
}

/// A number of seconds: what it may be, and how to say that.
struct Seconds {
    from: u32,
    to: u32,
    /// Whether 0 may be said too, for "not at all".
    or_zero: bool,
    example: u32,
}

const GRACE: Seconds = Seconds { from: 1, to: GRACE_S_MAX, or_zero: false, example: 90 };
const HOLD: Seconds =
    Seconds { from: 1, to: UNREACHABLE_HOLD_S_MAX, or_zero: true, example: UNREACHABLE_HOLD_S };
const LEASE: Seconds =
    Seconds { from: CLIENT_LEASE_S_MIN, to: CLIENT_LEASE_S_MAX, or_zero: true, example: 60 };
const UNTOLD: Seconds = Seconds {
    from: UNREACHABLE_GRANT_S_MIN,
    to: UNREACHABLE_GRANT_S_MAX,
    or_zero: true,
    example: UNREACHABLE_GRANT_S,
};
const FAIR_WAIT: Seconds =
    Seconds { from: 1, to: FAIR_WAIT_S_MAX, or_zero: true, example: FAIR_WAIT_S };

fn judge_seconds(
    said: Option<&Said<String>>,
    default_s: u32,
    mistakes: &mut Mistakes,
    may_be: &Seconds,
) -> u32 {
    let Some(said) = said else {
        return default_s;
    };
    let &Seconds { from, to, or_zero, example } = may_be;
    let fits = |number: &u32| (from..=to).contains(number) || (or_zero && *number == 0);
    said.value.trim().parse().ok().filter(fits).unwrap_or_else(|| {
        let (value, is) = (&said.value, if or_zero { "neither 0 nor" } else { "not" });
        let text =
            format_args!("\"{value}\" is {is} from {from} to {to}; write seconds, as {example}");
        mistakes.add(&said.place, text);
        default_s
    })
}

fn judge_recovery(said: Option<&Said<String>>, mistakes: &mut Mistakes) -> Recovery {
    let word = said.map(|said| (&said.place, said.value.as_str()));
    match word {
        None | Some((_, "strict")) => Recovery::Strict,
        Some((_, "instant")) => Recovery::Instant,
        Some((place, word)) => {
            let text = format_args!("\"{word}\" is no way to recover; write strict or instant");
            mistakes.add(place, text);
            Recovery::Strict
        }
    }
}

fn judge_word<T>(said: Option<&Said<String>>, mistakes: &mut Mistakes) -> T
where
    T: FromStr<Err = String> + Default,
{
    said.and_then(|said| mistakes.take(&said.place, said.value.parse())).unwrap_or_default()
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "process" => Self::Process,
            "power" => Self::Power,
            _ => return Err(format!("\"{text}\" is not a durability; write process or power")),
        })
    }
}

impl FromStr for Rpcbind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "system" => Self::System,
            "embedded" => Self::Embedded,
            "off" => Self::Off,
            _ => {
                let words = "auto, system, embedded or off";
                return Err(format!("\"{text}\" is no way to use rpcbind; write {words}"));
            }
        })
    }
}

/// Checks what the filter itself would take for a target's name: a misspelled level.
fn judge_log(said: Option<Said<String>>, mistakes: &mut Mistakes) -> String {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let Some(said) = said else {
        return "info".to_owned();
    };
    for directive in said.value.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let text = format_args!(
                "\"{directive}\" is no level; write off, error, warn, info, debug or trace, or \
                 TARGET=LEVEL"
            );
            mistakes.add(&said.place, text);
        }
    }
    if mistakes.is_empty() {
        mistakes.take(&said.place, tracing_subscriber::EnvFilter::try_new(&said.value));
    }
    said.value
}

/// /var/lib/cleat for root, else cleat in the XDG state directory.
fn default_state_dir(mistakes: &mut Mistakes) -> Option<Said<PathBuf>> {
    let place = Place::Default("state_dir");
    if rustix::process::geteuid().is_root() {
        return Some(Said::new(place, PathBuf::from("/var/lib/cleat")));
    }
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = var("XDG_STATE_HOME").or_else(|| var("HOME").map(|home| home.join(".local/state")));
    if base.is_none() {
        mistakes.add(&place, "neither XDG_STATE_HOME nor HOME is set; give --state-dir DIR");
    }
    Some(Said::new(place, base?.join("cleat")))
}
