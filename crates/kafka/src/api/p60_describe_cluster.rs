//! DescribeCluster (60): the nodes of the cluster and its controller.
//!
//! *Behavior*: nodes where the client reaches them, see `nodes`. Controllers have no listeners of their own, so asking for
//! them gets MISMATCHED_ENDPOINT_TYPE.
//!
//! *Version notes*: 0-2. The kind of endpoint from 1 on; fenced nodes, if they are asked for, from 2 on.

use super::Api;
use super::admin::{ALL_CLUSTER_OPERATIONS, NOT_ASKED};
use super::nodes::{controller, known_nodes};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_cluster_request::DescribeClusterRequest;
use duolog_wire::kafka::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};

pub(super) const API: Api = Api { key: 60, name: "DescribeCluster", min: 0, max: 2, handle };

/// Kafka's numbers for kinds of endpoints.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(describe_cluster(call)))
}

async fn describe_cluster(call: Call) -> Result<Reply, CallError> {
    let request = DescribeClusterRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let mut nodes: Vec<_> = known_nodes(&call.context, &image).collect();
    if !request.include_fenced_brokers {
        nodes.retain(|node| !node.is_fenced);
    }
    let brokers = nodes.iter().map(|node| DescribeClusterBroker {
        broker_id: node.id,
        host: &node.host,
        port: node.port,
        rack: node.rack.as_deref(),
        is_fenced: node.is_fenced,
    });
    let refused = |code: ErrorCode, text| DescribeClusterResponse {
        error_code: code as i16,
        error_message: Some(text),
        cluster_id: &image.cluster_id,
        ..Default::default()
    };
    let response = match request.endpoint_type {
        BROKERS => DescribeClusterResponse {
            error_message: None,
            endpoint_type: BROKERS,
            cluster_id: &image.cluster_id,
            controller_id: controller(&call.context, &nodes),
            brokers: brokers.collect(),
            cluster_authorized_operations: match request.include_cluster_authorized_operations {
                true => ALL_CLUSTER_OPERATIONS,
                false => NOT_ASKED,
            },
            ..Default::default()
        },
        CONTROLLERS => refused(ErrorCode::MismatchedEndpointType, "this listener is one of a broker, not of a controller"),
        _ => refused(ErrorCode::UnsupportedEndpointType, "no such kind of endpoint"),
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}
