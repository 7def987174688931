//! The log of one environment: what its processes write, and the platform's own lines about it.
//!
//! Output is read from two pipes: plain lines (stdout and stderr together, so their order is kept) and frames of the
//! telemetry descriptor, whose newlines stay inside one event. Nothing here waits for a reader of the log.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sandbox::Process;
use serde_json::{Value, json};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::events::{Events, LogLine, LogTarget};
use crate::failure::Failure;
use crate::spec::{
    FunctionSpec, Initialization, LOG_TAIL_BYTES, LogConfig, LogFormat, LogLevel, Report, Status,
};

/// Largest event: CloudWatch Logs takes 1 MiB; longer output is cut into several.
const EVENT_BYTES_MAX: usize = (1 << 20) - 26;
/// What is read of one pipe before the other gets its turn, and before others get the thread.
const DRAIN_BYTES_MAX: usize = 4 << 20;
/// Room for a read of a pipe, which most often finds little or nothing, and once it found much.
const READ_BYTES_FIRST: usize = 4 << 10;
const READ_BYTES: usize = 64 << 10;
/// Length of a frame's header: type, length, time.
const FRAME_HEAD: usize = 16;
/// A frame's time is believed this far back.
const FRAME_AGE_MAX_MS: i64 = 3_600_000;

/// The log of one environment.
pub(crate) struct Log {
    events: Arc<dyn Events>,
    target: LogTarget,
    config: LogConfig,
    initialization: Initialization,
    lines: pipe::Receiver,
    frames: pipe::Receiver,
    state: Mutex<State>,
}

struct State {
    lines_open: bool,
    frames_open: bool,
    partial_line: Vec<u8>,
    partial_frame: Vec<u8>,
    /// The last bytes of the current invocation's log, when they are wanted.
    tail: Option<Vec<u8>>,
    /// The first lines, until somebody reads what processes write. To pass them on wakes who stores them, in the middle of a
    /// start.
    held: Option<Vec<LogLine>>,
}

/// The writing ends, for the processes.
pub(crate) struct Pipes {
    pub(crate) output: OwnedFd,
    pub(crate) frames: OwnedFd,
}

impl Pipes {
    /// A process whose output goes there.
    pub(crate) fn process(
        &self,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: &str,
    ) -> io::Result<Process> {
        Ok(Process {
            argv,
            env,
            cwd: PathBuf::from(cwd),
            stdout: Some(self.output.try_clone()?),
            stderr: Some(self.output.try_clone()?),
            fds: Vec::new(),
        })
    }

    /// A runtime's, which writes frames too.
    pub(crate) fn runtime(
        &self,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: &str,
    ) -> io::Result<Process> {
        let mut process = self.process(argv, env, cwd)?;
        process.fds = vec![(TELEMETRY_FD, self.frames.try_clone()?)];
        Ok(process)
    }
}

/// The reading ends, for the log.
pub(crate) struct Readers {
    lines: pipe::Receiver,
    frames: pipe::Receiver,
}

/// Makes the pipes between processes and a log; they may be there before it is known whose log it will be.
pub(crate) fn pipes() -> io::Result<(Pipes, Readers)> {
    let (lines, output) = io::pipe()?;
    let (frames, frames_in) = io::pipe()?;
    let pipes = Pipes {
        output: output.into(),
        frames: frames_in.into(),
    };
    let readers = Readers {
        lines: pipe::Receiver::from_owned_fd(lines.into())?,
        frames: pipe::Receiver::from_owned_fd(frames.into())?,
    };
    Ok((pipes, readers))
}

/// The number of the telemetry descriptor inside the runtime's process.
pub(crate) const TELEMETRY_FD: i32 = 3;

/// How an init phase ended, for INIT_REPORT.
pub(crate) struct InitReport<'a> {
    pub(crate) duration: Duration,
    /// `init`, or `invoke` when it ran inside an invocation.
    pub(crate) phase: &'a str,
    pub(crate) status: Status,
    pub(crate) error_type: Option<&'a str>,
}

impl Log {
    /// Makes the log of what is written to these pipes.
    pub(crate) fn new(
        events: Arc<dyn Events>,
        target: LogTarget,
        config: LogConfig,
        initialization: Initialization,
        Readers { lines, frames }: Readers,
    ) -> Arc<Log> {
        let state = State {
            lines_open: true,
            frames_open: true,
            partial_line: Vec::new(),
            partial_frame: Vec::new(),
            tail: None,
            held: Some(Vec::new()),
        };
        Arc::new(Log {
            events,
            target,
            config,
            initialization,
            lines,
            frames,
            state: Mutex::new(state),
        })
    }

    /// The log stream.
    pub(crate) fn stream(&self) -> &str {
        &self.target.stream
    }

    /// Reads what processes write until `stop`, so that a full pipe never holds them up.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut open = Open {
            lines: true,
            frames: true,
        };
        self.release(&mut self.state());
        while open.lines || open.frames {
            // An error of readiness means the reactor is going down; draining then finds the pipe closed or nothing.
            tokio::select! {
                () = stop.cancelled() => break,
                _ = self.lines.readable(), if open.lines => {}
                _ = self.frames.readable(), if open.frames => {}
            }
            open = self.drain();
            tokio::task::yield_now().await;
        }
    }

    /// Reads and passes on everything written so far. What a runtime wrote before it answered is in the pipes by then.
    pub(crate) fn drain(&self) -> Open {
        let mut state = self.state();
        self.release(&mut state);
        let mut out = Vec::new();
        let now = now_ms();
        state.drain_lines(&self.lines, &mut out, now);
        state.drain_frames(&self.frames, &mut out, now, &self.config);
        let out = self.filter(out);
        self.send(&mut state, out);
        Open {
            lines: state.lines_open,
            frames: state.frames_open,
        }
    }

    /// Like [`drain`](Self::drain), at the end of an invocation: a line without its newline is complete now.
    pub(crate) fn drain_to_end(&self) {
        self.drain();
        let mut state = self.state();
        if !state.partial_line.is_empty() {
            let text = text_of(&std::mem::take(&mut state.partial_line));
            let out = self.filter(vec![(
                LogLine {
                    time_ms: now_ms(),
                    text,
                },
                None,
            )]);
            self.send(&mut state, out);
        }
    }

    /// INIT_START. What the runtime has written may be younger already.
    pub(crate) fn init_start(&self, at: Timestamp, spec: &FunctionSpec, environment: &str) {
        let version = &spec.runtime.version;
        let arn = spec.runtime_version_arn.as_deref().unwrap_or("");
        match self.config.format {
            LogFormat::Text => {
                self.platform_at(
                    at,
                    format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n"),
                );
            }
            LogFormat::Json => self.record_at(
                at,
                LogLevel::Info,
                "platform.initStart",
                &json!({
                    "initializationType": self.initialization.as_str(),
                    "phase": "init",
                    "runtimeVersion": version,
                    "runtimeVersionArn": arn,
                    "functionName": spec.name,
                    "functionVersion": spec.version,
                    "instanceId": environment,
                    "instanceMaxMemory": u64::from(spec.memory_mb) << 20,
                }),
            ),
        }
    }

    /// RESTORE_START.
    pub(crate) fn restore_start(&self, at: Timestamp, spec: &FunctionSpec, environment: &str) {
        let version = &spec.runtime.version;
        let arn = spec.runtime_version_arn.as_deref().unwrap_or("");
        match self.config.format {
            LogFormat::Text => self.platform_at(
                at,
                format!("RESTORE_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n"),
            ),
            LogFormat::Json => self.record_at(
                at,
                LogLevel::Info,
                "platform.restoreStart",
                &json!({
                    "runtimeVersion": version,
                    "runtimeVersionArn": arn,
                    "functionName": spec.name,
                    "functionVersion": spec.version,
                    "instanceId": environment,
                    "instanceMaxMemory": u64::from(spec.memory_mb) << 20,
                }),
            ),
        }
    }

    /// RESTORE_REPORT.
    pub(crate) fn restore_report(&self, duration: Duration, failure: Option<&Failure>) {
        let status = failure.map_or(Status::Success, Failure::status);
        let error_type = failure.map(Failure::error_type);
        match self.config.format {
            LogFormat::Text => {
                let mut text = format!("RESTORE_REPORT Restore Duration: {} ms", ms2(duration));
                if failure.is_some() {
                    push_status(&mut text, status, error_type);
                }
                self.platform(text + "\n");
            }
            LogFormat::Json => {
                let mut record = json!({
                    "status": status_word(status),
                    "metrics": {"durationMs": round3(duration)},
                });
                add_error_type(&mut record, error_type);
                self.record(
                    level_of(status, LogLevel::Info),
                    "platform.restoreReport",
                    &record,
                );
            }
        }
    }

    /// INIT_REPORT. In text AWS writes it only for an init that failed, or that no invocation reports.
    pub(crate) fn init_report(&self, init: &InitReport<'_>) {
        match self.config.format {
            LogFormat::Text if init.status == Status::Success => {
                if self.initialization != Initialization::OnDemand {
                    let duration = ms2(init.duration);
                    self.platform(format!("INIT_REPORT Init Duration: {duration} ms\n"));
                }
            }
            LogFormat::Text => {
                let mut text = format!(
                    "INIT_REPORT Init Duration: {} ms\tPhase: {}",
                    ms2(init.duration),
                    init.phase
                );
                push_status(&mut text, init.status, init.error_type);
                self.platform(text + "\n");
            }
            LogFormat::Json => {
                let mut record = json!({
                    "initializationType": self.initialization.as_str(),
                    "phase": init.phase,
                    "status": status_word(init.status),
                    "metrics": {"durationMs": round3(init.duration)},
                });
                add_error_type(&mut record, init.error_type);
                self.record(
                    level_of(init.status, LogLevel::Debug),
                    "platform.initReport",
                    &record,
                );
            }
        }
    }

    /// START; the tail begins here.
    pub(crate) fn start(&self, request_id: &str, version: &str, invoked_arn: &str, tail: bool) {
        self.state().tail = tail.then(|| Vec::with_capacity(LOG_TAIL_BYTES * 2));
        match self.config.format {
            LogFormat::Text => self.platform(format!(
                "START RequestId: {request_id} Version: {version}\n"
            )),
            LogFormat::Json => self.record(
                LogLevel::Info,
                "platform.start",
                &json!({"requestId": request_id, "functionArn": invoked_arn, "version": version}),
            ),
        }
    }

    /// The line about a runtime that ended or ran out of time; AWS's JSON format says it in the records instead.
    pub(crate) fn failure(&self, text: String) {
        if self.config.format == LogFormat::Text {
            self.platform(text);
        }
    }

    /// A line of ours, about what to do.
    pub(crate) fn advice(&self, text: &str) {
        match self.config.format {
            LogFormat::Text => self.platform(format!("{text}\n")),
            LogFormat::Json => {
                let record = json!({"timestamp": iso_now(), "level": "WARN", "message": text});
                self.platform(record.to_string() + "\n");
            }
        }
    }

    /// END and REPORT.
    pub(crate) fn end(&self, report: &Report, produced_bytes: usize) {
        match self.config.format {
            LogFormat::Text => {
                let now = now_ms();
                let end = format!("END RequestId: {}\n", report.request_id);
                let lines = [end, report_text(report)].map(|text| LogLine { time_ms: now, text });
                self.send(&mut self.state(), lines.into());
            }
            LogFormat::Json => self.end_records(report, produced_bytes),
        }
    }

    fn end_records(&self, report: &Report, produced_bytes: usize) {
        let mut done = json!({
            "requestId": report.request_id,
            "status": status_word(report.status),
            "metrics": {"durationMs": round3(report.duration), "producedBytes": produced_bytes},
        });
        add_error_type(&mut done, report.error_type.as_deref());
        self.record(
            level_of(report.status, LogLevel::Debug),
            "platform.runtimeDone",
            &done,
        );
        let mut metrics = json!({
            "durationMs": round3(report.duration),
            "billedDurationMs": report.billed.as_millis(),
            "memorySizeMB": report.memory_mb,
            "maxMemoryUsedMB": report.max_memory_mb,
        });
        if let Some(map) = metrics.as_object_mut() {
            let optional = [
                ("initDurationMs", report.init_duration),
                ("restoreDurationMs", report.restore_duration),
            ];
            for (name, duration) in optional {
                if let Some(duration) = duration {
                    map.insert(name.to_owned(), json!(round3(duration)));
                }
            }
            if let Some(duration) = report.restore_duration {
                let billed = whole_ms(duration).as_millis();
                map.insert("billedRestoreDurationMs".to_owned(), json!(billed));
            }
        }
        let mut record = json!({"requestId": report.request_id, "metrics": metrics, "status": status_word(report.status)});
        add_error_type(&mut record, report.error_type.as_deref());
        self.record(
            level_of(report.status, LogLevel::Info),
            "platform.report",
            &record,
        );
    }

    /// The tail of the invocation that just ended.
    pub(crate) fn take_tail(&self) -> Option<Vec<u8>> {
        self.state().tail.take().map(|mut tail| {
            let extra = tail.len().saturating_sub(LOG_TAIL_BYTES);
            tail.drain(..extra);
            tail
        })
    }

    fn platform(&self, text: String) {
        self.platform_at(Timestamp::now(), text);
    }

    fn platform_at(&self, at: Timestamp, text: String) {
        let line = LogLine {
            time_ms: at.as_millisecond(),
            text,
        };
        self.send(&mut self.state(), vec![line]);
    }

    fn record(&self, level: LogLevel, kind: &str, record: &Value) {
        self.record_at(Timestamp::now(), level, kind, record);
    }

    fn record_at(&self, at: Timestamp, level: LogLevel, kind: &str, record: &Value) {
        if level >= self.config.system_level {
            let text = json!({"time": iso(at), "type": kind, "record": record}).to_string() + "\n";
            self.platform_at(at, text);
        }
    }

    /// Drops what is below the application level; only the JSON format has one.
    fn filter(&self, events: Vec<(LogLine, Option<LogLevel>)>) -> Vec<LogLine> {
        let passes = |line: &LogLine, level: Option<LogLevel>| match self.config.format {
            LogFormat::Text => true,
            LogFormat::Json => level
                .or_else(|| level_in(&line.text))
                .is_none_or(|level| level >= self.config.application_level),
        };
        events
            .into_iter()
            .filter(|(line, level)| passes(line, *level))
            .map(|(line, _)| line)
            .collect()
    }

    fn send(&self, state: &mut State, lines: Vec<LogLine>) {
        if lines.is_empty() {
            return;
        }
        if let Some(tail) = &mut state.tail {
            for line in &lines {
                tail.extend_from_slice(line.text.as_bytes());
                if !line.text.ends_with('\n') {
                    tail.push(b'\n');
                }
                if tail.len() > LOG_TAIL_BYTES * 4 {
                    tail.drain(..tail.len() - LOG_TAIL_BYTES);
                }
            }
        }
        match &mut state.held {
            Some(held) => held.extend(lines),
            None => self.events.lines(&self.target, lines),
        }
    }

    fn release(&self, state: &mut State) {
        if let Some(held) = state.held.take().filter(|held| !held.is_empty()) {
            self.events.lines(&self.target, held);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A half-written partial line is the worst that a panic could leave.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which pipes still have a writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) lines: bool,
    pub(crate) frames: bool,
}

type Out = Vec<(LogLine, Option<LogLevel>)>;

impl State {
    fn drain_lines(&mut self, pipe: &pipe::Receiver, out: &mut Out, now: i64) {
        if self.lines_open {
            self.lines_open = read_all(pipe, &mut self.partial_line);
        }
        let mut start = 0;
        while let Some(length) = self.partial_line[start..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let end = start + length + 1;
            push_text(out, &self.partial_line[start..end], now, None);
            start = end;
        }
        self.partial_line.drain(..start);
        while self.partial_line.len() >= EVENT_BYTES_MAX {
            let rest = self.partial_line.split_off(EVENT_BYTES_MAX);
            push_text(
                out,
                &std::mem::replace(&mut self.partial_line, rest),
                now,
                None,
            );
        }
        if !self.lines_open && !self.partial_line.is_empty() {
            push_text(out, &std::mem::take(&mut self.partial_line), now, None);
        }
    }

    fn drain_frames(&mut self, pipe: &pipe::Receiver, out: &mut Out, now: i64, config: &LogConfig) {
        if self.frames_open {
            self.frames_open = read_all(pipe, &mut self.partial_frame);
        }
        let mut start = 0;
        while let Some(head) = self.partial_frame.get(start..start + FRAME_HEAD) {
            let Some(frame) = FrameHead::read(head) else {
                // Not a frame: the function writes to the descriptor itself. Pass it on as text and begin anew.
                push_text(out, &self.partial_frame[start..], now, None);
                start = self.partial_frame.len();
                break;
            };
            let body = start + FRAME_HEAD;
            let Some(text) = self.partial_frame.get(body..body + frame.length) else {
                break;
            };
            let level = if config.format == LogFormat::Json {
                frame.level
            } else {
                None
            };
            push_text(out, text, frame.time_ms(now), level);
            start = body + frame.length;
        }
        self.partial_frame.drain(..start);
    }
}

struct FrameHead {
    level: Option<LogLevel>,
    length: usize,
    time_us: u64,
}

impl FrameHead {
    /// `type u32 | length u32 | microseconds u64`, big endian; the type is 0xA55A0002 (JSON) or 0xA55A0003 (text) with
    /// the level OR-ed in. `None` when it is not one, or larger than an event may be.
    fn read(head: &[u8]) -> Option<FrameHead> {
        let kind = u32::from_be_bytes(head.get(..4)?.try_into().ok()?);
        let length = u32::from_be_bytes(head.get(4..8)?.try_into().ok()?) as usize;
        let time_us = u64::from_be_bytes(head.get(8..16)?.try_into().ok()?);
        if kind & 0xFFFF_FFE2 != 0xA55A_0002 || length > EVENT_BYTES_MAX {
            return None;
        }
        let level = match (kind & 0x1C) >> 2 {
            1 => Some(LogLevel::Trace),
            2 => Some(LogLevel::Debug),
            3 => Some(LogLevel::Info),
            4 => Some(LogLevel::Warn),
            5 => Some(LogLevel::Error),
            6 => Some(LogLevel::Fatal),
            _ => None,
        };
        Some(FrameHead {
            level,
            length,
            time_us,
        })
    }

    /// The function's own time, when it is not nonsense.
    fn time_ms(&self, now: i64) -> i64 {
        let time = i64::try_from(self.time_us / 1000).unwrap_or(now);
        if time > now || now - time > FRAME_AGE_MAX_MS {
            now
        } else {
            time
        }
    }
}

/// Reads what is there into `into`; `false` when the other side is gone for good.
fn read_all(pipe: &pipe::Receiver, into: &mut Vec<u8>) -> bool {
    let (mut total, mut room) = (0, READ_BYTES_FIRST);
    while total < DRAIN_BYTES_MAX {
        into.reserve(room);
        // The kernel is asked first: the reactor may not know yet of what has just been written, and then its own
        // `try_read` finds nothing. That one is needed to tell the reactor that there is nothing more.
        let read = match rustix::io::read(pipe, rustix::buffer::spare_capacity(into)) {
            Err(rustix::io::Errno::AGAIN) => pipe.try_read_buf(into),
            read => read.map_err(io::Error::from),
        };
        match read {
            Ok(0) => return false,
            Ok(count) => {
                total += count;
                if count >= room {
                    room = READ_BYTES;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn push_text(out: &mut Out, bytes: &[u8], time_ms: i64, level: Option<LogLevel>) {
    for piece in bytes.chunks(EVENT_BYTES_MAX) {
        out.push((
            LogLine {
                time_ms,
                text: text_of(piece),
            },
            level,
        ));
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The level of an application's JSON line; a line that is not JSON has none and passes, a missing or odd level is INFO.
fn level_in(text: &str) -> Option<LogLevel> {
    let Ok(Value::Object(map)) = serde_json::from_str::<Value>(text.trim_end()) else {
        return None;
    };
    let level = map
        .get("level")
        .or_else(|| map.get("log_level"))
        .and_then(Value::as_str);
    Some(level.and_then(LogLevel::parse).unwrap_or(LogLevel::Info))
}

fn report_text(report: &Report) -> String {
    let mut text = format!(
        "REPORT RequestId: {}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
        report.request_id,
        ms2(report.duration),
        report.billed.as_millis(),
        report.memory_mb,
        report.max_memory_mb
    );
    if let Some(init) = report.init_duration {
        text.push_str(&format!("Init Duration: {} ms\t", ms2(init)));
    }
    if let Some(restore) = report.restore_duration {
        text.push_str(&format!(
            "Restore Duration: {} ms\tBilled Restore Duration: {} ms\t",
            ms2(restore),
            whole_ms(restore).as_millis()
        ));
    }
    // A raised error is the function's own business: only time-outs and crashes change the line, and then it has no
    // tab before the newline.
    if matches!(report.status, Status::Timeout | Status::Failure) {
        text.pop();
        push_status(&mut text, report.status, report.error_type.as_deref());
    }
    text + "\n"
}

fn push_status(text: &mut String, status: Status, error_type: Option<&str>) {
    let word = if status == Status::Failure {
        "error"
    } else {
        status_word(status)
    };
    text.push_str("\tStatus: ");
    text.push_str(word);
    if let (Some(error_type), true) = (error_type, status != Status::Timeout) {
        text.push_str("\tError Type: ");
        text.push_str(error_type);
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Success => "success",
        Status::Error => "error",
        Status::Failure => "failure",
        Status::Timeout => "timeout",
    }
}

fn level_of(status: Status, success: LogLevel) -> LogLevel {
    if status == Status::Success {
        success
    } else {
        LogLevel::Warn
    }
}

fn add_error_type(record: &mut Value, error_type: Option<&str>) {
    if let (Some(error_type), Some(map)) = (error_type, record.as_object_mut()) {
        map.insert("errorType".to_owned(), json!(error_type));
    }
}

fn ms2(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

fn round3(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// Rounded up to whole milliseconds, as AWS bills.
pub(crate) fn whole_ms(duration: Duration) -> Duration {
    Duration::from_millis(
        duration
            .as_nanos()
            .div_ceil(1_000_000)
            .try_into()
            .unwrap_or(u64::MAX),
    )
}

/// Now, in milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Now, as AWS writes it.
pub(crate) fn iso_now() -> String {
    iso(Timestamp::now())
}

fn iso(at: Timestamp) -> String {
    format!("{at:.3}")
}
