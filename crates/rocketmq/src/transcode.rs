//! From stored record batches to the concatenated messages that a pull is answered with.
//!
//! Nothing is allocated a message beyond the output, and a batch that is compressed is unpacked into one buffer after the other
//! was. Control batches and records below the asked offset are passed over. At least one message is given if one is
//! wanted, whatever the limit of bytes says: otherwise a large message would hold up its queue for ever.
//!
//! Called by pulls, pops and queries, which read the batches from the broker.

use crate::locator::Locator;
use crate::message::{EmptyBody, MessageView};
use bytes::BytesMut;
use duolog_base::{Offset, PartitionIndex, PartitionNumber};
use duolog_wire::record::{
    BatchError, BatchHeader, CompressionError, DecodeError, DecodedBatch, DecompressLimits, RecordError, decode_batch_into,
};
use duolog_wire::remoting::message::{EncodeError, MAX_FRAMING_BYTES, StoredMessage};
use duolog_wire::remoting::properties::{MAX_PROPERTIES_BYTES, Properties, property_bytes, put_property};
use std::net::SocketAddr;

/// Room made ahead for the properties of a message.
const ORDINARY_PROPERTIES_BYTES: usize = 512;

/// Where the batches come from, as clients are told.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub topic: &'a str,
    pub queue: PartitionIndex,
    pub number: PartitionNumber,
    /// The address that clients know the broker by.
    pub store_host: SocketAddr,
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranscodeLimits {
    pub max_messages: usize,
    /// Of all messages together, as encoded.
    pub max_bytes: usize,
}

/// How far the transcoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Offset to go on from: everything below was given, or was not wanted.
    pub next: Offset,
    pub messages: usize,
    /// A limit is reached: no more batches are needed.
    pub full: bool,
}

/// Why a batch cannot be read on. The messages before the bad one were given and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscodeError {
    /// Nobody knows how long it is.
    #[error(transparent)]
    Header(BatchError),
    #[error("{error}; the next batch begins at {resume}")]
    Compression { error: CompressionError, resume: Offset },
    #[error("{error}; the next batch begins at {resume}")]
    Record { error: RecordError, resume: Offset },
    #[error("the message at {offset} has no encoding: {error}")]
    Encode { error: EncodeError, offset: Offset, resume: Offset },
}

impl TranscodeError {
    /// The offset behind what is bad.
    pub fn resume(&self) -> Option<Offset> {
        match self {
            TranscodeError::Header(_) => None,
            TranscodeError::Compression { resume, .. }
            | TranscodeError::Record { resume, .. }
            | TranscodeError::Encode { resume, .. } => Some(*resume),
        }
    }
}

/// Takes the batches of one partition in order.
#[derive(Debug)]
pub struct Transcoder<'a> {
    source: Source<'a>,
    limits: TranscodeLimits,
    progress: Progress,
    /// Of the messages that were given.
    bytes: usize,
    unpacked: Vec<u8>,
    empty_body: EmptyBody,
}

impl<'a> Transcoder<'a> {
    /// Begins with the message at `from`.
    pub fn new(source: Source<'a>, from: Offset, limits: TranscodeLimits) -> Transcoder<'a> {
        let progress = Progress { next: from, messages: 0, full: limits.max_messages == 0 };
        Transcoder { source, limits, progress, bytes: 0, unpacked: Vec::new(), empty_body: EmptyBody::AsItIs }
    }

    /// Shows empty bodies as the client can bear them.
    pub fn with_empty_body(self, empty_body: EmptyBody) -> Transcoder<'a> {
        Transcoder { empty_body, ..self }
    }

    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Appends the messages of the batch at the beginning of `batch` that `wanted` says yes to.
    pub fn push_batch(
        &mut self,
        batch: &[u8],
        wanted: &mut dyn FnMut(&MessageView<'_>) -> bool,
        out: &mut BytesMut,
    ) -> Result<Progress, TranscodeError> {
        let header = BatchHeader::parse(batch).map_err(TranscodeError::Header)?;
        let resume = header.next_offset();
        if self.progress.full || resume <= self.progress.next {
            return Ok(self.progress);
        }
        if !header.attributes.is_control() {
            let mut buffer = std::mem::take(&mut self.unpacked);
            let pushed = match decode_batch_into(batch, DecompressLimits::default(), &mut buffer) {
                Ok(decoded) => self.push_records(&decoded, wanted, out),
                Err(DecodeError::Batch(error)) => Err(TranscodeError::Header(error)),
                Err(DecodeError::Compression(error)) => Err(TranscodeError::Compression { error, resume }),
            };
            self.unpacked = buffer;
            pushed?;
        }
        if !self.progress.full {
            self.progress.next = resume;
        }
        Ok(self.progress)
    }

    fn push_records(
        &mut self,
        batch: &DecodedBatch<'_>,
        wanted: &mut dyn FnMut(&MessageView<'_>) -> bool,
        out: &mut BytesMut,
    ) -> Result<(), TranscodeError> {
        let resume = batch.header.next_offset();
        for record in batch.records() {
            let record = record.map_err(|error| TranscodeError::Record { error, resume })?;
            let offset = record.offset;
            if offset < self.progress.next {
                continue;
            }
            let message = MessageView::new(record).with_empty_body(self.empty_body);
            if wanted(&message) {
                let put = self.push_message(&message, out);
                let put = put.map_err(|error| TranscodeError::Encode { error, offset, resume: offset.plus(1) })?;
                if !put {
                    self.progress.full = true;
                    return Ok(());
                }
            }
            self.progress.next = offset.plus(1);
            if self.progress.messages == self.limits.max_messages {
                self.progress.full = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Appends a message; false if there is no room for it.
    fn push_message(&mut self, message: &MessageView<'_>, out: &mut BytesMut) -> Result<bool, EncodeError> {
        let first = self.progress.messages == 0;
        let room = self.limits.max_bytes - self.bytes;
        if !first && message.body().len() > room {
            return Ok(false);
        }
        let start = out.len();
        put_message(&self.source, message, out)?;
        let bytes = out.len() - start;
        if !first && bytes > room {
            out.truncate(start);
            return Ok(false);
        }
        // The first may be larger than all that was asked for.
        self.bytes += bytes.min(room);
        self.progress.messages += 1;
        Ok(true)
    }
}

/// Appends one message as clients read it.
pub fn put_message(source: &Source<'_>, message: &MessageView<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
    put_message_with(source, message, &[], out)
}

/// The same with properties of the server's, as far as there is room for them.
pub fn put_message_with(
    source: &Source<'_>,
    message: &MessageView<'_>,
    more: &[(&str, &str)],
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let stored = StoredMessage {
        queue_id: source.queue.0,
        flag: message.flag(),
        queue_offset: message.offset().0,
        commit_log_offset: Locator::pack(source.number, message.offset()).to_wire(),
        sys_flag: message.sys_flag(),
        born_timestamp: message.born_timestamp().0,
        born_host: message.born_host(),
        store_timestamp: message.store_timestamp().0,
        store_host: source.store_host,
        reconsume_times: message.reconsume_times(),
        prepared_transaction_offset: message.prepared_transaction_offset(),
        body: message.body(),
        topic: source.topic,
        properties: Properties::default(),
    };
    out.reserve(MAX_FRAMING_BYTES + stored.body.len() + stored.topic.len() + ORDINARY_PROPERTIES_BYTES);
    let open = stored.begin(out)?;
    let start = out.len();
    message.put_properties(out);
    for (name, value) in more {
        if out.len() - start + property_bytes(name.as_bytes(), value.as_bytes()) <= MAX_PROPERTIES_BYTES {
            put_property(out, name.as_bytes(), value.as_bytes());
        }
    }
    open.finish(out);
    Ok(())
}

#[cfg(test)]
mod tests;
