# Where `_X_AMZN_TRACE_ID` is kept in a process that has run many invocations.
#
# From Python 3.9 on, setting one of `os.environ` calls glibc's `setenv`, which frees no value ever, as somebody might still
# read it. This one is another in each invocation and takes 160 bytes, so that a function with 128 MB would run out of memory
# after some hundred thousand. Here its text is changed in place.
import os
import sys

NAME = "_X_AMZN_TRACE_ID"
KEY = NAME.encode("ascii")
# More than the longest header that is passed on, with the lineage that is added to it.
ROOM_BYTES = 4096


class Room(object):
    def __init__(self, ctypes):
        """With the module that a fork has of what it was forked of."""
        ours = ctypes is None and "ctypes" not in sys.modules
        if ctypes is None:
            import ctypes
        self.text = ctypes.create_string_buffer(ROOM_BYTES)
        self.put = ctypes.CDLL(None).putenv
        if ours:
            # The function never asked for it.
            for name in [name for name in list(sys.modules) if name.split(".")[0] in ("ctypes", "_ctypes")]:
                del sys.modules[name]

    def set(self, trace_id):
        value, known = trace_id.encode("utf-8", "replace"), getattr(os.environ, "_data", None)
        if known is None or len(KEY) + 1 + len(value) >= ROOM_BYTES:
            os.environ[NAME] = trace_id
            return
        self.text.value = KEY + b"=" + value
        # Every time, as the function may have put another one in its place.
        self.put(self.text)
        known[KEY] = value
