//! A process in a sandbox, as the host holds it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;

use crate::channel::{self, Fault};
use crate::host::setup;
use crate::init::{self, EXEC, GO};
use crate::spec::{Error, Exit};

/// A process in a sandbox. Dropping the handle does not end the process.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
    end: OwnedFd,
    exit: OnceLock<Exit>,
}

impl Child {
    /// `end` tells its wait status and is closed then.
    pub(crate) fn new(pid: i32, pidfd: OwnedFd, end: OwnedFd) -> Child {
        Child {
            pid,
            pidfd,
            end,
            exit: OnceLock::new(),
        }
    }

    /// Its pid inside the sandbox.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A pidfd of it.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Becomes readable when [`try_wait`](Child::try_wait) will tell how it ended.
    pub fn exit_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// How it ended, if it did.
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Waits for its end.
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            if let Some(exit) = self.wait_timeout(Duration::from_secs(3600))? {
                return Ok(exit);
            }
        }
    }

    /// Waits for its end, but not longer than this.
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<Exit>, Error> {
        if let Some(exit) = self.exit.get() {
            return Ok(Some(*exit));
        }
        let failed = |source: io::Error| Error::Io {
            what: "waiting for a process".to_owned(),
            source,
        };
        if !channel::wait_readable(&self.end, Some(limit)).map_err(failed)? {
            return Ok(None);
        }
        let exit = read_exit(&self.end).map_err(failed)?;
        Ok(Some(*self.exit.get_or_init(|| exit)))
    }

    /// Sends a signal; none once it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        send_signal(&self.pidfd, signal)
    }

    /// Parts what signals are sent to from what becomes readable at its end, for [`read_exit`].
    pub fn into_parts(self) -> (Signalled, OwnedFd) {
        (Signalled(self.pidfd), self.end)
    }
}

/// A process that signals can be sent to.
#[derive(Debug)]
pub struct Signalled(OwnedFd);

impl Signalled {
    /// Sends a signal; none once it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        send_signal(&self.0, signal)
    }
}

/// What a process waits for that is about to load its program: its variables. Dropping it ends the process.
#[derive(Debug)]
pub struct Poised {
    program: String,
    /// What went wrong, or nothing when the program is loaded.
    faults: OwnedFd,
    go: OwnedFd,
}

impl Poised {
    pub(crate) fn new(program: String, faults: OwnedFd, go: OwnedFd) -> Poised {
        Poised {
            program,
            faults,
            go,
        }
    }

    /// Lets it load its program with these variables. It does not wait until that has been done: a process that cannot do it
    /// ends, and [`Loading`] tells why.
    pub fn go(self, variables: &[(String, String)]) -> Result<Loading, Error> {
        let failed = |source: io::Error| Error::Io {
            what: "starting a process that was poised".to_owned(),
            source,
        };
        let mut text = vec![GO];
        for variable in init::variables(variables).map_err(failed)? {
            text.extend(variable.into_bytes_with_nul());
        }
        File::from(self.go).write_all(&text).map_err(failed)?;
        Ok(Loading {
            program: self.program,
            faults: self.faults,
        })
    }
}

/// What a process loads, and what went wrong with it.
#[derive(Debug)]
pub struct Loading {
    program: String,
    faults: OwnedFd,
}

impl Loading {
    /// Of a process that has ended: what kept it from loading its program, if something did.
    pub fn fault(self) -> Option<Error> {
        // What cannot be read has not been told.
        if !channel::wait_readable(&self.faults, Some(Duration::ZERO)).ok()? {
            return None;
        }
        let mut text = String::new();
        File::from(self.faults).read_to_string(&mut text).ok()?;
        let fault: Fault = serde_json::from_str(&text).ok()?;
        Some(match fault.step.as_str() {
            EXEC => Error::Exec {
                program: self.program,
                source: fault.source(),
            },
            _ => setup(&fault),
        })
    }
}

/// How a process ended, from its descriptor that has become readable.
pub fn read_exit(end: impl AsFd) -> io::Result<Exit> {
    let mut status = [0; 4];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&end, &mut status))?;
    Ok(match count {
        4 => exit_of(i32::from_ne_bytes(status)),
        // The sandbox died with it.
        _ => Exit::Signal(libc::SIGKILL),
    })
}

fn send_signal(pidfd: &OwnedFd, signal: i32) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Io {
        what: format!("sending signal {signal}"),
        source,
    };
    let named = Signal::from_named_raw(signal)
        .ok_or_else(|| failed(io::Error::from_raw_os_error(libc::EINVAL)))?;
    match rustix::process::pidfd_send_signal(pidfd, named) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit_fd()
    }
}

impl AsRawFd for Child {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.exit_fd().as_raw_fd()
    }
}

fn exit_of(status: i32) -> Exit {
    if libc::WIFEXITED(status) {
        Exit::Code(libc::WEXITSTATUS(status))
    } else {
        Exit::Signal(libc::WTERMSIG(status))
    }
}
