//! The table of keys.

use std::path::PathBuf;
use std::str::FromStr;

use engine::runtimes::{IDENTIFIERS, Policy};
use wire::{AccountId, Region};

use super::{Form, Key, LogFormat, path};

/// Every key there is.
pub const KEYS: &[Key] = &[
    Key {
        name: "data",
        form: Form::Text("DIR"),
        default: "~/.local/share/mayfly",
        help: "The folder that holds everything: records, code, logs, credentials. Made on first start, for its \
               owner only. One server at a time.",
        set: |draft, value| put(&mut draft.data, path(value)),
    },
    Key {
        name: "listen",
        form: Form::Text("ADDR:PORT"),
        default: "127.0.0.1:4566",
        help: "Where clients connect. Port 0 takes any free port, which `mayfly env` then prints. Beyond loopback \
               it needs TLS.",
        set: |draft, value| {
            let address = value.replacen("localhost:", "127.0.0.1:", 1);
            let address = address
                .parse()
                .map_err(|_| "not an address and port, such as 127.0.0.1:4566")?;
            draft.listen = Some(address);
            Ok(())
        },
    },
    Key {
        name: "endpoint",
        form: Form::Text("URL"),
        default: "",
        help: "The URL that `mayfly env` prints, where clients reach the server by another name than the address it \
               listens on.",
        set: |draft, value| {
            let known = value.starts_with("http://") || value.starts_with("https://");
            known
                .then_some(())
                .ok_or("not a URL with http:// or https://")?;
            draft.endpoint = Some(value.trim_end_matches('/').to_owned());
            Ok(())
        },
    },
    Key {
        name: "tls_certificate",
        form: Form::Text("FILE"),
        default: "",
        help: "A PEM file with the certificate and its chain. With it (and `tls_key`) the server speaks TLS only.",
        set: |draft, value| put(&mut draft.tls_certificate, path(value).map(Some)),
    },
    Key {
        name: "tls_key",
        form: Form::Text("FILE"),
        default: "",
        help: "A PEM file with the private key of `tls_certificate`.",
        set: |draft, value| put(&mut draft.tls_key, path(value).map(Some)),
    },
    Key {
        name: "insecure_plaintext_listen",
        form: Form::Switch,
        default: "false",
        help: "Allows to listen beyond loopback without TLS, for example behind a proxy that speaks TLS. Everything \
               crosses that network in clear.",
        set: |draft, value| put(&mut draft.insecure_plaintext_listen, switch(value)),
    },
    Key {
        name: "dev",
        form: Form::Switch,
        default: "false",
        help: "Dev mode, for people who come from an emulator. Loopback only. The key pair `test` / `test` is an \
               administrator of account 000000000000, a 12-digit access key id (with any secret equal to `test`) is \
               an administrator of that account, and `POST /_/reset` empties everything. Nothing else is weaker.",
        set: |draft, value| put(&mut draft.dev, switch(value)),
    },
    Key {
        name: "account",
        form: Form::Text("ID"),
        default: "123456789012",
        help: "The account whose root credential is made on first start.",
        set: |draft, value| {
            let account = AccountId::new(value).ok_or("not a 12-digit account id")?;
            draft.account = Some(account);
            Ok(())
        },
    },
    Key {
        name: "region",
        form: Form::Text("NAME"),
        default: "us-east-1",
        help: "The region that `mayfly env` prints. Clients may use any other: state is kept per region.",
        set: |draft, value| {
            draft.region = Some(Region::new(value).ok_or("not the name of a region")?);
            Ok(())
        },
    },
    Key {
        name: "log_format",
        form: Form::Text("text|json"),
        default: "text",
        help: "How the server's own log on stderr looks.",
        set: |draft, value| {
            draft.log_format = Some(match value {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err("not text or json".to_owned()),
            });
            Ok(())
        },
    },
    Key {
        name: "log_level",
        form: Form::Text("FILTER"),
        default: "info",
        help: "How much it says: error, warn, info, debug or trace, or a filter such as `info,gateway=debug`.",
        set: |draft, value| {
            let filter = tracing_subscriber::EnvFilter::try_new(value);
            filter.map_err(|cause| format!("not a log filter: {cause}"))?;
            draft.log_level = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "drain_seconds",
        form: Form::Number,
        default: "30",
        help: "How long invocations under way may take to finish after SIGTERM or SIGINT. A second signal ends \
               them at once.",
        set: |draft, value| put(&mut draft.drain_seconds, number(value)),
    },
    Key {
        name: "connections_max",
        form: Form::Number,
        default: "4096",
        help: "Connections at once; further ones wait.",
        set: |draft, value| put(&mut draft.connections_max, at_least_one(value)),
    },
    Key {
        name: "requests_max",
        form: Form::Number,
        default: "8192",
        help: "Requests worked on at once; further ones are answered 503.",
        set: |draft, value| put(&mut draft.requests_max, at_least_one(value)),
    },
    Key {
        name: "body_bytes_max",
        form: Form::Number,
        default: "1073741824",
        help: "Bytes of request bodies held at once, all requests together; further ones wait.",
        set: |draft, value| put(&mut draft.body_bytes_max, at_least_one(value)),
    },
    Key {
        name: "metrics_for_anyone",
        form: Form::Switch,
        default: "false",
        help: "Whether `/_/metrics` answers other machines too. It names operations and counts, no contents.",
        set: |draft, value| put(&mut draft.metrics_for_anyone, switch(value)),
    },
    Key {
        name: "runtimes",
        form: Form::Map("ID=PATH,..."),
        default: "",
        help: "Interpreters to use for runtimes, before any that is found on the machine; in the file a table \
               `[runtimes]` with lines such as `\"python3.11\" = \"/opt/python/bin/python3.11\"`.",
        set: |draft, value| put(&mut draft.runtimes, value.split(',').map(runtime).collect()),
    },
    Key {
        name: "aws_runtime_clients",
        form: Form::Map("ID=DIR,..."),
        default: "",
        help: "Folders that AWS's own runtime client was installed into, with `pip install --target DIR awslambdaric`, \
               to be used for a runtime instead of Mayfly's bootstrap; in the file a table `[aws_runtime_clients]`.",
        set: |draft, value| {
            put(
                &mut draft.aws_runtime_clients,
                value.split(',').map(runtime).collect(),
            )
        },
    },
    Key {
        name: "runtime_policy",
        form: Form::Text("permissive|aws"),
        default: "permissive",
        help: "Whether functions may be created with runtimes that AWS no longer offers, as long as their toolchain \
               is here (`permissive`), or are refused in AWS's words (`aws`).",
        set: |draft, value| {
            draft.runtime_policy = match value {
                "permissive" => Policy::Permissive,
                "aws" => Policy::Aws,
                _ => return Err("not permissive or aws".to_owned()),
            };
            Ok(())
        },
    },
    Key {
        name: "concurrency",
        form: Form::Number,
        default: "1000",
        help: "Invocations at once in each account and region, as AWS's quota of the same number.",
        set: |draft, value| put(&mut draft.concurrency, at_least_one(value)),
    },
    Key {
        name: "environments_max",
        form: Form::Number,
        default: "1000",
        help: "Environments alive at once on this machine, busy or idle. Idle ones are ended to make room.",
        set: |draft, value| put(&mut draft.environments_max, at_least_one(value)),
    },
    Key {
        name: "environments_memory_mb_max",
        form: Form::Number,
        default: "",
        help: "The memory that all environments may have together, by their MemorySize, in megabytes. Without it, \
               three quarters of the machine's.",
        set: |draft, value| {
            put(
                &mut draft.environments_memory_mb_max,
                at_least_one(value).map(Some),
            )
        },
    },
    Key {
        name: "environment_idle_seconds",
        form: Form::Number,
        default: "600",
        help: "How long an environment is kept after its last invocation, where `prediction` does not know better; 0 \
               keeps none.",
        set: |draft, value| put(&mut draft.environment_idle_seconds, number(value)),
    },
    Key {
        name: "prediction",
        form: Form::Switch,
        default: "true",
        help: "Whether environments are kept longer or shorter, and made ahead, by the pattern of each version's calls. \
               docs/starts.md says how.",
        set: |draft, value| put(&mut draft.prediction, switch(value)),
    },
    Key {
        name: "zygotes",
        form: Form::Switch,
        default: "true",
        help: "Whether interpreters that wait for a function are forked of one that has started, which is quick and \
               shares memory, and not each executed. docs/security.md tells what forks have in common.",
        set: |draft, value| put(&mut draft.zygotes, switch(value)),
    },
    Key {
        name: "templates",
        form: Form::Switch,
        default: "false",
        help: "Whether every function's init runs once, in a template that is forked for each environment, as SnapStart \
               does it for published versions. The tag `mayfly:template` = `true` or `false` says it for one function. \
               AWS runs init in every environment instead; docs/starts.md tells what differs.",
        set: |draft, value| put(&mut draft.templates, switch(value)),
    },
    Key {
        name: "renewed_session_seconds",
        form: Form::Number,
        default: "43200",
        help: "How long the credentials of its role are good that an environment with SnapStart or a template asks for, at \
               most 43200 (12 hours). SDKs ask for new ones before these end. Other environments have credentials for \
               12 hours among their variables, and end before them.",
        set: |draft, value| {
            let seconds = at_least_one(value)?;
            if seconds > functions::SESSION_MAX.as_secs() {
                return Err("longer than a session of a role may be, 43200 seconds".to_owned());
            }
            draft.renewed_session_seconds = seconds;
            Ok(())
        },
    },
    Key {
        name: "internet",
        form: Form::Switch,
        default: "false",
        help: "Whether functions may reach the internet. Without it they reach Mayfly's own endpoint and nothing else. \
               A function with the tag `mayfly:internet` = `closed` never does. docs/security.md says what is reached.",
        set: |draft, value| put(&mut draft.internet, switch(value)),
    },
    Key {
        name: "internet_by_tag",
        form: Form::Switch,
        default: "false",
        help: "Whether a function reaches the internet that has the tag `mayfly:internet` = `open`, when `internet` \
               alone does not let it. Whoever may tag functions decides then: `lambda:TagResource`.",
        set: |draft, value| put(&mut draft.internet_by_tag, switch(value)),
    },
    Key {
        name: "internet_ports",
        form: Form::Text("PORT,..."),
        default: "22,80,443,465,587,993,995,1433,3306,5432,5671,6379,8443,9092,27017",
        help: "The TCP ports that functions with the internet reach, at most 24; every other port is closed. Nothing in \
               such a function can listen on them, which is why 8080 is not among the usual ones.",
        set: |draft, value| {
            put(
                &mut draft.internet_ports,
                list(value, "a port, from 1 to 65535"),
            )
        },
    },
    Key {
        name: "internet_allow",
        form: Form::Text("NETWORK,..."),
        default: "",
        help: "Networks beyond the public internet that functions with the internet reach too, such as \
               `10.20.0.0/16` for a database. Each must lie within one closed range, so `0.0.0.0/0` opens none of \
               them; an address of this machine itself is opened only by naming it alone, as `10.20.0.5/32`.",
        set: |draft, value| {
            let networks = value.split(',').map(|network| network.trim().parse());
            put(&mut draft.internet_allow, networks.collect())
        },
    },
];

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn list<T: FromStr>(value: &str, what: &str) -> Result<Vec<T>, String> {
    let read = |text: &str| {
        let text = text.trim();
        text.parse().map_err(|_| format!("{text:?} is not {what}"))
    };
    value.split(',').map(read).collect()
}

fn runtime(pair: &str) -> Result<(String, PathBuf), String> {
    let (id, program) = pair.split_once('=').ok_or("write it as ID=PATH")?;
    let known = IDENTIFIERS.iter().any(|known| known.id == id);
    known
        .then_some(())
        .ok_or_else(|| format!("AWS has no runtime {id}"))?;
    Ok((id.to_owned(), path(program)?))
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("not true or false".to_owned()),
    }
}

fn number<N: FromStr>(value: &str) -> Result<N, String> {
    value.parse().map_err(|_| "not a whole number".to_owned())
}

fn at_least_one<N: FromStr + From<u8> + PartialOrd>(value: &str) -> Result<N, String> {
    let number: N = number(value)?;
    match number < N::from(1) {
        true => Err("must be at least 1".to_owned()),
        false => Ok(number),
    }
}
