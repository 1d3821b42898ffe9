//! What arrives on a connection between nodes as the fuzz targets reach it. Not part of the interface.

use crate::frame::{Frame, FrameKind, FrameReader, header};
use crate::handshake::{self, HandshakeError};
use crate::identity::Identity;
use duolog_base::NodeId;
use std::io;

/// Frames that calls and their answers are made of.
pub const FRAME_KINDS: usize = 5;

/// Reads all frames, and writes each again.
pub async fn recode_frames(input: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut reader = FrameReader::new(input);
    let mut written = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(Frame { kind, call, detail, body })) => {
                written.extend(header(kind, call, detail, body.len()));
                written.extend(body);
            }
            Ok(None) => return (written, Ok(())),
            Err(error) => return (written, Err(error)),
        }
    }
}

/// A frame of each kind.
pub fn frames(body: &[u8]) -> [Vec<u8>; FRAME_KINDS] {
    let kinds = [FrameKind::Call, FrameKind::Answer, FrameKind::Refused, FrameKind::Ping, FrameKind::Pong];
    kinds.map(|kind| [&header(kind, 7, 9, body.len())[..], body].concat())
}

/// Takes the bytes for all that a dialer says; gives what the listener says to that.
pub async fn accept(input: &[u8], identity: &Identity) -> (Vec<u8>, Result<NodeId, HandshakeError>) {
    let mut said = Vec::new();
    let known = handshake::accept(&mut tokio::io::join(input, &mut said), identity).await;
    (said, known.map(|known| known.node))
}

/// Takes the bytes for all that a listener says; gives what the dialer says to that.
pub async fn dial(input: &[u8], identity: &Identity) -> (Vec<u8>, Result<NodeId, HandshakeError>) {
    let mut said = Vec::new();
    let known = handshake::dial(&mut tokio::io::join(input, &mut said), identity, NodeId::NONE, 0).await;
    (said, known.map(|known| known.node))
}
