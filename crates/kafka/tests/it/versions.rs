//! Every listed version of every API, asked in its form and read in its form.
//!
//! A response may only carry what its version has: one field too many, and it cannot be written and the connection is
//! closed. So each case asks about things that exist, with all that its version can ask for, and about things that do
//! not, on a connection that must stay usable. An API that is listed needs a case here.

mod admin;
mod data;
mod groups;
mod share;

use crate::client::{Client, Response, Server, batch, idempotent_batch};
use duolog_base::TopicId;
use duolog_core::metadata::{NewTopic, TopicImage};
use duolog_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use duolog_wire::kafka::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder, ErrorCode};
use std::sync::Arc;
use std::time::Duration;

const API_VERSIONS: i16 = 18;
/// A topic of [`PARTITIONS`] partitions with [`RECORDS`] records each; no case changes it.
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 2;
const RECORDS: i64 = 3;
/// A producer that partition 1 of the topic remembers.
const PRODUCER: i64 = 7;
const MISSING: &str = "missing";
const MISSING_ID: TopicId = TopicId(0x5eed);
/// Ends a case that would wait for ever.
const HANGS: Duration = Duration::from_secs(60);

struct World {
    server: Server,
    topic_id: TopicId,
}

impl World {
    async fn start() -> World {
        let server = Server::start().await;
        let topic_id = create(&server, TOPIC).await.id;
        let mut client = server.client().await;
        let values = ["a", "b", "c"];
        assert_eq!(client.produce(TOPIC, 0, -1, &batch(&values)).await.error, 0);
        assert_eq!(client.produce(TOPIC, 1, -1, &idempotent_batch(PRODUCER, 0, 0, &values)).await.error, 0);
        World { server, topic_id }
    }

    async fn listed(&self) -> Vec<ApiVersion> {
        let mut client = self.server.client().await;
        let response = client.call(API_VERSIONS, 0, |e| ApiVersionsRequest::default().encode(e, 0).unwrap()).await;
        whole(&response, 0, ApiVersionsResponse::decode).api_keys
    }
}

async fn create(server: &Server, name: &str) -> Arc<TopicImage> {
    let topic = NewTopic { name: name.to_owned(), partitions: PARTITIONS, replication_factor: -1, ..Default::default() };
    server.broker.metadata().create_topics(vec![topic], false).await.remove(0).unwrap()
}

/// One API at one version, on a connection of its own.
struct Case {
    world: Arc<World>,
    client: Client,
    version: i16,
}

impl Case {
    async fn ask(&mut self, key: i16, encode: impl FnOnce(&mut Encoder, i16) -> Result<(), EncodeError>) -> Response {
        let version = self.version;
        self.client.call(key, version, |e| encode(e, version).expect("a request that fits its version")).await
    }

    /// A topic that this case may change, with records.
    async fn own_topic(&mut self, what: &str) -> Arc<TopicImage> {
        let topic = create(&self.world.server, &format!("{what}-{}", self.version)).await;
        assert_eq!(self.client.produce(&topic.name, 0, -1, &batch(&["a", "b", "c"])).await.error, 0);
        topic
    }

    async fn still_usable(&mut self) {
        let response = self.client.call(API_VERSIONS, 0, |e| ApiVersionsRequest::default().encode(e, 0).unwrap()).await;
        assert_eq!(whole(&response, 0, ApiVersionsResponse::decode).error_code, ErrorCode::None as i16);
    }
}

/// The response, which has to end where its version says.
fn whole<'a, T>(response: &'a Response, version: i16, decode: impl FnOnce(&mut Decoder<'a>, i16) -> Result<T, DecodeError>) -> T {
    let (_, mut decoder) = response.body();
    let decoded = decode(&mut decoder, version).expect("a response that fits its version");
    decoder.finish().expect("nothing after the response");
    decoded
}

fn codes(found: impl IntoIterator<Item = i16>, expected: &[ErrorCode]) {
    let found: Vec<i16> = found.into_iter().collect();
    let expected: Vec<i16> = expected.iter().map(|code| *code as i16).collect();
    assert_eq!(found, expected);
}

async fn sweep(key: i16, mut case: Case) {
    let case = &mut case;
    match key {
        0 if case.version < 3 => return data::produce_refused(case).await,
        0 => data::produce(case).await,
        1 => data::fetch(case).await,
        2 => data::list_offsets(case).await,
        3 => admin::metadata(case).await,
        8 => groups::offset_commit(case).await,
        9 => groups::offset_fetch(case).await,
        10 => groups::find_coordinator(case).await,
        11 => groups::join_group(case).await,
        12 => groups::heartbeat(case).await,
        13 => groups::leave_group(case).await,
        14 => groups::sync_group(case).await,
        15 => groups::describe_groups(case).await,
        16 => groups::list_groups(case).await,
        18 => admin::api_versions(case).await,
        19 => admin::create_topics(case).await,
        20 => admin::delete_topics(case).await,
        21 => data::delete_records(case).await,
        22 => data::init_producer_id(case).await,
        23 => data::offset_for_leader_epoch(case).await,
        32 => admin::describe_configs(case).await,
        33 => admin::alter_configs(case).await,
        35 => admin::describe_log_dirs(case).await,
        37 => admin::create_partitions(case).await,
        42 => groups::delete_groups(case).await,
        43 => admin::elect_leaders(case).await,
        44 => admin::incremental_alter_configs(case).await,
        45 => admin::alter_partition_reassignments(case).await,
        46 => admin::list_partition_reassignments(case).await,
        47 => groups::offset_delete(case).await,
        55 => admin::describe_quorum(case).await,
        57 => admin::update_features(case).await,
        60 => admin::describe_cluster(case).await,
        61 => data::describe_producers(case).await,
        64 => admin::unregister_broker(case).await,
        71 => admin::get_telemetry_subscriptions(case).await,
        72 => admin::push_telemetry(case).await,
        74 => admin::list_config_resources(case).await,
        75 => admin::describe_topic_partitions(case).await,
        76 => share::heartbeat(case).await,
        77 => share::describe(case).await,
        78 => share::fetch(case).await,
        79 => share::acknowledge(case).await,
        80 => admin::add_raft_voter(case).await,
        81 => admin::remove_raft_voter(case).await,
        90 => share::describe_offsets(case).await,
        91 => share::alter_offsets(case).await,
        92 => share::delete_offsets(case).await,
        key => panic!("API {key} is listed and has no case here"),
    }
    case.still_usable().await;
}

#[tokio::test]
async fn every_listed_version_is_answered_in_its_form() {
    let world = Arc::new(World::start().await);
    let mut failures = Vec::new();
    for api in world.listed().await {
        for version in api.min_version..=api.max_version {
            let client = world.server.client().await;
            let case = Case { world: world.clone(), client, version };
            let swept = tokio::spawn(tokio::time::timeout(HANGS, sweep(api.api_key, case))).await;
            match swept {
                Ok(Ok(())) => {}
                Ok(Err(_)) => failures.push(format!("API {} version {version}: no answer", api.api_key)),
                Err(error) => failures.push(format!("API {} version {version}: {error}", api.api_key)),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let world = Arc::into_inner(world).expect("every case is over");
    world.server.stop().await;
}
