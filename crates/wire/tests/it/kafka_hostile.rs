//! Bytes from a hostile peer: whatever they are, every decoder at every version answers without a panic.

use crate::kafka_codecs::CODECS;
use crate::kafka_oracle::{GOLDEN, samples};
use duolog_wire::kafka::frame::decode_request_header;
use duolog_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use duolog_wire::kafka::{DecodeError, Decoder, Encoder, MEMORY_FREE_BYTES, MEMORY_RATIO};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..200)) {
        for codec in CODECS {
            for version in codec.min_version..=codec.max_version {
                // What was decoded can be encoded, since it came from this version.
                if let Ok(encoded) = (codec.recode)(&mut Decoder::new(&bytes), version, &mut Encoder::new()) {
                    prop_assert_eq!(encoded, Ok(()), "{} {}", codec.name, version);
                }
            }
        }
    }

    #[test]
    fn damaged_messages_do_not_panic(damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        for sample in samples(GOLDEN).iter().filter(|sample| !sample.bytes.is_empty()) {
            let mut bytes = sample.bytes.to_vec();
            for (at, byte) in &damage {
                *at.get_mut(&mut bytes) = *byte;
            }
            if let Ok(encoded) = (sample.codec().recode)(&mut Decoder::new(&bytes), sample.version, &mut Encoder::new()) {
                prop_assert_eq!(encoded, Ok(()), "{} {}", sample.name, sample.version);
            }
        }
    }

    #[test]
    fn arbitrary_frames_have_a_header_or_an_error(key in 0i16..100, version in 0i16..20, rest in vec(any::<u8>(), 0..40)) {
        let mut frame = [key.to_be_bytes(), version.to_be_bytes()].concat();
        frame.extend(rest);
        if let Ok((header, _)) = decode_request_header(&frame) {
            prop_assert_eq!((header.request_api_key, header.request_api_version), (key, version));
        }
    }
}

#[test]
fn a_message_of_countless_tiny_elements_is_refused_before_they_are_stored() {
    // Empty coordinator keys take one byte each on the wire.
    let request = |count: usize| {
        let request = FindCoordinatorRequest { coordinator_keys: vec![""; count], ..Default::default() };
        let mut encoder = Encoder::new();
        request.encode(&mut encoder, 4).unwrap();
        encoder.buffer().to_vec()
    };
    let allowed = |bytes: &[u8]| MEMORY_FREE_BYTES + MEMORY_RATIO * bytes.len();
    let fits = |count: usize| count * size_of::<&str>() <= allowed(&request(count));
    let most = (1..1_000_000).find(|count| count % 1_000 == 0 && !fits(*count)).unwrap() - 1_000;
    let decoded =
        FindCoordinatorRequest::decode(&mut Decoder::new(&request(most)), 4).map(|request| request.coordinator_keys.len());
    assert_eq!(decoded, Ok(most));
    let more = request(most + 1_000);
    let refused = FindCoordinatorRequest::decode(&mut Decoder::new(&more), 4);
    assert!(matches!(refused, Err(DecodeError::TooMuchMemory { .. })), "{refused:?}");
    // The answer to a request of ours may take more.
    assert!(FindCoordinatorRequest::decode(&mut Decoder::of_response(&more), 4).is_ok());
}
