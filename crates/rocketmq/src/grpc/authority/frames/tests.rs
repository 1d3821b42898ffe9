//! Connections of clients, byte by byte.

use super::*;
use proptest::prelude::*;

const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LIST: &[u8] = b"10.0.0.1:8081,10.0.0.2:8081";
const NAME: &[u8] = b"10.0.0.1-8081-10.0.0.2-8081";
const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 0x01;
/// What refers to fields of earlier requests.
const AGAIN: &[u8] = &[0x83, 0x86, 0xbe];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    Head { length: payload.len(), kind, flags, stream: [0, 0, 0, stream] }.write(&mut written);
    [written.as_slice(), payload].concat()
}

/// A request's fields, with a change of the table's size and something behind the authority.
fn fields(authority: &[u8]) -> Vec<u8> {
    [&b"\x3f\x81\x1f\x83\x86\x41"[..], &[authority.len() as u8], authority, b"\x40\x02te\x08trailers"].concat()
}

fn request(stream: u8, authority: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(authority))
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [&PREFACE[..], &frame(SETTINGS, 0, 0, b"\0\x01\0\0\x10\0"), &frames.concat()].concat()
}

/// What the server reads if the client's bytes arrive in such pieces; and what was held at most.
fn server_reads(bytes: &[u8], piece: usize) -> (Vec<u8>, usize) {
    let (mut frames, mut written, mut most) = (Frames::new(), Vec::new(), 0);
    for piece in bytes.chunks(piece) {
        frames.take(piece, &mut written);
        most = most.max(frames.held.capacity() + frames.head.capacity());
    }
    frames.finish(&mut written);
    (written, most)
}

fn is_read_as(sent: &[u8], expected: &[u8]) {
    for piece in [1, 2, 3, 5, 7, 11, 64, sent.len()] {
        assert!(server_reads(sent, piece).0 == expected, "in pieces of {piece} bytes");
    }
    // And in two, cut anywhere.
    for cut in 0..sent.len().min(500) {
        let (mut frames, mut written) = (Frames::new(), Vec::new());
        frames.take(&sent[..cut], &mut written);
        frames.take(&sent[cut..], &mut written);
        frames.finish(&mut written);
        assert!(written == expected, "cut at {cut}");
    }
}

fn is_read_as_sent(sent: &[u8]) {
    is_read_as(sent, sent);
}

#[test]
fn a_list_is_replaced_in_each_request_that_spells_it_out() {
    let data = frame(DATA, END_STREAM, 1, &request(1, LIST));
    let again = frame(HEADERS, END_HEADERS, 3, AGAIN);
    let sent = [request(1, LIST), data.clone(), again.clone(), request(5, LIST), data.clone()];
    let read = [request(1, NAME), data.clone(), again, request(5, NAME), data];
    is_read_as(&connection(&sent), &connection(&read));
}

#[test]
fn a_client_with_a_plain_authority_is_left_alone_from_then_on() {
    let sent = connection(&[request(1, b"localhost:8081")]);
    let (mut frames, mut written) = (Frames::new(), Vec::new());
    frames.take(&sent, &mut written);
    assert!(frames.is_through());
    is_read_as_sent(&connection(&[request(1, b"localhost:8081"), request(3, LIST)]));
}

#[test]
fn padding_goes_and_priority_and_the_end_of_the_stream_stay() {
    let priority = b"\x80\0\0\0\x10";
    let padded = [&[3][..], priority, &fields(LIST), &[0; 3]].concat();
    let sent = frame(HEADERS, PADDED | PRIORITY | END_STREAM | END_HEADERS, 1, &padded);
    let read = frame(HEADERS, PRIORITY | END_STREAM | END_HEADERS, 1, &[&priority[..], &fields(NAME)].concat());
    is_read_as(&connection(&[sent]), &connection(&[read]));
}

#[test]
fn a_block_in_several_frames_is_written_as_one() {
    let all = fields(LIST);
    for cut in 0..all.len() {
        let (first, rest) = all.split_at(cut);
        let (second, third) = rest.split_at(rest.len() / 2);
        let sent = [
            frame(HEADERS, END_STREAM, 1, first),
            frame(CONTINUATION, 0, 1, second),
            frame(CONTINUATION, END_HEADERS, 1, third),
            request(3, LIST),
        ];
        let read = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(NAME)), request(3, NAME)];
        let (sent, read) = (connection(&sent), connection(&read));
        assert!(server_reads(&sent, 4).0 == read && server_reads(&sent, sent.len()).0 == read, "cut at {cut}");
    }
}

#[test]
fn a_block_that_grows_beyond_a_frame_is_written_in_two() {
    // Each five bytes are eight times "0" in Huffman's code; then the list.
    let zeros = 12_000;
    let coded = [&vec![0; zeros][..], b"\x08\x17\x02\xe0\x5c\x37\x1e\x03\xc1\xfa\x08\x17\x02\xe0\x5c\x57\x1e\x03\xc1"].concat();
    let name = [&vec![b'0'; zeros / 5 * 8][..], NAME].concat();
    let long = |mark: u8, text: &[u8]| {
        let rest = text.len() - 0x7f;
        [&[0x41, mark | 0x7f, 0x80 | (rest & 0x7f) as u8, 0x80 | (rest >> 7 & 0x7f) as u8, (rest >> 14) as u8][..], text].concat()
    };
    let (sent, read) = (long(0x80, &coded), long(0, &name));
    let priority = &[0; PRIORITY_BYTES][..];
    let (first, rest) = read.split_at(WRITTEN_FRAME_BYTES - PRIORITY_BYTES);
    let first = frame(HEADERS, PRIORITY, 1, &[priority, first].concat());
    let read = connection(&[first, frame(CONTINUATION, END_HEADERS, 1, rest)]);
    let sent = connection(&[frame(HEADERS, PRIORITY | END_HEADERS, 1, &[priority, &sent].concat())]);
    assert!(server_reads(&sent, 1000).0 == read);
}

#[test]
fn what_breaks_the_order_of_frames_goes_on_as_it_came() {
    let open = frame(HEADERS, 0, 1, &fields(LIST));
    let ping = frame(6, 0, 0, &[0; 8]);
    let other = frame(CONTINUATION, END_HEADERS, 3, AGAIN);
    let alone = frame(CONTINUATION, END_HEADERS, 1, AGAIN);
    for broken in [vec![open.clone(), ping], vec![open.clone(), other], vec![alone], vec![open]] {
        is_read_as_sent(&connection(&broken));
    }
}

#[test]
fn frames_that_contradict_themselves_go_on_at_once() {
    let cases = [(PADDED, &b""[..]), (PADDED, b"\x05\0\0"), (PRIORITY, b"\0\0\0"), (PADDED | PRIORITY, b"\x02\0\0\0\0\0\0")];
    for (flags, payload) in cases {
        let sent = connection(&[frame(HEADERS, flags | END_HEADERS, 1, payload)]);
        let (mut frames, mut written) = (Frames::new(), Vec::new());
        frames.take(&sent, &mut written);
        assert_eq!(written, sent);
    }
}

#[test]
fn damaged_fields_go_on_as_they_came() {
    let damaged = [&fields(LIST)[..], b"\x41\x7f\xff\xff\xff\xff\xff"].concat();
    is_read_as_sent(&connection(&[frame(HEADERS, END_HEADERS, 1, &damaged)]));
}

#[test]
fn large_blocks_and_many_small_frames_are_not_held() {
    let large = frame(HEADERS, END_HEADERS, 1, &vec![0; HELD_BYTES]);
    let half = vec![0; HELD_BYTES / 2];
    let grown = [frame(HEADERS, 0, 3, &half), frame(CONTINUATION, END_HEADERS, 3, &half)].concat();
    let many = [frame(HEADERS, 0, 5, &fields(LIST)), frame(CONTINUATION, 0, 5, b"").repeat(5000)].concat();
    let last = frame(CONTINUATION, END_HEADERS, 5, b"");
    let sent = connection(&[request(1, LIST), large.clone(), grown.clone(), many.clone(), last.clone(), request(7, LIST)]);
    let read = connection(&[request(1, NAME), large, grown, many, last, request(7, NAME)]);
    for piece in [1000, 65_536] {
        let (written, held) = server_reads(&sent, piece);
        assert!(written == read, "in pieces of {piece} bytes");
        assert!(held <= 2 * HELD_BYTES + HEAD_BYTES, "{held} bytes are held");
    }
}

/// Bytes that look like frames, so that more than their heads is tried.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![4 => Just(HEADERS), 4 => Just(CONTINUATION), 1 => any::<u8>()];
    let good = (0..60_usize).prop_map(|cut| fields(LIST)[cut.min(fields(LIST).len())..].to_vec());
    let payload = prop_oneof![good, proptest::collection::vec(any::<u8>(), 0..60)];
    let one =
        (kind, any::<u8>(), 0..2_u8, payload).prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    proptest::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_frames_are_borne_and_read_the_same_in_any_pieces(needed: bool, frames in frames(), piece in 1..200_usize) {
        let first = if needed { request(1, LIST) } else { Vec::new() };
        let sent = connection(&[first, frames]);
        let (read, held) = server_reads(&sent, piece);
        prop_assert!(held <= 2 * HELD_BYTES + HEAD_BYTES);
        prop_assert!(read.len() <= 2 * sent.len());
        prop_assert_eq!(server_reads(&read, piece).0, read);
    }

    #[test]
    fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..100_usize) {
        let (read, _) = server_reads(&bytes, piece);
        prop_assert!(read.len() <= 2 * bytes.len());
    }
}
