//! UpdateFeatures (57): asks for another level of a feature of the cluster. (KIP-584, KIP-778)
//!
//! *Behavior*: the one feature is `metadata.version`, and its level says which Kafka release the metadata behaves like. It comes with
//! the binary, so the level it has is granted and any other refused, as is a level of a feature that is not there; to be
//! without such a feature (level 0) is granted. INVALID_UPDATE_VERSION, with the reason, for the whole request.
//!
//! *Version notes*: 0-2. Kinds of updates and mere validation from 1 on; no results for single features from 2 on.

use super::Api;
use super::p18_api_versions::{METADATA_LEAST, METADATA_LEVEL, METADATA_VERSION};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use duolog_wire::kafka::messages::update_features_response::{UpdatableFeatureResult, UpdateFeaturesResponse};
use std::future::ready;

pub(super) const API: Api = Api { key: 57, name: "UpdateFeatures", min: 0, max: 2, handle };

/// Kafka's numbers for kinds of updates: to a higher level, to a lower one without loss, to a lower one at any cost.
const KINDS: std::ops::RangeInclusive<i8> = 1..=3;
/// The first version without results for single features.
const RESULTS_BEFORE: i16 = 2;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(ready(update_features(&call))))
}

fn update_features(call: &Call) -> Result<Reply, CallError> {
    let request = UpdateFeaturesRequest::decode(&mut call.decoder(), call.version)?;
    let refused = request.feature_updates.iter().find_map(|update| Some(format!("{}: {}", update.feature, refusal(update)?)));
    let (code, granted) = match refused {
        Some(_) => (ErrorCode::InvalidUpdateVersion, &[][..]),
        None => (ErrorCode::None, &request.feature_updates[..]),
    };
    let results = granted.iter().map(|update| UpdatableFeatureResult {
        feature: update.feature,
        error_message: None,
        ..Default::default()
    });
    let response = UpdateFeaturesResponse {
        error_code: code as i16,
        error_message: refused.as_deref(),
        results: if call.version < RESULTS_BEFORE { results.collect() } else { Vec::new() },
        ..Default::default()
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// Why a level is not granted.
fn refusal(update: &FeatureUpdateKey<'_>) -> Option<&'static str> {
    let level = update.max_version_level;
    if !KINDS.contains(&update.upgrade_type) {
        return Some("no such kind of update");
    }
    match update.feature {
        METADATA_VERSION if level == METADATA_LEVEL => None,
        METADATA_VERSION if (METADATA_LEAST..METADATA_LEVEL).contains(&level) => {
            Some("the metadata may hold what that level lacks")
        }
        METADATA_VERSION => Some("the level is not supported"),
        _ if level == 0 => None,
        _ => Some("the feature is not supported"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_so_already_is_granted() {
        let asked = |feature, max_version_level, upgrade_type| {
            refusal(&FeatureUpdateKey { feature, max_version_level, upgrade_type, ..Default::default() }).is_none()
        };
        assert!(asked(METADATA_VERSION, METADATA_LEVEL, 1));
        assert!(asked("group.version", 0, 2));
        for (feature, level, kind) in [
            (METADATA_VERSION, METADATA_LEVEL + 1, 1),
            (METADATA_VERSION, METADATA_LEVEL - 1, 2),
            (METADATA_VERSION, METADATA_LEAST - 1, 3),
            (METADATA_VERSION, -1, 3),
            (METADATA_VERSION, METADATA_LEVEL, 4),
            ("group.version", 1, 1),
        ] {
            assert!(!asked(feature, level, kind), "{feature} {level} {kind}");
        }
    }
}
