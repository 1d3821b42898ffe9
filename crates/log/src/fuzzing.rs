//! The decoders of this crate as the fuzz targets reach them. Not part of the interface.

pub use crate::format::file_header::{FILE_HEADER_BYTES, FileHeader};
pub use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameHeaderError, frame_bytes};
pub use crate::format::index::{IndexBuilder, IndexHeader, IndexKind, IndexView};
pub use crate::format::keys;
pub use crate::format::tidied::{TIDIED_END_BYTES, TidiedEnd};
pub use crate::format::{checksum, state};

/// The files of the dedicated layout.
pub mod dedicated {
    pub use crate::dedicated::format::{checkpoints, indexes, manifest, snapshot, transactions};
}
