//! What a function may reach: the server's rule, and the function's own wish by the tag `mayfly:internet`.

use std::collections::BTreeMap;

use engine::NetworkPolicy;

use crate::Config;
use crate::error::Error;

/// Not one of AWS's: there a function without a VPC reaches the internet, and one in a VPC reaches what its subnets do.
pub(crate) const TAG: &str = "mayfly:internet";
const OPEN: &str = "open";
const CLOSED: &str = "closed";

impl Config {
    /// What a function with these tags may reach. Tags that were set while the server allowed more do not count now.
    pub(crate) fn network_of(&self, tags: &BTreeMap<String, String>) -> NetworkPolicy {
        match tags.get(TAG).map(String::as_str) {
            None => self.network,
            Some(OPEN) if self.internet_by_tag => NetworkPolicy::Internet,
            Some(OPEN) => self.network,
            // Closed, or not understood, which closes.
            Some(_) => NetworkPolicy::Endpoint,
        }
    }

    /// Refuses a wish that would have no effect.
    pub(crate) fn check_internet_tag(&self, tags: &BTreeMap<String, String>) -> Result<(), Error> {
        match tags.get(TAG).map(String::as_str) {
            None | Some(CLOSED) => Ok(()),
            Some(OPEN) if self.network_of(tags) == NetworkPolicy::Internet => Ok(()),
            Some(OPEN) => Err(Error::InternetClosed),
            Some(_) => Err(Error::InternetTag),
        }
    }
}
