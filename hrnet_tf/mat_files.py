"""Reading MATLAB files, in a process of its own: SciPy ends its process on some that are damaged."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, check_readable, kind_unlike

# Of the process that reads, in bytes and seconds. A file made like MPII's release takes 25 kB an image.
_MAX_MEMORY, _MAX_SECONDS = 4 << 30, 600
# Reads the pickle (path, names, options, limit of memory), and writes what is in the file or ends with a line.
_PROGRAM = """
import pickle, sys
path, names, options, limit = pickle.load(sys.stdin.buffer)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
except (ImportError, ValueError, OSError):  # not on this platform, or less is allowed already
    pass
import scipy.io
try:
    found = scipy.io.loadmat(path, variable_names=names, appendmat=False, **options)
    data = pickle.dumps(found, protocol=5)
except Exception as error:  # SciPy raises many types on a damaged file
    sys.exit(" ".join((getattr(error, "strerror", None) or str(error)).split()) or type(error).__name__)
sys.stdout.buffer.write(data)
"""
# What a MATLAB file becomes in Python: nothing else is made of what the process writes.
_MADE_OF = {
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("scipy.io.matlab._mio5_params", "mat_struct"),
    ("scipy.io.matlab._mio5_params", "MatlabObject"),
    ("scipy.io.matlab._mio5_params", "MatlabFunction"),
    ("scipy.io.matlab._mio5_params", "MatlabOpaque"),
}


def read_mat(path: PathLike, names: Iterable[str], **options: Any) -> dict[str, Any]:
    """The variables `names`, as far as there are any, of a MATLAB file, by name; `options` are `scipy.io.loadmat`'s.

    Raises:
        InputError: the file cannot be read.
    """
    check_readable(path)
    asked = pickle.dumps((os.fspath(path), list(names), options, _MAX_MEMORY))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], input=asked, capture_output=True, env=environment, timeout=_MAX_SECONDS
        )
        if done.returncode == 0:
            return _Unpickler(io.BytesIO(done.stdout)).load()
        why = done.stderr.decode(errors="replace").strip() if done.returncode > 0 else ""
    except subprocess.TimeoutExpired:
        why = f"it takes more than {_MAX_SECONDS} s"
    except EOFError:
        why = ""
    except pickle.UnpicklingError as error:
        why = str(error)
    why = kind_unlike(path, "a MATLAB file") or why.rpartition("\n")[2] or "it is damaged"
    raise InputError(f"cannot read {os.fspath(path)} as a MATLAB file: {why}")


class _Unpickler(pickle.Unpickler):
    """Makes arrays, structs, numbers and texts alone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _MADE_OF:
            raise pickle.UnpicklingError(f"it holds a {name}")
        return super().find_class(module, name)
