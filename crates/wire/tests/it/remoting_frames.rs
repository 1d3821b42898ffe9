//! Remoting frames: bytes as they are sent, random frames in both forms, and frames that are wrong somewhere.

use bytes::{Bytes, BytesMut};
use duolog_wire::remoting::header::{Header, SendMessageRequest, SendMessageResponse};
use duolog_wire::remoting::{Command, FIELDS_LIMIT, Fields, FrameError, HeaderForm, LENGTH_BYTES, frame_length, language};
use proptest::prelude::*;

/// A frame as the bytes after its length.
fn encode(command: &Command) -> Bytes {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    let mut frame = out.freeze();
    let word = frame.split_to(LENGTH_BYTES)[..].try_into().expect("four bytes");
    assert_eq!(frame_length(word, frame.len()), Ok(frame.len()));
    frame
}

/// A message as Java's producer sends it, with the shape that fastjson gives it.
const SEND_JSON: &str = concat!(
    r#"{"code":310,"extFields":{"a":"orders-producer","b":"orders","bname":"duolog","c":"TBW102","d":"4","e":"2","f":"0","#,
    r#""g":"1700000000123","h":"0","i":"UNIQ_KEY\u00017F0000010001\u0002WAIT\u0001true\u0002TAGS\u0001paid","j":"0","k":"false","#,
    r#""m":"false"},"flag":0,"language":"JAVA","opaque":42,"serializeTypeCurrentRPC":"JSON","version":513}"#
);

fn send_frame() -> Bytes {
    [&(SEND_JSON.len() as u32).to_be_bytes()[..], SEND_JSON.as_bytes(), b"hello"].concat().into()
}

/// The same request in the binary form, byte by byte.
fn binary_frame() -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in [("b", "orders"), ("e", "2")] {
        fields.extend_from_slice(&(name.len() as u16).to_be_bytes());
        fields.extend_from_slice(name.as_bytes());
        fields.extend_from_slice(&(value.len() as u32).to_be_bytes());
        fields.extend_from_slice(value.as_bytes());
    }
    let mut header = vec![0x01, 0x36]; // SEND_MESSAGE_V2, 310
    header.push(9); // Go
    header.extend_from_slice(&[0x01, 0x91]); // version 401
    header.extend_from_slice(&[0, 0, 0, 42]); // opaque
    header.extend_from_slice(&[0, 0, 0, 2]); // one-way
    header.extend_from_slice(&[0, 0, 0, 2, b'h', b'i']); // remark
    header.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    header.extend_from_slice(&fields);
    let mut frame = vec![1, 0, 0, header.len() as u8];
    frame.extend_from_slice(&header);
    frame.extend_from_slice(b"body");
    frame
}

#[test]
fn a_producers_json_frame_is_read() {
    let command = Command::decode(send_frame()).unwrap();
    assert_eq!((command.code, command.opaque, command.version, command.form), (310, 42, 513, HeaderForm::Json));
    assert_eq!(&command.body[..], b"hello");
    let header = SendMessageRequest::from_v2(&command.fields).unwrap();
    assert_eq!((header.producer_group, header.topic, header.queue_id), ("orders-producer", "orders", 2));
    assert_eq!((header.born_timestamp, header.max_reconsume_times, header.batch), (1_700_000_000_123, None, false));
    assert_eq!(header.properties, Some("UNIQ_KEY\u{1}7F0000010001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}paid"));
    assert_eq!(encode(&command), send_frame());
}

#[test]
fn a_producers_binary_frame_is_read() {
    let frame = Bytes::from(binary_frame());
    let command = Command::decode(frame.clone()).unwrap();
    let expected = Command {
        code: 310,
        language: language::GO,
        version: 401,
        opaque: 42,
        flag: 2,
        remark: Some("hi".to_owned()),
        fields: Fields::from_iter([("b", "orders"), ("e", "2")]),
        form: HeaderForm::Binary,
        body: Bytes::from_static(b"body"),
    };
    assert_eq!(command, expected);
    assert_eq!(encode(&command), frame);
}

#[test]
fn answers_are_these_bytes() {
    let request = Command::decode(send_frame()).unwrap();
    let mut answer = request.answer(0);
    SendMessageResponse { msg_id: "7F", queue_id: 2, queue_offset: 9, ..Default::default() }.put(&mut answer.fields);
    let json = concat!(
        r#"{"code":0,"extFields":{"msgId":"7F","queueId":"2","queueOffset":"9"},"flag":1,"language":"JAVA","opaque":42,"#,
        r#""serializeTypeCurrentRPC":"JSON","version":513}"#
    );
    assert_eq!(encode(&answer), [&[0, 0, 0, json.len() as u8], json.as_bytes()].concat());
    let answer = Command::decode(binary_frame().into()).unwrap().answer(17).with_remark("no");
    let binary = b"\x01\0\0\x17\0\x11\0\x02\x01\0\0\0\x2a\0\0\0\x01\0\0\0\x02no\0\0\0\0";
    assert_eq!(encode(&answer), &binary[..]);
}

#[test]
fn lengths_in_a_binary_header_stay_inside() {
    let whole = binary_frame();
    let header = 4;
    let (remark, fields, name, value) = (header + 13, header + 19, header + 23, header + 26);
    for (at, bytes) in [(remark, 4), (fields, 4), (name, 2), (value, 4)] {
        for first in [0xff, 0x7f] {
            let mut frame = whole.clone();
            frame[at..at + bytes].fill(0xff);
            frame[at] = first;
            let error = Command::decode(frame.into());
            assert!(matches!(error, Err(FrameError::BadLength { .. })), "{at} {error:?}");
        }
    }
}

#[test]
fn a_cut_binary_header_is_an_error() {
    let whole = binary_frame();
    let header_bytes = usize::from(whole[3]);
    for length in 0..header_bytes {
        let mut frame = whole[..4 + length].to_vec();
        frame[3] = length as u8;
        let error = Command::decode(frame.into());
        assert!(matches!(error, Err(FrameError::HeaderEnds { .. } | FrameError::BadLength { .. })), "{length} {error:?}");
    }
}

#[test]
fn text_in_a_binary_header_is_utf8() {
    let mut frame = binary_frame();
    let at = frame.windows(6).position(|bytes| bytes == b"orders").expect("the topic");
    frame[at + 5] = 0xc3;
    assert_eq!(Command::decode(frame.into()), Err(FrameError::Utf8 { at: at - 4 + 5 }));
}

#[test]
fn a_repeated_field_has_its_last_value_but_is_no_header() {
    let header = r#"{"code":31,"extFields":{"topic":"t","queueId":"1","topic":"u"}}"#;
    let frame = [&(header.len() as u32).to_be_bytes()[..], header.as_bytes()].concat();
    let command = Command::decode(frame.into()).unwrap();
    assert_eq!(command.fields.get("topic"), Some("u"));
    assert!(duolog_wire::remoting::header::QueueRequest::from_fields(&command.fields).is_err());
}

#[test]
fn many_fields_are_too_many_in_either_form() {
    for form in [HeaderForm::Json, HeaderForm::Binary] {
        let mut command = Command::request(10, 1, form);
        (0..FIELDS_LIMIT).for_each(|number| command.fields.push_display("n", number));
        assert_eq!(Command::decode(encode(&command)).as_ref(), Ok(&command));
        command.fields.push("one", "more");
        assert_eq!(Command::decode(encode(&command)), Err(FrameError::TooManyFields { limit: FIELDS_LIMIT }));
    }
}

fn commands() -> impl Strategy<Value = Command> {
    let fields = prop::collection::vec((any::<String>(), any::<String>()), 0..12);
    let numbers = (any::<i16>(), 0u8..14, 0..i16::MAX, any::<i32>(), any::<i32>());
    let rest = (prop::option::of(".+"), prop::collection::vec(any::<u8>(), 0..64), any::<bool>());
    (numbers, fields, rest).prop_map(|((code, language, version, opaque, flag), fields, (remark, body, json))| Command {
        // A request's code in 16 bits may stand for a longer one; an answer's does not.
        code: i32::from(code),
        language,
        version: i32::from(version),
        opaque,
        flag: flag | 1,
        remark,
        fields: fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        form: if json { HeaderForm::Json } else { HeaderForm::Binary },
        body: body.into(),
    })
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(command in commands()) {
        prop_assert_eq!(Command::decode(encode(&command)), Ok(command));
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_another_frame(command in commands(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut frame = encode(&command).to_vec();
        let at = at.index(frame.len());
        frame[at] = byte;
        if let Ok(read) = Command::decode(frame.into()) {
            prop_assert_eq!(Command::decode(encode(&read)), Ok(read));
        }
    }

    #[test]
    fn any_bytes_are_survived(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::decode(frame.into());
    }
}
