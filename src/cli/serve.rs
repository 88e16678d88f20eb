//! `cleat serve`: flags become a configuration, a configuration becomes a running server.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{MISTAKEN, complain, lines};
use crate::config::draft::absolute;
use crate::config::{Config, Draft, Place, Said};
use crate::{disk, server};

const OPTIONS_HELP: &str = "\
OPTIONS are words of exports(5), separated by commas:
  ro (default), rw               whether clients may change anything
  root_squash (default)          user 0 and group 0 become the anonymous ones
  no_root_squash                 root on a client is root here
  all_squash                     every user becomes the anonymous one
  anonuid=N, anongid=N           the anonymous user and group (default 65534)
  insecure (default), secure     whether a client may call from a port above 1023
  sync, no_subtree_check         accepted: it is always done so
A directory given here is exported to every host; a file can tell clients apart.
If the name of DIR itself ends in a colon and such words, write DIR:ro or DIR:rw.

Where a file and flags say the same thing, the flag counts. Exports add up.";

/// Serve directories until SIGTERM or SIGINT.
#[derive(Debug, Args)]
#[command(after_help = OPTIONS_HELP)]
pub(super) struct Serve {
    /// Read a configuration file, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Export a directory to every host; may be repeated
    #[arg(long, value_name = "DIR[:OPTIONS]")]
    export: Vec<OsString>,
    /// Listen here; may be repeated [default: *:2049, all addresses, IPv4 and IPv6]
    #[arg(long, value_name = "ADDR[:PORT]")]
    listen: Vec<String>,
    /// Keep locks and keys here [default: /var/lib/cleat for root, else ~/.local/state/cleat]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Let clients reclaim locks for at most this long after a restart [default: 90]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    grace_s: Option<String>,
    /// What new locks wait for after a restart: all reclaims, or nothing where the locks on record
    /// are exact [default: strict]
    #[arg(long, value_name = "strict|instant")]
    recovery: Option<String>,
    /// Keep locks that were not reclaimed for so much longer while their client cannot be told of
    /// the restart; 0 = not at all [default: 600]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    unreachable_hold_s: Option<String>,
    /// Release locks that others wait for where their client has answered nothing for so long;
    /// 0 = never [default: 0]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    client_lease_s: Option<String>,
    /// What locks survive: the death of this process, or loss of power [default: process]
    #[arg(long, value_name = "process|power")]
    durability: Option<String>,
    /// How clients find the port [default: auto]
    #[arg(long, value_name = "auto|system|embedded|off")]
    rpcbind: Option<String>,
    /// What to log: off, error, warn, info, debug, trace, or TARGET=LEVEL,... [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let file = self.config.clone();
        let config = match Config::load(file.as_deref(), self.draft()) {
            Ok(config) => config,
            Err(mistakes) => {
                let _ = std::io::stderr().write_all(lines(&mistakes).as_bytes());
                return ExitCode::from(MISTAKEN);
            }
        };
        start_log(&config.log);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(disk::threads_max(config.exports.len()))
            .enable_all()
            .build();
        let ended = match runtime {
            Ok(runtime) => {
                let ended = runtime.block_on(server::run(config));
                // What is left hangs, on a disk that is gone say, and would hold us for ever.
                runtime.shutdown_background();
                ended.map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("cannot start threads: {error}")),
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn draft(self) -> Draft {
        let said =
            |flag, value: Option<String>| value.map(|value| Said::new(Place::Flag(flag), value));
        let place = Place::Flag("--listen");
        let listen = self.listen.into_iter().map(|one| Said::new(place.clone(), one)).collect();
        let state_dir =
            self.state_dir.map(|dir| Said::new(Place::Flag("--state-dir"), absolute(&dir)));
        let mut draft = Draft {
            listen,
            state_dir,
            grace_s: said("--grace-s", self.grace_s),
            recovery: said("--recovery", self.recovery),
            unreachable_hold_s: said("--unreachable-hold-s", self.unreachable_hold_s),
            client_lease_s: said("--client-lease-s", self.client_lease_s),
            unreachable_grant_s: None,
            fair_wait_s: None,
            limits: Vec::new(),
            notify_names: Vec::new(),
            durability: said("--durability", self.durability),
            rpcbind: said("--rpcbind", self.rpcbind),
            log: said("--log", self.log),
            exports: Vec::new(),
        };
        self.export.iter().for_each(|export| draft.add_export_flag(export));
        draft
    }
}

/// Logs to stderr. The directive was validated with the rest of the configuration.
fn start_log(directive: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directive))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
