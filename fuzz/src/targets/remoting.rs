//! RocketMQ's remoting protocol: frames with their typed headers, and JSON bodies.

use crate::memory::{FREE_BYTES, allowed, within};
use bytes::{Bytes, BytesMut};
use duolog_wire::remoting::{Command, HeaderForm, LENGTH_BYTES};
use table::{BODIES, HEADERS, all_fields};

#[path = "../../../crates/wire/tests/it/remoting_types.rs"]
mod table;

/// What a struct of a list takes for each byte of the shortest text that it can have, `{},`, while the list grows.
const BODY_RATIO: usize = 256;

/// A frame without its length.
pub(super) fn frame(input: &[u8]) {
    let frame = Bytes::copy_from_slice(input);
    let Ok(command) = within(allowed(input), || Command::decode(frame)) else { return };
    let again = Command::decode(encode(&command)).expect("a frame that was written can be read");
    assert_eq!(again, command);
    for (name, codec) in HEADERS {
        let Some(fields) = within(allowed(input), || codec(&command.fields)) else { continue };
        assert_eq!(codec(&fields).as_ref(), Some(&fields), "{name}");
    }
}

fn encode(command: &Command) -> Bytes {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out.freeze().slice(LENGTH_BYTES..)
}

pub(super) fn frame_seeds() -> Vec<Vec<u8>> {
    let forms = [HeaderForm::Json, HeaderForm::Binary];
    let mut seeds = Vec::new();
    for form in forms {
        let mut whole = Command::request(310, 7, form).with_remark("a \"remark\"\u{1}é").with_body(&b"body"[..]);
        whole.fields = all_fields();
        seeds.push(encode(&whole).to_vec());
        for (_, codec) in HEADERS {
            let mut command = Command::request(10, 1, form);
            command.fields = codec(&all_fields()).expect("every header is among all fields");
            seeds.push(encode(&command).to_vec());
        }
    }
    seeds
}

/// The number of a kind of body, then its text.
pub(super) fn body(input: &[u8]) {
    let Some((number, text)) = input.split_first() else { return };
    let codec = &BODIES[usize::from(*number) % BODIES.len()];
    let Some(once) = within(BODY_RATIO * text.len() + FREE_BYTES, || (codec.again)(text)) else { return };
    let twice = (codec.again)(&once);
    assert!(twice.is_some(), "{}", codec.name);
    if codec.exact {
        assert_eq!(twice, Some(once), "{}", codec.name);
    }
}

pub(super) fn body_seeds() -> Vec<Vec<u8>> {
    // Lists and maps that are empty by default.
    const FULL: [&str; 5] = [
        r#"{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"codeSet":[1],"tagsSet":["a"],"topic":"t"}]}]}"#,
        r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"maxOffset":1},{"queueId":1}:null},"topicPutTps":0.5}"#,
        r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:1}}"#,
        r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911"},"brokerName":"b"}],"queueDatas":[{"perm":6}]}"#,
        r#"{"mqSet":[{"brokerName":"b","queueId":0,"topic":"t"}],"onlyThisBroker":true}"#,
    ];
    let mut seeds = Vec::new();
    for (number, codec) in BODIES.iter().enumerate() {
        let default = (codec.again)(b"{}").expect("every body has defaults");
        let full = FULL.iter().filter_map(|text| (codec.again)(text.as_bytes()).map(|_| text.as_bytes()));
        seeds.extend(full.chain([&default[..]]).map(|text| [&[number as u8], text].concat()));
    }
    seeds
}
