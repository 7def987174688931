# Starts AWS's own runtime client for Python, which is not changed in any way, in a process that is forked or that waits.
#
# A *template* runs the client with SnapStart: it imports the handler, runs the hooks that precede a snapshot, and asks the
# Runtime API when it was restored. That one call is replaced by waiting to be forked, so every fork comes back from it as
# from a restore: it runs the other hooks, and asks for events by connections that it makes itself.
#
# An interpreter that *waits* has imported what the client imports, and runs the client when it is told its function. The
# client's own modules read variables when they are imported, so they are executed then, out of code that was kept.
#
# From there on either is what `python -S -m awslambdaric HANDLER` would be. Where a function could tell them apart, because
# it means other modules by the names of those that have been loaded, that is what it gets.
import sys

FRESH = frozenset(sys.modules)

import importlib
import os

import bootstrap as ours
import mayfly_ahead as clients
import mayfly_parked as parked
import mayfly_zygote as zygote

CLIENT = "awslambdaric"
OURS = ("mayfly_client", "bootstrap", "mayfly_ahead", "mayfly_parked", "mayfly_zygote")
KIND = "AWS_LAMBDA_INITIALIZATION_TYPE"
SNAP_START = "snap-start"
# What this file and its like use of Python that the client may not.
USED = ("_socket", "_struct", "gc", "select", "struct")
# What `__main__` has before it is executed.
USUAL = ("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__annotations__", "__builtins__")


def start():
    hide()
    if os.environ.pop("_MAYFLY_TEMPLATE", None):
        be_template()
    else:
        wait()


def hide():
    """Takes this file and its like out of the function's sight."""
    forget(OURS)
    namespace = vars(sys.modules["__main__"])
    for name in set(namespace).difference(USUAL):
        del namespace[name]
    del sys.path[0]


def run():
    """What the option `-m` does."""
    import runpy

    given = command()
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = given
    sys.argv[:] = given[2:3] + given[4:]
    runpy._run_module_as_main(CLIENT + ".__main__")


def command():
    return [parked.command_line()[0], "-S", "-m", CLIENT, os.environ["_HANDLER"]]


def forget(names):
    for name in names:
        sys.modules.pop(name, None)


def loaded():
    """The names of what has been loaded until now, and the folder that none of them must be found before."""
    names = frozenset(name.partition(".")[0] for name in set(sys.modules) - FRESH)
    return names, os.environ["LAMBDA_RUNTIME_DIR"]


# --- a template ---------------------------------------------------------------------------------------------------------


class Restore(object):
    """Stands for the client's call that comes back when the environment was restored."""

    def __init__(self, template):
        self.template = template
        self.done = False

    def __call__(self):
        try:
            # What is still buffered, every fork would write.
            sys.stdout.flush()
            sys.stderr.flush()
            self.template.freeze()
        except zygote.Refused as why:
            refuse(self.template, str(why))
        self.template.serve()
        self.done = True
        api = ours.Api(os.environ["AWS_LAMBDA_RUNTIME_API"], self.template.connected)
        self.template.take_on(parked.ask(api, self.template.told))
        os.environ[KIND] = self.kind
        api.socket.close()
        # It may not have been made when the template was.
        ours.Bytecode.expect()


def be_template():
    template = zygote.Template()
    forget(set(USED) - FRESH)
    restore = Restore(template)
    sys.path.insert(0, os.getcwd())
    if parked.is_hidden(*loaded()):
        refuse(template, "the function has a module by the name of one of Python's own")
    # Whatever asked for the template, only with this the client runs hooks and waits to be restored.
    restore.kind, os.environ[KIND] = os.environ[KIND], SNAP_START
    try:
        client = importlib.import_module(CLIENT + ".lambda_runtime_client").LambdaRuntimeClient
        if not hasattr(client, "restore_next"):
            refuse(template, "this version of AWS's client knows no snapshots")
        client.restore_next = lambda _client: restore()
        ours.Bytecode.expect()
        parked.make_immortal(template.kernel.ctypes)
        run()
    except Exception:
        if restore.done:
            raise
        # The client has told the log, and could not tell the Runtime API, which nobody can reach from here.
        template.say(error="")
        sys.exit(1)


def refuse(template, why):
    template.say(refused=why)
    # The client would catch SystemExit.
    os._exit(0)


# --- an interpreter that waits ------------------------------------------------------------------------------------------


class Surroundings(object):
    """What an assignment brings about besides variables."""

    Bytecode = ours.Bytecode
    set_clock = staticmethod(ours.set_clock)

    @staticmethod
    def prepare():
        sys.path.insert(0, os.getcwd())
        ours.Bytecode.expect()


class Compiled(object):
    """Stands on sys.meta_path for modules that have been found and compiled, until each has been imported."""

    def __init__(self, found):
        self.found = found

    def find_spec(self, name, path=None, target=None):
        spec, code = self.found.pop(name, (None, None))
        if spec is None:
            return None
        if not self.found:
            sys.meta_path.remove(self)

        def get_code(_name):
            del spec.loader.get_code
            return code

        spec.loader.get_code = get_code
        return spec


def compiled(names):
    """Specification and code of each module of a dotted name that is in a file of source."""
    from importlib.machinery import PathFinder, SourceFileLoader

    found, path = {}, None
    for end in range(1, len(names) + 1):
        name = ".".join(names[:end])
        spec = PathFinder.find_spec(name, path)
        if type(spec.loader) is SourceFileLoader:
            found[name] = spec, spec.loader.get_code(name)
        path = spec.submodule_search_locations
    return found


def wait():
    what, path = os.environ.get("_MAYFLY_ZYGOTE"), os.environ["PYTHONPATH"]
    parent = zygote.Template() if what else None
    forget(set(USED) - FRESH)
    with parked.KeptForkers():
        kept = load_client()
        if what == "sdk":
            parked.preload_sdk(clients.Maker(parent.kernel.ctypes))
    before = set(sys.modules)
    rehearse(kept)
    parked.freeze()
    if parent is not None:
        parked.make_immortal(parent.kernel.ctypes)
    forget(set(USED) - before)
    ahead = parent is not None and parent.serve()
    parked.begin_as_fork()
    if ahead:
        rehearse(kept)
        if what == "sdk":
            parked.try_clients(parked.SERVICES[:1])
    connected, told = (parent.connected, parent.told) if parent else (parked.connected(), False)
    api = ours.Api(os.environ["AWS_LAMBDA_RUNTIME_API"], connected)
    _log, rest = parked.await_assignment(Surroundings, api, told)
    rest.wait()
    api.socket.close()
    parked.Preloaded.argv = command()
    # Only an interpreter that starts makes of another path what it would make of it.
    parked.Preloaded.foreign |= os.environ.get("PYTHONPATH") != path
    parked.start_anew_if_foreign()
    sys.meta_path.insert(0, Compiled(kept))
    run()


def load_client():
    """Imports what the client imports; returns the specifications and the code of its own modules."""
    finders = set(sys.path_importer_cache)
    importlib.import_module(CLIENT + ".__main__")
    if sys.version_info >= (3, 12):
        # The client does, in these versions.
        importlib.import_module("concurrent.futures.thread")
    kept = {}
    for name in of_client():
        kept.update(compiled(name.split(".")))
    parked.Preloaded.loaded.append(loaded())
    forget(of_client())
    for folder in set(sys.path_importer_cache) - finders:
        # It remembers what is in folders that will be others.
        if folder.startswith("/opt"):
            del sys.path_importer_cache[folder]
    return kept


def of_client():
    return [name for name in sys.modules if name.partition(".")[0] == CLIENT]


def rehearse(kept):
    """Executes the client's own modules once more, which writes to the memory that the first start will write to."""
    sys.meta_path.insert(0, Compiled(dict(kept)))
    importlib.import_module(CLIENT + ".__main__")
    forget(of_client())
