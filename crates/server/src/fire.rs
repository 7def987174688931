//! `mayfly fire`: fires a rule or a schedule of the running server now, or shows when one fires next.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use events::schedule::Schedule;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use wire::sigv4::{Credentials, Signer};

use crate::config::Config;
use crate::credentials::RootCredential;
use crate::folder::Folder;

/// How long the server may take to answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The flags of `mayfly fire`.
#[derive(Args, Debug)]
pub struct FireArgs {
    /// A rule's or a schedule's name, GROUP/NAME for a schedule in a group, or an ARN. With --next also an expression,
    /// such as 'cron(0 6 ? * MON-FRI *)'.
    name: String,
    /// Show when it fires next instead of firing it.
    #[arg(long)]
    next: bool,
    /// How many times to show.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=100), requires = "next")]
    count: u8,
    /// The time zone of an expression [default: UTC].
    #[arg(long, value_name = "NAME", requires = "next")]
    timezone: Option<String>,
}

/// Fires, or looks ahead.
pub fn run(args: &FireArgs, config: &Config) -> Result<ExitCode> {
    let is_expression = ["cron(", "rate(", "at("]
        .iter()
        .any(|kind| args.name.starts_with(kind));
    match (args.next, is_expression) {
        (true, true) => preview_expression(args),
        (false, true) => bail!("an expression alone has nothing to fire; --next shows its times"),
        (next, false) => {
            if args.timezone.is_some() {
                bail!(
                    "--timezone is for an expression; a schedule has its own, and a rule has UTC"
                );
            }
            let server = Server::of(config)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                match next {
                    true => preview(args, &server).await,
                    false => fire(args, &server).await,
                }
            })
        }
    }
}

/// An expression needs no server. A rate counts from now.
fn preview_expression(args: &FireArgs) -> Result<ExitCode> {
    let schedule = Schedule::parse(&args.name).map_err(|invalid| anyhow!("{invalid}"))?;
    let zone = args.timezone.as_deref().unwrap_or("UTC");
    let zone = TimeZone::get(zone)
        .map_err(|_| anyhow!("{zone} is no time zone; write it as Europe/Berlin"))?;
    let now_ms = Timestamp::now().as_millisecond();
    let times = schedule.next_times(now_ms, now_ms, &zone, args.count.into());
    print(&times, &zone)
}

fn print(times: &[i64], zone: &TimeZone) -> Result<ExitCode> {
    if times.is_empty() {
        eprintln!("mayfly: it never fires");
        return Ok(ExitCode::FAILURE);
    }
    for time_ms in times {
        let moment = Timestamp::from_millisecond(*time_ms)?;
        println!("{}", moment.to_zoned(zone.clone()).strftime("%a %F %T %:z"));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Previewed {
    time_zone: String,
    times: Vec<f64>,
}

async fn preview(args: &FireArgs, server: &Server) -> Result<ExitCode> {
    let request = json!({"Name": args.name, "Count": args.count});
    let previewed: Previewed = server.ask("Preview", &request).await?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds of the calendar fit"
    )]
    let times: Vec<i64> = previewed
        .times
        .iter()
        .map(|seconds| (seconds * 1000.0).round() as i64)
        .collect();
    print(&times, &TimeZone::get(&previewed.time_zone)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fired {
    arn: String,
    targets: usize,
}

async fn fire(args: &FireArgs, server: &Server) -> Result<ExitCode> {
    let fired: Fired = server.ask("Fire", &json!({"Name": args.name})).await?;
    println!("{} fired, targets: {}", fired.arn, fired.targets);
    if fired.targets == 0 {
        eprintln!("mayfly: it has no targets, so nothing happened");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The server of a data folder.
struct Server {
    endpoint: Uri,
    signer: Signer,
}

impl Server {
    fn of(config: &Config) -> Result<Self> {
        let folder = Folder::open(&config.data)?;
        let root = RootCredential::read(&folder)?;
        let endpoint = match folder.endpoint() {
            Some(written) if !config.listen_is_given => written,
            _ => config.url(config.listen),
        };
        let endpoint: Uri = endpoint.parse()?;
        if endpoint.scheme_str() != Some("http") {
            bail!(
                "mayfly fire talks plain HTTP to this machine, and {endpoint} is not that; see docs/schedules.md for the \
                 request to sign and send"
            );
        }
        let credentials = Credentials {
            access_key_id: root.access_key_id,
            secret_access_key: root.secret_access_key,
            session_token: None,
        };
        Ok(Self {
            signer: Signer::new(credentials, &config.region, "mayfly"),
            endpoint,
        })
    }

    /// Runs an operation of the service `mayfly`.
    async fn ask<T: DeserializeOwned>(&self, operation: &str, request: &Value) -> Result<T> {
        let body = Bytes::from(serde_json::to_vec(request)?);
        let request = Request::post(self.endpoint.clone())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Mayfly.{operation}"))
            .body(())?;
        let (mut parts, ()) = request.into_parts();
        self.signer.sign(&mut parts, &body, Timestamp::now());
        let request = Request::from_parts(parts, Full::new(body));
        let answer = timeout(ANSWER_WAIT_MAX, self.send(request)).await;
        let (status, body) = answer.context("the server did not answer")??;
        if !status.is_success() {
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = told["message"].as_str().or(told["Message"].as_str());
            bail!("{}", message.unwrap_or(status.as_str()));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(http::StatusCode, Bytes)> {
        let authority = self
            .endpoint
            .authority()
            .context("the endpoint has no host")?;
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port))
            .await
            .with_context(|| format!("no server answers at {}; is it running?", self.endpoint))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its end is the answer's, which is awaited.
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        connection.abort();
        let body = body.map_err(|error| anyhow!(error))?;
        Ok((status, body.to_bytes()))
    }
}
