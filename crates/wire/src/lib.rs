//! Byte formats: what goes over the wire and onto the disk, without I/O, state or a runtime.

pub mod kafka;
pub mod record;
pub mod remoting;
