//! Zygotes: processes of a nursery whose forks become the first process of a sandbox.
//!
//! A zygote may enter the namespaces that it is given descriptors of, all of which belong to its nursery, and nothing
//! else: it has no other right, no network, and its own system call filter. What it forks enters a sandbox, gives up
//! everything, and tells us so before it is let go on. It does that by itself, in the program's own language (see
//! `runtimes/python/mayfly_zygote.py`), but its word is not taken for it: [`inspect`] asks the kernel.

use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType,
};
use rustix::process::PidfdFlags;

use crate::channel;
use crate::child::Child;
use crate::host::{Host, Sandbox, io_error};
use crate::inspect;
use crate::spec::{Error, Late, Process, Spec};

/// The number of the descriptor that a zygote is asked to fork on.
pub const ZYGOTE_FD: i32 = 4;
/// How long a child may take until it is in its sandbox. It takes milliseconds.
const FORK_WAIT: Duration = Duration::from_secs(5);
/// What a zygote has of a CPU, in thousandths, while it is not asked to fork: enough to wait for children.
pub const RESTING_MILLIS: u32 = 50;
/// Largest message of a zygote.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Descriptors that go along with an order to fork: two of ours, two of the program's, seven namespaces, and a Landlock domain.
const FDS_MAX: usize = 16;

/// A process that forks on demand.
pub struct Zygote {
    sandbox: Sandbox,
    channel: Mutex<OwnedFd>,
    /// Forks under way; none while its program may have a CPU of its own.
    forks: Mutex<Option<usize>>,
}

/// What an order to fork says, and the fork's program finds: nobody waits for it yet, or somebody does.
const AHEAD: &[u8] = b"ahead";
const AWAITED: &[u8] = b"awaited";
/// What lets a fork go on: by itself, or with what it is told behind it.
const GO: &[u8] = b"g";
const TOLD: &[u8] = b"t";

/// What a forked process writes to.
pub struct Outputs<'a> {
    /// Standard output and standard error.
    pub output: BorrowedFd<'a>,
    /// Descriptor 3.
    pub third: BorrowedFd<'a>,
}

impl Host {
    /// Starts a zygote in a nursery, in a sandbox of its own without network. Its program gets [`ZYGOTE_FD`].
    pub fn zygote(&self, spec: Spec, late: Late, mut process: Process) -> Result<Zygote, Error> {
        process.check()?;
        let sandbox = self.build(spec, true)?;
        sandbox.attach(late)?;
        let failed = |source| Error::Io {
            what: "a zygote's channel".to_owned(),
            source,
        };
        let (channel, there) = channel::pair().map_err(failed)?;
        process.fds.push((ZYGOTE_FD, there));
        sandbox.exec(process)?;
        Ok(Zygote {
            sandbox,
            channel: Mutex::new(channel),
            forks: Mutex::new(None),
        })
    }
}

impl Zygote {
    /// The next message of the program; `None` when it ended or said nothing in time.
    pub fn message(&self, limit: Duration) -> Option<Vec<u8>> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if !channel::wait_readable(&*channel, Some(limit)).ok()? {
            return None;
        }
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let (_, length) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&*channel, bytes.as_mut_slice(), RecvFlags::empty())
        })
        .ok()?;
        bytes.truncate(length);
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// Its sandbox, for what it used and when it died.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Has it fork into a sandbox of its nursery, which must be new. Returns when the child is inside, confined, and
    /// under the sandbox's limits, with the other end of the socket on which it said so: it may be used for more. The
    /// program is told whether it is made `ahead`, and nobody waits for it yet. What it is `told` besides, at most some
    /// kilobytes, is there to be read when it is let go on.
    pub fn fork(
        &self,
        sandbox: &Sandbox,
        outputs: &Outputs<'_>,
        ahead: bool,
        told: Option<&[u8]>,
    ) -> Result<(Child, UnixStream), Error> {
        let failed = |source: std::io::Error| Error::Io {
            what: "forking a zygote".to_owned(),
            source,
        };
        let _awake = self.wake();
        let namespaces = sandbox.take_namespaces();
        let mounts = sandbox.mount_namespace()?;
        let (ready, ready_there) = channel::pair_of(SocketType::STREAM).map_err(failed)?;
        let passcred = |wanted| {
            rustix::net::sockopt::set_socket_passcred(&ready, wanted)
                .map_err(|error| failed(error.into()))
        };
        passcred(true)?;
        let (end, end_there) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| failed(error.into()))?;
        let mut fds = vec![
            ready_there.as_fd(),
            end_there.as_fd(),
            outputs.output,
            outputs.third,
            mounts.as_fd(),
        ];
        fds.extend(namespaces.iter().map(AsFd::as_fd));
        self.order(&fds, if ahead { AHEAD } else { AWAITED })
            .map_err(failed)?;
        drop((ready_there, end_there));
        if !channel::wait_readable(&ready, Some(FORK_WAIT)).map_err(failed)? {
            return Err(Error::Timeout);
        }
        let pid = hello(&ready).ok_or(Error::Gone)?;
        passcred(false)?;
        let known = rustix::process::Pid::from_raw(pid).ok_or(Error::Gone)?;
        let pidfd = rustix::process::pidfd_open(known, PidfdFlags::empty())
            .map_err(|error| failed(error.into()))?;
        let entered = inspect::Entered {
            mounts: mounts.as_fd(),
            others: &namespaces,
            mode: sandbox.mode(),
        };
        let inside = match inspect::inspect(pid, pidfd.as_fd(), &entered) {
            Ok(inside) => inside,
            Err(why) => {
                // Its program lies. What it forked goes with the sandbox.
                self.sandbox.kill();
                // A failure means only that its end is seen later.
                let _ = channel::wait_readable(self.sandbox.death_fd(), Some(FORK_WAIT));
                return Err(Error::Unfit(why));
            }
        };
        sandbox.take_in(pid)?;
        let mut ready = UnixStream::from(ready);
        let word = told.map_or(GO.to_vec(), |told| [TOLD, told].concat());
        ready.write_all(&word).map_err(|_| Error::Gone)?;
        Ok((Child::new(inside, pidfd, end), ready))
    }

    /// Whether it can be asked to fork.
    pub fn is_alive(&self) -> bool {
        let death = self.sandbox.death_fd();
        matches!(
            channel::wait_readable(death, Some(Duration::ZERO)),
            Ok(false)
        )
    }

    /// From here on its program has no work of its own: outside of forks it gets a twentieth of a CPU.
    pub fn rest(&self) {
        let mut forks = self.forks();
        *forks = Some(0);
        self.set_share(0);
    }

    /// A whole CPU as long as the guard is held.
    fn wake(&self) -> Awake<'_> {
        if let Some(forks) = &mut *self.forks() {
            *forks += 1;
            self.set_share(*forks);
        }
        Awake(self)
    }

    /// Call it with the number of forks locked, so that the last word is true.
    fn set_share(&self, forks: usize) {
        let millis = Some(RESTING_MILLIS).filter(|_| forks == 0);
        if let Err(error) = self.sandbox.set_cpu(millis) {
            tracing::warn!(%error, "the CPU share of a zygote was not set");
        }
    }

    fn forks(&self) -> MutexGuard<'_, Option<usize>> {
        self.forks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, fds: &[BorrowedFd<'_>], word: &[u8]) -> std::io::Result<()> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if fds.len() > FDS_MAX || !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(std::io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        let bytes = [IoSlice::new(word)];
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&*channel, &bytes, &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }
}

/// While a zygote works.
struct Awake<'a>(&'a Zygote);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        if let Some(forks) = &mut *self.0.forks() {
            *forks = forks.saturating_sub(1);
            self.0.set_share(*forks);
        }
    }
}

/// The pid that a child of the zygote says it has. A zygote may name any process of its nursery here.
fn hello(ready: &OwnedFd) -> Option<i32> {
    let mut bytes = [0; 32];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        let mut into = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(ready, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })
    .ok()?;
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => {
            Some(credentials.pid.as_raw_nonzero().get())
        }
        _ => None,
    })
}

impl Sandbox {
    /// Moves a process that has entered it under its limits.
    fn take_in(&self, pid: i32) -> Result<(), Error> {
        self.started();
        let Some(group) = self.group() else {
            return Ok(());
        };
        let attached = group.attach(Path::new("/"), pid);
        attached.map_err(|fault| io_error(&fault))
    }
}
