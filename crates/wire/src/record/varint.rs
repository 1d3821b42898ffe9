//! Zigzag variable-length integers, as records use them: seven bits a byte, least significant first.

use bytes::{BufMut, BytesMut};

/// Most bytes a 32-bit varint takes.
const MAX_BYTES_32: usize = 5;
/// Most bytes a 64-bit varint takes.
const MAX_BYTES_64: usize = 10;

/// Takes a signed 32-bit varint off the front; `None` if it is cut off, too long or out of range.
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let raw = u32::try_from(take_raw(bytes, MAX_BYTES_32)?).ok()?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a signed 64-bit varint off the front; `None` if it is cut off, too long or out of range.
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take_raw(bytes, MAX_BYTES_64)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

fn take_raw(bytes: &mut &[u8], max_bytes: usize) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..max_bytes.min(bytes.len()) {
        let byte = bytes[index];
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        // The tenth byte of a 64-bit value has room for one bit.
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

pub(super) fn put_i32(out: &mut BytesMut, value: i32) {
    put_raw(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub(super) fn put_i64(out: &mut BytesMut, value: i64) {
    put_raw(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_raw(out: &mut BytesMut, mut raw: u64) {
    while raw >= 0x80 {
        out.put_u8(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}

/// Bytes [`put_i32`] writes for `value`.
pub(super) fn bytes_of_i32(value: i32) -> usize {
    raw_bytes(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// Bytes [`put_i64`] writes for `value`.
pub(super) fn bytes_of_i64(value: i64) -> usize {
    raw_bytes(((value << 1) ^ (value >> 63)) as u64)
}

fn raw_bytes(raw: u64) -> usize {
    let bits = u64::BITS - (raw | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_round_trip_in_the_predicted_size() {
        for value in [0, 1, -1, 63, 64, -64, -65, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut out = BytesMut::new();
            put_i64(&mut out, value);
            assert_eq!(out.len(), bytes_of_i64(value), "{value}");
            let mut rest = &out[..];
            assert_eq!((take_i64(&mut rest), rest.len()), (Some(value), 0));
            if let Ok(narrow) = i32::try_from(value) {
                let mut narrow_out = BytesMut::new();
                put_i32(&mut narrow_out, narrow);
                assert_eq!((narrow_out.len(), &narrow_out[..]), (bytes_of_i32(narrow), &out[..]));
                assert_eq!(take_i32(&mut &narrow_out[..]), Some(narrow));
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_protocol_guide() {
        let mut out = BytesMut::new();
        put_i32(&mut out, 150);
        assert_eq!(&out[..], [0xac, 0x02]);
    }

    #[test]
    fn overlong_cut_off_and_oversized_values_are_refused() {
        assert_eq!(take_i32(&mut &[0x80][..]), None);
        assert_eq!(take_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(take_i32(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]), None);
        assert_eq!(take_i64(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..]), None);
        assert_eq!(take_i64(&mut &[0x80; 10][..]), None);
    }
}
