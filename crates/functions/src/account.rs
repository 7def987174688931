//! GetAccountSettings.

use wire::{Arn, Context, Http, Operation, Scope, Shape};

use crate::Functions;
use crate::archive::UNZIPPED_BYTES_MAX;
use crate::code::ZIPPED_BYTES_MAX;

/// All code of an account in a region: 75 GB (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub(crate) const CODE_STORAGE_BYTES_MAX: u64 = 80_530_636_800;

/// Limits and usage (<https://docs.aws.amazon.com/lambda/latest/api/API_GetAccountSettings.html>).
#[derive(Debug, Shape)]
pub struct GetAccountSettings {}

/// See [`GetAccountSettings`].
#[derive(Debug, Shape)]
pub struct GetAccountSettingsOutput {
    account_limit: Option<AccountLimit>,
    account_usage: Option<AccountUsage>,
}

/// What an account may use.
#[derive(Debug, Shape)]
pub struct AccountLimit {
    total_code_size: Option<u64>,
    code_size_unzipped: Option<u64>,
    code_size_zipped: Option<usize>,
    concurrent_executions: Option<u32>,
    unreserved_concurrent_executions: Option<u32>,
}

/// What an account uses.
#[derive(Debug, Shape)]
pub struct AccountUsage {
    total_code_size: Option<u64>,
    function_count: Option<usize>,
}

impl Operation for GetAccountSettings {
    type Service = Functions;
    type Output = GetAccountSettingsOutput;
    const NAME: &'static str = "GetAccountSettings";
    const HTTP: Http = Http::new("GET", "/2016-08-19/account-settings", 200);

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<GetAccountSettingsOutput, wire::Error> {
        let inner = &functions.inner;
        Ok(GetAccountSettingsOutput {
            account_limit: Some(AccountLimit {
                total_code_size: Some(CODE_STORAGE_BYTES_MAX),
                code_size_unzipped: Some(UNZIPPED_BYTES_MAX),
                code_size_zipped: Some(ZIPPED_BYTES_MAX),
                concurrent_executions: Some(inner.reserved.limit()),
                unreserved_concurrent_executions: Some(inner.reserved.unreserved(&cx.scope)),
            }),
            account_usage: Some(AccountUsage {
                total_code_size: Some(functions.code_storage(&cx.scope)),
                function_count: Some(inner.functions.list(&cx.scope, None).len()),
            }),
        })
    }
}

impl Functions {
    /// Bytes of all packages: each published version and each layer version counts, shared content or not.
    pub(crate) fn code_storage(&self, at: &Scope) -> u64 {
        let functions = self.inner.functions.list(at, None);
        let of_functions = functions.iter().map(|(_, function)| {
            let versions = function.record.versions.keys();
            let contents = versions.filter_map(|number| function.version(*number));
            let versions: u64 = contents.map(|content| content.code.size).sum();
            versions + function.record.latest.code.size
        });
        let layers = self.inner.layers.list(at, None);
        let of_layers = layers.iter().map(|(_, layer)| {
            let versions = layer.record.versions.values();
            versions.map(|version| version.package.size).sum::<u64>()
        });
        of_functions.chain(of_layers).sum()
    }
}
