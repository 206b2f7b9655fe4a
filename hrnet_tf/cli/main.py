"""What every command starts and ends with: help, flags, one line for bad input, exit codes."""

import difflib
import errno
import importlib
import inspect
import math
import os
import re
import sys
import warnings
from collections.abc import Sequence

from absl import flags

from hrnet_tf import progress
from hrnet_tf.cli import commands, flagfiles, places
from hrnet_tf.cli.quiet import start_tensorflow
from hrnet_tf.data.pixels import limit_pixels
from hrnet_tf.errors import InputError, cut, printable, shown
from hrnet_tf.version import __version__

_HELP = ("--help", "-help", "-h", "--helpfull", "--helpshort")
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
_INTERRUPTED = 130
_MAX_INTEGER = 2**31 - 1  # TensorFlow counts in 32 bits
_MISSING = re.compile(r"Flag --(\w+) must have a value other than None")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `hrnet-tf` with arguments, by default those of the process, and exits.

    Exit codes: 0 it is done, 1 bad input, in one line on stderr; a command's help tells of others.
    """
    sys.exit(_guarded(list(sys.argv[1:] if arguments is None else arguments)))


def _guarded(arguments: list[str]) -> int:
    warnings.showwarning = _show_warning
    try:
        return _run(arguments)
    except (InputError, flags.Error) as error:
        print(f"error: {_in_one_line(error)}", file=sys.stderr)
    except BrokenPipeError:  # of a pager that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            said = f"{error.strerror}: {error.filename}"
        elif error.errno in _CANNOT_WRITE:
            said = f"cannot write {error.filename or 'a file'}: {error.strerror}"
        else:
            raise
        print(f"error: {cut(printable(said))}", file=sys.stderr)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 1


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """What the package warns of is a line without a place in the code; other warnings are as ever."""
    if category is UserWarning and file is None:
        progress.note(f"note: {_in_one_line(message)}")
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if not name or name in _HELP:
        print(_overview())
        return 0 if name else 1
    if name == "--version":
        print(__version__)
        return 0
    if name not in commands.COMMANDS:
        nearest = difflib.get_close_matches(name, commands.COMMANDS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(commands.COMMANDS)}"
        raise InputError(f"hrnet-tf has no command {name!r}; {hint}")
    commands.COMMANDS[name]()
    if any(argument in _HELP for argument in arguments[1:]):
        print(_help(name))
        return 0
    try:
        _, *rest = flags.FLAGS([f"hrnet-tf {name}", *flagfiles.expand(arguments[1:])])
    except ValueError as error:  # absl's of --noname=value
        raise InputError(_in_one_line(error)) from error
    if rest and name not in commands.WITH_ARGUMENTS:
        raise InputError(f"unexpected argument {rest[0]!r}: every setting is a flag, as in --name=value")
    if "input" in flags.FLAGS:
        flags.FLAGS["input"].value = [*(flags.FLAGS["input"].value or []), *rest]
        rest = []
    _check_numbers()
    if "max_pixels" in flags.FLAGS:
        limit_pixels(flags.FLAGS["max_pixels"].value)
    if name not in commands.WITHOUT_TENSORFLOW:
        start_tensorflow("tf32" not in flags.FLAGS or flags.FLAGS["tf32"].value)
    places.check(flags.FLAGS)  # looks for splits as the commands do, for which TensorFlow is imported
    return importlib.import_module(f"hrnet_tf.cli.{name.replace('-', '_')}").main(*rest) or 0


def _check_numbers() -> None:
    """Refuses flags whose number no computation can hold: absl takes integers of any length, NaN and infinity."""
    for flag in commands.defined_flags():
        value = flag.value
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"--{flag.name} must be a finite number. Received: {value}")
        if isinstance(value, int) and abs(value) > _MAX_INTEGER:
            raise InputError(f"--{flag.name} must be at most {_MAX_INTEGER}. Received: {shown(value)}")


def _in_one_line(error: Exception) -> str:
    """What is wrong; of absl's sentences for each flag that was not given, one for all."""
    if missing := _MISSING.findall(str(error)):
        return f"{', '.join(f'--{name}' for name in sorted(set(missing)))} must be given; --help tells more"
    return cut(printable(" ".join(str(error).split())))


def _overview() -> str:
    """All commands with the first line of their help."""
    lines = ["HRNet human pose estimation.", "", "    hrnet-tf COMMAND --flag=value ...", ""]
    for name, command in commands.COMMANDS.items():
        lines.append(f"    {name:16}{(inspect.getdoc(command) or '').partition(chr(10))[0]}")
    return "\n".join([*lines, "", "hrnet-tf COMMAND --help tells more."])


def _help(name: str) -> str:
    """A command's help and its flags."""
    text = [inspect.getdoc(commands.COMMANDS[name]) or ""]
    for flag in sorted(commands.defined_flags(), key=lambda flag: flag.name):
        shown = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
        default = "" if flag.default is None else f" (default: {flag.default_as_str})"
        text.append(flags.text_wrap(f"{shown}: {flag.help}{default}", indent="      ", firstline_indent="  "))
    return "\n".join([text[0], "", *text[1:]])
