//! The fields of one header block (HPACK, RFC 7541): finds the authority and writes another; called by [`super::frames`].
//!
//! It looks at the authority where the client spells it out. Later requests refer to that from the table at the other end,
//! which holds the stand-in by then.

use super::{huffman, stand_in};
use std::borrow::Cow;

/// The name's number in the static table.
const AUTHORITY_INDEX: usize = 1;
const AUTHORITY: &[u8] = b":authority";
/// How a field begins: one bit each, from the left.
const INDEXED: u8 = 0x80;
const REMEMBERED: u8 = 0x40;
const TABLE_SIZE: u8 = 0x20;
/// The mark of a text in Huffman's code, and the bits of a text's length in its first byte.
const HUFFMAN: u8 = 0x80;
const LENGTH_BITS: u32 = 7;
/// Bytes of a number after its first, at most: 28 bits.
const NUMBER_BYTES: u32 = 4;

/// The block with a stand-in for its authority; nothing if it needs none, or is not understood.
pub(super) fn readdress(block: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader { block, at: 0 };
    let (mut written, mut copied) = (Vec::new(), 0);
    while let Some(&first) = block.get(reader.at) {
        let name_bits = match first {
            INDEXED.. => {
                reader.number(7)?;
                continue;
            }
            REMEMBERED.. => 6,
            TABLE_SIZE.. => {
                reader.number(5)?;
                continue;
            }
            _ => 4,
        };
        let is_authority = match reader.number(name_bits)? {
            0 => reader.text()?.is(AUTHORITY),
            index => index == AUTHORITY_INDEX,
        };
        let value_at = reader.at;
        let value = reader.text()?;
        if is_authority && let Some(name) = value.decode().and_then(|value| stand_in(&value)) {
            written.extend_from_slice(&block[copied..value_at]);
            write_text(&name, &mut written);
            copied = reader.at;
        }
    }
    if copied == 0 {
        return None;
    }
    written.extend_from_slice(&block[copied..]);
    Some(written)
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A number that begins in the last so many bits of a byte.
    fn number(&mut self, bits: u32) -> Option<usize> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.byte()?) & most;
        if number < most {
            return Some(number);
        }
        for place in 0..NUMBER_BYTES {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = self.block.get(self.at)? & HUFFMAN != 0;
        let length = self.number(LENGTH_BITS)?;
        let bytes = self.block[self.at..].get(..length)?;
        self.at += length;
        Some(Text { is_huffman, bytes })
    }
}

/// A text as it is sent.
struct Text<'a> {
    is_huffman: bool,
    bytes: &'a [u8],
}

impl<'a> Text<'a> {
    fn is(&self, other: &[u8]) -> bool {
        // No code is longer than four bytes.
        self.bytes.len() <= 4 * other.len() && self.decode().is_some_and(|text| *text == *other)
    }

    fn decode(&self) -> Option<Cow<'a, [u8]>> {
        if self.is_huffman { huffman::decode(self.bytes).map(Cow::Owned) } else { Some(Cow::Borrowed(self.bytes)) }
    }
}

fn write_text(text: &[u8], written: &mut Vec<u8>) {
    let most = (1 << LENGTH_BITS) - 1;
    let mut rest = text.len();
    if rest < most {
        written.push(rest as u8);
    } else {
        written.push(most as u8);
        rest -= most;
        while rest >= 0x80 {
            written.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        written.push(rest as u8);
    }
    written.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &[u8] = b"10.0.0.1:8081,10.0.0.2:8081";
    const NAME: &[u8] = b"10.0.0.1-8081-10.0.0.2-8081";
    /// The same as Huffman's code, and the field's name.
    const LIST_CODED: &[u8] = b"\x08\x17\x02\xe0\x5c\x37\x1e\x03\xc1\xfa\x08\x17\x02\xe0\x5c\x57\x1e\x03\xc1";
    const AUTHORITY_CODED: &[u8] = b"\xb8\x3b\x53\x39\xec\x32\x7d\x7f";

    fn plain(text: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        write_text(text, &mut written);
        written
    }

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut written = plain(text);
        written[0] |= HUFFMAN;
        written
    }

    #[test]
    fn the_authority_is_replaced_however_it_is_written() {
        let (before, after) = (b"\x83\x3f\x81\x1f\x86", b"\x40\x02te\x08trailers");
        let names = [vec![0x41], vec![0x01], vec![0x11], [&[0x40][..], &plain(AUTHORITY)].concat()];
        let names = names.into_iter().chain([[&[0x10][..], &coded(AUTHORITY_CODED)].concat()]);
        for name in names {
            for value in [plain(LIST), coded(LIST_CODED)] {
                let block = [&before[..], &name, &value, after].concat();
                let expected = [&before[..], &name, &plain(NAME), after].concat();
                assert_eq!(readdress(&block).unwrap(), expected, "{block:x?}");
            }
        }
    }

    #[test]
    fn blocks_that_need_nothing_are_left_alone() {
        let good = [&[0x41][..], &plain(b"localhost:8081")].concat();
        let other_name = [&[0x40][..], &plain(b"x-list"), &plain(LIST)].concat();
        let indexed = vec![0x83, 0x86, 0xbe];
        for block in [good, other_name, indexed, Vec::new()] {
            assert_eq!(readdress(&block), None, "{block:x?}");
        }
    }

    #[test]
    fn damaged_blocks_are_left_alone() {
        let field = [&[0x41][..], &plain(LIST)].concat();
        for cut in 1..field.len() {
            assert_eq!(readdress(&field[..cut]), None, "{cut}");
            assert_eq!(readdress(&[&field[..], &field[..cut]].concat()), None, "{cut}");
        }
        // A number without an end, as an index, as a table size and as a length.
        for number in [&b"\xff\xff\xff\xff\xff\xff\xff"[..], b"\x3f\xff\xff\xff\xff\xff", b"\x41\x7f\xff\xff\xff\x7f"] {
            assert_eq!(readdress(&[&field[..], number].concat()), None);
        }
        assert_eq!(readdress(&[&[0x41][..], &coded(b"\xff\xff\xff\xff\xff")].concat()), None);
    }

    #[test]
    fn a_long_list_is_written_with_a_long_length() {
        for addresses in [9, 20, 1000] {
            let list = vec!["10.0.0.1:8081"; addresses].join(",");
            let block = [&[0x41][..], &plain(list.as_bytes())].concat();
            let name = list.replace([':', ','], "-");
            assert_eq!(readdress(&block).unwrap(), [&[0x41][..], &plain(name.as_bytes())].concat());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(written) = readdress(&block) {
                prop_assert!(written.len() <= 2 * block.len());
                prop_assert_eq!(readdress(&written), None);
            }
        }
    }
}
