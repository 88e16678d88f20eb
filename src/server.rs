//! Wires the rooms together.

use crate::config::Config;

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {}

/// Serves until it is told to stop.
pub async fn run(_config: Config) -> Result<(), ServeError> {
    Ok(())
}
