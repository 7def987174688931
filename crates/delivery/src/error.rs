//! Why the outbox did not take a delivery.

/// What can go wrong on the way into the outbox.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It cannot be kept.
    #[error("a delivery of {bytes} bytes is larger than the {limit} that the outbox takes")]
    TooLarge {
        /// Its payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too much waits, or nobody has dealt with what could not be delivered.
    #[error("the outbox holds {limit} deliveries and takes no more: see docs/delivery.md")]
    Full {
        /// The limit.
        limit: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}
