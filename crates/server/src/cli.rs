//! The command line. The flags of `serve` and `env` come from the table of configuration keys.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command as Clap, FromArgMatches, value_parser};

use crate::config::{Config, FILE_FLAG, Form, Given, KEYS, Key};
use crate::explain::ExplainArgs;
use crate::fire::FireArgs;
use crate::operator::PRECEDENCE;
use crate::policy::PolicyArgs;
use crate::run::RunArgs;
use crate::runtime::AddArgs;
use crate::undelivered::OutboxArgs;

/// What the user wants done.
pub enum Command {
    /// Run the server.
    Serve(Config),
    /// Print what clients need.
    Env(Config),
    /// Run a handler once.
    Run(RunArgs, Config),
    /// Print the runtimes and their SDKs.
    RuntimeList(Config),
    /// Add AWS's SDK to runtimes.
    RuntimeAddSdk(AddArgs, Config),
    /// Fire a schedule.
    Fire(FireArgs, Config),
    /// Copy a data folder.
    Backup(PathBuf, Config),
    /// Explain an access-denied message.
    Explain(ExplainArgs),
    /// Write a policy.
    GeneratePolicy(PolicyArgs),
    /// Show what was not delivered, or send it again.
    Outbox(OutboxArgs, Config),
    /// Look at what this machine offers.
    Doctor(Config),
    /// Print a sample event, or list them.
    SampleEvent(Option<String>),
    /// Print `docs/configuration.md`.
    ConfigReference,
    /// Print the version.
    Version,
}

/// The keys that `env` takes: those that tell which server is meant.
const KEYS_OF_ENV: &[&str] = &["data", "listen"];
/// The keys that `run` and `doctor` take: those that tell which runtimes there are.
const KEYS_OF_TOOLS: &[&str] = &["data", "runtimes", "aws_runtime_clients", "runtime_policy"];

/// Reads the command line; exits after `--help` and after what it does not understand.
pub fn parse() -> Command {
    let mut command = command();
    let matches = command.get_matches_mut();
    let (name, matches) = matches.subcommand().expect("a subcommand is required");
    match name {
        "serve" => Command::Serve(config(&mut command, matches, |_| true)),
        "env" => Command::Env(config(&mut command, matches, is_key_of_env)),
        "run" => {
            let args = RunArgs::from_arg_matches(matches).expect("clap has checked them");
            Command::Run(args, config(&mut command, matches, is_key_of_tools))
        }
        "runtime" => runtime(&mut command, matches),
        "fire" => {
            let args = FireArgs::from_arg_matches(matches).expect("clap has checked them");
            Command::Fire(args, config(&mut command, matches, is_key_of_env))
        }
        "backup" => {
            let to = matches.get_one::<PathBuf>("to").expect("it is required");
            Command::Backup(to.clone(), config(&mut command, matches, is_key_of_env))
        }
        "explain" => {
            Command::Explain(ExplainArgs::from_arg_matches(matches).expect("clap has checked them"))
        }
        "policy" => {
            let (_, matches) = matches.subcommand().expect("a subcommand is required");
            let args = PolicyArgs::from_arg_matches(matches).expect("clap has checked them");
            Command::GeneratePolicy(args)
        }
        "outbox" => {
            let args = OutboxArgs::from_arg_matches(matches).expect("clap has checked them");
            let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
            Command::Outbox(args, config(&mut command, matches, is_key_of_env))
        }
        "doctor" => Command::Doctor(config(&mut command, matches, is_key_of_tools)),
        "events" => Command::SampleEvent(
            matches
                .subcommand()
                .and_then(|(_, sample)| sample.get_one::<String>("name").cloned()),
        ),
        "config-reference" => Command::ConfigReference,
        _ => Command::Version,
    }
}

fn runtime(command: &mut Clap, matches: &ArgMatches) -> Command {
    let (name, matches) = matches.subcommand().expect("a subcommand is required");
    let config = config(command, matches, is_key_of_tools);
    match name {
        "add-sdk" => {
            let args = AddArgs::from_arg_matches(matches).expect("clap has checked them");
            Command::RuntimeAddSdk(args, config)
        }
        _ => Command::RuntimeList(config),
    }
}

fn is_key_of_env(key: &Key) -> bool {
    KEYS_OF_ENV.contains(&key.name)
}

fn is_key_of_tools(key: &Key) -> bool {
    KEYS_OF_TOOLS.contains(&key.name)
}

fn command() -> Clap {
    Clap::new("mayfly")
        .about("AWS Lambda on your own machines")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_keys(
            Clap::new("serve").about("Run the server"),
            |_| true,
        ))
        .subcommand(with_keys(
            Clap::new("env")
                .about("Print what AWS clients need, for eval \"$(mayfly env)\"")
                .long_about(
                    "Prints `export AWS_...=` lines for the server of a data folder, whether it runs or not.",
                ),
            is_key_of_env,
        ))
        .subcommand(with_keys(
            RunArgs::augment_args(Clap::new("run"))
                .about("Run a handler once, in the sandbox, without a server")
                .long_about(
                    "Runs a handler once, in the same sandbox that the server uses. The result goes to stdout; log \
                     lines and the REPORT line go to stderr. Fails when the function does.",
                ),
            is_key_of_tools,
        ))
        .subcommand(
            Clap::new("runtime")
                .about("List the runtimes of this machine, and add AWS's SDK to them")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(with_keys(
                    Clap::new("list").about("Print the runtimes and the SDK of each"),
                    is_key_of_tools,
                ))
                .subcommand(with_keys(
                    AddArgs::augment_args(Clap::new("add-sdk"))
                        .about("Make boto3 importable in every function of a Python runtime")
                        .long_about(
                            "Fetches boto3 and what it needs with an interpreter's pip, exactly as pinned with hashes in \
                             this binary, into the data folder. On AWS every Python runtime has it. The function's own \
                             copy, or a layer's, is imported first.",
                        ),
                    is_key_of_tools,
                )),
        )
        .subcommand(with_keys(
            FireArgs::augment_args(Clap::new("fire"))
                .about("Fire a rule or a schedule now, or show when it fires next")
                .long_about(
                    "Fires a schedule of the running server of a data folder now, without waiting and enabled or \
                     not; it goes on as if nothing had been. With --next it shows the next times instead, also \
                     those of an expression, for which no server is needed.",
                )
                .after_help(PRECEDENCE),
            is_key_of_env,
        ))
        .subcommand(with_keys(
            Clap::new("backup")
                .about("Copy the data folder, whether the server runs or not")
                .long_about(
                    "Copies everything that the server of a data folder has acknowledged, as of one moment, into a new \
                     folder, while it goes on. `mayfly serve --data FOLDER` serves the copy.",
                )
                .arg(
                    Arg::new("to")
                        .value_name("FOLDER")
                        .required(true)
                        .value_parser(value_parser!(PathBuf))
                        .help("A new folder, or an empty one"),
                ),
            is_key_of_env,
        ))
        .subcommand(
            ExplainArgs::augment_args(Clap::new("explain"))
                .about("Explain an access-denied message, and show the policies that would allow it"),
        )
        .subcommand(
            Clap::new("policy")
                .about("Write IAM policies")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    PolicyArgs::augment_args(Clap::new("generate"))
                        .about("Write a policy from flags, or from answers on the terminal")
                        .long_about(
                            "Writes a policy with one statement to standard output, from flags or, without any, from \
                             answers on the terminal. IAM's own check has passed it.",
                        ),
                ),
        )
        .subcommand(with_keys(
            OutboxArgs::augment_args(Clap::new("outbox"))
                .about("Show what could not be delivered, and send it again")
                .long_about(
                    "Shows what the running server of a data folder could not deliver and has set aside, for the \
                     account of its root user: deliveries of rules, schedules and functions.",
                )
                .after_help(PRECEDENCE)
                .args_conflicts_with_subcommands(true)
                .mut_subcommand("redrive", |redrive| {
                    with_keys(redrive, is_key_of_env).after_help(PRECEDENCE)
                }),
            is_key_of_env,
        ))
        .subcommand(with_keys(
            Clap::new("doctor").about("Say what this machine offers, and what to do about what is missing"),
            is_key_of_tools,
        ))
        .subcommand(
            Clap::new("events")
                .about("Events to try functions and patterns with")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    Clap::new("sample")
                        .about("Print a sample event of an AWS service, or list them")
                        .arg(Arg::new("name").value_name("NAME").help("Which; all are listed without it")),
                ),
        )
        .subcommand(Clap::new("version").about("Print the version"))
        .subcommand(Clap::new("config-reference").hide(true))
}

fn with_keys(command: Clap, is_wanted: fn(&Key) -> bool) -> Clap {
    let file = Arg::new(FILE_FLAG).long(FILE_FLAG).value_name("FILE").help(
        "The configuration file [env: MAYFLY_CONFIG] [default: mayfly.toml in the data folder]",
    );
    let keys = KEYS.iter().filter(|key| is_wanted(key));
    command.arg(file).args(keys.map(argument))
}

fn argument(key: &Key) -> Arg {
    let mut help = format!("{} [env: {}]", key.help, key.variable());
    if !key.default.is_empty() {
        help += &format!(" [default: {}]", key.default);
    }
    let argument = Arg::new(key.name)
        .long(key.flag())
        .help(help)
        .value_parser(value_parser!(String));
    match key.form {
        Form::Text(word) | Form::Map(word) => argument.value_name(word),
        Form::Number => argument.value_name("NUMBER"),
        Form::Switch => argument
            .value_name("true|false")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

fn config(command: &mut Clap, matches: &ArgMatches, is_wanted: fn(&Key) -> bool) -> Config {
    let names = KEYS.iter().filter(|key| is_wanted(key)).map(|key| key.name);
    let given: Given = names
        .chain([FILE_FLAG])
        .filter_map(|name| Some((name.to_owned(), matches.get_one::<String>(name)?.clone())))
        .collect();
    match Config::load(&given, |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => command
            .error(clap::error::ErrorKind::ValueValidation, error)
            .exit(),
    }
}
