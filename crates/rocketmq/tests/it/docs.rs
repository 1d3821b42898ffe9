//! The committed matrix of requests is what the table says.

use duolog_rocketmq::protocol_matrix;

/// Set to write the document anew instead of comparing it.
const WRITE: &str = "DUOLOG_WRITE_DOCS";

#[test]
fn the_committed_protocol_matrix_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol-rocketmq.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, protocol_matrix()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert_eq!(committed, protocol_matrix(), "run the tests of duolog-rocketmq once with {WRITE}=1");
}
