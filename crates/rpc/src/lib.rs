//! The cluster's port: gRPC between nodes over mutual TLS, and the Engine API for other nodes on the same port.
