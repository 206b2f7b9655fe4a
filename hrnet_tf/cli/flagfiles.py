"""Flag files: command-line flags in a file, a flag a line, as --flagfile=NAME.

absl reads flag files too, but finds them, and those that they name, from the folder that one stands in alone. Here a
name is that of a file, seen from where one stands or from the file that names it, or else of one of the package's.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path

from hrnet_tf.errors import InputError

FOLDER = Path(__file__).parents[1] / "configs"
_FLAG = "--flagfile"
_COMMENTS = ("#", "//")


def expand(arguments: list[str]) -> list[str]:
    """The arguments, with the flags of a file in place of each --flagfile.

    Raises:
        InputError: there is no such file, it cannot be read, or it names itself.
    """
    return list(_expanded(arguments, None, ()))


def _expanded(arguments: list[str], folder: Path | None, including: tuple[Path, ...]) -> Iterator[str]:
    remaining = iter(arguments)
    for argument in remaining:
        flag, equals, name = argument.partition("=")
        if flag not in (_FLAG, _FLAG[1:]):
            yield argument
            continue
        name = name if equals else next(remaining, "")
        path = find(name, folder)
        if path in including:
            raise InputError(f"--flagfile {path} names itself, through {' and '.join(map(str, including))}")
        yield from _expanded(_flags_in(path), path.parent, (*including, path))


def find(name: str, folder: Path | None = None) -> Path:
    """The flag file of a name: from here, from `folder`, or one of the package's.

    Raises:
        InputError: there is none.
    """
    own = FOLDER / Path(name).name
    candidates = [Path(name).expanduser(), *([folder / name] if folder else []), own, Path(f"{own}.flags")]
    for path in candidates:
        if name and path.is_file():
            return path.resolve()
    known = {path.stem: path.name for path in own_files()}
    nearest = [known[stem] for stem in difflib.get_close_matches(own.name.removesuffix(".flags"), known, n=1)]
    hint = f"did you mean {nearest[0]}?" if nearest else "`hrnet-tf configs` lists those of the package"
    raise InputError(f"--flagfile must be a file, or one that comes with the package. Received: {name!r}; {hint}")


def own_files() -> list[Path]:
    """The flag files that come with the package."""
    return sorted(FOLDER.glob("*.flags"))


def first_line(path: Path) -> str:
    """What a flag file says that it is."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _flags_in(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--flagfile {path} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith(_COMMENTS)]
