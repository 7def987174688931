//! Removes content that no record names any more: what was overwritten or deleted, and what a crash left behind.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{debug, warn};

use crate::{Buckets, Result};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(3600);
/// How long content stays that nobody names: it may be on its way into a record.
const GRACE_MS: i64 = 3600 * 1000;
/// How many blobs are looked at together.
const PAGE: usize = 1000;

impl Buckets {
    /// Sweeps at the start, when nothing is on its way, and then every hour what is an hour old.
    pub(crate) async fn sweep_for_ever(self) {
        // Nothing was on its way into a record when the process began.
        let mut since_ms = self.0.opened_ms;
        loop {
            match self.sweep(since_ms).await {
                Ok(removed) => debug!(removed, "content that nobody names was removed"),
                // The next time finds it again.
                Err(error) => warn!(%error, "content that nobody names could not be removed"),
            }
            tokio::time::sleep(EVERY).await;
            since_ms = self.now_ms() - GRACE_MS;
        }
    }

    /// Removes content that nobody names, and nobody has put since then. Returns how many blobs that were.
    async fn sweep(&self, since_ms: i64) -> Result<usize> {
        // Small content is written in one step with the record that names it, so of what is older than this the record
        // is there, if there is one.
        let before = self.shelf().revision().await?;
        let mut named = HashSet::new();
        self.shelf()
            .mark(|digest| {
                named.insert(digest);
            })
            .await?;
        let is_named = |digest: &_| named.contains(digest);
        let mut removed = self.shelf().sweep_small(before, is_named).await?;
        let mut after = None;
        loop {
            let page = self.objects().list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(removed);
            };
            after = Some(last.digest);
            for blob in page.iter().filter(|blob| !named.contains(&blob.digest)) {
                removed += usize::from(
                    self.objects()
                        .delete_untouched(&blob.digest, since_ms)
                        .await?,
                );
            }
        }
    }
}
