//! HPACK's Huffman code (RFC 7541, appendix B), for the symbols that an authority can have; called by [`super::fields`].

/// Symbols by the length of their code. The code is canonical: codes of one length follow each other in the order of the
/// symbols, and a longer code begins with more than any shorter one. Longer codes are of no symbol of an authority.
const SYMBOLS: [(u32, &[u8]); 8] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
];
/// The longest of these codes, in bits.
const LONGEST: u32 = 13;
/// Fewer bits than this may be left over at the end, all of them ones.
const PADDING: u32 = 8;

/// The text, or nothing if it is damaged or has other symbols.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    // No symbol is shorter than five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut code, mut length) = (0, 0);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        if length > LONGEST {
            return None;
        }
        if let Some(symbol) = symbol(code, length) {
            text.push(symbol);
            (code, length) = (0, 0);
        }
    }
    (length < PADDING && code == (1 << length) - 1).then_some(text)
}

fn symbol(code: u32, length: u32) -> Option<u8> {
    let (mut first, mut of) = (0, SYMBOLS[0].0);
    for (bits, symbols) in SYMBOLS {
        first <<= bits - of;
        of = bits;
        if bits == length {
            return symbols.get(code.checked_sub(first)? as usize).copied();
        }
        first += symbols.len() as u32;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every printable symbol with a code of up to 13 bits, encoded by another implementation.
    const ALL: &[u8] = b" !\"#$%&'()*+,-./0123456789:;=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz|~";
    const ALL_CODED: &str = "53f8fe7febff2afc7fafebfbf9ff7f4b2ec002265a6dc75e7ee7dc1ff7fe7fea1bb7afe0c38b1e4cb9\
        b3e8d3ab5ecdbbb7f0e3cbf39feffefff910e324859669cdd3ad14d47afb5884dbdfc79f5effe7ff7f";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn every_symbol_is_decoded() {
        assert_eq!(decode(&bytes(ALL_CODED)).unwrap(), ALL);
        assert_eq!(decode(&bytes("f1e3c2e5f23a6ba0ab90f4ff")).unwrap(), b"www.example.com");
        assert_eq!(decode(&[]).unwrap(), b"");
    }

    #[test]
    fn what_is_damaged_or_of_other_symbols_is_not() {
        // The end symbol; a byte of padding; padding of zeros; a symbol cut short; "<".
        for coded in ["ffffffff", "f1e3c2e5f23a6ba0ab90f4ffff", "f1e3c2e5f23a6ba0ab90f4fe", "fe", "fff9ff"] {
            let text = decode(&bytes(coded));
            assert!(text.is_none(), "{coded}: {text:?}");
        }
    }
}
