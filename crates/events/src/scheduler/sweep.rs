//! Removes what is in groups that are being deleted, then the groups. A round after a crash is a round like any other.

use super::record::{GROUPS, GroupRecord, SCHEDULES, ScheduleRecord};
use super::{Error, Scheduler};
use crate::shelf::Edit;

/// How long until a round that failed is repeated.
const REPEAT_MS: i64 = 5_000;

impl Scheduler {
    /// Works until it is dropped.
    pub async fn sweep(self) {
        let inner = &self.inner;
        loop {
            let told = inner.sweep.notified();
            match self.sweep_once().await {
                Ok(()) => told.await,
                Err(error) => {
                    tracing::error!(%error, "a schedule group could not be deleted; it is tried again");
                    inner
                        .clock
                        .sleep_until(inner.clock.now_ms() + REPEAT_MS)
                        .await;
                }
            }
        }
    }

    async fn sweep_once(&self) -> Result<(), Error> {
        let inner = &self.inner;
        for (rest, held) in inner.groups.list(GROUPS) {
            if !held.record.deleting {
                continue;
            }
            for (name, _) in inner.schedules.list(&format!("{SCHEDULES}{rest}/")) {
                let key = format!("{SCHEDULES}{rest}/{name}");
                let remove = |_: Option<&ScheduleRecord>| Ok::<_, Error>(Edit::Remove(()));
                inner.schedules.change(&key, remove).await?;
            }
            let remove = |_: Option<&GroupRecord>| Ok::<_, Error>(Edit::Remove(()));
            inner
                .groups
                .change(&format!("{GROUPS}{rest}"), remove)
                .await?;
        }
        Ok(())
    }
}
