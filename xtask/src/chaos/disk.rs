//! A disk whose power can be cut, and which can be filled: an ext4 in a file, mounted through a loop device. Needs root.

use super::failure::Failure;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Sparse; a run of the longest duration fills a part of it.
const IMAGE_BYTES: u64 = 4 << 30;
/// `EXT4_IOC_SHUTDOWN`, which is `_IOR('X', 125, __u32)`.
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// Neither data nor journal is written.
const NO_LOG_FLUSH: u32 = 2;
const UNMOUNT_ATTEMPTS: usize = 100;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(50);

/// A file system in a file; unmounted when dropped.
#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Makes the file system in `directory` and mounts it there.
    pub(super) fn new(directory: &Path) -> Result<Disk, Failure> {
        let (image, mount) = (directory.join("disk.img"), directory.join("mount"));
        std::fs::create_dir_all(&mount).map_err(|error| Failure::file(&mount, error))?;
        File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).map_err(|error| Failure::file(&image, error))?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        let mut disk = Disk { image, mount, mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// From here on nothing reaches the disk, and every write fails.
    pub(super) fn cut_power(&self) -> Result<(), Failure> {
        let root = File::open(&self.mount).map_err(|error| Failure::file(&self.mount, error))?;
        // SAFETY: the request takes a pointer to a u32 that the kernel only reads, whatever its number says of the
        // direction; `Setter` passes exactly that, alive for the call.
        unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
            .map_err(|error| Failure::file(&self.mount, error.into()))
    }

    /// Takes all space but so many bytes.
    pub(super) fn fill(&self, but_bytes: u64) -> Result<(), Failure> {
        let path = self.filler();
        let filled = || -> std::io::Result<()> {
            let stat = statvfs(&self.mount)?;
            let taken = (stat.f_bavail * stat.f_frsize).saturating_sub(but_bytes);
            Ok(fallocate(File::create(&path)?, FallocateFlags::empty(), 0, taken)?)
        };
        filled().map_err(|error| Failure::file(&path, error))
    }

    /// Gives the space back.
    pub(super) fn empty(&self) -> Result<(), Failure> {
        let path = self.filler();
        std::fs::remove_file(&path).map_err(|error| Failure::file(&path, error))
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// What the disk kept, mounted again; nobody may have a file of it open.
    pub(super) fn restore_power(&mut self) -> Result<(), Failure> {
        self.unmount()?;
        self.mount()
    }

    /// Writes everything out, as a machine has done that was set up a while ago.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        run(Command::new("sync").arg("-f").arg(&self.mount))
    }

    fn mount(&mut self) -> Result<(), Failure> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), Failure> {
        // A process's descriptors close a moment after it has ended.
        for _ in 1..UNMOUNT_ATTEMPTS {
            if !self.mounted || run(Command::new("umount").arg(&self.mount)).is_ok() {
                self.mounted = false;
                return Ok(());
            }
            std::thread::sleep(UNMOUNT_PAUSE);
        }
        run(Command::new("umount").arg(&self.mount))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(failure) = self.unmount() {
            eprintln!("{failure}");
            let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let said = match command.output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::NoDisk { line: format!("{command:?}"), said })
}
