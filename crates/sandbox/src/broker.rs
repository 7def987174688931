//! The broker: a small single-threaded process that forks sandboxes and outlives none of them.
//!
//! It answers one request at a time on a SEQPACKET socket (its standard input), holds a *lease* per sandbox
//! whose other end the host has, and ends when the socket closes: it kills everything and removes the cgroups.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll};
use rustix::mount::MountFlags;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Group, Tree};
use crate::channel::{self, Fault, Step};
use crate::filter::Filter;
use crate::init::{self, Seed};
use crate::moves;
use crate::probe;
use crate::rootfs::{self, HOST, Plan};
use crate::spec::{Limits, Mode, Mount, Spec};
use crate::sys;

/// How often cgroups that are still busy are tried again.
const RETRY: Duration = Duration::from_millis(2);
/// How long the broker tries at its own end; what is left then is removed at the next start.
const END_WAIT: Duration = Duration::from_secs(2);
/// How long it tries at its start to remove what a dead instance left; that may be dying this very moment.
const STALE_WAIT: Duration = Duration::from_millis(500);

/// Names what the host sends among what is waited for; sandboxes are numbered from 1.
const EVENT_OF_HOST: u64 = 0;
/// Descriptors that are kept for long have numbers from this on, so that a clone's own are below: what is above the highest
/// number that a clone keeps is never copied to it.
const KEPT_FROM: RawFd = 64;
/// Events that are taken note of at once.
const EVENTS_MAX: usize = 256;

/// What the host sends first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub uid_base: u32,
    pub uid_count: u32,
    pub cgroup_name: String,
    pub resolv_conf: String,
    pub ca_bundle: Option<PathBuf>,
    /// Only look around, answer [`Reply::Probed`] and end.
    pub probe: bool,
    /// Become the broker of a nursery.
    pub nursery: Option<Nursery>,
}

/// A nursery: sandboxes whose namespaces belong to a user namespace of their own, so that a process in that one, a
/// *zygote*, can put children of its own into them and into nothing else.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Nursery {
    /// Host ids that it may use; without them it has the one of whoever starts it.
    pub ids: Option<Ids>,
}

/// Host ids of a nursery.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ids {
    /// Stands for root.
    pub owner: u32,
    /// The zygote's; those of sandboxes follow.
    pub first: u32,
    pub count: u32,
}

/// First of the ids of sandboxes, as a nursery's user namespace numbers them.
const NURSERY_FIRST: u32 = 100_000;

/// What the host asks for after that.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Build a sandbox.
    Create { spec: Spec, how: How },
    /// Add read-only mounts to a sandbox that has been built, and perhaps give `/tmp` another size; its mount namespace
    /// comes along.
    Attach {
        mounts: Vec<Mount>,
        tmp_bytes: Option<u64>,
    },
}

/// What is different about a sandbox.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct How {
    /// The host keeps its cgroup and lets it go on, by a pipe that comes along; and whether there is one.
    pub outside: Option<bool>,
    /// It is for a zygote: no process namespace of its own, since its children must find theirs below.
    pub zygote: bool,
}

/// What the broker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To the first message; the mount namespace that sandboxes are copies of comes along.
    Hello {
        mode: Mode,
        limits: Limits,
        tree: Tree,
        /// Why moves between cgroups wait.
        slow_moves: Option<String>,
    },
    Probed(probe::Probe),
    /// A sandbox is being built; control socket, pidfd of its init and lease come along.
    Created {
        init: i32,
        group: Option<Group>,
    },
    /// What came late is in place.
    Attached,
    Failed(Fault),
    /// Isolation is impossible here; the text says what to do.
    Impossible(String),
}

/// Becomes the broker. Call it at the very top of `main`, before any thread, when the arguments say so.
pub fn broker_main() -> ! {
    // Whoever started us decides when we end; a Ctrl-C in a terminal must reach the server first.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        sys::ignore_signal(signal);
    }
    // For people who look at the list of processes; nothing depends on it.
    let _ = rustix::thread::set_name(c"mayfly-broker");
    let code = match serve() {
        Ok(()) => 0,
        Err(fault) => {
            eprintln!("sandbox broker: {fault}");
            1
        }
    };
    sys::exit_now(code);
}

fn serve() -> Result<(), Fault> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)
        .step("standard input must be the broker's socket")?;
    let Some((hello, _)) =
        channel::receive::<Hello>(&socket).step("receiving the configuration")?
    else {
        return Ok(());
    };
    if hello.probe {
        return channel::send(&socket, &Reply::Probed(probe::look(&hello)), &[]).step("answering");
    }
    // While our rights over files are still those of who started us: in a nursery we may not read the server's own.
    let files = match Files::read(hello) {
        Ok(files) => files,
        Err(fault) => {
            return channel::send(&socket, &Reply::Failed(fault), &[]).step("answering");
        }
    };
    match files.hello.nursery {
        Some(nursery) => nurse(&files, nursery, socket),
        None => work(Broker::prepare(&files), &socket),
    }
}

/// What the host sent first, and what was read because of it.
struct Files {
    hello: Hello,
    certificates: Option<Vec<u8>>,
}

impl Files {
    fn read(hello: Hello) -> Result<Files, Fault> {
        let read = |path: &PathBuf| fs::read(path).step("reading the certificates");
        let certificates = hello.ca_bundle.as_ref().map(read).transpose()?;
        Ok(Files {
            hello,
            certificates,
        })
    }
}

fn work(prepared: Result<Broker, Box<Reply>>, socket: &OwnedFd) -> Result<(), Fault> {
    match prepared {
        Ok(mut broker) => {
            let reply = Reply::Hello {
                mode: broker.mode,
                limits: broker.tree.limits(),
                tree: broker.tree.clone(),
                slow_moves: broker.moves.as_ref().err().cloned(),
            };
            channel::send(socket, &reply, &[broker.enclosure.as_fd()]).step("answering")?;
            let result = broker.run(socket);
            broker.end();
            result
        }
        Err(reply) => channel::send(socket, &*reply, &[]).step("answering"),
    }
}

/// Clones the broker of a nursery into its namespaces, where it is pid 1, and waits for its end.
fn nurse(files: &Files, nursery: Nursery, socket: OwnedFd) -> Result<(), Fault> {
    let (go, go_there) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("pipe")?;
    let flags = sys::CLONE_NEWUSER | sys::CLONE_NEWPID | sys::CLONE_NEWNS;
    let Some((pid, pidfd)) = sys::clone3(flags, None).step("clone3")? else {
        drop(go_there);
        let ready = rustix::io::read(&go, &mut [0]).is_ok_and(|count| count == 1);
        let done = if ready {
            work(Broker::of_nursery(files, nursery), &socket)
        } else {
            Ok(())
        };
        sys::exit_now(i32::from(done.is_err()));
    };
    // The socket must be the clone's alone, so that its end is seen.
    drop((socket, go));
    sys::close_all_except(&[2, go_there.as_raw_fd(), pidfd.as_raw_fd()]).step("closing")?;
    let pid = pid.as_raw_nonzero();
    let map = |name: &str, text: String| fs::write(format!("/proc/{pid}/{name}"), text).step(name);
    match nursery.ids {
        Some(Ids {
            owner,
            first,
            count,
        }) => {
            let rest = count - 2;
            let ids = |user: u32, init: u32| {
                format!(
                    "0 {owner} 1\n{user} {first} 1\n{init} {} 1\n{NURSERY_FIRST} {} {rest}\n",
                    first + 1,
                    first + 2
                )
            };
            map("uid_map", ids(rootfs::USER, rootfs::INIT_USER))?;
            map("gid_map", ids(rootfs::GROUP, rootfs::INIT_GROUP))?;
        }
        None => {
            let uid = rustix::process::geteuid().as_raw();
            let gid = rustix::process::getegid().as_raw();
            map("setgroups", "deny".to_owned())?;
            map("uid_map", format!("0 {uid} 1"))?;
            map("gid_map", format!("0 {gid} 1"))?;
        }
    }
    rustix::io::write(&go_there, b"g").step("starting the nursery")?;
    reap(&pidfd, WaitIdOptions::empty());
    Ok(())
}

struct Broker {
    mode: Mode,
    /// How files are made: a nursery has users to give away, and none of root's other rights.
    files: Mode,
    tree: Tree,
    /// What keeps moves between cgroups quick, or why they are not.
    moves: Result<OwnedFd, String>,
    filter: Filter,
    /// Host uid that stands for root inside every sandbox.
    owner: u32,
    /// Maps root's files to `owner` on read-only mounts; only root can.
    idmap: Option<OwnedFd>,
    slots: Slots,
    /// The mount namespace that the broker lives in.
    home: OwnedFd,
    /// The one that it clones sandboxes in.
    enclosure: OwnedFd,
    /// The socket to the host, and of each sandbox its init and its lease as long as there is something to wait for.
    watch: OwnedFd,
    /// A clone tells by it that it has a table of descriptors of its own.
    parted: (OwnedFd, OwnedFd),
    sandboxes: HashMap<u64, Entry>,
    /// Those that the host has let go of.
    leaving: Vec<u64>,
    next_id: u64,
}

/// A sandbox as the broker sees it.
struct Entry {
    slot: usize,
    init: OwnedFd,
    lease: OwnedFd,
    /// Its init hangs up with us.
    _go: OwnedFd,
    group: Option<Group>,
    /// The init has been reaped.
    dead: bool,
    /// The host has let go of it.
    released: bool,
}

fn failed(fault: Fault) -> Box<Reply> {
    Box::new(Reply::Failed(fault))
}

impl Broker {
    fn prepare(files: &Files) -> Result<Broker, Box<Reply>> {
        let hello = &files.hello;
        let mode = enter_namespaces().map_err(|why| Box::new(Reply::Impossible(why)))?;
        let tree = Tree::detect(Path::new("/"), &hello.cgroup_name);
        let ids = Slots::new(
            mode,
            hello.uid_base,
            hello.uid_base + 1,
            hello.uid_count - 1,
        );
        let mut broker = Broker::set_up(files, mode, tree, ids, hello.uid_base);
        if let Ok(broker) = &mut broker {
            broker.moves = moves::favor().map_err(|fault| fault.to_string());
        }
        broker.map_err(failed)
    }

    /// In the nursery's namespaces, whose root we become.
    fn of_nursery(files: &Files, nursery: Nursery) -> Result<Broker, Box<Reply>> {
        let become_root = || -> Result<(), Fault> {
            init::become_user(0, 0)?;
            // Changing users clears it, and our own files in /proc must stay ours.
            rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).step("dumpable")?;
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .step("parent death signal")
        };
        become_root().map_err(failed)?;
        let tree = Tree::None {
            why: "whoever made the nursery keeps the limits".to_owned(),
        };
        let ids = match nursery.ids {
            Some(ids) => Slots::new(Mode::Root, 0, NURSERY_FIRST, ids.count - 2),
            None => Slots::new(Mode::UserNamespace, 0, 0, 1),
        };
        let made = Broker::set_up(files, Mode::UserNamespace, tree, ids, 0);
        let mut broker = made.map_err(failed)?;
        broker.mode = broker.slots.mode;
        broker.filter = Filter::compile_for_nurseries();
        // Its own, since the host's numbers processes otherwise.
        let proc = || -> Result<(), Fault> {
            fs::create_dir("/proc").step("mkdir /proc")?;
            rustix::mount::mount("proc", "/proc", "proc", MountFlags::empty(), None)
                .step("mounting /proc")
        };
        proc().map_err(failed)?;
        broker.slots.proc = "/proc".to_owned();
        Ok(broker)
    }

    fn set_up(
        files: &Files,
        mode: Mode,
        mut tree: Tree,
        slots: Slots,
        owner: u32,
    ) -> Result<Broker, Fault> {
        let most = rustix::process::getrlimit(Resource::Nofile).maximum;
        rustix::process::setrlimit(
            Resource::Nofile,
            Rlimit {
                current: most,
                maximum: most,
            },
        )
        .step("setrlimit")?;
        let filter = Filter::compile();
        let plan = Plan::read();
        // Named like this, a later instance can see whether we still run.
        let instance = instance_name(std::process::id()).unwrap_or_else(|| "unknown".to_owned());
        tree.remove_stale(Path::new("/"), STALE_WAIT, is_alive);
        tree.enter_instance(Path::new("/"), &instance)?;
        let idmap = match mode {
            Mode::Root => Some(make_user_namespace(&[(0, owner)], &[(0, owner)], "/proc")?),
            Mode::UserNamespace => None,
        };
        rootfs::assemble(
            &plan,
            mode,
            owner,
            idmap.as_ref().map(AsFd::as_fd),
            (&files.hello.resolv_conf, files.certificates.as_deref()),
        )?;
        let home = rootfs::mount_namespace(Path::new(HOST))?;
        let enclosure = rootfs::enclose()?;
        rootfs::move_into(home.as_fd())?;
        Ok(Broker {
            mode,
            files: mode,
            tree,
            moves: Err("nobody asked for it".to_owned()),
            filter,
            owner,
            idmap,
            slots,
            home,
            enclosure,
            watch: epoll::create(epoll::CreateFlags::CLOEXEC).step("epoll")?,
            parted: rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("pipe")?,
            sandboxes: HashMap::new(),
            leaving: Vec::new(),
            next_id: 1,
        })
    }

    fn run(&mut self, socket: &OwnedFd) -> Result<(), Fault> {
        self.wait_for(socket, EVENT_OF_HOST).step("epoll")?;
        loop {
            let (first, changed) = self.wait().step("epoll")?;
            for id in changed {
                self.settle(id).step("epoll")?;
            }
            // The broker of a nursery is the last parent of what its zygote left; inits reaped here are seen to be gone. To look
            // for them takes longer the more there are, and nobody misses them before.
            let reaper = rustix::process::getpid().is_init() && !self.leaving.is_empty();
            while reaper && sys::reap(false).is_some() {}
            self.forget_the_gone();
            if !first {
                continue;
            }
            let Some((order, fds)) =
                channel::receive::<Order>(socket).step("receiving a request")?
            else {
                return Ok(());
            };
            let done = match order {
                Order::Create { spec, how } => self.create(&spec, how),
                Order::Attach { mounts, tmp_bytes } => self.attach(&mounts, tmp_bytes, &fds),
            };
            let sent = match done {
                Ok((reply, fds)) => {
                    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
                    channel::send(socket, &reply, &fds)
                }
                Err(fault) => channel::send(socket, &Reply::Failed(fault), &[]),
            };
            if sent.is_err() {
                return Ok(());
            }
        }
    }

    fn wait_for(&self, fd: impl AsFd, event: u64) -> rustix::io::Result<()> {
        let data = epoll::EventData::new_u64(event);
        epoll::add(&self.watch, fd, data, epoll::EventFlags::IN)
    }

    /// Waits for the host, for the end of an init, or for a lease to be dropped.
    fn wait(&self) -> io::Result<(bool, Vec<u64>)> {
        // The init of a nursery's sandbox ends when we have reaped what a zygote that is gone had put into it.
        let reaper = rustix::process::getpid().is_init();
        let busy = |id| {
            self.sandboxes
                .get(id)
                .is_some_and(|entry| entry.dead || reaper)
        };
        let limit = self
            .leaving
            .iter()
            .any(busy)
            .then(|| channel::timespec(RETRY));
        let mut events = Vec::with_capacity(EVENTS_MAX);
        match epoll::wait(&self.watch, spare_capacity(&mut events), limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let events = events.iter().map(|event| event.data.u64());
        let (host, sandboxes): (Vec<u64>, Vec<u64>) =
            events.partition(|event| *event == EVENT_OF_HOST);
        Ok((!host.is_empty(), sandboxes))
    }

    /// Notes what happened to a sandbox.
    fn settle(&mut self, id: u64) -> rustix::io::Result<()> {
        let Some(entry) = self.sandboxes.get_mut(&id) else {
            return Ok(());
        };
        if !entry.released
            && channel::wait_readable(&entry.lease, Some(Duration::ZERO)).unwrap_or(true)
        {
            entry.released = true;
            epoll::delete(&self.watch, &entry.lease)?;
            self.leaving.push(id);
        }
        if entry.released && !entry.dead {
            kill(entry);
        }
        if !entry.dead && reap(&entry.init, WaitIdOptions::NOHANG) {
            entry.dead = true;
            epoll::delete(&self.watch, &entry.init)?;
        }
        Ok(())
    }

    /// Forgets the sandboxes of which nothing is left.
    fn forget_the_gone(&mut self) {
        let (sandboxes, slots) = (&mut self.sandboxes, &mut self.slots);
        self.leaving.retain(|id| {
            let gone = |entry: &Entry| entry.dead && clean(entry);
            if !sandboxes.get(id).is_none_or(gone) {
                return true;
            }
            if let Some(entry) = sandboxes.remove(id) {
                slots.free.push(entry.slot);
            }
            false
        });
    }

    fn create(&mut self, spec: &Spec, how: How) -> Result<(Reply, Vec<OwnedFd>), Fault> {
        rootfs::make_targets(spec, self.files, self.owner)?;
        let slot = self.slots.take()?;
        let made = self.create_in(slot, spec, how);
        if made.is_err() {
            self.slots.free.push(slot);
        }
        made
    }

    fn create_in(
        &mut self,
        slot: usize,
        spec: &Spec,
        how: How,
    ) -> Result<(Reply, Vec<OwnedFd>), Fault> {
        let (root, id) = (Path::new(HOST), self.next_id);
        self.next_id += 1;
        let (lease, lease_there) = channel::pair().step("socketpair")?;
        let lease = kept(lease);
        self.wait_for(&lease, id).step("epoll")?;
        let name = format!("{}-{id}", spec.name);
        let group = self.tree.create(root, &name, spec)?;
        let made = self.fork(spec, how, slot, id, group.as_ref());
        if let (Err(_), Some(group)) = (&made, &group) {
            group.remove(root);
        }
        let (pid, init, control, go) = made?;
        let for_host = init.try_clone().step("dup");
        let go_for_host = how.outside.map(|_| go.try_clone().step("dup"));
        // From here on it is reaped and cleaned up, whatever happens to the answer.
        let entry = Entry {
            slot,
            init,
            lease,
            _go: go,
            group: group.clone(),
            dead: false,
            released: false,
        };
        self.sandboxes.insert(id, entry);
        let init = pid.as_raw_nonzero().get();
        Ok((
            Reply::Created { init, group },
            [control, for_host?, lease_there]
                .into_iter()
                .chain(go_for_host.transpose()?)
                .collect(),
        ))
    }

    /// Enters a sandbox's mount namespace, adds to it, and comes back.
    fn attach(
        &self,
        mounts: &[Mount],
        tmp_bytes: Option<u64>,
        fds: &[OwnedFd],
    ) -> Result<(Reply, Vec<OwnedFd>), Fault> {
        let [there] = fds else {
            return Err(Fault {
                step: "attaching needs one mount namespace".to_owned(),
                errno: libc::EINVAL,
            });
        };
        let idmap = self.idmap.as_ref().map(AsFd::as_fd);
        let trees = rootfs::late_trees(mounts, idmap)?;
        let placed = self.away(there, || rootfs::place_late(mounts, &trees, tmp_bytes))?;
        placed.map(|()| (Reply::Attached, Vec::new()))
    }

    /// Does something in another mount namespace.
    fn away<T>(&self, there: &OwnedFd, f: impl FnOnce() -> T) -> Result<T, Fault> {
        rootfs::move_into(there.as_fd())?;
        let done = f();
        if rootfs::move_into(self.home.as_fd()).is_err() {
            // Without its own view of the host the broker is of no more use: it ends, and everything with it.
            sys::exit_now(1);
        }
        Ok(done)
    }

    /// Clones the init; returns its pid, pidfd, the host's end of its socket and the end that lets it go on.
    fn fork(
        &self,
        spec: &Spec,
        how: How,
        slot: usize,
        id: u64,
        group: Option<&Group>,
    ) -> Result<(Pid, OwnedFd, OwnedFd, OwnedFd), Fault> {
        let (control_there, control) = channel::pair().step("socketpair")?;
        let (go, go_there) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("pipe")?;
        let unified = match group.and_then(Group::unified) {
            Some(dir) => {
                let path = Path::new(HOST).join(dir.strip_prefix("/").unwrap_or(dir));
                Some(fs::File::open(path).step("opening the cgroup")?)
            }
            None => None,
        };
        let seed = Seed {
            spec,
            mode: self.mode,
            files: self.files,
            how,
            owner: self.owner,
            control,
            go,
            userns: self.slots.user_namespace(slot)?,
            parted: self.parted.1.as_fd(),
            filter: &self.filter,
            best_effort: !how.outside.unwrap_or(group.is_some()),
        };
        let flags = if how.zygote {
            sys::CLONE_NEW_ALL & !sys::CLONE_NEWPID
        } else {
            sys::CLONE_NEW_ALL
        };
        let unified = unified.as_ref().map(AsFd::as_fd);
        let trees = rootfs::own_trees(spec, self.idmap.as_ref().map(AsFd::as_fd))?;
        let made = self.away(&self.enclosure, || {
            match sys::clone3(flags | sys::CLONE_FILES, unified).step("clone3")? {
                None => init::run(&seed, trees),
                // What is the clone's too must not be closed yet.
                Some((pid, pidfd)) => Ok((pid, pidfd, trees)),
            }
        })?;
        let (pid, pidfd, trees) = made?;
        let attached = match group {
            Some(group) if unified.is_none() => {
                group.attach(Path::new(HOST), pid.as_raw_nonzero().get())
            }
            _ => Ok(()),
        };
        let parted = self.wait_until_parted(&pidfd);
        drop((seed, trees));
        let (pidfd, go_there) = (kept(pidfd), kept(go_there));
        let watched = parted
            .and(attached)
            .and_then(|()| self.wait_for(&pidfd, id).step("epoll"));
        let started = watched.and_then(|()| match how.outside {
            Some(_) => Ok(()),
            None => rustix::io::write(&go_there, b"g")
                .step("starting the init")
                .map(drop),
        });
        if let Err(fault) = started {
            // It waits for our byte and ends when the pipe closes.
            drop(go_there);
            reap(&pidfd, WaitIdOptions::empty());
            return Err(fault);
        }
        Ok((pid, pidfd, control_there, go_there))
    }

    /// Waits until a clone has a table of descriptors of its own. Before that we may not close what it needs.
    fn wait_until_parted(&self, clone: &OwnedFd) -> Result<(), Fault> {
        let fds = &mut [
            PollFd::new(&self.parted.0, PollFlags::IN),
            PollFd::new(clone, PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| rustix::event::poll(fds, None)).step("poll")?;
        if fds[0].revents().is_empty() {
            return Err(Fault {
                step: "a clone ended at once".to_owned(),
                errno: libc::ECHILD,
            });
        }
        rustix::io::retry_on_intr(|| rustix::io::read(&self.parted.0, &mut [0]))
            .step("reading")
            .map(drop)
    }

    /// Kills everything and removes every trace.
    fn end(&mut self) {
        for entry in self.sandboxes.values() {
            kill(entry);
        }
        if rustix::process::getpid().is_init() {
            // Our own end is that of everything in the nursery.
            return;
        }
        for entry in self.sandboxes.values_mut() {
            if !entry.dead {
                entry.dead = reap(&entry.init, WaitIdOptions::empty());
            }
            let until = Instant::now() + END_WAIT;
            while !clean(entry) && Instant::now() < until {
                std::thread::sleep(RETRY);
            }
        }
        self.tree.leave_instance(Path::new(HOST), END_WAIT);
    }
}

fn kill(entry: &Entry) {
    if entry.dead {
        return;
    }
    if let Some(group) = &entry.group {
        group.kill(Path::new(HOST));
    }
    // It may have ended by itself.
    let _ = rustix::process::pidfd_send_signal(&entry.init, Signal::KILL);
}

fn reap(init: &OwnedFd, how: WaitIdOptions) -> bool {
    let waited = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(init.as_fd()), WaitIdOptions::EXITED | how)
    });
    matches!(waited, Ok(Some(_)) | Err(rustix::io::Errno::CHILD))
}

/// Removes the cgroups of a dead sandbox and tells the host that nothing is left.
fn clean(entry: &Entry) -> bool {
    let gone = entry
        .group
        .as_ref()
        .is_none_or(|group| group.remove(Path::new(HOST)));
    if gone {
        // The host may not wait for it.
        let _ = rustix::io::write(&entry.lease, b"gone");
    }
    gone
}

/// Leaves the host's mount namespace, as root or through a user namespace.
fn enter_namespaces() -> Result<Mode, String> {
    if rustix::process::geteuid().is_root() && sys::unshare(libc::CLONE_NEWNS).is_ok() {
        return Ok(Mode::Root);
    }
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let map = |name: &str, text: String| {
        fs::write(format!("/proc/self/{name}"), text)
            .map_err(|error| format!("writing {name}: {error}"))
    };
    sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
        .map_err(|error| error.to_string())
        .and_then(|()| map("setgroups", "deny".to_owned()))
        .and_then(|()| map("uid_map", format!("0 {uid} 1")))
        .and_then(|()| map("gid_map", format!("0 {gid} 1")))
        .map_err(|error| {
            format!(
                "neither root's rights nor user namespaces are to be had ({error}); {}",
                probe::userns_advice()
            )
        })?;
    Ok(Mode::UserNamespace)
}

/// The same descriptor, out of the way of those that a clone keeps if there is room. In their way it only costs time.
fn kept(fd: OwnedFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(&fd, KEPT_FROM).unwrap_or(fd)
}

/// Makes a user namespace with these (inside, outside) ids.
fn make_user_namespace(
    uids: &[(u32, u32)],
    gids: &[(u32, u32)],
    proc: &str,
) -> Result<OwnedFd, Fault> {
    let inside = sys::InUserNamespace::start().step("clone")?;
    let dir = format!("{proc}/{}", inside.pid.as_raw_nonzero());
    let lines = |ids: &[(u32, u32)]| {
        ids.iter()
            .map(|(inside, outside)| format!("{inside} {outside} 1\n"))
            .collect::<String>()
    };
    fs::write(format!("{dir}/uid_map"), lines(uids)).step("uid_map")?;
    fs::write(format!("{dir}/gid_map"), lines(gids)).step("gid_map")?;
    let namespace = fs::File::open(format!("{dir}/ns/user")).step("user namespace")?;
    Ok(OwnedFd::from(namespace))
}

/// Host ids: one pair (function and init) per living sandbox, each with its user namespace, used again and again.
struct Slots {
    mode: Mode,
    /// Stands for root inside.
    root: u32,
    first: u32,
    count: u32,
    /// Where processes are numbered as we number them.
    proc: String,
    free: Vec<usize>,
    made: Vec<OwnedFd>,
}

impl Slots {
    fn new(mode: Mode, root: u32, first: u32, count: u32) -> Slots {
        Slots {
            mode,
            root,
            first,
            count,
            proc: format!("{HOST}/proc"),
            free: Vec::new(),
            made: Vec::new(),
        }
    }

    fn take(&mut self) -> Result<usize, Fault> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        let slot = self.made.len();
        let proc = self.proc.as_str();
        let made = match self.mode {
            Mode::Root => {
                let at = u32::try_from(slot).unwrap_or(u32::MAX).saturating_mul(2);
                if at.saturating_add(1) >= self.count {
                    return Err(Fault {
                        step: "no host uid is free".to_owned(),
                        errno: libc::EAGAIN,
                    });
                }
                let (root, user, init) = (self.root, self.first + at, self.first + at + 1);
                make_user_namespace(
                    &[(0, root), (rootfs::USER, user), (rootfs::INIT_USER, init)],
                    &[(0, root), (rootfs::GROUP, user), (rootfs::INIT_GROUP, init)],
                    proc,
                )?
            }
            Mode::UserNamespace => {
                make_user_namespace(&[(rootfs::USER, 0)], &[(rootfs::GROUP, 0)], proc)?
            }
        };
        self.made.push(kept(made));
        Ok(slot)
    }

    /// For a clone, which keeps it.
    fn user_namespace(&self, slot: usize) -> Result<OwnedFd, Fault> {
        self.made[slot].try_clone().step("dup")
    }
}

/// Process id and start time of a process that runs: together they name it for ever.
fn instance_name(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may contain anything; after it come the state, and the start time 19 words on.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    // A zombie holds nothing any more, and its parent may take its time.
    words.next().filter(|state| !["Z", "X"].contains(state))?;
    Some(format!("{pid}-{}", words.nth(18)?))
}

fn is_alive(instance: &str) -> bool {
    let pid = instance.split('-').next().and_then(|pid| pid.parse().ok());
    // Unknown names are not ours to remove.
    pid.is_none_or(|pid| instance_name(pid).as_deref() == Some(instance))
}
