//! What nodes say to each other about RocketMQ's clients: a head in JSON, and frames behind it as they are.
//!
//! ```text
//! body = length of the head u32 | head | frames, each with its length
//! ```

use super::append::{AppendHead, Appended};
use super::members::Membership;
use super::outbox::Note;
use super::questions::{Asked, Reply};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use duolog_peer::{CallKind, CallRefusal};
use duolog_wire::remoting::{Command, frame_length};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A request of a client: [`Head`] and its frame. The answer is [`HELD`], or [`DONE`] and a frame unless nobody waits for one.
pub(super) const FORWARD: CallKind = CallKind(64);
/// Sends of a client for one partition: [`Head`] and their frames. The answer is as many frames.
pub(super) const SEND: CallKind = CallKind(65);
/// Frames for a client, to the node that holds its connection: [`Origin`] and the frames. The answer is whether it is there.
pub(super) const DELIVER: CallKind = CallKind(66);
/// A client's answers to what it was asked: [`Head`] and the frames.
pub(super) const CLIENT_ANSWERS: CallKind = CallKind(67);
/// A client's connection has ended: [`Origin`].
pub(super) const GONE: CallKind = CallKind(68);
/// A client is a member of a group, or leaves it: `Membership`.
pub(super) const MEMBER: CallKind = CallKind(69);
/// Offsets that members said elsewhere.
pub(super) const NOTES: CallKind = CallKind(70);
/// What a node knows of a queue or a group.
pub(super) const QUESTION: CallKind = CallKind(71);
/// A batch for a partition: [`AppendHead`](super::append::AppendHead) and the batch.
pub(super) const APPEND: CallKind = CallKind(72);
/// A question to a producer: its client id and the frame. The answer is [`DONE`] and a frame if it is here.
pub(super) const ASK_PRODUCER: CallKind = CallKind(73);
/// A question to any producer of a group: [`Asked`](super::owners::Asked) and the frame. The answer is whether there is one.
pub(super) const TELL_PRODUCER: CallKind = CallKind(74);

/// The answer comes later, as a delivery.
pub(super) const HELD: u8 = 0;
pub(super) const DONE: u8 = 1;

/// Longest head, in bytes: members may subscribe to thousands of topics.
const HEAD_BYTES: usize = 8 << 20;
/// Longest frame that is passed on, in bytes, and frames of one call at most.
const FRAME_BYTES: usize = 32 << 20;
const FRAMES: usize = 4096;

/// A client's connection, as the node that holds it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Of the process that holds it.
    pub(super) life: i64,
    pub(super) connection: u64,
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Whose request it is, and the metadata by which it was sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) origin: Origin,
    pub(super) applied: u64,
}

pub(super) fn pack<T: Serialize>(head: &T, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let head = serde_json::to_vec(head).expect("plain values with strings as keys");
    let mut bytes = BytesMut::with_capacity(size_of::<u32>() + head.len());
    bytes.put_u32(head.len() as u32);
    bytes.put_slice(&head);
    write(&mut bytes);
    bytes.freeze()
}

/// A head with nothing behind it.
pub(super) fn pack_alone<T: Serialize>(head: &T) -> Bytes {
    pack(head, |_| ())
}

/// The head, and what is behind it.
pub(super) fn unpack<T: DeserializeOwned>(mut bytes: Bytes) -> Result<(T, Bytes), CallRefusal> {
    let length = bytes.try_get_u32().map_err(|_| CallRefusal::Malformed)? as usize;
    if length > bytes.len().min(HEAD_BYTES) {
        return Err(CallRefusal::Malformed);
    }
    let head = serde_json::from_slice(&bytes.split_to(length)).map_err(|_| CallRefusal::Malformed)?;
    Ok((head, bytes))
}

/// The head of bytes with nothing behind it.
pub(super) fn unpack_alone<T: DeserializeOwned>(bytes: Bytes) -> Result<T, CallRefusal> {
    let (head, rest) = unpack(bytes)?;
    if rest.is_empty() { Ok(head) } else { Err(CallRefusal::Malformed) }
}

/// The frames in the bytes.
pub(super) fn frames(mut bytes: Bytes) -> Result<Vec<Command>, CallRefusal> {
    let mut frames = Vec::new();
    while let Some(word) = bytes.first_chunk().copied() {
        let length = frame_length(word, FRAME_BYTES).map_err(|_| CallRefusal::Malformed)?;
        bytes.advance(word.len());
        if length > bytes.len() || frames.len() == FRAMES {
            return Err(CallRefusal::Malformed);
        }
        frames.push(Command::decode(bytes.split_to(length)).map_err(|_| CallRefusal::Malformed)?);
    }
    if bytes.is_empty() { Ok(frames) } else { Err(CallRefusal::Malformed) }
}

/// The one frame in the bytes.
pub(super) fn frame(bytes: Bytes) -> Result<Command, CallRefusal> {
    let mut frames = frames(bytes)?;
    let frame = frames.pop().ok_or(CallRefusal::Malformed)?;
    if frames.is_empty() { Ok(frame) } else { Err(CallRefusal::Malformed) }
}

pub(super) fn encoded(frames: &[Command]) -> Bytes {
    let mut bytes = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes.freeze()
}

/// The bytes as each call, and each answer, that they are, written again. For the fuzz targets.
pub(crate) fn recode_calls(bytes: &[u8]) -> Vec<Bytes> {
    let bytes = Bytes::copy_from_slice(bytes);
    let heads = [recode_head::<Origin>(&bytes), recode_head::<Head>(&bytes), recode_head::<String>(&bytes)];
    let alone = [recode::<Membership>(&bytes), recode::<Vec<Note>>(&bytes), recode::<Asked>(&bytes), recode::<Appended>(&bytes)];
    let answers = unpack::<Reply>(bytes.clone()).ok().map(|(reply, raw)| pack(&reply, |out| out.extend_from_slice(&raw)));
    let batch = unpack::<AppendHead>(bytes).ok().map(|(head, batch)| pack(&head, |out| out.extend_from_slice(&batch)));
    heads.into_iter().chain(alone).flatten().chain(answers).chain(batch).collect()
}

/// A head with frames behind it.
fn recode_head<T: Serialize + DeserializeOwned>(bytes: &Bytes) -> Option<Bytes> {
    let (head, rest): (T, Bytes) = unpack(bytes.clone()).ok()?;
    let frames = frames(rest).ok()?;
    Some(pack(&head, |out| frames.iter().for_each(|frame| frame.encode(out))))
}

fn recode<T: Serialize + DeserializeOwned>(bytes: &Bytes) -> Option<Bytes> {
    unpack_alone::<T>(bytes.clone()).ok().map(|message| pack_alone(&message))
}

/// An answer of one part.
pub(super) fn whole<T: Serialize>(answer: &T) -> Vec<Bytes> {
    vec![pack_alone(answer)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_wire::remoting::HeaderForm;
    use proptest::prelude::*;

    #[test]
    fn frames_come_back_as_they_were() {
        let frame = |opaque| Command::request(11, opaque, HeaderForm::Binary).with_body(vec![1, 2, 3]);
        let packed = pack(&7u64, |out| (1..=3).for_each(|opaque| frame(opaque).encode(out)));
        let (head, rest): (u64, Bytes) = unpack(packed.clone()).unwrap();
        assert_eq!((head, frames(rest.clone())), (7, Ok(vec![frame(1), frame(2), frame(3)])));
        assert_eq!(frame_of(rest), Err(CallRefusal::Malformed), "one was expected");
        let cut = packed.slice(..packed.len() - 1);
        assert_eq!(frames(unpack::<u64>(cut).unwrap().1), Err(CallRefusal::Malformed));
        assert_eq!(unpack_alone::<u64>(packed), Err(CallRefusal::Malformed));
    }

    fn frame_of(bytes: Bytes) -> Result<Command, CallRefusal> {
        super::frame(bytes)
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = unpack::<Head>(bytes.clone());
            let _ = frames(bytes);
        }
    }
}
