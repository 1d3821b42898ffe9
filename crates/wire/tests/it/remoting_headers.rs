//! What holds of every typed header and JSON body of the remoting protocol.

use crate::remoting_types::{BODIES, HEADERS, all_fields};
use duolog_wire::remoting::Fields;

#[test]
fn every_header_reads_what_it_writes() {
    let all = all_fields();
    for (name, again) in HEADERS {
        let fields = again(&all).unwrap_or_else(|| panic!("{name} is not read"));
        assert!(!fields.is_empty(), "{name}");
        for (field, value) in fields.iter() {
            assert_eq!(Some(value), all.get(field), "{name} {field}");
        }
        assert_eq!(again(&fields), Some(fields), "{name}");
    }
}

#[test]
fn every_header_says_what_it_lacks() {
    for (name, again) in HEADERS {
        let fields = again(&all_fields()).expect("a header");
        let required = (0..fields.len()).filter(|left_out| {
            let rest: Fields = fields.iter().enumerate().filter(|(at, _)| at != left_out).map(|(_, pair)| pair).collect();
            again(&rest).is_none()
        });
        let all_there = again(&Fields::new()).is_some();
        assert_eq!(required.count() == 0, all_there, "{name}");
    }
}

#[test]
fn every_body_reads_what_it_writes() {
    for codec in BODIES {
        let body = (codec.again)(b"{}").unwrap_or_else(|| panic!("{} has no defaults", codec.name));
        let again = (codec.again)(&body);
        assert!(if codec.exact { again == Some(body) } else { again.is_some() }, "{}", codec.name);
    }
}
