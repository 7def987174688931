//! When an idle environment is worth its memory: a histogram of idle times for each version, after the policy that
//! Shahrad et al. published with their study of Azure Functions (USENIX ATC 2020).
//!
//! A version whose idle times have a pattern is ready from a little before the shortest of them until a little after the
//! longest, and gives its memory back in between when memory is short. One without a pattern is kept for a fixed time.
//! Nothing here looks at a clock: moments are durations that the caller passes in.

#[cfg(test)]
mod simulation;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::spec::FunctionSpec;

/// The width of a bin.
const BIN: Duration = Duration::from_secs(60);
/// Idle times of up to four hours are told apart; longer ones are only counted.
const BINS: usize = 240;
/// Idle times that must be known before they are believed to be a pattern.
const OBSERVATIONS_MIN: u32 = 6;
/// The bins' coefficient of variation from which they are a pattern; even bins have none.
const VARIATION_MIN: f64 = 2.0;
/// Then every count is halved, so that a version may change its habits.
const OBSERVATIONS_MAX: u32 = 1024;
/// An environment is ready from this share of idle times on ...
const FIRST: f64 = 0.05;
/// ... until that share of them,
const LAST: f64 = 0.99;
/// each with this margin, up to the second.
const MARGIN: (f64, Duration) = (0.1, Duration::from_secs(300));
/// Where memory is short, a window at least as wide is no pattern: it costs more memory than a fixed time.
const WIDE: Duration = Duration::from_secs(40 * 60);
/// Where memory is short, an environment outside of its window is still kept this long: calls come in groups.
const GRACE: Duration = BIN;
/// Versions that are remembered. The one that was idle for longest is forgotten first.
const VERSIONS_MAX: usize = 10_000;

/// From when until when after its last use a version is likely to be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    opens: Duration,
    closes: Duration,
}

/// How long environments are kept, as the machine is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    /// Without a pattern.
    pub(crate) fixed: Duration,
    /// Whether memory is short: then a pattern also shortens.
    pub(crate) scarce: bool,
}

impl Keeping {
    /// The window, where it is worth its memory.
    fn useful(&self, window: Option<Window>) -> Option<Window> {
        // An operator who keeps nothing means it.
        window.filter(|w| !self.fixed.is_zero() && (!self.scarce || w.closes - w.opens < WIDE))
    }

    /// How long an environment is kept in any case.
    fn least(&self, window: Option<Window>) -> Duration {
        match self.useful(window) {
            Some(_) if self.scarce => GRACE.min(self.fixed),
            _ => self.fixed,
        }
    }

    /// Whether one that has been idle for this long is kept whatever its version's pattern: no need to look.
    pub(crate) fn keeps_in_any_case(&self, idle: Duration) -> bool {
        idle < GRACE.min(self.fixed)
    }

    /// Whether an environment that has been idle for this long is worth its memory.
    pub(crate) fn keeps(&self, window: Option<Window>, idle: Duration) -> bool {
        idle < self.least(window) || self.expects(window, idle)
    }

    /// Whether a version that has been idle for this long is likely to be called now.
    fn expects(&self, window: Option<Window>, idle: Duration) -> bool {
        let window = self.useful(window);
        window.is_some_and(|w| w.opens <= idle && idle < w.closes)
    }
}

/// Idle times, in bins.
#[derive(Clone)]
struct Histogram {
    bins: [u16; BINS],
    total: u32,
    /// Longer than the last bin.
    beyond: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bins: [0; BINS],
            total: 0,
            beyond: 0,
        }
    }
}

impl Histogram {
    fn add(&mut self, idle: Duration) {
        if self.total + self.beyond >= OBSERVATIONS_MAX {
            self.bins.iter_mut().for_each(|bin| *bin /= 2);
            self.total = self.bins.iter().map(|bin| u32::from(*bin)).sum();
            self.beyond /= 2;
        }
        let bin = idle.as_secs() / BIN.as_secs();
        match usize::try_from(bin)
            .ok()
            .and_then(|bin| self.bins.get_mut(bin))
        {
            Some(bin) => {
                *bin += 1;
                self.total += 1;
            }
            None => self.beyond += 1,
        }
    }

    /// The bin below which this share of idle times is.
    fn percentile(&self, share: f64) -> u32 {
        let wanted = (f64::from(self.total) * share).max(1.0);
        let mut seen = 0.0;
        for (index, bin) in (0_u32..).zip(&self.bins) {
            seen += f64::from(*bin);
            if seen >= wanted {
                return index;
            }
        }
        0
    }

    /// The coefficient of variation of the counts.
    fn variation(&self) -> f64 {
        let bins = self.bins.len() as f64;
        let mean = f64::from(self.total) / bins;
        let squares = self.bins.iter().map(|bin| (f64::from(*bin) - mean).powi(2));
        (squares.sum::<f64>() / bins).sqrt() / mean
    }

    /// The window, where there is a pattern.
    fn window(&self) -> Option<Window> {
        let known = self.total >= OBSERVATIONS_MIN && self.total > self.beyond;
        if !known || self.variation() < VARIATION_MIN {
            return None;
        }
        let opens = BIN * self.percentile(FIRST);
        let closes = BIN * (self.percentile(LAST) + 1);
        let margin = |of: Duration| of.mul_f64(MARGIN.0).min(MARGIN.1);
        Some(Window {
            opens: opens - margin(opens),
            closes: closes + margin(closes),
        })
    }
}

/// What is known of one version. Environments of the version hold it.
pub(crate) struct Version {
    spec: Arc<FunctionSpec>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle_times: Histogram,
    /// The last thing that happened: it became idle then, or is at work.
    idle_since: Option<Duration>,
    /// One was made ahead for this idle time already, or it was tried.
    made_ahead: bool,
}

impl Version {
    /// An invocation began, with an environment that had been idle since then, or without one.
    pub(crate) fn begins(&self, now: Duration, idle_since: Option<Duration>) {
        let mut state = self.state();
        // One that meets no environment counts when there was none at work either: it came too late.
        if let Some(since) = idle_since.or(state.idle_since) {
            state.idle_times.add(now.saturating_sub(since));
        }
        state.idle_since = None;
        state.made_ahead = false;
    }

    /// An environment became idle.
    pub(crate) fn ends(&self, now: Duration) {
        self.state().idle_since = Some(now);
    }

    /// Since when none is at work.
    pub(crate) fn idle_since(&self) -> Option<Duration> {
        self.state().idle_since
    }

    pub(crate) fn window(&self) -> Option<Window> {
        self.state().idle_times.window()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters are changed together, so a panic elsewhere leaves them true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All versions that ran since the start. What is known of them is not kept beyond it: a few calls teach it again.
#[derive(Default)]
pub(crate) struct Prediction {
    versions: Mutex<HashMap<String, Arc<Version>>>,
}

impl Prediction {
    /// The version that is specified so.
    pub(crate) fn version(&self, spec: &Arc<FunctionSpec>) -> Arc<Version> {
        let mut versions = self.versions();
        if let Some(found) = versions.get(&spec.key) {
            return found.clone();
        }
        if versions.len() >= VERSIONS_MAX {
            let oldest = versions
                .iter()
                .min_by_key(|(_, version)| version.idle_since());
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                versions.remove(&key);
            }
        }
        let made = Arc::new(Version {
            spec: spec.clone(),
            state: Mutex::default(),
        });
        versions.insert(spec.key.clone(), made.clone());
        made
    }

    /// Forgets versions that are gone or changed.
    pub(crate) fn forget(&self, key_prefix: &str) {
        self.versions()
            .retain(|key, _| !key.starts_with(key_prefix));
    }

    /// The versions that are about to be called and have no environment, each once for an idle time, and since when they
    /// are idle.
    pub(crate) fn due(
        &self,
        now: Duration,
        keeping: Keeping,
        has_environment: impl Fn(&str) -> bool,
    ) -> Vec<(Arc<FunctionSpec>, Duration)> {
        let mut out = Vec::new();
        for version in self.versions().values() {
            let mut state = version.state();
            let Some(since) = state.idle_since.filter(|_| !state.made_ahead) else {
                continue;
            };
            let idle = now.saturating_sub(since);
            // No window opens before the first bin ends.
            if idle >= BIN
                && keeping.expects(state.idle_times.window(), idle)
                && !has_environment(&version.spec.key)
            {
                state.made_ahead = true;
                out.push((version.spec.clone(), since));
            }
        }
        out
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<String, Arc<Version>>> {
        // A change is one insertion or removal.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Keeping = Keeping {
        fixed: Duration::from_secs(600),
        scarce: true,
    };
    const ROOMY: Keeping = Keeping {
        scarce: false,
        ..SHORT
    };

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    fn after(idle_times: &[Duration]) -> Option<Window> {
        let mut histogram = Histogram::default();
        idle_times.iter().for_each(|idle| histogram.add(*idle));
        histogram.window()
    }

    /// From which to which minute an idle time finds an environment.
    #[track_caller]
    fn check(window: Option<Window>, keeping: Keeping, ready: &[(u64, u64)]) {
        for minute in 0..300 {
            let expected = ready
                .iter()
                .any(|(from, to)| (*from..*to).contains(&minute));
            let found = keeping.keeps(window, minutes(minute));
            assert_eq!(found, expected, "minute {minute} of {window:?}");
        }
    }

    #[test]
    fn every_ten_minutes_is_ready_at_the_ninth() {
        let window = after(&[minutes(10); 8]);
        check(window, SHORT, &[(0, 1), (9, 13)]);
        check(window, ROOMY, &[(0, 13)]);
    }

    #[test]
    fn every_hour_is_ready_before_the_hour() {
        let window = after(&[minutes(60); 8]);
        check(window, SHORT, &[(0, 1), (55, 66)]);
        check(window, ROOMY, &[(0, 10), (55, 66)]);
    }

    #[test]
    fn often_is_kept_no_longer_than_it_takes() {
        let window = after(&[Duration::from_secs(5); 100]);
        check(window, SHORT, &[(0, 2)]);
        check(window, ROOMY, &[(0, 10)]);
    }

    #[test]
    fn without_a_pattern_it_is_kept_for_a_fixed_time() {
        check(after(&[]), SHORT, &[(0, 10)]);
        check(after(&[minutes(30); 5]), SHORT, &[(0, 10)]);
        // As often each minute as any other.
        let even: Vec<_> = (0..240).map(minutes).collect();
        check(after(&even), SHORT, &[(0, 10)]);
        // Mostly once a day.
        let mut daily = vec![minutes(1440); 10];
        daily.extend([minutes(5); 8]);
        check(after(&daily), SHORT, &[(0, 10)]);
    }

    #[test]
    fn a_wide_window_is_for_memory_to_spare() {
        let hours: Vec<_> = (0..20).map(|n| minutes(5 + n * 4)).collect();
        let window = after(&hours);
        check(window, SHORT, &[(0, 10)]);
        check(window, ROOMY, &[(0, 87)]);
    }

    #[test]
    fn habits_change() {
        let mut idle_times = vec![minutes(2); 5000];
        idle_times.extend(vec![minutes(45); 4000]);
        let window = after(&idle_times);
        assert!(SHORT.keeps(window, minutes(45)));
        assert!(!SHORT.keeps(window, minutes(20)));
    }
}
