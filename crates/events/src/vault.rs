//! Secrets that must not lie readable in the store.

/// Seals them with a key that is not in the store. The name is a part of it: what was sealed under one opens under no other.
pub trait Vault: Send + Sync {
    /// The sealed form; `None` if this machine gives no random numbers.
    fn seal(&self, name: &str, plain: &[u8]) -> Option<Vec<u8>>;

    /// What was sealed; `None` for anything else, and with another key.
    fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>>;
}
