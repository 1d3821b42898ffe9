//! What goes between members reads back as it was, and any bytes are refused or read without a panic.

use super::*;
use crate::metadata::record::{Change, MetadataRecord};
use crate::metadata::storage::Body;
use proptest::prelude::*;

fn id() -> impl Strategy<Value = EntryId> {
    any::<(u64, u64, u64)>().prop_map(|(term, node, index)| EntryId { term, node, index })
}

fn vote() -> impl Strategy<Value = Vote> {
    any::<(u64, u64, bool)>().prop_map(|(term, node, won)| Vote { term, node, won })
}

fn members() -> impl Strategy<Value = Members> {
    let voters = proptest::collection::vec(proptest::collection::btree_set(0..9u64, 1..4), 1..3);
    let addresses = proptest::collection::btree_map(9..20u64, ".*", 0..3);
    // Every voter has an address, as the library demands.
    (voters, addresses).prop_map(|(voters, mut addresses)| {
        addresses.extend(voters.iter().flatten().map(|voter| (*voter, format!("node-{voter}:1"))));
        Members { voters, addresses }
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let change = any::<(i64, Option<u64>)>()
        .prop_map(|(next, base)| Body::Change(Change { base, ..Change::new(vec![MetadataRecord::ProducerIds { next }]) }));
    let body = prop_oneof![Just(Body::Blank), change, members().prop_map(Body::Members)];
    (id(), body).prop_map(|(id, body)| Entry { id, body })
}

fn there_and_back<T: Serialize + DeserializeOwned>(message: &T) -> Option<T> {
    decode(&encode(message))
}

proptest! {
    #[test]
    fn appends_arrive_as_they_were(
        vote in vote(),
        previous in proptest::option::of(id()),
        entries in proptest::collection::vec(entry(), 0..4),
        committed in proptest::option::of(id()),
    ) {
        let append = Append { vote, previous, entries, committed };
        prop_assert_eq!(there_and_back(&append), Some(append.clone()));
        let request = AppendEntriesRequest::from(append.clone());
        prop_assert_eq!(Append::from(request), append);
    }

    #[test]
    fn answers_arrive_as_they_were(vote in vote(), last in proptest::option::of(id()), granted: bool) {
        for answer in [
            AppendAnswer::Taken,
            AppendAnswer::TakenUpTo(last),
            AppendAnswer::Conflict,
            AppendAnswer::HigherVote(vote),
        ] {
            prop_assert_eq!(there_and_back(&answer), Some(answer));
            prop_assert_eq!(AppendAnswer::from(AppendEntriesResponse::from(answer)), answer);
        }
        let answer = VoteAnswer { vote, granted, last };
        prop_assert_eq!(there_and_back(&answer), Some(answer));
        prop_assert_eq!(VoteAnswer::from(VoteResponse::from(answer)), answer);
        let call = VoteCall { vote, last };
        prop_assert_eq!(VoteCall::from(VoteRequest::from(call)), call);
    }

    #[test]
    fn parts_of_snapshots_arrive_as_they_were(
        vote in vote(),
        last in proptest::option::of(id()),
        members in members(),
        offset: u64,
        done: bool,
        data in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let head = ChunkHead { vote, last, members, members_from: last, snapshot: "7".to_owned(), offset, done };
        let (decoded, rest) = decode_chunk(encode_chunk(raft_chunk(head.clone(), &data))).unwrap();
        prop_assert_eq!((decoded, &rest[..]), (head, &data[..]));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _: Option<Append> = decode(&bytes);
        let _: Option<VoteCall> = decode(&bytes);
        let _: Option<ChunkAnswer> = decode(&bytes);
        if let Some((_, data)) = decode_chunk(bytes.clone().into()) {
            prop_assert!(data.len() < bytes.len());
        }
    }
}
