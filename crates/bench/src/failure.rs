//! Why a load could not be put on a broker or not be measured. A message that the broker refused is counted, not raised.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("librdkafka: {0}")]
    Client(#[from] KafkaError),
    #[error("creating {topic}: {error}")]
    Create { topic: String, error: RDKafkaErrorCode },
    #[error("{missing} partitions of {topic} cannot be used after {seconds} s")]
    NotUsable { topic: String, missing: usize, seconds: u64 },
    #[error("{address}: {error}")]
    Connection { address: String, error: std::io::Error },
    #[error("reading what process {pid} uses: {error}")]
    Process { pid: u32, error: std::io::Error },
    #[error("what the kernel says about process {pid} makes no sense")]
    ProcessFormat { pid: u32 },
    #[error("{program}: {problem}")]
    Program { program: String, problem: String },
    #[error("only {got} of {wanted} messages came within {seconds} s")]
    Missing { got: u64, wanted: u64, seconds: u64 },
}
