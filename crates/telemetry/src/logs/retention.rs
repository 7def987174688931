//! Removes what is past its time: events beyond their group's retention, and what interrupted deletions left.

use super::archive::Archive;
use crate::Result;

/// The numbers of days that AWS takes.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>
pub(super) const DAYS: [i64; 23] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653, 3654,
];

impl Archive {
    /// One round over all groups; answers how many events it removed.
    pub(crate) async fn expire(&self) -> Result<u64> {
        self.sweep().await?;
        let now_ms = self.clock.now_ms();
        let mut removed = 0;
        for group in self.all_groups().await? {
            let Some(before_ms) = group.expiry_ms(now_ms) else {
                continue;
            };
            for (stream, info) in self.infos(&group, "").await? {
                if info.first_ms.is_some_and(|first| first < before_ms) {
                    removed += self.trim(&group, &stream, before_ms).await?;
                }
            }
        }
        Ok(removed)
    }
}
