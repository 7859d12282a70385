//! Trust: the cluster's root, join tokens, node certificates, and TLS configurations made of them.
