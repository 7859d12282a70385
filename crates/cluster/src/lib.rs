//! This node's part in a cluster: init, join, leave, lock; whether it is manager, agent or neither.
