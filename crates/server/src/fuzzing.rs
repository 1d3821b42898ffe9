//! The reading of configuration as the fuzz target reaches it. Not part of the interface.

use crate::serve::layers::{LayerError, lay};
use duolog_core::config::BrokerConfig;
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;

/// Resolves a file with this text and these variables, as a start does.
pub fn configuration(
    text: &str,
    environment: Vec<(OsString, OsString)>,
    flags: &[(String, String)],
) -> Result<BrokerConfig, Box<dyn Error>> {
    lay(Some((Path::new("duolog.toml"), text)), environment.into_iter(), flags).map_err(|error: LayerError| error.into())
}
