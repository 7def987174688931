//! Which names get into the log. Functions choose them, and may choose thousands: each name of a function is told once in a
//! while, and not more than a few of one function.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// A function's name is told again after this time.
const EVERY: Duration = Duration::from_secs(600);
/// Names of one function that are told in that time; further ones are counted.
const NAMES_MAX: usize = 16;
/// Functions that are remembered.
const FUNCTIONS_MAX: usize = 1024;

/// The names that were told.
#[derive(Default)]
pub(super) struct ToldNames(HashMap<String, Told>);

struct Told {
    since: Instant,
    names: HashSet<String>,
    untold: u64,
}

impl ToldNames {
    /// Whether a name is to be told now, and then how many others of the function were not.
    pub(super) fn tell(&mut self, function: &str, name: &str, now: Instant) -> Option<u64> {
        let is_over = |told: &Told| now.saturating_duration_since(told.since) >= EVERY;
        if !self.0.contains_key(function) && self.0.len() >= FUNCTIONS_MAX {
            self.0.retain(|_, told| !is_over(told));
            if self.0.len() >= FUNCTIONS_MAX {
                return None;
            }
        }
        let told = self.0.entry(function.to_owned()).or_insert_with(|| Told {
            since: now,
            names: HashSet::new(),
            untold: 0,
        });
        if is_over(told) {
            told.since = now;
            told.names.clear();
        }
        // DNS does not tell them apart.
        let name = name.to_ascii_lowercase();
        if told.names.contains(&name) {
            return None;
        }
        if told.names.len() >= NAMES_MAX {
            told.untold += 1;
            return None;
        }
        told.names.insert(name);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_once_in_a_while() {
        let (mut told, start) = (ToldNames::default(), Instant::now());
        assert_eq!(told.tell("f", "db.example.com", start), Some(0));
        assert_eq!(told.tell("f", "DB.example.com", start), None);
        assert_eq!(told.tell("g", "db.example.com", start), Some(0));
        assert_eq!(
            told.tell("f", "db.example.com", start + EVERY / 2),
            None,
            "not yet"
        );
        assert_eq!(told.tell("f", "db.example.com", start + EVERY), Some(0));
    }

    #[test]
    fn a_function_of_many_names_does_not_fill_the_log() {
        let (mut told, start) = (ToldNames::default(), Instant::now());
        let tell = |told: &mut ToldNames, n: usize, at| told.tell("f", &format!("{n}.a"), at);
        let lines = (0..1000).filter(|n| tell(&mut told, *n, start).is_some());
        assert_eq!(lines.count(), NAMES_MAX);
        assert_eq!(
            tell(&mut told, 0, start + EVERY),
            Some(1000 - NAMES_MAX as u64)
        );
        for n in 0..2 * FUNCTIONS_MAX {
            told.tell(&n.to_string(), "a", start + EVERY);
        }
        assert_eq!(told.0.len(), FUNCTIONS_MAX);
        assert_eq!(told.tell("late", "a", start + EVERY), None);
        assert_eq!(told.tell("late", "a", start + EVERY * 2), Some(0));
    }
}
