//! The environment variables of a function and of its extensions
//! (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>).

use crate::grant::Grant;
use crate::runtimes::{Family, Runtime};
use crate::spec::{FunctionSpec, Initialization, LogFormat};

/// Names that a function's configuration may not set.
pub const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "_LAMBDA_TELEMETRY_LOG_FD",
];

/// Where every environment finds its Runtime API.
pub(crate) const RUNTIME_API: &str = "127.0.0.1:9001";
/// The port of [`RUNTIME_API`].
pub(crate) const RUNTIME_API_PORT: u16 = 9001;

/// Variables that an external extension does not get, besides every name that starts with `_`.
const NOT_FOR_EXTENSIONS: &[&str] = &[
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
];

const LD_LIBRARY_PATH: &str = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib";
const PATH: &str = "/usr/local/bin:/usr/bin/:/bin:/opt/bin";

/// An environment, as its runtime's variables tell of it.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) spec: &'a FunctionSpec,
    pub(crate) initialization: Initialization,
    pub(crate) grant: &'a Grant,
    pub(crate) log_stream: &'a str,
    /// Of the invocation that it starts for.
    pub(crate) trace_id: Option<&'a str>,
}

impl About<'_> {
    /// The variables of the runtime's process: AWS's own, then the runtime's, the platform's, and the user's.
    pub(crate) fn variables(self) -> Vec<(String, String)> {
        let mut set = Set(self.own_variables());
        set.common(self.spec, self.initialization);
        set.runtime(self.spec);
        set.0
    }

    /// Those that [`furnished_variables`] lacks, or has otherwise.
    pub(crate) fn own_variables(self) -> Vec<(String, String)> {
        let mut set = Set::default();
        set.grant(self.grant);
        if tells_log(self.initialization) {
            set.put("AWS_LAMBDA_LOG_STREAM_NAME", self.log_stream);
        }
        if let Some(trace_id) = self.trace_id {
            set.put("_X_AMZN_TRACE_ID", trace_id);
        }
        if self.initialization != self.spec.initialization {
            set.initialization(self.spec, self.initialization);
        }
        // Of those that are not reserved, the user's own win.
        let users = || self.spec.platform_env.iter().chain(&self.spec.env);
        let is_users = |name: &str| users().any(|(have, _)| have == name);
        set.0
            .retain(|(name, _)| is_reserved(name) || !is_users(name));
        set.0
    }
}

/// The variables of a function's runtime that are known before there is an environment.
pub(crate) fn furnished_variables(spec: &FunctionSpec) -> Vec<(String, String)> {
    let mut set = Set::default();
    set.common(spec, spec.initialization);
    set.runtime(spec);
    set.0
}

/// As on AWS: an environment's stream is not known yet where its init ran.
fn tells_log(initialization: Initialization) -> bool {
    initialization != Initialization::SnapStart
}

/// The variables of an interpreter that waits for its assignment: what it reads when it starts, and nothing of a
/// function. `_MAYFLY_PARKED` tells our bootstraps to wait.
pub(crate) fn parked_variables(runtime: &Runtime) -> Vec<(String, String)> {
    let mut set = Set::default();
    set.machine(false);
    set.put(
        "_LAMBDA_TELEMETRY_LOG_FD",
        &crate::log::TELEMETRY_FD.to_string(),
    );
    for (name, value) in &runtime.env {
        set.put(name, value);
    }
    set.put("_MAYFLY_PARKED", "1");
    set.0
}

/// The variables of a zygote, which its forks have while they wait: the same, and what tells our bootstraps to be forked,
/// with or without the SDK.
pub(crate) fn zygote_variables(runtime: &Runtime, sdk: bool) -> Vec<(String, String)> {
    let mut variables = parked_variables(runtime);
    let what = if sdk { "sdk" } else { "bare" };
    variables.push(("_MAYFLY_ZYGOTE".to_owned(), what.to_owned()));
    variables
}

/// Whether a variable means something to an interpreter, its loader or its C library when it starts, so that it comes
/// too late for one that waits.
pub(crate) fn binds_at_start(name: &str) -> bool {
    const PREFIXES: &[&str] = &["PYTHON", "LD_", "LC_", "MALLOC_", "GLIBC_", "GCONV_"];
    const NAMES: &[&str] = &[
        "LANG",
        "LANGUAGE",
        "AWS_LAMBDA_EXEC_WRAPPER",
        "OPENSSL_CONF",
    ];
    // The bootstrap puts PYTHONPATH into effect itself.
    let path = name == "PYTHONPATH";
    !path && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// The variables of an external extension.
pub(crate) fn extension_variables(
    spec: &FunctionSpec,
    initialization: Initialization,
    grant: &Grant,
) -> Vec<(String, String)> {
    let mut set = Set::default();
    set.grant(grant);
    set.common(spec, initialization);
    set.rest(spec);
    set.0
        .retain(|(name, _)| !name.starts_with('_') && !NOT_FOR_EXTENSIONS.contains(&name.as_str()));
    set.0
}

fn is_reserved(name: &str) -> bool {
    RESERVED_VARIABLES.contains(&name)
}

#[derive(Default)]
struct Set(Vec<(String, String)>);

impl Set {
    fn put(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(have, _)| have == name) {
            Some(entry) => value.clone_into(&mut entry.1),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn grant(&mut self, grant: &Grant) {
        for (name, value) in grant.variables() {
            self.put(name, &value);
        }
    }

    fn initialization(&mut self, spec: &FunctionSpec, initialization: Initialization) {
        self.put("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.as_str());
        if tells_log(initialization) {
            self.put("AWS_LAMBDA_LOG_GROUP_NAME", &spec.log.group);
        }
    }

    fn common(&mut self, spec: &FunctionSpec, initialization: Initialization) {
        let provided = spec.runtime.family == Family::Provided;
        self.put("AWS_REGION", &spec.region);
        self.put("AWS_DEFAULT_REGION", &spec.region);
        if !provided {
            self.put(
                "AWS_EXECUTION_ENV",
                &format!("AWS_Lambda_{}", spec.runtime.id),
            );
        }
        self.put("AWS_LAMBDA_FUNCTION_NAME", &spec.name);
        self.put("AWS_LAMBDA_FUNCTION_VERSION", &spec.version);
        self.put(
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            &spec.memory_mb.to_string(),
        );
        self.initialization(spec, initialization);
        if spec.log.format == LogFormat::Json {
            self.put("AWS_LAMBDA_LOG_FORMAT", "JSON");
            self.put("AWS_LAMBDA_LOG_LEVEL", spec.log.application_level.as_str());
        }
        self.put("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
        self.put("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000");
        self.machine(provided);
    }

    /// What is the same for every function.
    fn machine(&mut self, provided: bool) {
        self.put("AWS_LAMBDA_RUNTIME_API", RUNTIME_API);
        self.put("LAMBDA_RUNTIME_DIR", "/var/runtime");
        self.put("LAMBDA_TASK_ROOT", "/var/task");
        self.put("LANG", "en_US.UTF-8");
        self.put("TZ", ":UTC");
        let lang = |path: &str| {
            if provided {
                path.replace("/var/lang/lib:", "")
            } else {
                path.to_owned()
            }
        };
        self.put("LD_LIBRARY_PATH", &lang(LD_LIBRARY_PATH));
        self.put(
            "PATH",
            &if provided {
                PATH.to_owned()
            } else {
                format!("/var/lang/bin:{PATH}")
            },
        );
    }

    /// What only the runtime's process has, and what the user wants.
    fn runtime(&mut self, spec: &FunctionSpec) {
        self.put("_HANDLER", &spec.handler);
        self.put(
            "_LAMBDA_TELEMETRY_LOG_FD",
            &crate::log::TELEMETRY_FD.to_string(),
        );
        self.put("_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1");
        self.put("_AWS_XRAY_DAEMON_PORT", "2000");
        self.rest(spec);
    }

    fn rest(&mut self, spec: &FunctionSpec) {
        for (name, value) in &spec.runtime.env {
            self.put(name, value);
        }
        for (name, value) in spec.platform_env.iter().chain(&spec.env) {
            if !is_reserved(name) {
                self.put(name, value);
            }
        }
    }
}
