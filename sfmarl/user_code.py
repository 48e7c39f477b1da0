"""The user's own modules: imported by every process of a run, before anything is looked up by name.

What they register (environments, algorithms, callbacks, ...) is then known there. A file is loaded under a module name
made from its path, the same in every process, so that what it defines can be pickled between them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sfmarl.errors import SfmarlError, UsageError, nearest

FILE_PREFIX = "sfmarl_file_"
"""How the names of modules that were loaded from a file begin."""

_importing: list[str] = []


def import_user_code(imports: Sequence[str]) -> None:
    """Import modules (`package.module`) and files (`my_team.py`), in order; one that is loaded already is left alone.

    A file's directory is appended to `sys.path`, so that it finds the modules beside it. The script that is running is
    not loaded a second time. Raises UsageError that names the module when there is none, or when importing it raises.
    """
    for name in imports:
        _importing.append(name)
        try:
            if _is_file(name):
                _import_file(Path(name).expanduser().resolve())
            else:
                _import_module(name)
        except SfmarlError as error:
            raise UsageError(f"imports: {name}: {error}") from error
        except (Exception, SystemExit) as error:
            raise UsageError(f"imports: {_what_happened(name, error)}") from error
        finally:
            _importing.pop()


def being_imported() -> str | None:
    """Return what `import_user_code` is importing right now."""
    return _importing[-1] if _importing else None


def absolute(imports: Sequence[str]) -> tuple[str, ...]:
    """Return `imports` with absolute paths of files; names of modules stay."""
    return tuple(str(Path(name).expanduser().resolve()) if _is_file(name) else name for name in imports)


def import_callable(kind: str, name: str) -> Callable[..., Any]:
    """Return what `module:callable` names. Raises UsageError, opening with `kind`, when there is no such thing."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{kind} {name!r}: {module} cannot be imported: {error}.") from error
    except Exception as error:
        raise UsageError(f"{kind} {name!r}: importing {module} raised {type(error).__name__}: {error}.") from error
    for part in path.split("."):
        known = [public for public in dir(found) if not public.startswith("_")]
        if not hasattr(found, part):
            raise UsageError(f"{kind} {name!r}: {module} has no {part!r}.{nearest(part, known)}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{kind} {name!r} is a {type(found).__name__}, which cannot be called.")
    return found


def module_name(path: Path) -> str:
    """Return the name under which the file at the absolute `path` is loaded."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    return f"{FILE_PREFIX}{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{digest}"


def _is_file(name: str) -> bool:
    return name.endswith(".py") or os.sep in name


def _import_module(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if missing != name and not name.startswith(missing + "."):
            raise
        beside = Path(*name.split(".")).with_suffix(".py")
        hint = f" Did you mean the file {beside}?" if beside.is_file() else ""
        raise UsageError(
            f"there is no module {name!r}: it is neither installed nor on PYTHONPATH.{hint} A file is named by its "
            "path, with .py at the end."
        ) from error


def _import_file(path: Path) -> None:
    name = module_name(path)
    if name in sys.modules or _is_main(path):
        return
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}. Put it back, or name the file or module that has taken its place (--imports)."
        )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UsageError(f"{path} is no Python file: its name must end with .py.")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _is_main(path: Path) -> bool:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return script is not None and Path(script).resolve() == path


def _what_happened(name: str, error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f'{name} ends the program when it is imported: put what it runs under `if __name__ == "__main__":`.'
    line = error.lineno if isinstance(error, SyntaxError) else None
    if line is None and _is_file(name):
        path = str(Path(name).expanduser().resolve())
        line = next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == path), None)
    where = "" if line is None else f" in line {line}"
    return f"importing {name} raised {type(error).__name__}{where}: {error}."
