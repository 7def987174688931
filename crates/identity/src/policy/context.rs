//! The request context: the facts of one request that conditions and variables may ask for.

use std::cell::LazyCell;

/// Facts that may be asked for. Most policies ask for none, so whoever gathers them may wait until one does.
pub trait Known {
    /// The values of a key that is already in lower case; `None` where the request does not carry it.
    fn get(&self, lower_case_key: &str) -> Option<&[String]>;
}

impl<F: FnOnce() -> Context> Known for LazyCell<Context, F> {
    fn get(&self, lower_case_key: &str) -> Option<&[String]> {
        LazyCell::force(self).get(lower_case_key)
    }
}

/// Condition keys and their values. Keys compare without regard to case
/// (`IAM/latest/UserGuide/reference_policies_elements_condition.html`), values as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// About a dozen keys a request: walking them beats hashing them.
    entries: Vec<(String, Vec<String>)>,
}

impl Context {
    /// Sets a single-valued key, replacing what was there.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, vec![value.into()]);
    }

    /// Sets a key to several values. No values at all is a key that is there and null.
    pub fn set_all(&mut self, key: &str, values: Vec<String>) {
        let key = key.to_lowercase();
        match self.entries.iter_mut().find(|(own, _)| *own == key) {
            Some((_, own)) => *own = values,
            None => self.entries.push((key, values)),
        }
    }

    /// Whether the request carries the key at all.
    pub fn has(&self, key: &str) -> bool {
        self.get(&key.to_lowercase()).is_some()
    }
}

impl Known for Context {
    fn get(&self, lower_case_key: &str) -> Option<&[String]> {
        self.entries
            .iter()
            .find(|(key, _)| key == lower_case_key)
            .map(|(_, values)| values.as_slice())
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Context {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut context = Self::default();
        for (key, value) in pairs {
            context.set(key.as_ref(), value);
        }
        context
    }
}
