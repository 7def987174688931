//! The host's line to its broker: starts it, asks it, and ends it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::broker::{Hello, Nursery, Order, Reply};
use crate::channel;
use crate::host::{ANSWER_WAIT, setup};
use crate::spec::{Config, Error};

/// The broker's process and the socket to it.
pub(crate) struct Line {
    socket: OwnedFd,
    process: std::process::Child,
}

impl Line {
    pub fn start(config: &Config, probe: bool, nursery: Option<Nursery>) -> Result<Line, Error> {
        let failed = |source| Error::Start {
            path: config.broker_path.clone(),
            source,
        };
        let (socket, there) = channel::pair().map_err(failed)?;
        let process = Command::new(&config.broker_path)
            .args(&config.broker_args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(there))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let line = Line { socket, process };
        let hello = Hello {
            uid_base: config.uid_base,
            uid_count: config.uid_count,
            cgroup_name: config.cgroup_name.clone(),
            resolv_conf: config.resolv_conf.clone(),
            ca_bundle: config.ca_bundle.clone(),
            probe,
            nursery,
        };
        channel::send(&line.socket, &hello, &[]).map_err(failed)?;
        Ok(line)
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Becomes readable when it has ended.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        let pid = Pid::from_child(&self.process);
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }

    pub fn ask(
        &mut self,
        order: &Order,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        channel::send(&self.socket, order, fds).map_err(|_| Error::BrokerGone)?;
        self.answer()
    }

    pub fn answer(&mut self) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let there = channel::wait_readable(&self.socket, Some(ANSWER_WAIT));
        if !there.map_err(|_| Error::BrokerGone)? {
            // A late answer would be taken for that to the next order.
            self.process.kill().map_err(|_| Error::BrokerGone)?;
            return Err(Error::Timeout);
        }
        channel::receive(&self.socket)
            .ok()
            .flatten()
            .ok_or(Error::BrokerGone)
    }

    pub fn refused(&mut self, reply: Reply) -> Error {
        match reply {
            Reply::Impossible(why) => Error::NoIsolation(why),
            Reply::Failed(fault) => setup(&fault),
            _ => Error::BrokerGone,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The broker ends when its socket closes; it may have ended before.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        // Reaps it; there is nothing to do about a failure.
        let _ = self.process.wait();
    }
}
