//! A store in memory that behaves as badly as a real one may: it answers late and out of order, loses answers, hands
//! messages out twice, and crashes. The same seed in the same single-threaded test misbehaves in the same way.
//!
//! A crash keeps what was acknowledged. Of what was not, it keeps some and drops some, whole each time.

mod backend;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Clock, ManualClock, Store, SystemClock};

use backend::Life;
use world::World;

/// When the clock of a simulation begins: 2023-11-14T22:13:20Z.
const START_MS: i64 = 1_700_000_000_000;

impl Store {
    /// A store in memory whose answers come in an order that depends on the seed, without other faults, and with
    /// the real time. See [`Sim`] for more control.
    pub fn sim(seed: u64) -> Store {
        Sim::with_clock(seed, Faults::DELAYS, Arc::new(SystemClock)).store()
    }
}

/// A simulated store, its faults, and the power to crash it.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
    life: Arc<Mutex<Arc<Life>>>,
}

/// How often things go wrong, in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// The most turns of the scheduler an operation waits before and after its effect.
    pub turns_max: u32,
    /// Operations that answer [`crate::Error::Unknown`] and had no effect.
    pub lost_before: u32,
    /// Writes that answer [`crate::Error::Unknown`] and had their effect.
    pub lost_after: u32,
    /// Leases that end at once, while their holder believes otherwise.
    pub leases_cut: u32,
}

impl Faults {
    /// Everything goes well and at once.
    pub const NONE: Faults = Faults {
        turns_max: 0,
        lost_before: 0,
        lost_after: 0,
        leases_cut: 0,
    };
    /// Everything goes well, some things before others.
    pub const DELAYS: Faults = Faults {
        turns_max: 4,
        ..Faults::NONE
    };
    /// Everything that may go wrong does so often.
    pub const ALL: Faults = Faults {
        turns_max: 6,
        lost_before: 100,
        lost_after: 100,
        leases_cut: 150,
    };
}

impl Sim {
    /// An empty store with a clock that stands still until moved.
    pub fn new(seed: u64, faults: Faults) -> (Sim, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(START_MS));
        (
            Sim::with_clock(seed, faults, Arc::clone(&clock) as _),
            clock,
        )
    }

    /// An empty store with this clock.
    pub fn with_clock(seed: u64, faults: Faults, clock: Arc<dyn Clock>) -> Sim {
        let shared = Arc::new(Shared {
            world: Mutex::default(),
            dice: Mutex::new(Dice(seed)),
            faults: Mutex::new(faults),
            clock,
        });
        let life = Arc::new(Mutex::new(Life::new(&shared)));
        Sim { shared, life }
    }

    /// A handle on the store, opening it again after a [`Store::close`].
    pub fn store(&self) -> Store {
        let mut life = self.life();
        if life.is_over() {
            lock(&self.shared.world).forget_leases();
            *life = Life::new(&self.shared);
        }
        life.store()
    }

    /// Ends this life of the store: all its handles answer [`crate::Error::Closed`] from now on, operations under way
    /// among them. The returned handle is on what the crash left.
    pub fn crash(&self) -> Store {
        self.life().end();
        self.store()
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    fn life(&self) -> MutexGuard<'_, Arc<Life>> {
        lock(&self.life)
    }
}

/// What outlives a crash.
struct Shared {
    world: Mutex<World>,
    dice: Mutex<Dice>,
    faults: Mutex<Faults>,
    clock: Arc<dyn Clock>,
}

impl Shared {
    fn faults(&self) -> Faults {
        *lock(&self.faults)
    }

    /// Whether something happens that happens so often in a thousand.
    fn strikes(&self, in_thousand: u32) -> bool {
        in_thousand > 0 && lock(&self.dice).below(1000) < in_thousand
    }

    /// Lets others go first, for some turns.
    async fn dawdle(&self) {
        let turns_max = self.faults().turns_max;
        let turns = if turns_max == 0 {
            0
        } else {
            lock(&self.dice).below(turns_max + 1)
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

/// A small generator of numbers that look random (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        u32::try_from(mixed % u64::from(end)).expect("the rest is below a u32")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only a failed assertion of this module can poison it, and the test fails then anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
