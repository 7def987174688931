//! The file system inside: a read-only root assembled once by the broker, and what each sandbox adds to it.
//!
//! The broker lives in a mount namespace of its own whose root is an empty tmpfs with the host below [`HOST`] and the
//! assembled root at [`TEMPLATE`]. A second one has that root for its own and nothing else: sandboxes are cloned in there,
//! and each adds to its copy what is its own.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode as Bits, OFlags, Uid};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, move_mount, open_tree, unmount,
};

use crate::channel::{Fault, Step};
use crate::spec::{CA_BUNDLE, Mode, Mount, Spec};
use crate::sys;

/// Where the broker sees the host's root.
pub(crate) const HOST: &str = "/host";
/// Where the broker assembles the root of the sandboxes.
const TEMPLATE: &str = "/t";
/// Where a sandbox finds what it needs while it is built and must not have afterwards: its `/tmp` is mounted over it.
const BEHIND: &str = "/tmp";
/// What covers files and folders of `/proc`, in [`BEHIND`]: they have no permissions at all.
const MASK_FILE: &str = "masked-file";
const MASK_FOLDER: &str = "masked-folder";

/// Largest file copied into the synthesised `/etc`.
const ETC_FILE_BYTES_MAX: u64 = 4 << 20;
/// Room for the assembled root: a few hundred small files.
const TEMPLATE_OPTIONS: &str = "mode=755,size=32m,nr_inodes=4096";

/// User and group inside, as on AWS.
pub(crate) const USER: u32 = 993;
pub(crate) const GROUP: u32 = 990;
/// User and group of the sandbox's init: another one, so that functions cannot see or signal it.
pub(crate) const INIT_USER: u32 = 992;
pub(crate) const INIT_GROUP: u32 = 991;

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
    nobody:x:65534:65534:nobody:/:/sbin/nologin\n\
    sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\nsbx_user1051:x:990:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\n\
    services: files\n";

/// Folders of a plain root, besides those that are mounted or linked.
const FOLDERS: &[&str] = &[
    "dev",
    "dev/shm",
    "etc",
    "mnt",
    "opt",
    "proc",
    "run",
    "tmp",
    "usr",
    "var",
    "var/bytecode",
    "var/bytecode/opt",
    "var/bytecode/task",
    "var/lang",
    "var/mayfly",
    "var/runtime",
    "var/sdk",
    "var/task",
];
/// What else of the host's root holds programs: folders, or links into `/usr`.
const SYSTEM: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const DEVICES: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
];
const LINKS: &[(&str, &str)] = &[
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

/// Harmless files of the host's `/etc` that programs look for.
const ETC_FILES: &[&str] = &[
    "bindresvport.blacklist",
    "debian_version",
    "gai.conf",
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "os-release",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "protocols",
    "redhat-release",
    "services",
    "ssl/cert.pem",
    "ssl/openssl.cnf",
    "timezone",
];
/// Where programs look for certificates: OpenSSL, GnuTLS, Go and curl, on the distributions there are.
const CA_BUNDLES: &[&str] = &[
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/pki/tls/cert.pem",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/cert.pem",
    "etc/ssl/certs/ca-certificates.crt",
];
/// Likewise folders; a name that ends in `*` is a prefix.
const ETC_FOLDERS: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "java*",
    "ld.so.conf.d",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/certs",
    "python2*",
    "python3*",
    "ssl/certs",
];

/// Files of `/proc` that tell about or steer the whole machine.
const PROC_FILES_MASKED: &[&str] = &[
    "cmdline",
    "config.gz",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "modules",
    "mtrr",
    "sched_debug",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];
const PROC_FOLDERS_MASKED: &[&str] = &[
    "acpi",
    "asound",
    "bus",
    "driver",
    "dynamic_debug",
    "fs",
    "irq",
    "pressure",
    "scsi",
];

/// What must be read before the host's root moves to [`HOST`].
pub(crate) struct Plan {
    /// `bash`, and the plain `sh` that it covers.
    shell: Option<(PathBuf, PathBuf)>,
}

impl Plan {
    pub fn read() -> Plan {
        // Amazon Linux's sh is bash, and bootstrap scripts rely on it. A multi-call binary must not be covered.
        let shell = fs::canonicalize("/bin/bash")
            .ok()
            .zip(fs::canonicalize("/bin/sh").ok());
        Plan {
            shell: shell.filter(|(_, sh)| {
                sh.file_name()
                    .is_some_and(|name| name == "dash" || name == "sh")
            }),
        }
    }
}

/// Moves into a root of our own and assembles the template. `owner` is the host uid and gid that stands for root inside.
pub(crate) fn assemble(
    plan: &Plan,
    mode: Mode,
    owner: u32,
    idmap: Option<BorrowedFd<'_>>,
    (resolv_conf, certificates): (&str, Option<&[u8]>),
) -> Result<(), Fault> {
    // Mounts that the host makes later must be reachable as sources; ours must never reach the host.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .step("making mounts private")?;
    let here = ["/tmp", "/mnt", "/run", "/dev"]
        .into_iter()
        .find(|path| Path::new(path).is_dir())
        .unwrap_or("/");
    mount(
        "tmpfs",
        here,
        "tmpfs",
        MountFlags::NOSUID,
        c"mode=755,size=64k",
    )
    .step("mounting the broker's root")?;
    fs::create_dir(Path::new(here).join("host")).step("mkdir host")?;
    fs::create_dir(Path::new(here).join("t")).step("mkdir t")?;
    rustix::process::chdir(here).step("chdir")?;
    rustix::process::pivot_root(".", "host").step("pivot_root")?;
    rustix::process::chdir("/").step("chdir")?;
    rustix::process::umask(Bits::empty());
    let options = format!("{TEMPLATE_OPTIONS}\0");
    let options =
        std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).expect("ends with a zero");
    mount("tmpfs", TEMPLATE, "tmpfs", MountFlags::NOSUID, options).step("mounting the root")?;
    let root = Path::new(TEMPLATE);
    make_tree(root)?;
    make_etc(root, idmap, resolv_conf)?;
    if let Some(certificates) = certificates {
        make_trust(root, certificates)?;
    }
    make_devices(root, mode)?;
    let read_only = Attributes {
        read_only: true,
        exec: true,
        idmap,
    };
    read_only.bind(Path::new("/host/usr"), &root.join("usr"))?;
    for name in SYSTEM {
        let on_host = Path::new(HOST).join(name);
        match fs::symlink_metadata(&on_host) {
            Ok(data) if data.is_symlink() => {
                let to = fs::read_link(&on_host).step(*name)?;
                symlink(to, root.join(name)).step(*name)?;
            }
            Ok(data) if data.is_dir() => {
                make_dir(&root.join(name))?;
                read_only.bind(&on_host, &root.join(name))?;
            }
            _ => {}
        }
    }
    if let Some((bash, sh)) = &plan.shell {
        read_only.bind(&below(HOST, bash), &below(TEMPLATE, sh))?;
    }
    if mode == Mode::Root {
        give_to(root, owner)?;
    }
    Ok(())
}

fn make_tree(root: &Path) -> Result<(), Fault> {
    for name in FOLDERS {
        make_dir(&root.join(name))?;
    }
    for (name, to) in LINKS {
        symlink(to, root.join(name)).step(*name)?;
    }
    let behind = below(TEMPLATE, Path::new(BEHIND));
    write_file(&behind.join(MASK_FILE), b"")?;
    make_dir(&behind.join(MASK_FOLDER))?;
    for mask in [MASK_FILE, MASK_FOLDER] {
        fs::set_permissions(behind.join(mask), fs::Permissions::from_mode(0o000)).step(mask)?;
    }
    Ok(())
}

fn make_etc(root: &Path, idmap: Option<BorrowedFd<'_>>, resolv_conf: &str) -> Result<(), Fault> {
    let etc = root.join("etc");
    for (name, text) in [
        ("passwd", PASSWD),
        ("group", GROUPS),
        ("hosts", HOSTS),
        ("nsswitch.conf", NSSWITCH),
        ("resolv.conf", resolv_conf),
    ] {
        write_file(&etc.join(name), text.as_bytes())?;
    }
    let on_host = Path::new("/host/etc");
    for name in ETC_FILES {
        // Links with absolute targets (localtime, os-release) must be followed within the host's root.
        let Some(source) = resolve(&on_host.join(name)) else {
            continue;
        };
        let small = fs::metadata(&source)
            .is_ok_and(|data| data.is_file() && data.len() <= ETC_FILE_BYTES_MAX);
        if let (true, Ok(bytes)) = (small, fs::read(&source)) {
            make_parents(&etc.join(name))?;
            write_file(&etc.join(name), &bytes)?;
        }
    }
    for name in ETC_FOLDERS {
        for folder in matching(on_host, name) {
            make_parents(&etc.join(&folder))?;
            make_dir(&etc.join(&folder))?;
            Attributes {
                read_only: true,
                exec: false,
                idmap,
            }
            .bind(&on_host.join(&folder), &etc.join(&folder))?;
        }
    }
    Ok(())
}

/// Puts the certificates where programs look for them. Some of these places are links, to others of them; some are in
/// folders of the host, which are not written to: a mount covers the file there.
fn make_trust(root: &Path, certificates: &[u8]) -> Result<(), Fault> {
    let bundle = below(TEMPLATE, Path::new(CA_BUNDLE));
    make_parents(&bundle)?;
    write_file(&bundle, certificates)?;
    for name in CA_BUNDLES {
        let path = root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_file() => {
                rustix::mount::mount_bind(&bundle, &path).step(*name)?;
            }
            Ok(_) => {}
            Err(_) => {
                // Below a folder of the host nothing can be made, nor is it missed there.
                let _ = make_parents(&path).map(|()| symlink(CA_BUNDLE, &path));
            }
        }
    }
    Ok(())
}

/// Folders (not links) of this name, or with this prefix.
fn matching(parent: &Path, name: &str) -> Vec<String> {
    let is_dir =
        |name: &str| fs::symlink_metadata(parent.join(name)).is_ok_and(|data| data.is_dir());
    let Some(prefix) = name.strip_suffix('*') else {
        return if is_dir(name) {
            vec![name.to_owned()]
        } else {
            Vec::new()
        };
    };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(prefix) && is_dir(name))
        .collect()
}

/// Follows links as the host would, although its root is at [`HOST`] now.
fn resolve(path: &Path) -> Option<PathBuf> {
    const LINKS_MAX: usize = 16;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(to) = fs::read_link(&path) else {
            return path.exists().then_some(path);
        };
        path = if to.is_absolute() {
            below(HOST, &to)
        } else {
            path.parent()?.join(to)
        };
    }
    None
}

fn make_devices(root: &Path, mode: Mode) -> Result<(), Fault> {
    for (name, major, minor) in DEVICES {
        let target = root.join("dev").join(name);
        if mode == Mode::Root {
            let device = rustix::fs::makedev(*major, *minor);
            rustix::fs::mknodat(
                CWD,
                &target,
                FileType::CharacterDevice,
                Bits::from_raw_mode(0o666),
                device,
            )
            .step(*name)?;
        } else {
            write_file(&target, b"")?;
            rustix::mount::mount_bind(Path::new("/host/dev").join(name), &target).step(*name)?;
        }
    }
    Ok(())
}

/// Gives the assembled files (not the host's, which are mounts) to the id that stands for root inside.
fn give_to(root: &Path, owner: u32) -> Result<(), Fault> {
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    let chown = |path: &Path| {
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .step(path.display().to_string())
    };
    let device = rustix::fs::stat(root).step("stat")?.st_dev;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        chown(&folder)?;
        for entry in fs::read_dir(&folder).step("read_dir")? {
            let entry = entry.step("read_dir")?;
            let path = entry.path();
            if rustix::fs::lstat(&path).step("lstat")?.st_dev != device {
                continue;
            }
            let kind = entry.file_type().step("file type")?;
            if kind.is_dir() {
                folders.push(path)
            } else {
                chown(&path)?
            }
        }
    }
    Ok(())
}

/// Makes the mount points of a specification in the template; an existing one stays.
pub(crate) fn make_targets(spec: &Spec, mode: Mode, owner: u32) -> Result<(), Fault> {
    for mount in &spec.mounts {
        let target = below(TEMPLATE, &mount.target);
        if target.exists() {
            continue;
        }
        make_parents(&target)?;
        let data =
            fs::metadata(below(HOST, &mount.source)).step(mount.source.display().to_string())?;
        if data.is_dir() {
            make_dir(&target)?
        } else {
            write_file(&target, b"")?
        }
        if mode == Mode::Root {
            let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
            for path in target
                .ancestors()
                .take_while(|path| *path != Path::new(TEMPLATE))
            {
                rustix::fs::chown(path, uid, gid).step(path.display().to_string())?;
            }
        }
    }
    Ok(())
}

/// A mount namespace whose root is the assembled one, read-only, with nothing of the host's but what is mounted there.
/// Made once, because `pivot_root` looks at every process of the machine. Leaves the caller in it.
pub(crate) fn enclose() -> Result<OwnedFd, Fault> {
    sys::unshare(libc::CLONE_NEWNS).step("mount namespace")?;
    let enclosed = mount_namespace(Path::new(HOST))?;
    let tree = open_tree(CWD, TEMPLATE, OpenTreeFlags::OPEN_TREE_CLOEXEC).step("open_tree /")?;
    sys::mount_setattr(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, None, false)
        .step("read-only root")?;
    drop(tree);
    // Who is root in a user namespace may mount a `/proc` only where there is one. Each sandbox covers it with its own.
    let proc = Path::new(HOST).join("proc");
    rustix::mount::mount_bind_recursive(proc, below(TEMPLATE, Path::new("/proc")))
        .step("mounting /proc")?;
    rustix::process::chdir(TEMPLATE).step("chdir")?;
    rustix::process::pivot_root(".", ".").step("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).step("leaving the old root")?;
    rustix::process::chdir("/").step("chdir")?;
    Ok(enclosed)
}

/// Moves the caller into a mount namespace, to its root.
pub(crate) fn move_into(namespace: BorrowedFd<'_>) -> Result<(), Fault> {
    let kind = rustix::thread::LinkNameSpaceType::Mount;
    rustix::thread::move_into_link_name_space(namespace, Some(kind)).step("mount namespace")
}

/// Copies of the sources of a specification's mounts, made where the host's files can be seen.
pub(crate) fn own_trees(spec: &Spec, idmap: Option<BorrowedFd<'_>>) -> Result<Vec<OwnedFd>, Fault> {
    let tree = |mount: &Mount| {
        Attributes {
            read_only: mount.read_only,
            exec: mount.exec,
            // A writable mount keeps the host's owners: what is created through a mapping must have one.
            idmap: idmap.filter(|_| mount.read_only),
        }
        .tree(&below(HOST, &mount.source))
    };
    spec.mounts.iter().map(tree).collect()
}

/// Adds to an inherited root what is one sandbox's own. Returns a descriptor of `/tmp`.
pub(crate) fn furnish(
    spec: &Spec,
    trees: Vec<OwnedFd>,
    mode: Mode,
    owner: u32,
) -> Result<OwnedFd, Fault> {
    rustix::process::chdir(BEHIND).step("chdir")?;
    let plain = MountFlags::empty();
    private_tmpfs("/tmp", spec.tmp_bytes, plain, mode, owner)?;
    let bytes = spec.shm_bytes.max(4096);
    private_tmpfs("/dev/shm", bytes, MountFlags::NOEXEC, mode, owner)?;
    mount_proc()?;
    rustix::process::chdir("/").step("chdir")?;
    for (mount, tree) in spec.mounts.iter().zip(trees) {
        put(&tree, &mount.target)?;
    }
    rustix::fs::open(
        "/tmp",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Bits::empty(),
    )
    .step("open /tmp")
}

/// The calling process's mount namespace; `/proc` is below `root`.
pub(crate) fn mount_namespace(root: &Path) -> Result<OwnedFd, Fault> {
    rustix::fs::open(
        root.join("proc/self/ns/mnt"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Bits::empty(),
    )
    .step("own mount namespace")
}

/// Copies of the sources of late mounts, made where the host's files can be seen; none of what is optional and missing.
pub(crate) fn late_trees(
    mounts: &[Mount],
    idmap: Option<BorrowedFd<'_>>,
) -> Result<Vec<Option<OwnedFd>>, Fault> {
    let tree = |mount: &Mount| {
        Attributes {
            read_only: true,
            exec: mount.exec,
            idmap,
        }
        .tree(&below(HOST, &mount.source))
        .map(Some)
        .or_else(|fault| match fault.errno {
            libc::ENOENT if mount.optional => Ok(None),
            _ => Err(fault),
        })
    };
    mounts.iter().map(tree).collect()
}

/// Puts them in place, and gives `/tmp` its size, from inside the sandbox's mount namespace.
pub(crate) fn place_late(
    mounts: &[Mount],
    trees: &[Option<OwnedFd>],
    tmp_bytes: Option<u64>,
) -> Result<(), Fault> {
    for (mount, tree) in mounts.iter().zip(trees) {
        if let Some(tree) = tree {
            put(tree, &mount.target)?;
        }
    }
    match tmp_bytes {
        Some(bytes) => rustix::mount::mount_remount(
            "/tmp",
            MountFlags::NOSUID | MountFlags::NODEV,
            size_of_tmpfs(bytes),
        )
        .step("the size of /tmp"),
        None => Ok(()),
    }
}

/// A file of one page per inode, and never so few that small folders fill up.
fn size_of_tmpfs(bytes: u64) -> String {
    format!("size={bytes},nr_inodes={}", (bytes / 4096).max(1024))
}

fn private_tmpfs(
    target: &str,
    bytes: u64,
    more: MountFlags,
    mode: Mode,
    owner: u32,
) -> Result<(), Fault> {
    let owner = if mode == Mode::Root {
        format!(",uid={owner},gid={owner}")
    } else {
        String::new()
    };
    let options = format!("mode=1777,{}{owner}\0", size_of_tmpfs(bytes));
    let options =
        std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).expect("ends with a zero");
    mount(
        "tmpfs",
        target,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV | more,
        options,
    )
    .step(format!("mounting {target}"))
}

/// Call it from [`BEHIND`].
fn mount_proc() -> Result<(), Fault> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, c"hidepid=2").step("mounting /proc")?;
    // Something that nobody may open, rather than /dev/null, which would swallow writes as if they worked.
    mask(MASK_FILE, PROC_FILES_MASKED)?;
    mask(MASK_FOLDER, PROC_FOLDERS_MASKED)?;
    // Readable, because language runtimes look up limits there; never writable.
    let settings = Path::new("/proc/sys");
    Attributes {
        read_only: true,
        exec: false,
        idmap: None,
    }
    .bind(settings, settings)
}

/// Covers those of these that this kernel has.
fn mask(mask: &str, names: &[&str]) -> Result<(), Fault> {
    for name in names {
        match rustix::mount::mount_bind(mask, format!("/proc/{name}")) {
            Err(rustix::io::Errno::NOENT) => {}
            masked => masked.step(format!("masking /proc/{name}"))?,
        }
    }
    Ok(())
}

/// How a bind mount is attached. Devices and setuid never work.
struct Attributes<'a> {
    read_only: bool,
    exec: bool,
    idmap: Option<BorrowedFd<'a>>,
}

/// Mounts a copy that [`Attributes::tree`] made.
fn put(tree: &OwnedFd, target: &Path) -> Result<(), Fault> {
    move_mount(
        tree,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .step(format!("mounting at {}", target.display()))
}

impl Attributes<'_> {
    fn bind(&self, source: &Path, target: &Path) -> Result<(), Fault> {
        put(&self.tree(source)?, target)
    }

    /// A copy of a mount that is nowhere yet.
    fn tree(&self, source: &Path) -> Result<OwnedFd, Fault> {
        let mut set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        if self.read_only {
            set |= libc::MOUNT_ATTR_RDONLY;
        }
        if !self.exec {
            set |= libc::MOUNT_ATTR_NOEXEC;
        }
        let name = source.strip_prefix(HOST).unwrap_or(source).display();
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, source, flags).step(format!("open_tree /{name}"))?;
        let mapped =
            self.idmap.is_some() && sys::mount_setattr(tree.as_fd(), set, self.idmap, true).is_ok();
        if !mapped {
            // Not every file system can map owners; then root's files look like nobody's, nothing worse.
            sys::mount_setattr(tree.as_fd(), set, None, true)
                .step(format!("mount_setattr /{name}"))?;
        }
        Ok(tree)
    }
}

/// Where a process inside may write, for Landlock. What may be read and executed is what is there: the root is put
/// together from nothing, and code that is attached late could not be named in a domain that is entered before.
pub(crate) fn writable(spec: &Spec) -> Vec<String> {
    let own = ["/tmp", "/dev", "/proc"].map(str::to_owned);
    let mounts = spec.mounts.iter().filter(|mount| !mount.read_only);
    let mounts = mounts.map(|mount| mount.target.display().to_string());
    own.into_iter().chain(mounts).collect()
}

fn below(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}

fn make_dir(path: &Path) -> Result<(), Fault> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.step(format!("mkdir {}", path.display())),
    }?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .step(format!("chmod {}", path.display()))
}

fn make_parents(path: &Path) -> Result<(), Fault> {
    let parents: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|path| !path.exists())
        .collect();
    parents.into_iter().rev().try_for_each(make_dir)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .step(format!("writing {}", path.display()))
}
