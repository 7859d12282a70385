//! The control plane: the leader's loop, the dispatcher, what the API writes, who may join.
