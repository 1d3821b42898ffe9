//! The primitive values of Kafka's protocol: what is written is read back, and the bytes are those of the protocol.

use duolog_base::TopicId;
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder, Records};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn written(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut e = Encoder::new();
    write(&mut e);
    e.into_parts().0.to_vec()
}

proptest! {
    #[test]
    fn integers_come_back(a: i8, b: i16, c: u16, d: i32, e: u32, f: i64, id: u128, flag: bool) {
        let bytes = written(|out| {
            out.i8(a);
            out.i16(b);
            out.u16(c);
            out.i32(d);
            out.u32(e);
            out.i64(f);
            out.uuid(TopicId(id));
            out.bool(flag);
        });
        let mut input = Decoder::new(&bytes);
        prop_assert_eq!((input.i8()?, input.i16()?, input.u16()?, input.i32()?), (a, b, c, d));
        prop_assert_eq!((input.u32()?, input.i64()?, input.uuid()?, input.bool()?), (e, f, TopicId(id), flag));
        prop_assert_eq!(input.remaining(), 0);
    }

    #[test]
    fn varints_come_back(value: u32) {
        let bytes = written(|out| out.varint(value));
        let mut input = Decoder::new(&bytes);
        prop_assert_eq!(input.varint()?, value);
        prop_assert_eq!(input.position(), bytes.len());
    }

    #[test]
    fn strings_and_bytes_come_back(text in option::of(".{0,300}"), blob in option::of(vec(any::<u8>(), 0..300)), compact: bool) {
        let bytes = written(|out| {
            out.nullable_string(text.as_deref(), compact).unwrap();
            out.nullable_bytes(blob.as_deref(), compact).unwrap();
        });
        let mut input = Decoder::new(&bytes);
        prop_assert_eq!(input.nullable_string(compact)?, text.as_deref());
        prop_assert_eq!(input.nullable_bytes(compact)?, blob.as_deref());
        prop_assert_eq!(input.remaining(), 0);
    }

    #[test]
    fn arrays_come_back(values in vec(any::<i64>(), 0..50), compact: bool) {
        let bytes = written(|out| {
            out.array_length(values.len(), compact).unwrap();
            values.iter().for_each(|value| out.i64(*value));
        });
        prop_assert_eq!(Decoder::new(&bytes).array(compact, 8, |d| d.i64())?, values);
    }
}

#[test]
fn integers_are_big_endian() {
    let bytes = written(|e| {
        e.i16(0x0102);
        e.i32(0x0304_0506);
        e.u32(0xfffe_fdfc);
        e.i64(0x0708_090a_0b0c_0d0e);
        e.uuid(TopicId(1));
        e.f64(1.0);
    });
    let mut expected = vec![1, 2, 3, 4, 5, 6, 0xff, 0xfe, 0xfd, 0xfc, 7, 8, 9, 10, 11, 12, 13, 14];
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    expected.extend([0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes, expected);
}

#[test]
fn varints_put_the_low_bits_first() {
    assert_eq!(written(|e| e.varint(0)), [0]);
    assert_eq!(written(|e| e.varint(127)), [0x7f]);
    assert_eq!(written(|e| e.varint(300)), [0xac, 0x02]);
    assert_eq!(written(|e| e.varint(u32::MAX)), [0xff, 0xff, 0xff, 0xff, 0x0f]);
}

#[test]
fn a_varint_of_more_than_32_bits_is_refused() {
    for bytes in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01][..]] {
        assert_eq!(Decoder::new(bytes).varint(), Err(DecodeError::VarintTooLong { position: 0 }));
    }
}

#[test]
fn lengths_are_two_bytes_four_bytes_or_compact() {
    assert_eq!(written(|e| e.string("ab", false).unwrap()), [0, 2, b'a', b'b']);
    assert_eq!(written(|e| e.string("ab", true).unwrap()), [3, b'a', b'b']);
    assert_eq!(written(|e| e.bytes(&[9], false).unwrap()), [0, 0, 0, 1, 9]);
    assert_eq!(written(|e| e.bytes(&[9], true).unwrap()), [2, 9]);
    assert_eq!(written(|e| e.nullable_string(None, false).unwrap()), [0xff, 0xff]);
    assert_eq!(written(|e| e.nullable_bytes(None, false).unwrap()), [0xff, 0xff, 0xff, 0xff]);
    assert_eq!(written(|e| e.nullable_string(None, true).unwrap()), [0]);
}

#[test]
fn null_is_refused_where_it_is_not_allowed() {
    assert_eq!(Decoder::new(&[0xff, 0xff]).string(false), Err(DecodeError::UnexpectedNull { position: 0 }));
    assert_eq!(Decoder::new(&[0]).bytes(true), Err(DecodeError::UnexpectedNull { position: 0 }));
    assert_eq!(Decoder::new(&[0]).array(true, 1, |d| d.i8()), Err(DecodeError::UnexpectedNull { position: 0 }));
}

#[test]
fn strings_are_utf8_and_at_most_32767_bytes() {
    assert_eq!(Decoder::new(&[0, 1, 0xff]).string(false), Err(DecodeError::InvalidUtf8 { position: 0 }));
    let long = "x".repeat(0x8000);
    assert_eq!(Encoder::new().string(&long, true), Err(EncodeError::TooLong { length: 0x8000 }));
    let mut bytes = written(|e| e.varint(0x8001));
    bytes.extend(long.as_bytes());
    assert_eq!(Decoder::new(&bytes).string(true), Err(DecodeError::InvalidLength { position: 0, length: 0x8000 }));
}

#[test]
fn a_false_array_length_allocates_nothing() {
    // 2^31 - 1 elements of eight bytes are announced, two are there: the check must come before the allocation.
    let mut bytes = vec![0x7f, 0xff, 0xff, 0xff];
    bytes.extend([0; 16]);
    let needed = 0x7fff_ffff * 8;
    let refused = DecodeError::Truncated { position: 0, needed, remaining: 16 };
    assert_eq!(Decoder::new(&bytes).array(false, 8, |d| d.i64()), Err(refused));
}

#[test]
fn external_records_leave_a_cut() {
    let mut e = Encoder::new();
    e.i8(1);
    e.records(Records::External(1000), false).unwrap();
    e.i8(2);
    e.nullable_records(Some(Records::Borrowed(b"xy")), true).unwrap();
    e.nullable_records(Some(Records::External(5)), true).unwrap();
    assert_eq!(e.total_bytes(), e.buffer().len() + 1005);
    let (buffer, cuts) = e.into_parts();
    assert_eq!(&buffer[..], [1, 0, 0, 3, 0xe8, 2, 3, b'x', b'y', 6]);
    assert_eq!(cuts.iter().map(|cut| (cut.at, cut.bytes)).collect::<Vec<_>>(), [(5, 1000), (10, 5)]);
}
