//! One socket to one node: requests go out one at a time, and the answer to each is awaited.
//!
//! Opening it asks for the versions the node serves. After an error the connection is in an unknown state: drop it.

use super::api::{API_VERSIONS, Api};
use super::error::{ClientError, accept};
use bytes::{Bytes, BytesMut};
use duolog_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use duolog_wire::kafka::messages::api_versions_response::ApiVersionsResponse;
use duolog_wire::kafka::messages::request_header::RequestHeader;
use duolog_wire::kafka::messages::response_header::ResponseHeader;
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder, frame};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any wait we ask a server for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 128 << 20;
/// What the server's logs and quotas know us by.
const CLIENT_ID: &str = "duolog-cli";
/// ApiVersions must be asked in a version the node may not have; 0 always works.
const FIRST_API_VERSIONS: i16 = 0;

/// What a generated `encode` returns.
type Encoded = Result<(), EncodeError>;

/// An answer, to be decoded where it lies.
pub struct Reply {
    frame: Bytes,
    body: usize,
    version: i16,
    api: Api,
    address: String,
}

impl Reply {
    /// Decodes the body with the decoder of its type.
    pub(super) fn decode<'a, T>(
        &'a self,
        decode: impl FnOnce(&mut Decoder<'a>, i16) -> Result<T, DecodeError>,
    ) -> Result<T, ClientError> {
        decode(&mut Decoder::of_response(&self.frame[self.body..]), self.version)
            .map_err(|error| malformed(&self.address, self.api, error))
    }
}

fn malformed(address: &str, api: Api, error: DecodeError) -> ClientError {
    ClientError::Decode { address: address.to_owned(), api: api.name, error }
}

/// A connection to one node.
pub struct Connection {
    stream: TcpStream,
    address: String,
    correlation: i32,
    /// API key, lowest and highest version the node serves.
    served: Vec<(i16, i16, i16)>,
}

impl Connection {
    pub async fn open(address: &str) -> Result<Connection, ClientError> {
        let connect_error = |error| ClientError::Connect { address: address.to_owned(), error };
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(connect_error)?,
            Err(_) => return Err(connect_error(io::ErrorKind::TimedOut.into())),
        };
        stream.set_nodelay(true).map_err(connect_error)?;
        let mut connection = Connection { stream, address: address.to_owned(), correlation: 0, served: Vec::new() };
        connection.ask_versions().await?;
        Ok(connection)
    }

    async fn ask_versions(&mut self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest::default();
        let reply = self.exchange(API_VERSIONS, FIRST_API_VERSIONS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(ApiVersionsResponse::decode)?;
        accept(response.error_code, None, || self.address.clone())?;
        self.served = response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        Ok(())
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The newest version both sides speak.
    pub(super) fn version(&self, api: Api) -> Result<i16, ClientError> {
        let unsupported = || ClientError::Unsupported { address: self.address.clone(), api: api.name };
        let (_, min, max) = *self.served.iter().find(|(key, _, _)| *key == api.key).ok_or_else(unsupported)?;
        let version = api.max.min(max);
        if version >= api.min.max(min) { Ok(version) } else { Err(unsupported()) }
    }

    /// Sends one request in the newest version both sides speak, and waits for its answer.
    pub(super) async fn ask(
        &mut self,
        api: Api,
        encode: impl FnOnce(&mut Encoder, i16) -> Encoded,
    ) -> Result<Reply, ClientError> {
        let version = self.version(api)?;
        self.exchange(api, version, encode).await
    }

    async fn exchange(
        &mut self,
        api: Api,
        version: i16,
        encode: impl FnOnce(&mut Encoder, i16) -> Encoded,
    ) -> Result<Reply, ClientError> {
        self.send(api, version, encode).await?;
        match timeout(ANSWER_TIMEOUT, self.receive()).await {
            Ok(frame) => self.open_answer(api, version, frame?),
            Err(_) => {
                let seconds = ANSWER_TIMEOUT.as_secs();
                Err(ClientError::Timeout { address: self.address.clone(), api: api.name, seconds })
            }
        }
    }

    /// Sends a request and does not wait (Produce with acks=0 has no answer).
    pub(super) async fn send(
        &mut self,
        api: Api,
        version: i16,
        encode: impl FnOnce(&mut Encoder, i16) -> Encoded,
    ) -> Result<(), ClientError> {
        self.correlation = self.correlation.wrapping_add(1);
        let mut encoder = Encoder::new();
        let header = RequestHeader {
            request_api_key: api.key,
            request_api_version: version,
            correlation_id: self.correlation,
            client_id: Some(CLIENT_ID),
        };
        frame::begin_frame(&mut encoder);
        header
            .encode(&mut encoder, frame::request_header_version(api.key, version))
            .and_then(|()| encode(&mut encoder, version))
            .and_then(|()| frame::finish_frame(&mut encoder))
            .map_err(|error| ClientError::Encode { api: api.name, error })?;
        self.stream.write_all(encoder.buffer()).await.map_err(|error| self.io_error(error))
    }

    async fn receive(&mut self) -> Result<Bytes, ClientError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.map_err(|error| self.io_error(error))?;
        let announced = i32::from_be_bytes(length);
        let bytes = usize::try_from(announced).ok().filter(|bytes| *bytes <= MAX_ANSWER_BYTES).ok_or_else(|| {
            ClientError::TooLarge { address: self.address.clone(), bytes: announced.into(), limit: MAX_ANSWER_BYTES }
        })?;
        let mut frame = BytesMut::zeroed(bytes);
        self.stream.read_exact(&mut frame).await.map_err(|error| self.io_error(error))?;
        Ok(frame.freeze())
    }

    fn open_answer(&self, api: Api, version: i16, frame: Bytes) -> Result<Reply, ClientError> {
        let mut decoder = Decoder::new(&frame);
        let header = ResponseHeader::decode(&mut decoder, frame::response_header_version(api.key, version))
            .map_err(|error| malformed(&self.address, api, error))?;
        let got = header.correlation_id;
        if got != self.correlation {
            return Err(ClientError::Correlation { address: self.address.clone(), expected: self.correlation, got });
        }
        let body = decoder.position();
        Ok(Reply { frame, body, version, api, address: self.address.clone() })
    }

    fn io_error(&self, error: io::Error) -> ClientError {
        ClientError::Io { address: self.address.clone(), error }
    }
}
