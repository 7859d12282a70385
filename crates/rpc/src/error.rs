//! How calls fail: gRPC's codes, because Docker's messages carry them.

use errdefs::{Classify, ErrorKind};
use std::io;
use tonic::Status;

/// gRPC's status codes, as far as we use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

/// A call's failure, printed as Go's gRPC prints it: `rpc error: code = … desc = …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Error::new(Code::Unavailable, message)
    }
}

/// gRPC's codes and ours.
const CODES: [(tonic::Code, Code); 14] = [
    (tonic::Code::Cancelled, Code::Cancelled),
    (tonic::Code::Unknown, Code::Unknown),
    (tonic::Code::InvalidArgument, Code::InvalidArgument),
    (tonic::Code::DeadlineExceeded, Code::DeadlineExceeded),
    (tonic::Code::NotFound, Code::NotFound),
    (tonic::Code::AlreadyExists, Code::AlreadyExists),
    (tonic::Code::PermissionDenied, Code::PermissionDenied),
    (tonic::Code::ResourceExhausted, Code::ResourceExhausted),
    (tonic::Code::FailedPrecondition, Code::FailedPrecondition),
    (tonic::Code::Aborted, Code::Aborted),
    (tonic::Code::Unimplemented, Code::Unimplemented),
    (tonic::Code::Internal, Code::Internal),
    (tonic::Code::Unavailable, Code::Unavailable),
    (tonic::Code::Unauthenticated, Code::Unauthenticated),
];

impl From<Error> for Status {
    fn from(err: Error) -> Self {
        let code = CODES.iter().find(|(_, ours)| *ours == err.code);
        Status::new(code.map_or(tonic::Code::Unknown, |(theirs, _)| *theirs), err.message)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let code = CODES.iter().find(|(theirs, _)| *theirs == status.code());
        Error::new(code.map_or(Code::Unknown, |(_, ours)| *ours), status.message())
    }
}

impl From<Error> for io::Error {
    fn from(err: Error) -> Self {
        let kind = match err.code {
            Code::PermissionDenied | Code::Unauthenticated => io::ErrorKind::PermissionDenied,
            Code::DeadlineExceeded => io::ErrorKind::TimedOut,
            Code::NotFound => io::ErrorKind::NotFound,
            Code::AlreadyExists => io::ErrorKind::AlreadyExists,
            Code::InvalidArgument => io::ErrorKind::InvalidInput,
            Code::Unimplemented => io::ErrorKind::Unsupported,
            Code::Unavailable | Code::Cancelled | Code::Aborted => io::ErrorKind::ConnectionAborted,
            Code::Unknown | Code::ResourceExhausted | Code::FailedPrecondition | Code::Internal => {
                io::ErrorKind::Other
            }
        };
        io::Error::new(kind, err)
    }
}

/// dockerd's mapping of gRPC codes to HTTP statuses.
impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self.code {
            Code::InvalidArgument => ErrorKind::InvalidParameter,
            Code::NotFound => ErrorKind::NotFound,
            Code::AlreadyExists | Code::Aborted => ErrorKind::Conflict,
            Code::PermissionDenied => ErrorKind::Forbidden,
            Code::Unauthenticated => ErrorKind::Unauthorized,
            Code::Unimplemented => ErrorKind::NotImplemented,
            Code::FailedPrecondition | Code::Unavailable => ErrorKind::Unavailable,
            Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Internal => ErrorKind::System,
        }
    }
}
