//! Tables of requests: what each is refused with, or what it writes.

mod kept;
mod services;
mod world;
