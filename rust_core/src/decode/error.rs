//! Why a whole batch is refused: its envelope cannot be read, so there is nothing to store and no index to name.
//!
//! The set is closed and the codes are part of the wire contract: they never change their meaning.

use std::fmt;

/// What is wrong with the envelope. The display text is one sentence for the person who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BatchFault {
    /// Nothing, or nothing but white space.
    #[error("The body is empty.")]
    BodyEmpty,
    /// Cut short, bytes after the end, text that is not UTF-8, `NaN`, a lone surrogate, or no JSON at all.
    #[error("The body is not valid JSON.")]
    JsonSyntax,
    /// More levels than `MAX_DEPTH`.
    #[error("The JSON is nested too deeply.")]
    JsonDepth,
    /// Cut short, bytes after the end, or no `MessagePack` at all.
    #[error("The body is not valid MessagePack.")]
    MsgpackSyntax,
    /// More levels than `MAX_DEPTH`.
    #[error("The MessagePack is nested too deeply.")]
    MsgpackDepth,
    /// Readable, but neither an object with fixes, nor an array, nor a fix.
    #[error("A batch is an object with fixes, an array of fixes, or a single fix.")]
    BatchShape,
    /// `fixes` is there, but is no array.
    #[error("fixes must be an array of objects.")]
    FixesType,
    /// No fix in it.
    #[error("The batch holds no fix.")]
    BatchEmpty,
    /// More fixes than the limit.
    #[error("The batch holds more fixes than one batch may have: send several batches.")]
    BatchTooLarge,
    /// `device` is there, but is no text.
    #[error("device must be a string.")]
    DeviceType,
    /// Empty, too long, or with control characters.
    #[error("device must have 1 to 128 characters that can be seen, and no space at either end.")]
    DeviceName,
    /// `id` is there, but neither text nor a 64-bit integer.
    #[error("id must be a string or a 64-bit integer.")]
    IdType,
    /// `type` is there, but is not `batch`.
    #[error("type must be \"batch\" where it is given.")]
    MessageType,
}

/// Every fault that can occur: the catalogue for documents and tests.
pub const BATCH_CATALOGUE: &[BatchFault] = &[
    BatchFault::BodyEmpty,
    BatchFault::JsonSyntax,
    BatchFault::JsonDepth,
    BatchFault::MsgpackSyntax,
    BatchFault::MsgpackDepth,
    BatchFault::BatchShape,
    BatchFault::FixesType,
    BatchFault::BatchEmpty,
    BatchFault::BatchTooLarge,
    BatchFault::DeviceType,
    BatchFault::DeviceName,
    BatchFault::IdType,
    BatchFault::MessageType,
];

impl BatchFault {
    /// The stable code, as in `batch_too_large`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BodyEmpty => "body_empty",
            Self::JsonSyntax => "json_syntax",
            Self::JsonDepth => "json_depth",
            Self::MsgpackSyntax => "msgpack_syntax",
            Self::MsgpackDepth => "msgpack_depth",
            Self::BatchShape => "batch_shape",
            Self::FixesType => "fixes_type",
            Self::BatchEmpty => "batch_empty",
            Self::BatchTooLarge => "batch_too_large",
            Self::DeviceType => "device_type",
            Self::DeviceName => "device_name",
            Self::IdType => "id_type",
            Self::MessageType => "message_type",
        }
    }

    /// The error, with the place in the body where it was noticed.
    #[cold]
    pub(crate) const fn at(self, offset_bytes: usize) -> BatchError {
        BatchError { fault: self, offset_bytes: Some(offset_bytes) }
    }

    /// The error, where no single place is at fault.
    #[cold]
    pub(crate) const fn whole(self) -> BatchError {
        BatchError { fault: self, offset_bytes: None }
    }
}

/// A refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// What is wrong.
    pub fault: BatchFault,
    /// Where it was noticed, counted in bytes of the body from 0; at most the length of the body.
    pub offset_bytes: Option<usize>,
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(formatter)?;
        match self.offset_bytes {
            Some(offset_bytes) => write!(formatter, " Noticed at byte {offset_bytes}."),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BatchError {}
