//! The verifiers behind [`crate::Credentials`].
