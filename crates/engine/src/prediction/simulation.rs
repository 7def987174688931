//! Two weeks of calls, replayed in a moment: how often a call finds no environment and how long environments wait in
//! vain, against a fixed keep-alive of ten minutes.
//!
//! The calls are drawn, none is copied, to figures that Shahrad et al. report of Azure Functions (USENIX ATC 2020,
//! section 3): 45 % of applications are called at most once an hour on average and 81 % at most once a minute, over eight
//! orders of magnitude, which two quantiles of a log-normal distribution hit; 16 % of functions are on timers, and the
//! times between calls of the rest vary from as much as chance makes them to much more.

use std::time::Duration;

use super::{Histogram, Keeping, Window};

const APPLICATIONS: usize = 600;
const DAYS: u64 = 14;
/// Calls of one application that are replayed: beyond, all policies keep it warm for good.
const CALLS_MAX: usize = 1500;
const FIXED: Duration = Duration::from_secs(600);
/// log10 of calls a day: the two quantiles above.
const RATE: (f64, f64) = (1.603, 1.772);

/// xorshift64*: the same calls in every run.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        (bits as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }
}

/// The idle times of one application, in seconds.
fn application(random: &mut Random) -> Vec<f64> {
    let per_day = 10_f64.powf(RATE.0 + RATE.1 * random.normal());
    let mean = 86_400.0 / per_day;
    let kind = random.unit();
    let mut next = || match kind {
        // On a timer, of whole minutes, a little late each time.
        kind if kind < 0.16 => {
            let period = (mean / 60.0).ceil() * 60.0;
            period + random.exponential(0.5)
        }
        // By chance.
        kind if kind < 0.58 => random.exponential(mean),
        // In groups: nine short times for a long one.
        _ => {
            let long = random.unit() < 0.1;
            random.exponential(if long { mean * 9.1 } else { mean * 0.1 })
        }
    };
    let end = (DAYS * 86_400) as f64;
    let mut now = 0.0;
    let mut out = Vec::new();
    while out.len() < CALLS_MAX {
        let idle = next();
        now += idle;
        if now > end {
            break;
        }
        out.push(idle);
    }
    out
}

#[derive(Default)]
struct Figures {
    /// The share of calls that found none, of each application.
    cold: Vec<f64>,
    /// Seconds that environments waited.
    waited: f64,
}

impl Figures {
    fn third_quartile(&self) -> f64 {
        let mut sorted = self.cold.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() * 3 / 4).copied().unwrap_or(0.0)
    }

    fn mean(&self) -> f64 {
        self.cold.iter().sum::<f64>() / self.cold.len() as f64
    }
}

/// One way to keep environments.
struct Policy {
    name: &'static str,
    keeping: Keeping,
    predicts: bool,
    figures: Figures,
}

impl Policy {
    fn new(name: &'static str, fixed: Duration, scarce: bool, predicts: bool) -> Policy {
        Policy {
            name,
            keeping: Keeping { fixed, scarce },
            predicts,
            figures: Figures::default(),
        }
    }

    /// One call after this time. Says whether it found none.
    fn call(&mut self, idle: f64, window: Option<Window>) -> bool {
        let window = window.filter(|_| self.predicts);
        let window = self.keeping.useful(window);
        let least = self.keeping.least(window).as_secs_f64();
        self.figures.waited += idle.min(least);
        if let Some(window) = window {
            let opens = window.opens.as_secs_f64().max(least);
            let closes = window.closes.as_secs_f64();
            self.figures.waited += (idle.min(closes) - opens).max(0.0);
        }
        !self.keeping.keeps(window, Duration::from_secs_f64(idle))
    }
}

fn replay(calls: &[f64], policies: &mut [Policy]) {
    let mut histogram = Histogram::default();
    let mut cold = vec![0.0; policies.len()];
    for idle in calls {
        let window = histogram.window();
        for (policy, cold) in policies.iter_mut().zip(&mut cold) {
            *cold += f64::from(u8::from(policy.call(*idle, window)));
        }
        histogram.add(Duration::from_secs_f64(*idle));
    }
    for (policy, cold) in policies.iter_mut().zip(cold) {
        policy.figures.cold.push(cold / calls.len() as f64);
    }
}

#[test]
fn fewer_cold_starts_with_less_memory() {
    let mut random = Random(20_251_125);
    let mut policies = [
        Policy::new("fixed, ten minutes", FIXED, false, false),
        Policy::new("fixed, fifty minutes", FIXED * 5, false, false),
        Policy::new("predicted, memory short", FIXED, true, true),
        Policy::new("predicted, memory to spare", FIXED, false, true),
    ];
    for _ in 0..APPLICATIONS {
        let calls = application(&mut random);
        if calls.len() > 1 {
            replay(&calls, &mut policies);
        }
    }
    let [fixed, longer, scarce, roomy] = policies.each_ref().map(|policy| &policy.figures);
    println!("policy                        cold starts, mean  third quartile  memory waiting");
    for Policy { name, figures, .. } in &policies {
        println!(
            "{name:<28} {:>17.1} % {:>13.1} % {:>13.2} x",
            figures.mean() * 100.0,
            figures.third_quartile() * 100.0,
            figures.waited / fixed.waited,
        );
    }
    assert!(scarce.mean() < fixed.mean() && scarce.waited < fixed.waited);
    assert!(roomy.mean() < longer.mean() && roomy.waited < longer.waited);
}
