//! Loss of power: an ext4 on a loop device is shut down without flushing its journal, so that everything the server did
//! not sync is gone; then it is mounted again.
//!
//! Needs root and loop devices. Where mounting is refused the test says so and ends.

use crate::crash::{acks_before_fault, rounds};
use crate::journal::{self, Load, PARTITIONS, TOPIC, verify};
use crate::server::Server;
use duolog_sim::Crash;
use rustix::ioctl::{Setter, ioctl, opcode};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::tempdir;

const IMAGE_BYTES: u64 = 1 << 30;
const DEFAULT_ROUNDS: usize = 3;
/// `EXT4_IOC_SHUTDOWN`, which is `_IOR('X', 125, __u32)`.
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
/// Neither data nor journal is written.
const NO_LOG_FLUSH: u32 = 2;
const UNMOUNT_ATTEMPTS: usize = 100;

/// A file system in a file; unmounted when dropped.
pub(crate) struct Loop {
    image: PathBuf,
    pub(crate) mount: PathBuf,
    mounted: bool,
}

impl Loop {
    /// Makes the file system and mounts it, or says why that is not possible here.
    pub(crate) fn new(directory: &Path) -> Result<Loop, String> {
        let (image, mount) = (directory.join("disk.img"), directory.join("mount"));
        std::fs::create_dir(&mount).unwrap();
        File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        let mut disk = Loop { image, mount, mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    pub(crate) fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.mounted = true;
        Ok(())
    }

    /// From here on nothing reaches the disk, and every write fails.
    pub(crate) fn cut_power(&self) {
        let root = File::open(&self.mount).unwrap();
        // SAFETY: the request takes a pointer to a u32 that the kernel only reads, whatever its number says of the
        // direction; `Setter` passes exactly that, alive for the call.
        unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }.unwrap();
    }

    pub(crate) fn unmount(&mut self) {
        // The server's descriptors close a moment after the process has ended.
        for _ in 0..UNMOUNT_ATTEMPTS {
            if !self.mounted || run(Command::new("umount").arg(&self.mount)).is_ok() {
                self.mounted = false;
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
        self.mounted = false;
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

#[test]
fn nothing_acknowledged_or_read_is_lost_with_the_power() {
    let directory = tempdir().unwrap();
    let mut disk = match Loop::new(directory.path()) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("loss of power is not tested: {reason}");
            return;
        }
    };
    let data = disk.mount.join("data");
    let journal = journal::new();
    let mut server = Server::start_with(&data, &["--set", "log.disk.reserve.bytes=0"]);
    server.run(&["topic", "create", TOPIC, "-p", &PARTITIONS.to_string()]);
    for round in 0..rounds(DEFAULT_ROUNDS) {
        let load = Load::start(&server.kafka, &journal, round);
        load.wait_for(acks_before_fault(round));
        disk.cut_power();
        // Its next write or sync fails, and a server whose log has failed does not go on.
        let status = server.wait();
        assert_eq!(status.code(), Some(1), "{}", server.said());
        load.stop();
        disk.unmount();
        disk.mount().unwrap();
        server = Server::start_with(&data, &["--set", "log.disk.reserve.bytes=0"]);
        let (records, in_doubt) = verify(&server.kafka, &journal, Some(Crash::PowerLoss));
        println!("round {round}: {records} records, {in_doubt} of them never acknowledged");
    }
    server.stop();
}
