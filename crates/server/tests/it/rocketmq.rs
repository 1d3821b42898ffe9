//! RocketMQ's listeners in the real process: shown in the banner, and what was acknowledged there survives `kill -9`.

use crate::server::{Server, duolog, finish};
use bytes::{Bytes, BytesMut};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::{
    EndTransactionRequest, Header, OffsetResponse, PullMessageRequest, QueryConsumerOffsetRequest, SendMessageRequest,
    SendMessageResponse, UpdateConsumerOffsetRequest,
};
use duolog_wire::remoting::message::{StoredMessage, sys_flag};
use duolog_wire::remoting::message_id::OffsetMessageId;
use duolog_wire::remoting::{Command, HeaderForm};
use std::io::{Read, Write};
use std::net::TcpStream;
use tempfile::tempdir;

pub(crate) const LISTENERS: [&str; 4] = ["--listen", "rocketmq://127.0.0.1:0", "--listen", "namesrv://127.0.0.1:0"];
/// The subscription comes with the pull.
const SUBSCRIPTION: i32 = 4;

/// HOST:PORT of a listener, from the banner.
pub(crate) fn address(server: &Server, scheme: &str) -> String {
    let line = server.banner.iter().find_map(|line| line.split_once(&format!("{scheme}://")));
    let (_, address) = line.unwrap_or_else(|| panic!("no {scheme} in {:?}", server.banner));
    address.split([' ', ',']).next().unwrap().to_owned()
}

fn write(stream: &mut TcpStream, command: &Command) {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    stream.write_all(&bytes).unwrap();
}

pub(crate) fn call<'a>(stream: &mut TcpStream, code: i32, header: impl Header<'a>, body: impl Into<Bytes>) -> Command {
    let mut command = Command::request(code, 7, HeaderForm::Json).with_body(body);
    header.put(&mut command.fields);
    write(stream, &command);
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
fn an_orderly_stop_keeps_what_members_said_last_unless_an_administrator_has_the_last_word() {
    let directory = tempdir().unwrap();
    let server = Server::start_with(directory.path(), &LISTENERS);
    server.run(&["topic", "create", "orders", "-p", "1"]);
    server.run_with_input(&["produce", "orders"], "1\n2\n3\n");
    let committed = |stream: &mut TcpStream, group: &str| {
        let query = QueryConsumerOffsetRequest { consumer_group: group, topic: "orders", ..Default::default() };
        OffsetResponse::from_fields(&call(stream, request::QUERY_CONSUMER_OFFSET, query, "").fields).unwrap().offset
    };
    let update =
        |group, commit_offset| UpdateConsumerOffsetRequest { consumer_group: group, topic: "orders", queue_id: 0, commit_offset };
    // Nobody waits for the second one to be stored.
    let say = |stream: &mut TcpStream, group: &'static str| {
        call(stream, request::UPDATE_CONSUMER_OFFSET, update(group, 2), "");
        let mut command = Command::request(request::UPDATE_CONSUMER_OFFSET, 7, HeaderForm::Json).one_way();
        update(group, 3).put(&mut command.fields);
        write(stream, &command);
        assert_eq!(committed(stream, group), 3);
    };
    let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
    say(&mut stream, "overruled");
    server.run(&["group", "reset-offsets", "overruled", "-t", "orders", "--to-offset", "1", "--execute"]);
    say(&mut stream, "heard");
    server.stop();

    let server = Server::start_with(directory.path(), &LISTENERS);
    let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
    assert_eq!((committed(&mut stream, "overruled"), committed(&mut stream, "heard")), (1, 3));
    server.stop();
}

/// Says of each half of a round what is to become of it: those with an even number are to come.
fn ends(halves: &[(String, i64, i64)]) -> impl Iterator<Item = EndTransactionRequest<'_>> {
    halves.iter().enumerate().map(|(number, (id, commit_log_offset, table_offset))| EndTransactionRequest {
        producer_group: "p",
        tran_state_table_offset: *table_offset,
        commit_log_offset: *commit_log_offset,
        commit_or_rollback: if number % 2 == 0 { sys_flag::TRANSACTION_COMMIT } else { sys_flag::TRANSACTION_ROLLBACK },
        msg_id: id,
        transaction_id: Some(id),
        ..EndTransactionRequest::default()
    })
}

#[test]
fn transactions_that_are_ended_under_a_kill_come_once_or_never() {
    const ROUNDS: usize = 3;
    const HALVES: usize = 40;
    let directory = tempdir().unwrap();
    let mut server = Server::start_with(directory.path(), &LISTENERS);
    server.run(&["topic", "create", "orders", "-p", "1"]);
    let mut halves: Vec<(String, i64, i64)> = Vec::new();
    for round in 0..ROUNDS {
        let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
        for number in 0..HALVES {
            let id = format!("{round}-{number:02}");
            let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}UNIQ_KEY\u{1}{id}\u{2}");
            let send = SendMessageRequest {
                producer_group: "p",
                topic: "orders",
                sys_flag: sys_flag::TRANSACTION_PREPARED,
                properties: Some(&properties),
                ..SendMessageRequest::default()
            };
            let answer = call(&mut stream, request::SEND_MESSAGE, send, id.clone());
            let sent = SendMessageResponse::from_fields(&answer.fields).unwrap();
            let commit_log_offset = OffsetMessageId::parse(sent.msg_id).unwrap().commit_log_offset;
            halves.push((id, commit_log_offset, sent.queue_offset));
        }
        // Nobody waits for these, so that the server dies while it is at them.
        for end in ends(&halves[round * HALVES..]) {
            let mut command = Command::request(request::END_TRANSACTION, 7, HeaderForm::Json).one_way();
            end.put(&mut command.fields);
            write(&mut stream, &command);
        }
        server.kill();
        drop(server);
        server = Server::start_with(directory.path(), &LISTENERS);
    }
    let mut stream = TcpStream::connect(address(&server, "rocketmq")).unwrap();
    for end in ends(&halves) {
        call(&mut stream, request::END_TRANSACTION, end, "");
    }
    let expected = ROUNDS * HALVES / 2;
    let read = || {
        let text = server.run(&["consume", "orders", "--from-beginning", "--exit-at-end"]);
        let mut bodies: Vec<String> = text.lines().map(str::to_owned).collect();
        bodies.sort();
        bodies
    };
    let mut bodies = read();
    for _ in 0..600 {
        if bodies.len() >= expected {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        bodies = read();
    }
    let wanted = halves.iter().enumerate().filter(|(number, _)| number % 2 == 0).map(|(_, (id, _, _))| id.clone());
    assert_eq!(bodies, wanted.collect::<Vec<_>>());
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
