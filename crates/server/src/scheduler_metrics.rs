//! What becomes of schedules' invocations, as CloudWatch metrics
//! (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/monitoring-cloudwatch.html>).

use std::sync::Arc;

use delivery::{Delivery, Observer, Outcome};
use events::scheduler::PRINCIPAL;
use store::Clock;
use telemetry::{Metric, Telemetry, Unit};

/// Counts in the namespace AWS/Scheduler, by schedule group.
pub struct SchedulerMetrics {
    pub telemetry: Telemetry,
    pub clock: Arc<dyn Clock>,
}

impl Observer for SchedulerMetrics {
    fn saw(&self, delivery: &Delivery, outcome: &Outcome) {
        if delivery.from.service != PRINCIPAL {
            return;
        }
        // A dead letter is a delivery of its own.
        if delivery.is_dead_letter() {
            match outcome {
                Outcome::Delivered => self.count(delivery, "InvocationsSentToDeadLetterCount"),
                Outcome::Buried(_) => {
                    self.count(delivery, "InvocationsFailedToBeSentToDeadLetterCount");
                }
                Outcome::Retried(_) | Outcome::DeadLettered(_) | Outcome::Expired(_) => {}
            }
            return;
        }
        if !matches!(outcome, Outcome::Expired(_)) {
            self.count(delivery, "InvocationAttemptCount");
        }
        match outcome {
            Outcome::Delivered => {}
            Outcome::Expired(_) => self.count(delivery, "InvocationDroppedCount"),
            Outcome::Retried(refusal) => self.failed(delivery, refusal.code),
            Outcome::DeadLettered(refusal) | Outcome::Buried(refusal) => {
                self.failed(delivery, refusal.code);
                self.count(delivery, "InvocationDroppedCount");
            }
        }
    }
}

impl SchedulerMetrics {
    fn failed(&self, delivery: &Delivery, code: &str) {
        let throttled = matches!(code, "THROTTLING" | "TOO_MANY_REQUESTS");
        self.count(
            delivery,
            match throttled {
                true => "TargetErrorThrottledCount",
                false => "TargetErrorCount",
            },
        );
    }

    fn count(&self, delivery: &Delivery, name: &str) {
        let group = delivery
            .from
            .arn
            .resource()
            .split('/')
            .nth(1)
            .unwrap_or_default();
        let dimensions = vec![("ScheduleGroup".to_owned(), group.to_owned())];
        let metric = Metric::new("AWS/Scheduler", name, dimensions);
        let now_ms = self.clock.now_ms();
        self.telemetry
            .metric(&delivery.scope, &metric, Unit::Count, 1.0, now_ms);
    }
}
