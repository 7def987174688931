//! How a Python is started: our bootstrap, compiled once per interpreter, with the installation at `/var/lang`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{Context, SHA256};

use super::discovery::{Python, run};
use super::{Compiler, HANDLER_ARGUMENT, Identifier, Lifecycle, Mount, Runtime};

/// The bootstrap, for every version.
const BOOTSTRAP: &str = include_str!("../../../../runtimes/python/bootstrap.py");
/// What an interpreter does while it waits.
const PARKED: &str = include_str!("../../../../runtimes/python/mayfly_parked.py");
/// How it makes clients of AWS's SDK.
const AHEAD: &str = include_str!("../../../../runtimes/python/mayfly_ahead.py");
/// What a template is besides.
const ZYGOTE: &str = include_str!("../../../../runtimes/python/mayfly_zygote.py");
/// What starts AWS's own client where that is to wait or to be forked.
const CLIENT: &str = include_str!("../../../../runtimes/python/mayfly_client.py");
/// Where that is seen, with the files that it needs: at `/var/runtime` is the client.
const CLIENT_TARGET: &str = "/var/mayfly";
/// Where the trace header is kept in one that has run many invocations.
const TRACE: &str = include_str!("../../../../runtimes/python/mayfly_trace.py");
/// What compiles functions' modules.
const COMPILE: &str = include_str!("../../../../runtimes/python/mayfly_compile.py");
/// AWS's runtimes bring it along.
const HOOKS: &str = include_str!("../../../../runtimes/python/snapshot_restore_py.py");
/// Folders of a distribution's own Python: they are part of every sandbox's root, where `/var/lang` cannot cover them.
const SYSTEM_PREFIXES: &[&str] = &["/usr", "/usr/local"];

/// Makes the runtime that runs `id` with this interpreter.
pub(super) fn runtime(
    known: &'static Identifier,
    python: &Python,
    data: &Path,
) -> io::Result<Runtime> {
    let folder = folder(python, data, "")?;
    let script = folder.join("bootstrap.py");
    write_if_changed(&folder.join("snapshot_restore_py.py"), HOOKS.as_bytes())?;
    let compiled = compile(python, &script, &folder);
    let mut mounts = vec![Mount {
        source: folder,
        target: "/var/runtime".to_owned(),
    }];
    let executable = place(python, &mut mounts)?;
    let name = if compiled {
        "/var/runtime/bootstrap.pyc"
    } else {
        "/var/runtime/bootstrap.py"
    };
    let argv = [executable.as_str(), "-S", "-u", name].map(str::to_owned);
    Ok(Runtime {
        argv: argv.to_vec(),
        mounts,
        env: variables(python),
        version: format!("python:{}.{}.v{}", python.major, python.minor, python.micro),
        digest: digest(python),
        waiting: Some(argv.to_vec()),
        forks: forks(python),
        compiler: compiler(python, "/var/runtime"),
        ..runtime_facts(known, python)
    })
}

/// A folder of our own files for an interpreter.
fn folder(python: &Python, data: &Path, suffix: &str) -> io::Result<PathBuf> {
    let folder = data.join("runtimes").join(format!(
        "python{}.{}.{}{suffix}",
        python.major, python.minor, python.micro
    ));
    fs::create_dir_all(&folder)?;
    // The sandbox's user reads it, whatever our umask says.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    write_if_changed(&folder.join("bootstrap.py"), BOOTSTRAP.as_bytes())?;
    write_if_changed(&folder.join("mayfly_parked.py"), PARKED.as_bytes())?;
    write_if_changed(&folder.join("mayfly_ahead.py"), AHEAD.as_bytes())?;
    write_if_changed(&folder.join("mayfly_zygote.py"), ZYGOTE.as_bytes())?;
    write_if_changed(&folder.join("mayfly_trace.py"), TRACE.as_bytes())?;
    write_if_changed(&folder.join("mayfly_compile.py"), COMPILE.as_bytes())?;
    Ok(folder)
}

/// Older ones cannot be given descriptors.
fn forks(python: &Python) -> bool {
    (python.major, python.minor) >= (3, 5)
}

/// Whether AWS's own client was installed into this folder, and functions can read it: to them it would be missing.
pub(super) fn check_client(client: &Path) -> io::Result<()> {
    let package = client.join("awslambdaric");
    if !package.is_dir() {
        let text = format!("{} has no awslambdaric in it", client.display());
        return Err(io::Error::other(text));
    }
    // Without root functions run as this user; with it, as users that own nothing.
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let inside = fs::read_dir(&package)?.map(|entry| entry.map(|entry| entry.path()));
    let paths = [Ok(client.to_owned()), Ok(package)];
    for path in paths.into_iter().chain(inside) {
        let path = path?;
        let meta = fs::metadata(&path)?;
        let needed = if meta.is_dir() { 0o5 } else { 0o4 };
        if meta.permissions().mode() & needed != needed {
            return Err(io::Error::other(format!(
                "functions, which run as users of their own, cannot read {}; `chmod -R o+rX {}` lets them",
                path.display(),
                client.display()
            )));
        }
    }
    Ok(())
}

/// Makes the runtime that runs `id` on AWS's own client, which was installed into `client`.
pub(super) fn runtime_of_aws(
    known: &'static Identifier,
    python: &Python,
    client: &Path,
    data: &Path,
) -> io::Result<Runtime> {
    check_client(client)?;
    let folder = folder(python, data, "-aws")?;
    write_if_changed(&folder.join("mayfly_client.py"), CLIENT.as_bytes())?;
    let mount = |source: &Path, target: &str| Mount {
        source: source.to_owned(),
        target: target.to_owned(),
    };
    let mut mounts = vec![mount(client, "/var/runtime"), mount(&folder, CLIENT_TARGET)];
    let executable = place(python, &mut mounts)?;
    let mut env = variables(python);
    let layer = format!(
        "/opt/python/lib/python{}.{}/site-packages",
        python.major, python.minor
    );
    env[0].1 = format!("{layer}:/opt/python:/var/runtime");
    let start = format!(
        "import sys; sys.path[0] = '{CLIENT_TARGET}'; import mayfly_client; mayfly_client.start()"
    );
    let waiting = [&executable, "-S", "-c", &start].map(str::to_owned);
    let argv = [&executable, "-S", "-m", "awslambdaric", HANDLER_ARGUMENT].map(str::to_owned);
    Ok(Runtime {
        argv: argv.to_vec(),
        mounts,
        env,
        version: format!("python:{}.{}.v{}", python.major, python.minor, python.micro),
        digest: hex_digest(&[
            digest(python).as_bytes(),
            CLIENT.as_bytes(),
            client.as_os_str().as_encoded_bytes(),
        ]),
        waiting: Some(waiting.to_vec()),
        forks: forks(python),
        compiler: compiler(python, CLIENT_TARGET),
        ..runtime_facts(known, python)
    })
}

/// Mounts the installation, unless it is part of every sandbox's root, and gives the interpreter's path inside.
fn place(python: &Python, mounts: &mut Vec<Mount>) -> io::Result<String> {
    let executable = match python.prefix.to_str() {
        Some(prefix) if SYSTEM_PREFIXES.contains(&prefix) => python.executable.clone(),
        _ => {
            let inside = python.executable.strip_prefix(&python.prefix);
            let inside = inside
                .map_err(|_| io::Error::other("the interpreter is outside of its own prefix"))?;
            mounts.push(Mount {
                source: python.prefix.clone(),
                target: "/var/lang".to_owned(),
            });
            Path::new("/var/lang").join(inside)
        }
    };
    text(&executable)
}

/// What identifier and interpreter alone say.
fn runtime_facts(known: &'static Identifier, python: &Python) -> Runtime {
    Runtime {
        id: known.id,
        family: known.family,
        interpreter: Some(python.executable.clone()),
        argv: Vec::new(),
        mounts: Vec::new(),
        sdk: None,
        env: Vec::new(),
        version: String::new(),
        digest: String::new(),
        compiler: None,
        deprecated: known.lifecycle != Lifecycle::Current,
        waiting: None,
        forks: false,
    }
}

fn variables(python: &Python) -> Vec<(String, String)> {
    let mut out = vec![("PYTHONPATH".to_owned(), "/var/runtime".to_owned())];
    // AWS sets it from 3.12 on. 3.6 and 2.7 need it where the host lacks en_US.UTF-8; those between come to it by
    // themselves (PEP 538).
    let version = (python.major, python.minor);
    if version >= (3, 12) || version <= (3, 6) {
        out.push(("LC_CTYPE".to_owned(), "C.UTF-8".to_owned()));
    }
    out
}

/// Compiles the bootstrap beside itself, which saves some milliseconds of every cold start; started by the path of the
/// compiled file, it still says `/var/runtime/bootstrap.py` in stack traces.
fn compile(python: &Python, script: &Path, folder: &Path) -> bool {
    let target = folder.join("bootstrap.pyc");
    let fresh = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if let (Some(source), Some(compiled)) = (fresh(script), fresh(&target))
        && compiled >= source
    {
        return true;
    }
    let code = "import py_compile, sys\n\
        py_compile.compile(sys.argv[1], cfile=sys.argv[2], dfile='/var/runtime/bootstrap.py', doraise=True)";
    let mut command = Command::new(&python.executable);
    command
        .args(["-S", "-E", "-c", code])
        .arg(script)
        .arg(&target)
        .env_clear();
    run(command).is_some() && target.exists()
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|have| have == bytes) {
        Ok(())
    } else {
        fs::write(path, bytes)
    }
}

fn digest(python: &Python) -> String {
    let version = format!("{}.{}.{}", python.major, python.minor, python.micro);
    hex_digest(&[
        BOOTSTRAP.as_bytes(),
        PARKED.as_bytes(),
        AHEAD.as_bytes(),
        ZYGOTE.as_bytes(),
        python.sha256.as_bytes(),
        version.as_bytes(),
    ])
}

/// What compiles functions' modules for an interpreter, with our files there. Python 2 has no import system that could be
/// shown what comes of it.
fn compiler(python: &Python, files: &str) -> Option<Compiler> {
    const DIGITS: usize = 16;
    let mut name = hex_digest(&[COMPILE.as_bytes(), python.sha256.as_bytes()]);
    name.truncate(DIGITS);
    (python.major >= 3).then(|| Compiler {
        name,
        script: format!("{files}/mayfly_compile.py"),
    })
}

/// SHA-256 of some texts in a row.
pub(super) fn hex_digest(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn text(path: &Path) -> io::Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("the interpreter's path is not UTF-8"))
}
