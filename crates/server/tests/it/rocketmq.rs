//! RocketMQ's listeners in the real process: shown in the banner, and what was acknowledged there survives `kill -9`.

use crate::server::{Server, duolog, finish};
use bytes::BytesMut;
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::{
    Header, OffsetResponse, PullMessageRequest, QueryConsumerOffsetRequest, SendMessageRequest, UpdateConsumerOffsetRequest,
};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::{Command, HeaderForm};
use std::io::{Read, Write};
use std::net::TcpStream;
use tempfile::tempdir;

const LISTENERS: [&str; 4] = ["--listen", "rocketmq://127.0.0.1:0", "--listen", "namesrv://127.0.0.1:0"];
/// The subscription comes with the pull.
const SUBSCRIPTION: i32 = 4;

/// HOST:PORT of a listener, from the banner.
fn address(server: &Server, scheme: &str) -> String {
    let line = server.banner.iter().find_map(|line| line.split_once(&format!("{scheme}://")));
    let (_, address) = line.unwrap_or_else(|| panic!("no {scheme} in {:?}", server.banner));
    address.split([' ', ',']).next().unwrap().to_owned()
}

fn call<'a>(stream: &mut TcpStream, code: i32, header: impl Header<'a>, body: &'static str) -> Command {
    let mut command = Command::request(code, 7, HeaderForm::Json).with_body(body);
    header.put(&mut command.fields);
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    stream.write_all(&bytes).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame).unwrap();
    let answer = Command::decode(frame.into()).unwrap();
    assert_eq!((answer.code, answer.opaque), (0, 7), "{:?}", answer.remark);
    answer
}

#[test]
fn messages_and_offsets_survive_a_kill_and_kafkas_side_reads_them() {
    let directory = tempdir().unwrap();
    let mut server = Server::start_with(directory.path(), &LISTENERS);
    assert!(address(&server, "namesrv") != address(&server, "rocketmq"));
    let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
    let send = SendMessageRequest {
        producer_group: "p",
        topic: "orders",
        default_topic: "TBW102",
        default_topic_queue_nums: 1,
        ..SendMessageRequest::default()
    };
    call(&mut stream, request::SEND_MESSAGE, send, "first");
    let update = UpdateConsumerOffsetRequest { consumer_group: "g", topic: "orders", queue_id: 0, commit_offset: 1 };
    call(&mut stream, request::UPDATE_CONSUMER_OFFSET, update, "");
    server.kill();
    drop(server);

    let server = Server::start_with(directory.path(), &LISTENERS);
    let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
    let pull = PullMessageRequest {
        consumer_group: "g",
        topic: "orders",
        max_msg_nums: 32,
        sys_flag: SUBSCRIPTION,
        subscription: Some("*"),
        ..PullMessageRequest::default()
    };
    let pulled = call(&mut stream, request::PULL_MESSAGE, pull, "");
    let message = StoredMessage::take(&mut &pulled.body[..]).unwrap();
    assert_eq!((message.body, message.queue_offset), (&b"first"[..], 0));
    let query = QueryConsumerOffsetRequest { consumer_group: "g", topic: "orders", ..Default::default() };
    let offset = call(&mut stream, request::QUERY_CONSUMER_OFFSET, query, "");
    assert_eq!(OffsetResponse::from_fields(&offset.fields).unwrap().offset, 1);
    assert_eq!(server.run(&["consume", "orders", "--from-beginning", "--exit-at-end"]), "first\n");
    server.stop();
}

#[test]
fn an_address_in_use_is_named_with_its_protocol() {
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Server::start_with(one.path(), &LISTENERS);
    let taken = format!("rocketmq://{}", address(&server, "rocketmq"));
    let mut second = duolog();
    second.args(["serve", "--listen", "kafka://127.0.0.1:0", "--listen", &taken, "--http", "127.0.0.1:0", "--data-dir"]);
    second.arg(two.path());
    let output = finish(second, "");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains(&taken), "{complaint}");
    server.stop();
}
