//! What a function may reach: the server's rule, and the function's own wish by the tag `mayfly:internet`.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{FunctionSpec, NetworkPolicy};

use crate::error::Error;
use crate::{Config, Inner};

/// Not one of AWS's: there a function without a VPC reaches the internet, and one in a VPC reaches what its subnets do.
pub(crate) const TAG: &str = "mayfly:internet";
const OPEN: &str = "open";
const CLOSED: &str = "closed";
/// Ends the key of a specification that opens the internet, so that no environment serves both.
const KEY_SUFFIX: &str = "+internet";

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

/// The key of a specification with this policy.
pub(crate) fn key_for(key: String, network: NetworkPolicy) -> String {
    match network {
        NetworkPolicy::Endpoint => key,
        NetworkPolicy::Internet => key + KEY_SUFFIX,
    }
}

impl Inner {
    /// The same specification under another policy.
    pub(crate) fn under(
        &self,
        spec: &Arc<FunctionSpec>,
        network: NetworkPolicy,
    ) -> Arc<FunctionSpec> {
        if spec.network == network {
            return Arc::clone(spec);
        }
        let plain = spec.key.strip_suffix(KEY_SUFFIX).unwrap_or(&spec.key);
        let spec = Arc::new(FunctionSpec {
            key: key_for(plain.to_owned(), network),
            network,
            ..FunctionSpec::clone(spec)
        });
        self.code.keep(&spec);
        spec
    }
}
