//! Runs on every node: what managers assign becomes containers, what they do becomes statuses.
