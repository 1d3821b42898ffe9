//! Lets a suite restart the server under test: it connects, says `kill` or `stop` in a line, and is answered `ok` when the server
//! serves again on the same data and ports.

use super::broker::Broker;
use super::failure::Failure;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A suite that connects says at once what it wants.
const ASK_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Control {
    listener: TcpListener,
    pub(super) address: String,
}

impl Control {
    pub(super) fn new() -> Result<Control, Failure> {
        Control::listen().map_err(|error| Failure::file("127.0.0.1:0".as_ref(), error))
    }

    fn listen() -> std::io::Result<Control> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        Ok(Control { listener, address })
    }

    /// Does what a suite asks for, if one does now.
    pub(super) fn serve(&self, broker: &mut Broker) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if let Err(error) = answer(&stream, broker) {
            println!("a suite that asked for a restart: {error}");
        }
    }
}

fn answer(mut stream: &TcpStream, broker: &mut Broker) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ASK_LIMIT))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let outcome = match line.trim_end() {
        "kill" => broker.restart(),
        "stop" => broker.stop_and_start(),
        _ => return stream.write_all(b"kill or stop\n"),
    };
    match outcome {
        Ok(()) => stream.write_all(b"ok\n"),
        Err(failure) => {
            println!("{failure}");
            stream.write_all(b"the server does not serve\n")
        }
    }
}
