//! Clients that name several proxies at once: gRPC in Python and Node takes the whole list for the authority of its requests.

use crate::grpc_client::{GrpcNode, code, resource};
use crate::grpc_tls::trusting;
use crate::node::FOR_EVER;
use duolog_rocketmq_proto::{Code, QueryRouteRequest, QueryRouteResponse};
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const LIST: &str = "127.0.0.1:25180,127.0.0.1:25220,[::1]:25260";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}

/// A field that the other end remembers; its name by the number in the static table.
fn remembered(name: u8, value: &str) -> Vec<u8> {
    [&[0x40 | name, value.len() as u8][..], value.as_bytes()].concat()
}

/// The fields of a first request: POST, http, and five that are remembered as 66 to 62.
fn spelled_out() -> Vec<u8> {
    let others = b"\x40\x02te\x08trailers\x40\x0ex-mq-client-id\x01c".to_vec();
    let path = remembered(4, "/apache.rocketmq.v2.MessagingService/QueryRoute");
    [vec![0x83, 0x86], path, remembered(1, LIST), remembered(31, "application/grpc"), others].concat()
}

/// The same fields, as the other end remembers them.
const AGAIN: [u8; 7] = [0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];

/// A connection as such a client opens it, frame by frame.
struct Wire<S> {
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    async fn open(mut stream: S) -> Wire<S> {
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        Wire { stream }
    }

    /// Asks for a topic's route, with these frames for its header block; gives the number of queues.
    async fn queues(&mut self, stream: u32, headers: &[u8]) -> usize {
        let request = QueryRouteRequest { topic: resource("orders"), endpoints: None }.encode_to_vec();
        let body = [&[0][..], &(request.len() as u32).to_be_bytes(), &request].concat();
        self.stream.write_all(&[headers, &frame(DATA, END_STREAM, stream, &body)].concat()).await.unwrap();
        self.stream.flush().await.unwrap();
        let answer = tokio::time::timeout(FOR_EVER, self.answer(stream)).await.unwrap();
        let route = QueryRouteResponse::decode(&answer[5..]).unwrap();
        assert_eq!(code(&route.status), Code::Ok);
        route.message_queues.len()
    }

    /// What the server sends on a stream until it ends it.
    async fn answer(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.unwrap();
            let [a, b, c, kind, flags, on @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.unwrap();
            if u32::from_be_bytes(on) != stream {
                continue;
            }
            match kind {
                DATA => body.append(&mut payload),
                RESET => panic!("the stream is reset: {payload:?}"),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return body;
            }
        }
    }
}

#[tokio::test]
async fn a_list_of_proxies_as_the_authority_is_served() {
    let server = GrpcNode::start().await;
    server.topic("orders", 3).await;
    let mut wire = Wire::open(TcpStream::connect(server.address).await.unwrap()).await;
    assert_eq!(wire.queues(1, &frame(HEADERS, END_HEADERS, 1, &spelled_out())).await, 3);
    assert_eq!(wire.queues(3, &frame(HEADERS, END_HEADERS, 3, &AGAIN)).await, 3);

    let block = spelled_out();
    let (first, rest) = block.split_at(60);
    let frames = [frame(HEADERS, 0, 5, first), frame(CONTINUATION, END_HEADERS, 5, rest)].concat();
    assert_eq!(wire.queues(5, &frames).await, 3);
    assert_eq!(wire.queues(7, &frame(HEADERS, END_HEADERS, 7, &AGAIN)).await, 3);
    // It would not answer the ping of a server that stops.
    drop(wire);
    server.stop().await;
}

#[tokio::test]
async fn a_list_of_proxies_is_served_within_tls() {
    let server = GrpcNode::start().await;
    server.topic("orders", 2).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut wire = Wire::open(TlsConnector::from(trusting()).connect(name, stream).await.unwrap()).await;
    for stream in [1, 3] {
        assert_eq!(wire.queues(stream, &frame(HEADERS, END_HEADERS, stream, &spelled_out())).await, 2);
    }
    // It would not answer the ping of a server that stops.
    drop(wire);
    server.stop().await;
}
