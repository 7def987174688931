//! AWS's runtime identifiers, in the order of its model.

/// What kind of toolchain an identifier needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// CPython of one minor version.
    Python(u8, u8),
    /// Any executable called `bootstrap`.
    Provided,
    /// Node.js of one major version; not built yet.
    Node(u8),
    /// A Java of one version; not built yet.
    Java(u8),
    /// .NET or .NET Core of one version; not built yet.
    Dotnet(u8, u8),
    /// Ruby of one minor version; not built yet.
    Ruby(u8, u8),
    /// The old Go runtime, which spoke net/rpc and not the Runtime API.
    Go,
    /// A customer-managed runtime; not built yet.
    Custom,
}

impl Family {
    /// What to do when nothing here runs it.
    pub fn advice(self) -> String {
        match self {
            Family::Python(major, minor) => format!(
                "Install Python {major}.{minor} (for example `uv python install {major}.{minor}` or `pyenv install {major}.{minor}`) and restart Mayfly, or name an interpreter in its configuration: `\"python{major}.{minor}\" = \"/path\"` under [runtimes]."
            ),
            Family::Go => "Build the function for provided.al2023: go1.x never spoke the Lambda Runtime API.".to_owned(),
            Family::Provided => "It needs nothing but a bootstrap in the function's code or a layer.".to_owned(),
            Family::Node(_) | Family::Java(_) | Family::Dotnet(..) | Family::Ruby(..) | Family::Custom => {
                "Mayfly does not run this family yet; a provided.al2023 function may bring its own bootstrap.".to_owned()
            }
        }
    }
}

/// Where an identifier is in AWS's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Offered.
    Current,
    /// Past its end, and still accepted.
    Deprecated,
    /// Functions that use it can be neither created nor updated on AWS.
    Blocked,
}

/// One of AWS's identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// Its name.
    pub id: &'static str,
    /// What it needs.
    pub family: Family,
    /// Where AWS has it in its timeline.
    pub lifecycle: Lifecycle,
}

const fn entry(id: &'static str, family: Family, lifecycle: Lifecycle) -> Identifier {
    Identifier {
        id,
        family,
        lifecycle,
    }
}

use Family::{Custom, Dotnet, Go, Java, Node, Provided, Python, Ruby};
use Lifecycle::{Blocked, Current, Deprecated};

/// Every identifier of the `Runtime` enum, in the model's order
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html>, as of November 2026).
pub const IDENTIFIERS: &[Identifier] = &[
    entry("nodejs", Node(0), Blocked),
    entry("nodejs4.3", Node(4), Blocked),
    entry("nodejs6.10", Node(6), Blocked),
    entry("nodejs8.10", Node(8), Blocked),
    entry("nodejs10.x", Node(10), Blocked),
    entry("nodejs12.x", Node(12), Blocked),
    entry("nodejs14.x", Node(14), Blocked),
    entry("nodejs16.x", Node(16), Deprecated),
    entry("java8", Java(8), Blocked),
    entry("java8.al2", Java(8), Current),
    entry("java11", Java(11), Current),
    entry("python2.7", Python(2, 7), Blocked),
    entry("python3.6", Python(3, 6), Blocked),
    entry("python3.7", Python(3, 7), Blocked),
    entry("python3.8", Python(3, 8), Deprecated),
    entry("python3.9", Python(3, 9), Deprecated),
    entry("dotnetcore1.0", Dotnet(1, 0), Blocked),
    entry("dotnetcore2.0", Dotnet(2, 0), Blocked),
    entry("dotnetcore2.1", Dotnet(2, 1), Blocked),
    entry("dotnetcore3.1", Dotnet(3, 1), Blocked),
    entry("dotnet6", Dotnet(6, 0), Deprecated),
    entry("dotnet8", Dotnet(8, 0), Current),
    entry("nodejs4.3-edge", Node(4), Blocked),
    entry("go1.x", Go, Blocked),
    entry("ruby2.5", Ruby(2, 5), Blocked),
    entry("ruby2.7", Ruby(2, 7), Blocked),
    entry("provided", Provided, Blocked),
    entry("provided.al2", Provided, Current),
    entry("nodejs18.x", Node(18), Deprecated),
    entry("python3.10", Python(3, 10), Current),
    entry("java17", Java(17), Current),
    entry("ruby3.2", Ruby(3, 2), Deprecated),
    entry("ruby3.3", Ruby(3, 3), Current),
    entry("ruby3.4", Ruby(3, 4), Current),
    entry("python3.11", Python(3, 11), Current),
    entry("nodejs20.x", Node(20), Deprecated),
    entry("provided.al2023", Provided, Current),
    entry("python3.12", Python(3, 12), Current),
    entry("java21", Java(21), Current),
    entry("python3.13", Python(3, 13), Current),
    entry("nodejs22.x", Node(22), Current),
    entry("nodejs24.x", Node(24), Current),
    entry("python3.14", Python(3, 14), Current),
    entry("java25", Java(25), Current),
    entry("dotnet10", Dotnet(10, 0), Current),
    entry("ruby4.0", Ruby(4, 0), Current),
    entry("nodejs26.x", Node(26), Current),
    entry("python3.15", Python(3, 15), Current),
    entry("java8.al2023", Java(8), Current),
    entry("java11.al2023", Java(11), Current),
    entry("java17.al2023", Java(17), Current),
    entry("custom", Custom, Current),
];
