//! The network between the nodes of a cluster: each node is reached by the others through a proxy of this process, which can hold back
//! what goes from one node to another. Bytes that are held back arrive later, as they do after a network was partitioned for a while.
//!
//! A connection says in its first bytes which node dials: see the handshake in `crates/peer`.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Magic, two versions, and the number of the node that dials.
const HELLO_BYTES: usize = 8 + 2 + 2 + 4;
const NODE_AT: usize = 12;
const LOOK: Duration = Duration::from_millis(10);
const BUFFER_BYTES: usize = 64 << 10;

/// Who cannot be heard by whom, as pairs of node numbers.
#[derive(Clone, Default)]
pub(super) struct Network {
    cut: Arc<Mutex<BTreeSet<(usize, usize)>>>,
}

impl Network {
    /// What `from` says does not reach `to` until the network is whole again.
    pub(super) fn cut(&self, from: usize, to: usize) {
        self.cuts().insert((from, to));
    }

    pub(super) fn heal(&self) {
        self.cuts().clear();
    }

    fn cuts(&self) -> std::sync::MutexGuard<'_, BTreeSet<(usize, usize)>> {
        self.cut.lock().expect("nobody panics with it")
    }

    fn wait_while_cut(&self, from: usize, to: usize) {
        while self.cuts().contains(&(from, to)) {
            std::thread::sleep(LOOK);
        }
    }

    /// Listens for the peers of `node`, which is at `target`; gives the address that they are to dial. Ends with this process.
    pub(super) fn listen(&self, node: usize, target: String) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let network = self.clone();
        std::thread::spawn(move || {
            for dialler in listener.incoming().flatten() {
                let (network, target) = (network.clone(), target.clone());
                // An end that breaks ends the other one.
                std::thread::spawn(move || network.connect(dialler, node, &target));
            }
        });
        Ok(address)
    }

    fn connect(&self, mut dialler: TcpStream, node: usize, target: &str) -> io::Result<()> {
        let mut hello = [0; HELLO_BYTES];
        dialler.read_exact(&mut hello)?;
        let number: [u8; 4] = hello[NODE_AT..].try_into().expect("four bytes");
        let from = u32::from_be_bytes(number) as usize;
        self.wait_while_cut(from, node);
        let mut node_stream = TcpStream::connect(target)?;
        for stream in [&dialler, &node_stream] {
            stream.set_nodelay(true)?;
        }
        node_stream.write_all(&hello)?;
        let (back, network) = ((node_stream.try_clone()?, dialler.try_clone()?), self.clone());
        std::thread::spawn(move || network.pump(back.0, back.1, node, from));
        self.pump(dialler, node_stream, from, node)
    }

    fn pump(&self, mut reader: TcpStream, mut writer: TcpStream, from: usize, to: usize) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let moved = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(bytes) => {
                    self.wait_while_cut(from, to);
                    if let Err(error) = writer.write_all(&buffer[..bytes]) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        // Not said before the network is whole: a partition hides the end of a process, too.
        self.wait_while_cut(from, to);
        let _ = (writer.shutdown(Shutdown::Both), reader.shutdown(Shutdown::Both));
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: u32) -> Vec<u8> {
        [&[0; NODE_AT][..], &node.to_be_bytes()].concat()
    }

    #[test]
    fn what_is_held_back_arrives_when_the_network_is_whole_again() {
        let (network, server) = (Network::default(), TcpListener::bind("127.0.0.1:0").unwrap());
        let proxy = network.listen(2, server.local_addr().unwrap().to_string()).unwrap();
        let mut dialler = TcpStream::connect(&proxy).unwrap();
        dialler.write_all(&hello(1)).unwrap();
        let (mut node, _) = server.accept().unwrap();
        let mut heard = [0; HELLO_BYTES];
        node.read_exact(&mut heard).unwrap();
        assert_eq!(heard[..], hello(1));
        network.cut(1, 2);
        dialler.write_all(b"x").unwrap();
        node.set_read_timeout(Some(LOOK * 5)).unwrap();
        assert!(node.read(&mut heard).is_err(), "it does not arrive");
        node.write_all(b"y").unwrap();
        dialler.read_exact(&mut heard[..1]).unwrap();
        assert_eq!(heard[0], b'y', "the other way is open");
        network.heal();
        node.set_read_timeout(None).unwrap();
        node.read_exact(&mut heard[..1]).unwrap();
        assert_eq!(heard[0], b'x');
        drop(dialler);
        assert_eq!(node.read(&mut heard).unwrap(), 0, "the end of a connection arrives, too");
    }
}
