//! The replicated log: one store on every manager, in the same order.
