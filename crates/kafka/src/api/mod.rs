//! The table of APIs: from it come ApiVersions, dispatch and `docs/protocol-kafka.md`.
//!
//! A Kafka API is one file `pNN_name.rs` (NN is the API key) with a `pub(super) const API: Api` and one line here.

use crate::call::{Call, Handled};

/// One API: its key, the versions served, and its handler.
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: &'static str,
    pub(crate) min: i16,
    pub(crate) max: i16,
    pub(crate) handle: fn(Call) -> Handled,
}

/// Every API served, by key.
pub(crate) const TABLE: &[Api] = &[];
