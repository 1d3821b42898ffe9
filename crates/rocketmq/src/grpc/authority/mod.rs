//! Clients that name several proxies at once, served all the same.
//!
//! gRPC in Python and Node takes the whole target for the `:authority` of its requests, and a target may be a list:
//! `ipv4:10.0.0.1:8081,10.0.0.2:8081`. No host has such a name, so our HTTP/2 implementation refuses the request, and has no
//! switch for it. [`ClientStream`] stands between it and the socket and puts a plain name of the same length in the list's place.
//!
//! The length is why this is small: HPACK's tables are sized by the bytes of names and values, so both ends' tables stay
//! alike and nobody here has to keep one. Whatever is not understood, or is too large to look at, goes on as it came: what is
//! wrong with a connection is found out and said in one place, by the implementation behind. Nobody reads the authority later.
//!
//! [`huffman`] texts -> [`fields`] of a header block -> [`frames`] of a connection -> [`stream`], the only one that does I/O.

mod fields;
mod frames;
mod huffman;
mod stream;

pub(super) use stream::ClientStream;

/// What takes the place of an authority that is a list of at least two good ones: as long, and good.
fn stand_in(authority: &[u8]) -> Option<Vec<u8>> {
    let is_list = authority.contains(&b',') && authority.split(|&byte| byte == b',').all(is_good);
    (is_list && !is_good(authority)).then(|| authority.iter().map(|&byte| plain(byte)).collect())
}

/// Whether the implementation behind takes it.
fn is_good(authority: &[u8]) -> bool {
    http::uri::Authority::try_from(authority).is_ok()
}

fn plain(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() || byte == b'.' { byte } else { b'-' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_replaced_by_a_name_of_the_same_length() {
        for (list, name) in [
            ("127.0.0.1:80,127.0.0.1:81", "127.0.0.1-80-127.0.0.1-81"),
            ("[::1]:80,[::2]:80", "---1--80----2--80"),
            ("a:1,b:2,c", "a-1-b-2-c"),
        ] {
            assert_eq!(stand_in(list.as_bytes()).unwrap(), name.as_bytes());
            assert!(is_good(name.as_bytes()));
        }
    }

    #[test]
    fn other_authorities_are_left_alone() {
        for authority in
            ["", "localhost", "127.0.0.1:80", "[::1]:80", "a,b:80", ",", "a:1,", "a:1,b c:2", "a:1:2", "a:1,b:\u{e9}"]
        {
            assert_eq!(stand_in(authority.as_bytes()), None, "{authority}");
        }
    }
}
