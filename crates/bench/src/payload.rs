//! Values to send: text that compresses about as well as logs do, the same in every run.

/// How many different values are made; they are sent in turn.
const DISTINCT: usize = 1024;
const WORDS: usize = 512;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Values of one size.
pub(crate) struct Payloads(Vec<Vec<u8>>);

impl Payloads {
    pub(crate) fn new(size: usize) -> Payloads {
        let mut random = SEED;
        let words: Vec<Vec<u8>> = (0..WORDS).map(|_| word(&mut random)).collect();
        Payloads((0..DISTINCT).map(|_| text(&mut random, &words, size)).collect())
    }

    /// The value of the message with this number.
    pub(crate) fn at(&self, number: u64) -> &[u8] {
        &self.0[number as usize % DISTINCT]
    }
}

fn text(random: &mut u64, words: &[Vec<u8>], size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 16);
    while text.len() < size {
        text.extend_from_slice(&words[next(random) as usize % words.len()]);
    }
    text.truncate(size);
    text
}

/// Two to nine letters and a space.
fn word(random: &mut u64) -> Vec<u8> {
    let letters = 2 + next(random) % 8;
    (0..letters).map(|_| b'a' + (next(random) % 26) as u8).chain([b' ']).collect()
}

/// Xorshift.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_size_differ_and_repeat_from_run_to_run() {
        let (one, two) = (Payloads::new(100), Payloads::new(100));
        assert!((0..DISTINCT as u64).all(|number| one.at(number).len() == 100 && one.at(number) == two.at(number)));
        assert_ne!(one.at(0), one.at(1));
    }
}
