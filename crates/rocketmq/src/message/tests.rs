//! The mapping in both directions: RocketMQ to Kafka's eyes, Kafka to RocketMQ's, and each to itself.

use super::*;
use crate::compact::COMPACT_HEADER;
use bytes::BytesMut;
use duolog_wire::record::{Compression, DecompressLimits, Record, decode_batch};
use duolog_wire::remoting::body_compression::{BodyCompression, compress_body};
use duolog_wire::remoting::message::sys_flag;
use proptest::prelude::*;

const LIMITS: MessageLimits = MessageLimits { max_body_bytes: 4 << 20 };

fn message<'a>(body: &'a [u8], properties: &'a str) -> Outgoing<'a> {
    Outgoing {
        body,
        properties: Properties::new(properties),
        changes: &[],
        flag: 0,
        sys_flag: 0,
        born_timestamp: TimestampMs(1_000),
        born_host: "10.0.0.9:4711".parse().unwrap(),
        store_timestamp: TimestampMs(2_000),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        delivered_at: None,
    }
}

/// The records of a batch are looked at by `look`.
fn in_batch<T>(put: impl FnOnce(&mut BatchBuilder), look: impl FnOnce(Vec<Record<'_>>) -> T) -> T {
    let mut builder = BatchBuilder::new(Compression::None);
    put(&mut builder);
    let mut bytes = BytesMut::new();
    builder.build(&mut bytes).unwrap();
    let batch = decode_batch(&bytes, DecompressLimits::default()).unwrap();
    let records = batch.records().collect::<Result<Vec<_>, _>>().unwrap();
    look(records)
}

fn as_record<T>(message: &Outgoing<'_>, look: impl FnOnce(Record<'_>) -> T) -> T {
    let put = |builder: &mut BatchBuilder| {
        put_record(builder, message, LIMITS).unwrap();
    };
    in_batch(put, |mut records| look(records.remove(0)))
}

fn from_kafka<T>(record: NewRecord<'_>, look: impl FnOnce(MessageView<'_>) -> T) -> T {
    in_batch(|builder| builder.push(record).unwrap(), |mut records| look(MessageView::new(records.remove(0))))
}

fn with_headers<T>(headers: &[(&[u8], Option<&[u8]>)], look: impl FnOnce(MessageView<'_>) -> T) -> T {
    let headers: Vec<_> = headers.iter().map(|(key, value)| Header { key, value: *value }).collect();
    from_kafka(NewRecord { timestamp: TimestampMs(5), key: None, value: Some(b"v"), headers: &headers }, look)
}

fn shown(view: &MessageView<'_>) -> String {
    let mut out = BytesMut::new();
    view.put_properties(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn text(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}

#[test]
fn kafkas_consumers_see_keys_tags_and_properties() {
    let properties = text(&[("KEYS", "order-1 order-2"), ("TAGS", "paid"), ("UNIQ_KEY", "0A01"), ("color", "röt")]);
    as_record(&message(b"body", &properties), |record| {
        assert_eq!(record.key, Some(&b"order-1 order-2"[..]));
        assert_eq!((record.value, record.timestamp), (Some(&b"body"[..]), TimestampMs(1_000)));
        let headers: Vec<_> = record.headers.clone().collect();
        let names: Vec<_> = headers.iter().map(|header| std::str::from_utf8(header.key).unwrap()).collect();
        assert_eq!(names, ["TAGS", "UNIQ_KEY", "color", COMPACT_HEADER]);
        assert_eq!(headers[2].value, Some("röt".as_bytes()));
    });
}

#[test]
fn a_message_without_keys_is_a_record_without_key() {
    as_record(&message(b"body", "KEYS\u{1}\u{2}"), |record| assert_eq!(record.key, None));
}

#[test]
fn a_message_comes_back_as_it_was() {
    let properties = text(&[("TAGS", "a"), ("base64:x", "base64:y"), ("n", "1\u{1}2"), ("TAGS", "b")]);
    let sent = Outgoing {
        flag: 12,
        sys_flag: sys_flag::TRANSACTION_COMMIT,
        born_host: "[fe80::1]:99".parse().unwrap(),
        reconsume_times: 3,
        prepared_transaction_offset: 77,
        delivered_at: None,
        ..message(b"body", &properties)
    };
    as_record(&sent, |record| {
        let view = MessageView::new(record);
        assert!(!view.is_from_kafka());
        assert_eq!((view.body(), view.flag(), view.sys_flag()), (&b"body"[..], 12, sys_flag::TRANSACTION_COMMIT));
        assert_eq!((view.born_timestamp(), view.store_timestamp()), (TimestampMs(1_000), TimestampMs(2_000)));
        assert_eq!((view.born_host(), view.reconsume_times()), (sent.born_host, 3));
        assert_eq!(view.prepared_transaction_offset(), 77);
        assert_eq!(shown(&view), properties);
        assert_eq!((view.tag(), view.property("n"), view.property("base64:x")), (Some("b"), Some("1\u{1}2"), Some("base64:y")));
    });
}

#[test]
fn the_caller_learns_what_indexes_need() {
    let properties = text(&[("KEYS", "old"), ("TAGS", "t"), ("UNIQ_KEY", "u"), ("KEYS", "k1 k2")]);
    let mut builder = BatchBuilder::new(Compression::None);
    let stored = put_record(&mut builder, &message(b"", &properties), LIMITS).unwrap();
    assert_eq!(stored, Stored { tag: Some("t"), unique_key: Some("u"), keys: Some("k1 k2") });
}

#[test]
fn what_the_server_says_wins_over_what_was_sent() {
    let properties = text(&[("TAGS", "sent"), ("WAIT", "true"), ("a", "1")]);
    let changes = [("TAGS", Some("set")), ("WAIT", None), ("REAL_TOPIC", Some("t"))];
    let changed = Outgoing { changes: &changes, ..message(b"", &properties) };
    as_record(&changed, |record| {
        let view = MessageView::new(record);
        assert_eq!((shown(&view), view.tag()), (text(&[("a", "1"), ("TAGS", "set"), ("REAL_TOPIC", "t")]), Some("set")));
    });
}

#[test]
fn a_compressed_body_is_stored_plain() {
    let body = vec![b'x'; 4 << 20];
    for compression in [BodyCompression::Zlib, BodyCompression::Lz4, BodyCompression::Zstd] {
        let mut packed = Vec::new();
        compress_body(compression, &body, &mut packed).unwrap();
        let sent = Outgoing { sys_flag: compression.sys_flag() | sys_flag::MULTI_TAGS, ..message(&packed, "") };
        as_record(&sent, |record| {
            let view = MessageView::new(record);
            assert!(view.body() == body);
            assert_eq!(view.sys_flag(), sys_flag::MULTI_TAGS);
        });
        let small = MessageLimits { max_body_bytes: body.len() - 1 };
        let refused = put_record(&mut BatchBuilder::new(Compression::None), &sent, small);
        assert_eq!(refused, Err(MessageError::Body(BodyError::TooLarge { limit: body.len() - 1 })));
    }
}

#[test]
fn properties_without_room_are_refused_and_leave_the_batch_alone() {
    let properties = text(&[("n", &"v".repeat(MAX_PROPERTIES_BYTES - 2))]);
    let mut builder = BatchBuilder::new(Compression::None);
    let refused = put_record(&mut builder, &message(b"", &properties), LIMITS);
    assert_eq!((refused, builder.is_empty()), (Err(MessageError::Properties { bytes: MAX_PROPERTIES_BYTES + 1 }), true));
    let properties = text(&[("n", &"v".repeat(MAX_PROPERTIES_BYTES - 3))]);
    as_record(&message(b"", &properties), |record| assert_eq!(shown(&MessageView::new(record)), properties));
}

#[test]
fn kafkas_headers_and_key_are_properties() {
    let headers =
        [("TAGS", "blue"), ("trace", "id-1")].map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) });
    let record = NewRecord { timestamp: TimestampMs(5), key: Some(b"k 7"), value: Some(b"v"), headers: &headers };
    from_kafka(record, |view| {
        assert!(view.is_from_kafka());
        assert_eq!(shown(&view), text(&[("KEYS", "k 7"), ("TAGS", "blue"), ("trace", "id-1")]));
        assert_eq!((view.tag(), view.keys().as_deref(), view.unique_key()), (Some("blue"), Some("k 7"), None));
        assert_eq!((view.born_timestamp(), view.store_timestamp()), (TimestampMs(5), TimestampMs(5)));
        assert_eq!((view.born_host(), view.flag(), view.sys_flag()), (UNKNOWN_HOST, 0, 0));
        assert_eq!((view.property("KEYS"), view.property("trace"), view.property("none")), (Some("k 7"), Some("id-1"), None));
    });
}

#[test]
fn a_record_without_timestamp_was_born_at_zero() {
    from_kafka(NewRecord { timestamp: TimestampMs::NONE, ..NewRecord::default() }, |view| {
        assert_eq!((view.born_timestamp(), view.store_timestamp()), (TimestampMs(0), TimestampMs(0)));
    });
}

#[test]
fn bytes_that_are_no_text_are_shown_in_base64() {
    let headers: [(&[u8], Option<&[u8]>); 6] = [
        (b"binary", Some(&[0xff, 0xfe])),
        (b"two", Some(b"a\x02b")),
        (b"one", Some(b"a\x01b")),
        (b"na\x01me", Some(b"v")),
        (b"pretends", Some(b"base64:AAAA")),
        (&[0x80], Some(b"v")),
    ];
    with_headers(&headers, |view| {
        let expected = text(&[
            ("binary", "base64://4="),
            ("two", "base64:YQJi"),
            ("one", "base64:YQFi"),
            ("base64:bmEBbWU=", "v"),
            ("pretends", "base64:YmFzZTY0OkFBQUE="),
            ("base64:gA==", "v"),
        ]);
        assert_eq!(shown(&view), expected);
        let pairs: Vec<_> = view.properties().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let sent: Vec<_> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(text(&sent), expected);
        for name in ["binary", "two", "one", "na\u{1}me", "pretends"] {
            assert_eq!(view.property(name), None, "{name}");
        }
    });
    from_kafka(NewRecord { key: Some(&[0xff]), ..NewRecord::default() }, |view| {
        assert_eq!((view.keys().as_deref(), view.property("KEYS")), (Some("base64:/w=="), None));
    });
}

#[test]
fn what_has_no_name_or_no_value_is_no_property() {
    with_headers(&[(b"", Some(b"v")), (b"null", None), (b"empty", Some(b"")), (b"TAGS", Some(b"x")), (b"TAGS", None)], |view| {
        assert_eq!((shown(&view), view.tag(), view.property("null")), (text(&[("TAGS", "x")]), Some("x"), None));
    });
}

#[test]
fn the_last_of_a_repeated_header_counts() {
    with_headers(&[(b"a", Some(b"1")), (b"a", Some(b"2"))], |view| {
        assert_eq!((view.property("a"), Properties::new(&shown(&view)).get("a")), (Some("2"), Some("2")));
    });
}

#[test]
fn a_key_hides_a_header_of_that_name_unless_it_is_empty() {
    let headers = [Header { key: b"KEYS", value: Some(b"header") }];
    for (key, keys) in [(Some(&b"key"[..]), "key"), (Some(b""), "header"), (None, "header")] {
        from_kafka(NewRecord { key, value: Some(b""), headers: &headers, ..NewRecord::default() }, |view| {
            assert_eq!((shown(&view), view.property("KEYS")), (text(&[("KEYS", keys)]), Some(keys)));
        });
    }
}

#[test]
fn a_tombstone_is_marked_and_can_be_moved_and_made() {
    let tombstone = NewRecord { timestamp: TimestampMs(5), key: Some(b"k"), value: None, headers: &[] };
    let moved = from_kafka(tombstone, |view| {
        assert!(view.is_null_value() && view.body().is_empty());
        assert_eq!(view.property(NULL_VALUE), Some("true"));
        shown(&view)
    });
    as_record(&message(b"", &moved), |record| {
        assert_eq!((record.key, record.value, record.headers.len()), (Some(&b"k"[..]), None, 1));
        assert_eq!(shown(&MessageView::new(record)), moved);
    });
    as_record(&message(b"not empty", &moved), |record| assert_eq!(record.value, Some(&b"not empty"[..])));
    as_record(&message(b"", ""), |record| assert_eq!(record.value, Some(&b""[..])));
}

#[test]
fn a_client_that_cannot_bear_an_empty_body_gets_a_blank_that_means_nothing() {
    for value in [None, Some(&b""[..])] {
        let record = NewRecord { timestamp: TimestampMs(5), key: Some(b"k"), value, headers: &[] };
        let moved = from_kafka(record, |view| {
            assert_eq!((view.body(), view.property(EMPTY_BODY)), (&b""[..], None));
            let view = view.with_empty_body(EmptyBody::Placeholder);
            assert_eq!(
                (view.body(), view.property(EMPTY_BODY), view.is_null_value()),
                (PLACEHOLDER, Some("true"), value.is_none())
            );
            shown(&view)
        });
        assert_eq!(Properties::new(&moved).get(EMPTY_BODY), Some("true"));
        as_record(&message(PLACEHOLDER, &moved), |record| assert_eq!((record.value, record.headers.len()), (value, 1)));
        as_record(&message(b"changed", &moved), |record| assert_eq!(record.value, Some(&b"changed"[..])));
    }
    from_kafka(NewRecord { value: Some(PLACEHOLDER), ..NewRecord::default() }, |view| {
        let view = view.with_empty_body(EmptyBody::Placeholder);
        assert_eq!((view.body(), view.property(EMPTY_BODY)), (PLACEHOLDER, None));
    });
    as_record(&message(PLACEHOLDER, ""), |record| assert_eq!(record.value, Some(PLACEHOLDER)));
}

#[test]
fn only_java_clients_before_the_mended_release_get_a_blank() {
    use duolog_wire::remoting::language;
    let given = |language, version| EmptyBody::for_client(language, version);
    assert_eq!((given(language::JAVA, 409), given(language::JAVA, 475)), (EmptyBody::Placeholder, EmptyBody::Placeholder));
    assert_eq!((given(language::JAVA, 477), given(language::JAVA, 513)), (EmptyBody::AsItIs, EmptyBody::AsItIs));
    assert_eq!(given(language::GO, 317), EmptyBody::AsItIs);
}

#[test]
fn a_compact_header_that_is_none_makes_no_message_of_rocketmqs() {
    with_headers(&[(COMPACT_HEADER.as_bytes(), Some(b"junk")), (b"a", Some(b"1"))], |view| {
        assert!(view.is_from_kafka());
        assert_eq!((shown(&view), view.property(COMPACT_HEADER)), (text(&[("a", "1")]), None));
    });
}

#[test]
fn a_record_copied_with_more_headers_is_still_rocketmqs() {
    as_record(&message(b"body", &text(&[("a", "1")])), |record| {
        let mut headers: Vec<_> = record.headers.clone().collect();
        headers.push(Header { key: b"mirrored", value: Some(b"yes") });
        from_kafka(NewRecord { value: Some(b""), headers: &headers, ..NewRecord::default() }, |view| {
            assert_eq!((view.is_from_kafka(), view.store_timestamp()), (false, TimestampMs(2_000)));
            assert_eq!(shown(&view), text(&[("a", "1"), ("mirrored", "yes")]));
        });
    });
}

#[test]
fn a_property_cannot_pose_as_the_compact_header() {
    as_record(&message(b"body", &text(&[(COMPACT_HEADER, "x")])), |record| {
        assert_eq!(record.headers.len(), 1);
        assert!(!MessageView::new(record).is_from_kafka());
    });
}

#[test]
fn the_largest_properties_are_left_out_if_there_is_no_room() {
    let large = vec![b'l'; 30_000];
    let binary = vec![0xff; 25_000];
    let headers: [(&[u8], Option<&[u8]>); 6] = [
        (b"large", Some(&large)),
        (b"a", Some(b"1")),
        (b"binary", Some(&binary)),
        (b"b", Some(&large[..20_000])),
        (b"TAGS", Some(b"t")),
        (b"a", Some(b"2")),
    ];
    with_headers(&headers, |view| {
        let shown = shown(&view);
        let properties = Properties::new(&shown);
        assert_eq!((properties.get("a"), properties.get("TAGS"), properties.get(OMITTED)), (Some("2"), Some("t"), Some("2")));
        assert_eq!((properties.get("b").map(str::len), properties.get("large")), (Some(20_000), None));
        assert_eq!(view.property("large").map(str::len), Some(30_000));
    });
}

#[test]
fn very_many_headers_stay_within_the_room() {
    let names: Vec<String> = (0..100_000).map(|number| format!("{number:05}")).collect();
    let headers: Vec<(&[u8], Option<&[u8]>)> = names.iter().map(|name| (name.as_bytes(), Some(&b"v"[..]))).collect();
    with_headers(&headers, |view| {
        let shown = shown(&view);
        assert!(shown.len() <= MAX_PROPERTIES_BYTES && shown.len() > MAX_PROPERTIES_BYTES - 100);
        let given = Properties::new(&shown).iter().count() - 1;
        assert_eq!(Properties::new(&shown).get(OMITTED), Some(&*(100_000 - given).to_string()));
    });
}

proptest! {
    #[test]
    fn any_properties_a_client_can_send_come_back(
        pairs in prop::collection::vec(("[^\u{1}\u{2}]{1,9}", "[^\u{2}]{1,30}"), 0..12), body: Vec<u8>,
    ) {
        let reserved = |name: &str| [NULL_VALUE, EMPTY_BODY, COMPACT_HEADER].contains(&name);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).filter(|(name, _)| !reserved(name)).collect();
        let properties = text(&pairs);
        as_record(&message(&body, &properties), |record| {
            let view = MessageView::new(record);
            let shown = shown(&view);
            let shown = Properties::new(&shown);
            assert_eq!(view.body(), body);
            for (name, _) in &pairs {
                assert_eq!(shown.get(name), Properties::new(&properties).get(name), "{name:?}");
                assert_eq!(view.property(name), shown.get(name), "{name:?}");
            }
            assert!(shown.iter().all(|(name, _)| pairs.iter().any(|(sent, _)| *sent == name)));
        });
    }

    #[test]
    fn any_record_of_kafkas_has_readable_properties(
        key: Option<Vec<u8>>, value: Option<Vec<u8>>,
        headers in prop::collection::vec((prop::collection::vec(0u8..4, 0..4), prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..20),
    ) {
        let headers: Vec<_> = headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        let record = NewRecord { timestamp: TimestampMs(5), key: key.as_deref(), value: value.as_deref(), headers: &headers };
        from_kafka(record, |view| {
            let text = shown(&view);
            let read: Vec<_> = Properties::new(&text).iter().collect();
            let listed: Vec<_> = view.properties().collect();
            assert!(listed.iter().map(|(name, value)| (&**name, &**value)).eq(read));
        });
    }
}
