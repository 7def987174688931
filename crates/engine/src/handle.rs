//! What others hold of an environment while somebody owns it: to freeze it, to give it up, and to end its log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandbox::Sandbox;

use crate::log::Log;
use crate::spec::Report;

/// The peak of memory is measured again after this long: reading it costs more than a short invocation.
const MEMORY_FRESH: Duration = Duration::from_millis(50);

/// What others may do to an environment while somebody else owns it.
pub(crate) struct Handle {
    pub(crate) id: u64,
    /// [`FunctionSpec::key`].
    pub(crate) key: String,
    /// Not to be used again.
    pub(crate) retired: AtomicBool,
    /// Its runtime ended while it was idle.
    pub(crate) dead: AtomicBool,
    /// Counts uses, so that freezing can tell whether it came too late.
    pub(crate) uses: AtomicU64,
    frozen: Mutex<bool>,
    memory: Mutex<Memory>,
    epilogue: Mutex<Option<Epilogue>>,
    pub(crate) sandbox: Sandbox,
}

/// What an environment's memory came to.
#[derive(Default)]
struct Memory {
    peak: u64,
    measured: Option<Instant>,
}

/// The end of an invocation in the log, while it waits for the peak of memory to be measured.
struct Epilogue {
    log: Arc<Log>,
    report: Report,
    produced: usize,
}

impl Handle {
    pub(crate) fn new(id: u64, key: String, sandbox: Sandbox) -> Handle {
        Handle {
            id,
            key,
            retired: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            uses: AtomicU64::new(0),
            frozen: Mutex::new(false),
            memory: Mutex::default(),
            epilogue: Mutex::default(),
            sandbox,
        }
    }

    /// Ends an invocation in the log when its caller has the answer, and before anything else is said of the environment.
    pub(crate) fn tell_later(&self, log: &Arc<Log>, report: &Report, produced: usize) {
        *self.epilogue() = Some(Epilogue {
            log: log.clone(),
            report: report.clone(),
            produced,
        });
    }

    /// Tells what was to be told later.
    pub(crate) fn tell(&self) {
        // Held until it is told, so that whoever comes second finds it in the log.
        let mut epilogue = self.epilogue();
        if let Some(Epilogue {
            log,
            mut report,
            produced,
        }) = epilogue.take()
        {
            self.measure_memory();
            report.max_memory_mb = self.memory_peak_mb(report.memory_mb);
            log.end(&report, produced);
        }
    }

    fn epilogue(&self) -> MutexGuard<'_, Option<Epilogue>> {
        self.epilogue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the peak of memory was measured a moment ago.
    pub(crate) fn knows_memory(&self) -> bool {
        let measured = self.memory().measured;
        measured.is_some_and(|at| at.elapsed() < MEMORY_FRESH)
    }

    /// Looks at the peak of memory. It takes as long as a short invocation.
    pub(crate) fn measure_memory(&self) {
        if let Ok(peak) = self.sandbox.memory_peak() {
            let mut memory = self.memory();
            memory.peak = memory.peak.max(peak);
            memory.measured = Some(Instant::now());
        }
    }

    /// The peak of memory when it was last measured, in megabytes, and not more than the function may have.
    pub(crate) fn memory_peak_mb(&self, limit_mb: u32) -> u32 {
        let mb = self.memory().peak.div_ceil(1 << 20);
        u32::try_from(mb).unwrap_or(u32::MAX).min(limit_mb)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops its processes, unless it has been used since `uses`.
    pub(crate) fn freeze(&self, uses: u64) {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.uses.load(Ordering::Acquire) == uses && !*frozen {
            match self.sandbox.freeze() {
                Ok(()) => *frozen = true,
                Err(error) => {
                    tracing::warn!(environment = self.id, %error, "an idle environment was not frozen")
                }
            }
        }
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> Result<(), sandbox::Error> {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if *frozen {
            self.sandbox.thaw()?;
            *frozen = false;
        }
        Ok(())
    }

    pub(crate) fn usable(&self) -> bool {
        !self.retired.load(Ordering::Acquire) && !self.dead.load(Ordering::Acquire)
    }
}
