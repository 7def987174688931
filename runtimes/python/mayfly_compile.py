# Compiles the modules in a folder of code, and writes them to standard output.
#
# It runs in a sandbox of its own. None of the code runs, but whoever wrote it can have the compiler take much time and
# memory, and perhaps more. So what comes out is only ever read by functions with the same code.
#
# The output is one marshalled code object after another, then, marshalled, the number of the interpreter's bytecode and a
# dictionary of places (path of the source: offset and length), then the length of that in eight bytes. `bootstrap.py`
# reads it.
#
# It is for Python 3.6 to 3.15.
import sys

import marshal
import os
import stat
import time
import warnings
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER

SOURCE_BYTES_MAX = 1 << 20
# What does not fit is compiled when it is imported, as all is without this.
FILES_MAX = 20000
OUTPUT_BYTES_MAX = 48 << 20
CPU_SECONDS_MAX = 60


class Loader(SourceFileLoader):
    """Loads as an import does, and notes whether that took compiling."""

    has_compiled = False

    def source_to_code(self, *arguments, **named):
        self.has_compiled = True
        return SourceFileLoader.source_to_code(self, *arguments, **named)


def sources(root):
    """Files that may be modules, those first that are likely to be imported. Links are left alone: what they lead to may be
    another file elsewhere."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        paths = [os.path.join(folder, name) for name in names if name.endswith(".py")]
        found.extend(path for path in paths if is_module(path))
        if len(found) > FILES_MAX:
            break
    return sorted(found[:FILES_MAX], key=rank)


def is_module(path):
    found = os.lstat(path)
    return stat.S_ISREG(found.st_mode) and found.st_size <= SOURCE_BYTES_MAX


def rank(path):
    parts = path.split(os.sep)
    return "tests" in parts or "test" in parts, len(parts), path


def compiled(path):
    """The marshalled code of a module; nothing for one that brings bytecode of its own, and for one with an error or with
    something to warn of, which the function's log shall have from the import."""
    loader = Loader(path, path)
    try:
        code = loader.get_code(path)
        return marshal.dumps(code) if loader.has_compiled else None
    except Exception:
        return None


def main(root):
    sys.dont_write_bytecode = True
    warnings.simplefilter("error")
    places, end = {}, 0
    with open(1, "wb") as out:
        for path in sources(root):
            if end > OUTPUT_BYTES_MAX or time.process_time() > CPU_SECONDS_MAX:
                break
            code = compiled(path)
            if code is not None:
                places[path] = end, len(code)
                end += out.write(code)
        index = marshal.dumps((MAGIC_NUMBER, places))
        out.write(index + len(index).to_bytes(8, "little"))


main(sys.argv[1])
