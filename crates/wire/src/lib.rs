//! See ARCHITECTURE.md.

pub mod sigv4;
