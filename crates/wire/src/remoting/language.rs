//! The languages of clients: a byte in the binary header, a name in the JSON header and in JSON bodies.

/// What this server says that it is written in: the one that every client knows.
pub const JAVA: u8 = 0;
pub const CPP: u8 = 1;
pub const OTHER: u8 = 7;
pub const GO: u8 = 9;
pub const RUST: u8 = 12;

const NAMES: [&str; 14] =
    ["JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"];

/// The name of a language; that of [`OTHER`] for a number that has none.
pub fn name(language: u8) -> &'static str {
    NAMES.get(usize::from(language)).copied().unwrap_or(NAMES[usize::from(OTHER)])
}

/// The number of a name in any case; [`OTHER`] for one that is not known.
pub fn number(name: &str) -> u8 {
    let found = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
    found.and_then(|at| u8::try_from(at).ok()).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!((name(JAVA), name(CPP), name(OTHER), name(GO), name(RUST)), ("JAVA", "CPP", "OTHER", "GO", "RUST"));
        assert_eq!((number("go"), number("NODE_JS"), number("COBOL"), name(200)), (GO, 13, OTHER, "OTHER"));
    }
}
