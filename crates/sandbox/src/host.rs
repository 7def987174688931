//! The host's side: the broker's handle, sandboxes and their processes.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Signal;

use crate::broker::{How, Ids, Nursery, Order, Reply};
use crate::cgroup::{Charge, Group, OutsideGroup, Tree};
use crate::channel::{self, Fault};
use crate::child::{Child, Poised};
use crate::init::{Answer, Request};
use crate::line::Line;
use crate::probe::Probe;
use crate::spec::{Config, Error, Late, Limits, Mode, Mount, Process, Spec, Usage, late_mounts};
use crate::warden::{self, Warden};

/// How long the broker or an init may take for one request. They take a millisecond; a machine that is
/// swapping takes longer.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// Host ids of one nursery: two for its zygote, two for each sandbox.
const NURSERY_IDS: u32 = 4096;
/// How long dropping a sandbox waits until nothing of it is left. The broker goes on trying after that.
pub(crate) const GONE_WAIT: Duration = Duration::from_secs(5);

/// One per process: the broker and what this machine offers. Clones are handles to the same one.
///
/// When the last handle and the last sandbox are dropped, the broker ends.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

struct Shared {
    broker: Mutex<Line>,
    config: Config,
    mode: Mode,
    limits: Limits,
    tree: Tree,
    slow_moves: Option<String>,
    warden: Warden,
    /// Which blocks of host ids nurseries have.
    blocks: Mutex<Vec<bool>>,
    /// Of a nursery: whose it is, and its block.
    parent: Option<(Host, Option<usize>)>,
    /// Numbers the cgroups of a nursery.
    next_id: AtomicU64,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some((parent, Some(block))) = &self.parent {
            parent.blocks()[*block] = false;
        }
    }
}

impl Host {
    /// Starts the broker. Blocks for a few milliseconds.
    pub fn start(config: &Config) -> Result<Host, Error> {
        Host::with(config, None, None).map(|(host, _)| host)
    }

    /// Starts a nursery: its sandboxes can take in the children of a process of its own, a `Zygote`. It has a broker
    /// of its own, in a user and a process namespace, and ends with its last handle and sandbox. All its sandboxes have
    /// these read-only mounts, over folders that are there. Blocks for some ten milliseconds.
    pub fn nursery(&self, mounts: Vec<Mount>) -> Result<Host, Error> {
        late_mounts(&mounts)?;
        let (block, ids) = match self.shared.mode {
            Mode::UserNamespace => (None, None),
            Mode::Root => {
                let config = &self.shared.config;
                let mut blocks = self.blocks();
                let block = blocks.iter().position(|taken| !taken);
                let block = block.unwrap_or(blocks.len());
                let above = u32::try_from(block + 1).unwrap_or(u32::MAX);
                // From the upper half of the range; the lower one is the first broker's.
                let offset = above.saturating_mul(NURSERY_IDS);
                if offset > config.uid_count / 2 {
                    return Err(Error::Spec("too many nurseries".to_owned()));
                }
                match blocks.get_mut(block) {
                    Some(taken) => *taken = true,
                    None => blocks.push(true),
                }
                let ids = Ids {
                    owner: config.uid_base,
                    first: config.uid_base + config.uid_count - offset,
                    count: NURSERY_IDS,
                };
                (Some(block), Some(ids))
            }
        };
        let parent = (self.clone(), block);
        let (nursery, enclosure) =
            Host::with(&self.shared.config, Some(Nursery { ids }), Some(parent))?;
        if !mounts.is_empty() {
            nursery.mounter().add(mounts, None, enclosure.as_fd())?;
        }
        Ok(nursery)
    }

    /// Whose broker may mount in its sandboxes: root's may everywhere, and a nursery's cannot see every file that root can.
    fn mounter(&self) -> &Host {
        match &self.shared.parent {
            Some((parent, _)) if parent.shared.mode == Mode::Root => parent,
            _ => self,
        }
    }

    /// Adds to what is mounted in a mount namespace.
    fn add(
        &self,
        mounts: Vec<Mount>,
        tmp_bytes: Option<u64>,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let order = Order::Attach {
            mounts: resolved(mounts)?,
            tmp_bytes,
        };
        match self.broker().ask(&order, &[namespace])?.0 {
            Reply::Attached => Ok(()),
            Reply::Failed(fault) => Err(setup(&fault)),
            _ => Err(Error::BrokerGone),
        }
    }

    /// Starts a broker; the mount namespace that its sandboxes are copies of comes along.
    fn with(
        config: &Config,
        nursery: Option<Nursery>,
        parent: Option<(Host, Option<usize>)>,
    ) -> Result<(Host, OwnedFd), Error> {
        let mut broker = Line::start(config, false, nursery)?;
        let (reply, fds) = broker.answer()?;
        let Reply::Hello {
            mode,
            limits,
            tree,
            slow_moves,
        } = reply
        else {
            return Err(broker.refused(reply));
        };
        let enclosure = fds.into_iter().next().ok_or(Error::BrokerGone)?;
        let host = Host {
            shared: Arc::new(Shared {
                broker: Mutex::new(broker),
                config: config.clone(),
                mode,
                limits,
                tree,
                slow_moves,
                warden: Warden::start(),
                blocks: Mutex::default(),
                parent,
                next_id: AtomicU64::new(1),
            }),
        };
        Ok((host, enclosure))
    }

    fn blocks(&self) -> MutexGuard<'_, Vec<bool>> {
        // Every change is one assignment.
        let blocks = self.shared.blocks.lock();
        blocks.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What this machine offers, with advice. Starts a broker for a moment and changes nothing.
    pub fn probe(config: &Config) -> Result<Probe, Error> {
        let mut broker = Line::start(config, true, None)?;
        match broker.answer()?.0 {
            Reply::Probed(probe) => Ok(probe),
            other => Err(broker.refused(other)),
        }
    }

    /// The privilege that sandboxes are made with.
    pub fn mode(&self) -> Mode {
        self.shared.mode
    }

    /// Becomes readable when the broker has ended, which ends every sandbox; none can be made then.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn end(&self) -> std::io::Result<OwnedFd> {
        self.broker().pidfd()
    }

    /// How limits are kept; log it at start when it is best effort.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Why a process waits for milliseconds until it is under its limits, where it does.
    pub fn slow_moves(&self) -> Option<&str> {
        self.shared.slow_moves.as_deref()
    }

    /// Builds a sandbox without processes. Blocks for about a millisecond.
    pub fn create(&self, spec: Spec) -> Result<Sandbox, Error> {
        self.build(spec, false)
    }

    pub(crate) fn build(&self, spec: Spec, zygote: bool) -> Result<Sandbox, Error> {
        spec.check()?;
        let spec = Spec {
            mounts: resolved(spec.mounts)?,
            ..spec
        };
        let outside = self.shared.parent.is_some();
        let outside_group = self.outside_group(&spec)?;
        let order = Order::Create {
            spec: spec.clone(),
            how: How {
                outside: outside.then_some(outside_group.is_some()),
                zygote,
            },
        };
        let (reply, fds) = self.broker().ask(&order, &[])?;
        let (mut init, group) = match reply {
            Reply::Created { init, group } => (init, group),
            Reply::Failed(fault) => return Err(setup(&fault)),
            _ => return Err(Error::BrokerGone),
        };
        let mut fds = fds.into_iter();
        let (Some(control), Some(pidfd), Some(lease)) = (fds.next(), fds.next(), fds.next()) else {
            return Err(Error::BrokerGone);
        };
        let mut group = group;
        if outside {
            let go = fds.next().ok_or(Error::BrokerGone)?;
            init = pid_of(&pidfd)?;
            group = outside_group.as_ref().map(|outside| outside.0.clone());
            if let Some(group) = &group {
                let attached = group.attach(Path::new("/"), init);
                attached.map_err(|fault| io_error(&fault))?;
            }
            rustix::io::write(&go, b"g").map_err(|_| Error::Gone)?;
        }
        // From here on dropping `lease` makes the broker clean up.
        let (answer, files) = receive(&control)?;
        match answer {
            Answer::Ready => {}
            Answer::Failed(fault) => return Err(setup(&fault)),
            _ => return Err(Error::Gone),
        }
        let mut files = files.into_iter();
        let listeners = files
            .by_ref()
            .take(spec.listeners.len())
            .map(TcpListener::from)
            .collect();
        let udp = files
            .by_ref()
            .take(spec.udp.len())
            .map(UdpSocket::from)
            .collect();
        let charge = group.as_ref().map(|group| group.charge(Path::new("/")));
        let charge = charge.transpose().map_err(|fault| io_error(&fault))?;
        let inner = Arc::new(Inner {
            control: Mutex::new(control),
            init,
            pidfd,
            lease,
            group,
            tmp: files.next().ok_or(Error::Gone)?,
            mounts: Mutex::new(Some(Arc::new(files.next().ok_or(Error::Gone)?))),
            namespaces: Mutex::new(files.collect()),
            memory_bytes: AtomicU64::new(spec.memory_bytes),
            tmp_bytes: AtomicU64::new(spec.tmp_bytes),
            cpu_millis: Mutex::new(spec.cpu_millis),
            frozen: AtomicBool::new(false),
            stopped: Mutex::new(None),
            idle: AtomicBool::new(true),
            peak: AtomicU64::new(0),
            held: AtomicU64::new(0),
            charge,
            counted: AtomicU64::new(0),
            look: AtomicU64::new(0),
            next_look: AtomicU64::new(warden::NEVER),
            kills: AtomicU64::new(0),
        });
        Ok(Sandbox {
            inner,
            listeners,
            udp,
            _outside_group: outside_group,
            host: self.clone(),
        })
    }

    /// The cgroup of a sandbox of a nursery, whose broker may not make any.
    fn outside_group(&self, spec: &Spec) -> Result<Option<OutsideGroup>, Error> {
        let Some((parent, _)) = &self.shared.parent else {
            return Ok(None);
        };
        let number = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let broker = self.broker().id();
        let id = format!("{}-{broker}-{number}", spec.name);
        let group = parent.shared.tree.create(Path::new("/"), &id, spec);
        group
            .map(|group| group.map(OutsideGroup))
            .map_err(|fault| setup(&fault))
    }

    fn broker(&self) -> MutexGuard<'_, Line> {
        // A panic while asking leaves the socket usable or closed, and both are handled.
        self.shared
            .broker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Links in the sources are followed here, where they mean what the caller sees.
fn resolved(mounts: Vec<Mount>) -> Result<Vec<Mount>, Error> {
    let resolve = |mount: Mount| match std::fs::canonicalize(&mount.source) {
        Ok(source) => Some(Ok(Mount { source, ..mount })),
        Err(error) if mount.optional && error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => Some(Err(Error::Io {
            what: format!("mounting {}", mount.source.display()),
            source,
        })),
    };
    mounts.into_iter().filter_map(resolve).collect()
}

pub(crate) fn setup(fault: &Fault) -> Error {
    Error::Setup {
        step: fault.step.clone(),
        source: fault.source(),
    }
}

fn receive(control: &OwnedFd) -> Result<(Answer, Vec<OwnedFd>), Error> {
    if !channel::wait_readable(control, Some(ANSWER_WAIT)).map_err(|_| Error::Gone)? {
        return Err(Error::Timeout);
    }
    channel::receive(control).ok().flatten().ok_or(Error::Gone)
}

/// An isolated environment in which processes can be started.
///
/// Dropping it kills everything inside and blocks, for about two milliseconds, until its processes, mounts
/// and cgroups are gone.
pub struct Sandbox {
    inner: Arc<Inner>,
    listeners: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    /// Dropped when nothing is left in it.
    _outside_group: Option<OutsideGroup>,
    /// Keeps the broker alive.
    host: Host,
}

/// The pid that we know a process by.
pub(crate) fn pid_of(pidfd: &OwnedFd) -> Result<i32, Error> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io { what: path, source })?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = line.and_then(|pid| pid.trim().parse().ok());
    pid.filter(|pid| *pid > 0).ok_or(Error::Gone)
}

/// What the warden shares with the sandbox.
pub(crate) struct Inner {
    control: Mutex<OwnedFd>,
    /// Pid of the init as the host sees it.
    init: i32,
    pidfd: OwnedFd,
    lease: OwnedFd,
    group: Option<Group>,
    tmp: OwnedFd,
    /// Its mount namespace, until nothing is attached any more.
    mounts: Mutex<Option<Arc<OwnedFd>>>,
    /// The other namespaces and a Landlock domain, in a nursery, until a child of the zygote has entered them.
    namespaces: Mutex<Vec<OwnedFd>>,
    memory_bytes: AtomicU64,
    tmp_bytes: AtomicU64,
    cpu_millis: Mutex<Option<u32>>,
    frozen: AtomicBool,
    /// The processes that signals have stopped.
    stopped: Mutex<Option<Vec<OwnedFd>>>,
    /// Nothing runs, so the warden need not look.
    idle: AtomicBool,
    peak: AtomicU64,
    /// What it held when it was looked at last.
    held: AtomicU64,
    charge: Option<Charge>,
    /// The charge when its memory was counted last.
    counted: AtomicU64,
    /// When it is due to be looked at again, as the warden counts.
    pub(crate) look: AtomicU64,
    /// The look that the warden has planned.
    pub(crate) next_look: AtomicU64,
    /// Times the warden killed.
    kills: AtomicU64,
}

impl Sandbox {
    /// The listeners of [`Spec::listeners`], in its order; blocking, until set otherwise.
    pub fn listeners(&self) -> &[TcpListener] {
        &self.listeners
    }

    /// Takes the listeners away, for instance to hand them to an event loop.
    pub fn take_listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// Takes the UDP sockets of [`Spec::udp`] away.
    pub fn take_udp(&mut self) -> Vec<UdpSocket> {
        std::mem::take(&mut self.udp)
    }

    /// Adds what was not known when the sandbox was built. Blocks for some tens of microseconds.
    pub fn attach(&self, late: Late) -> Result<(), Error> {
        late.check()?;
        let inner = &self.inner;
        let limit = |memory: u64, tmp: u64| memory.saturating_add(tmp);
        let (memory, tmp) = (late.memory_bytes, late.tmp_bytes);
        let tmp_before = inner.tmp_bytes.swap(tmp, Ordering::AcqRel);
        let memory_before = inner.memory_bytes.swap(memory, Ordering::AcqRel);
        let (before, after) = (limit(memory_before, tmp_before), limit(memory, tmp));
        if let Some(group) = inner.group.as_ref().filter(|_| before != after) {
            let set = group.set_memory(Path::new("/"), before, after);
            set.map_err(|fault| io_error(&fault))?;
        }
        if memory != memory_before {
            // The distance to the old limit said when to look.
            inner.look.store(warden::soon(), Ordering::Release);
            self.host.shared.warden.wake(inner);
        }
        if late.mounts.is_empty() && tmp == tmp_before {
            return Ok(());
        }
        let namespace = self.mount_namespace()?;
        let tmp_bytes = (tmp != tmp_before).then_some(tmp);
        let mounter = self.host.mounter();
        mounter.add(late.mounts, tmp_bytes, namespace.as_fd())
    }

    /// Starts a process; returns when its program has been loaded. All processes of a sandbox share its
    /// namespaces and limits.
    pub fn spawn(&self, process: Process) -> Result<Child, Error> {
        process.check()?;
        let program = process.argv.first().cloned().unwrap_or_default();
        self.start(process, false, program).map(|(child, _)| child)
    }

    /// Starts a process up to the moment in which its program is loaded. Its variables may come later.
    pub fn poise(&self, process: Process) -> Result<(Child, Poised), Error> {
        process.check()?;
        let program = process.argv.first().cloned().unwrap_or_default();
        let (child, mut files) = self.start(process, true, program.clone())?;
        match (files.next(), files.next()) {
            (Some(faults), Some(go)) => Ok((child, Poised::new(program, faults, go))),
            _ => Err(Error::Gone),
        }
    }

    fn start(
        &self,
        process: Process,
        poised: bool,
        program: String,
    ) -> Result<(Child, impl Iterator<Item = OwnedFd>), Error> {
        let (request, files) = self.request(process, poised);
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        self.started();
        match self.inner.ask(&request, &fds)? {
            (Answer::Spawned { pid }, files) => {
                let mut files = files.into_iter();
                let (Some(pidfd), Some(end)) = (files.next(), files.next()) else {
                    return Err(Error::Gone);
                };
                Ok((Child::new(pid, pidfd, end), files))
            }
            (Answer::NoExec(fault), _) => Err(Error::Exec {
                program,
                source: fault.source(),
            }),
            _ => Err(Error::Gone),
        }
    }

    /// Has the sandbox of a zygote become its program.
    pub(crate) fn exec(&self, process: Process) -> Result<(), Error> {
        let program = process.argv.first().cloned().unwrap_or_default();
        let (request, files) = self.request(process, false);
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        self.started();
        match self.inner.ask(&request, &fds) {
            // The socket hangs up when the program has been loaded.
            Err(Error::Gone) => Ok(()),
            Ok((Answer::NoExec(fault), _)) => Err(Error::Exec {
                program,
                source: fault.source(),
            }),
            Ok(_) => Err(Error::Gone),
            Err(error) => Err(error),
        }
    }

    /// Something runs in it from here on.
    pub(crate) fn started(&self) {
        self.inner.idle.store(false, Ordering::Release);
        self.inner.look.fetch_max(warden::soon(), Ordering::AcqRel);
        self.host.shared.warden.wake(&self.inner);
    }

    pub(crate) fn group(&self) -> Option<&Group> {
        self.inner.group.as_ref()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.host.shared.mode
    }

    pub(crate) fn mount_namespace(&self) -> Result<Arc<OwnedFd>, Error> {
        self.inner.mounts().clone().ok_or(Error::Gone)
    }

    /// Nothing more will be attached or forked into it. Gives back a descriptor; there are many of them.
    pub fn complete(&self) {
        self.inner.mounts().take();
    }

    /// The namespaces that a zygote's child enters, and its Landlock domain; there are none the second time.
    pub(crate) fn take_namespaces(&self) -> Vec<OwnedFd> {
        let namespaces = self.inner.namespaces.lock();
        std::mem::take(&mut *namespaces.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn request(&self, process: Process, poised: bool) -> (Request, Vec<OwnedFd>) {
        let (numbers, files): (Vec<_>, Vec<_>) = process.fds.into_iter().unzip();
        let request = Request::Spawn {
            argv: process.argv,
            env: process.env,
            cwd: process.cwd.display().to_string(),
            fds: numbers,
            stdout: process.stdout.is_some(),
            stderr: process.stderr.is_some(),
            memory_bytes: self.inner.memory_bytes.load(Ordering::Acquire),
            poised,
        };
        let files = files
            .into_iter()
            .chain(process.stdout)
            .chain(process.stderr)
            .collect();
        (request, files)
    }

    /// Changes the CPU share; 1000 is one CPU, `None` unthrottled. Nothing happens where limits are best effort.
    pub fn set_cpu(&self, millis: Option<u32>) -> Result<(), Error> {
        let Some(group) = &self.inner.group else {
            return Ok(());
        };
        // Kept until it is written, so that it is true.
        let share = self.inner.cpu_millis.lock();
        let mut share = share.unwrap_or_else(std::sync::PoisonError::into_inner);
        let set = group.set_cpu(Path::new("/"), *share, millis);
        set.map_err(|fault| io_error(&fault))?;
        *share = millis;
        Ok(())
    }

    /// Stops every process until [`thaw`](Sandbox::thaw).
    pub fn freeze(&self) -> Result<(), Error> {
        if self.inner.frozen.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.inner.idle.store(true, Ordering::Release);
        if self.inner.freeze_group(true)? {
            return Ok(());
        }
        self.inner.ask(&Request::Stop, &[])?;
        *self.inner.stopped() = self.inner.pidfds();
        Ok(())
    }

    /// Lets every process go on.
    pub fn thaw(&self) -> Result<(), Error> {
        self.inner.thaw()?;
        self.inner.idle.store(false, Ordering::Release);
        self.host.shared.warden.wake(&self.inner);
        Ok(())
    }

    /// Kills every process but keeps the sandbox and its `/tmp`; returns when they are gone.
    pub fn reset(&self) -> Result<(), Error> {
        self.inner.thaw()?;
        self.inner.ask(&Request::Kill, &[])?;
        self.inner.idle.store(true, Ordering::Release);
        Ok(())
    }

    /// Kills everything, sandbox included, without waiting. [`Drop`] waits and cleans up.
    pub fn kill(&self) {
        self.inner.kill();
    }

    /// The most memory that it has needed, in bytes. Costs some tens of microseconds.
    pub fn memory_peak(&self) -> Result<u64, Error> {
        self.inner.memory_peak()
    }

    /// What it has used. Costs twice as much as [`memory_peak`](Self::memory_peak) does.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.inner.usage()
    }

    /// Starts the memory high-water mark anew.
    pub fn reset_peak(&self) {
        self.inner.peak.store(0, Ordering::Release);
        self.inner.counted.store(0, Ordering::Release);
        for pid in self.inner.processes() {
            // Sets VmHWM to the current size; a process that is just ending needs none.
            let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        if let Some(group) = &self.inner.group {
            group.reset_peak(Path::new("/"));
        }
    }

    /// Bytes of files in its `/tmp`.
    pub fn tmp_used_bytes(&self) -> u64 {
        self.inner.tmp_used()
    }

    /// Becomes readable when the sandbox has died as a whole.
    pub fn death_fd(&self) -> BorrowedFd<'_> {
        self.inner.pidfd.as_fd()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.inner.idle.store(true, Ordering::Release);
        self.inner.kill();
        // Tells the broker; it may be gone, and then so is the sandbox.
        let _ = rustix::net::shutdown(&self.inner.lease, rustix::net::Shutdown::Write);
        match channel::wait_readable(&self.inner.lease, Some(GONE_WAIT)) {
            Ok(true) => {}
            _ => tracing::warn!(init = self.inner.init, "a sandbox is slow to disappear"),
        }
    }
}

pub(crate) fn io_error(fault: &Fault) -> Error {
    Error::Io {
        what: fault.step.clone(),
        source: fault.source(),
    }
}

impl Inner {
    fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), Error> {
        // Waking it while frozen by the kernel would wait for ever.
        if self
            .group
            .as_ref()
            .is_some_and(|group| group.unified().is_some())
        {
            self.thaw()?;
        }
        let control = self
            .control
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        channel::send(&*control, request, fds).map_err(|_| Error::Gone)?;
        match receive(&control) {
            Ok((Answer::Failed(fault), _)) => Err(setup(&fault)),
            // A late answer would be taken for that to the next request.
            Err(Error::Timeout) => {
                self.kill();
                Err(Error::Timeout)
            }
            other => other,
        }
    }

    fn freeze_group(&self, frozen: bool) -> Result<bool, Error> {
        match &self.group {
            Some(group) => group
                .freeze(Path::new("/"), frozen)
                .map_err(|fault| io_error(&fault)),
            None => Ok(false),
        }
    }

    fn thaw(&self) -> Result<(), Error> {
        if !self.frozen.swap(false, Ordering::AcqRel) || self.freeze_group(false)? {
            return Ok(());
        }
        let Some(stopped) = self.stopped().take() else {
            return self.ask(&Request::Continue, &[]).map(drop);
        };
        for process in stopped {
            // It may have been killed while it was stopped.
            let _ = rustix::process::pidfd_send_signal(process, Signal::CONT);
        }
        Ok(())
    }

    /// Handles of all processes, while they are stopped and so cannot become more. With them thawing costs
    /// a microsecond each; by the init it costs two changes of process.
    fn pidfds(&self) -> Option<Vec<OwnedFd>> {
        /// With more it is cheaper to ask the init.
        const PROCESSES_MAX: usize = 16;
        let pids = self.processes();
        if pids.len() > PROCESSES_MAX {
            return None;
        }
        let open = |pid: &i32| {
            let pid = rustix::process::Pid::from_raw(*pid)?;
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
        };
        let opened = pids.iter().map(open).collect::<Option<Vec<_>>>()?;
        // One that was killed meanwhile may have given its number to somebody else.
        (self.processes() == pids).then_some(opened)
    }

    fn mounts(&self) -> MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.mounts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn stopped(&self) -> MutexGuard<'_, Option<Vec<OwnedFd>>> {
        self.stopped
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn kill(&self) {
        // It may be dead already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Acquire)
    }

    /// Kills the processes if they hold more memory than they may. `/tmp` has room of its own in the cgroup,
    /// so the kernel alone would let memory take that too. Leaves a word for [`may_grow_bytes`](Self::may_grow_bytes).
    pub fn check_memory(&self) {
        let limit = self.memory_bytes.load(Ordering::Acquire);
        if let Some(charge) = &self.charge {
            // No more than there was when all was counted last: most of the time that settles the matter.
            let charged = charge.bytes();
            if charged <= self.counted.load(Ordering::Acquire).min(limit) {
                self.held.store(charged, Ordering::Release);
                return;
            }
            self.counted.store(charged, Ordering::Release);
        }
        let Ok(held) = self.held_bytes() else { return };
        self.held.store(held, Ordering::Release);
        self.peak.fetch_max(held, Ordering::AcqRel);
        if held > limit {
            tracing::debug!(init = self.init, held, limit, "out of memory");
            self.kills.fetch_add(1, Ordering::AcqRel);
            if self.ask(&Request::Kill, &[]).is_err() {
                self.kill();
            }
        }
    }

    /// How much more memory than at the last look it may hold.
    pub fn may_grow_bytes(&self) -> u64 {
        let limit = self.memory_bytes.load(Ordering::Acquire);
        limit.saturating_sub(self.held.load(Ordering::Acquire))
    }

    /// Memory without the files in `/tmp`.
    fn held_bytes(&self) -> Result<u64, Error> {
        let Some(group) = &self.group else {
            return Ok(self
                .processes()
                .into_iter()
                .map(|pid| warden::process_memory(pid).held_bytes)
                .sum());
        };
        let counters = group
            .counters(Path::new("/"))
            .map_err(|fault| io_error(&fault))?;
        Ok(counters.held_bytes - self.tmp_used().min(counters.shared_bytes))
    }

    fn usage(&self) -> Result<Usage, Error> {
        let kills = self.kills.load(Ordering::Acquire);
        let peak = self.memory_peak()?;
        let counters = self.group.as_ref();
        let counters = counters.map(|group| group.counters(Path::new("/")));
        let counters = counters.transpose().map_err(|fault| io_error(&fault))?;
        let held = match &counters {
            Some(counters) => counters.held_bytes - self.tmp_used().min(counters.shared_bytes),
            None => {
                let memory = self.processes().into_iter().map(warden::process_memory);
                memory.map(|process| process.held_bytes).sum()
            }
        };
        let counted = counters.as_ref().and_then(|counters| counters.cpu_us);
        let cpu_us = counted.unwrap_or_else(|| {
            let all = self.processes().into_iter().chain([self.init]);
            all.map(warden::process_cpu_us).sum()
        });
        let kernel_kills = counters.map_or(0, |counters| counters.oom_kills);
        Ok(Usage {
            memory_peak_bytes: self.peak.fetch_max(held, Ordering::AcqRel).max(peak),
            memory_bytes: held,
            cpu_us,
            oom_kills: kernel_kills + kills,
        })
    }

    /// The marks of all processes count shared pages once each; the kernel's mark of the group counts them once but
    /// leaves out files that somebody else read first. The smaller one, with the mapped files of the largest process, is
    /// what a machine of its own would have needed.
    fn memory_peak(&self) -> Result<u64, Error> {
        let processes = self.processes().into_iter();
        let memory: Vec<_> = processes.map(warden::process_memory).collect();
        let mut mark: u64 = memory.iter().map(|process| process.peak_bytes).sum();
        if let Some(group) = &self.group {
            let charged = group.charged_peak(Path::new("/"));
            let charged = charged.map_err(|fault| io_error(&fault))?;
            if charged > 0 {
                let files = memory.iter().map(|process| process.file_bytes).max();
                mark = mark.min(charged + files.unwrap_or(0));
            }
        }
        Ok(self.peak.fetch_max(mark, Ordering::AcqRel).max(mark))
    }

    /// Pids of everything inside but the init, as the host sees them.
    fn processes(&self) -> Vec<i32> {
        match &self.group {
            Some(group) => group
                .processes(Path::new("/"))
                .into_iter()
                .filter(|pid| *pid != self.init)
                .collect(),
            None => warden::descendants(self.init),
        }
    }

    fn tmp_used(&self) -> u64 {
        rustix::fs::fstatvfs(&self.tmp)
            .map_or(0, |stat| (stat.f_blocks - stat.f_bfree) * stat.f_frsize)
    }
}
