//! Whole clusters in one process: real directories, and a wire that can be cut.

mod disk;
mod fail;
mod history;
mod member;
mod world;
