# The module that AWS's Python runtimes bring for SnapStart: functions register what is to be done before the snapshot of an
# environment is made, and after it has been restored. The bootstrap asks for both and runs them; without SnapStart nobody
# does. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Runs `func` before the snapshot, those registered last first. Works as a decorator too."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Runs `func` after every restore, in the order of registration. Works as a decorator too."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    return _before_snapshot


def get_after_restore():
    return _after_restore
