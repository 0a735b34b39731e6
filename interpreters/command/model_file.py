"""Models in files: ``MODEL.py`` or ``MODEL.py:NAME``."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import attrs

from interpreters.command.forgotten import forgotten
from interpreters.errors import InputError
from poutine import PoutineError, Program


@attrs.frozen
class ModelFile:
    """A Python file that has been run. ``module`` is what it defined."""

    path: Path
    module: ModuleType

    @classmethod
    def load(cls, path: Path) -> ModelFile:
        """Runs the file. What lies beside it can be imported, as in a script. Raises ``InputError``."""
        try:
            is_file = path.is_file()
        except OSError as error:  # a name that is too long, say
            raise InputError(f"cannot read the model file: {error}") from error
        if not is_file:
            raise InputError(f"no model file {path}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            raise InputError(f"{path} is no Python file: expected a name that ends in .py")
        spec.loader = _FromSource(spec.loader.name, spec.loader.path)
        module = importlib.util.module_from_spec(spec)
        with blaming(path, always=True), _importable(path, module):
            spec.loader.exec_module(module)
        for line, name in forgotten(spec.loader.get_data(spec.loader.path)):
            raise InputError(
                f"{path}, line {line}: `{name}()` alone runs nothing, and its sites would be missing; write `yield from {name}()`"
            )
        return cls(path, module)

    def model(self, name: str | None = None, given_as: str = "MODEL.py:NAME") -> Callable[..., Any]:
        """The model ``name``; without it ``model``, or else the only generator function of the file. Raises ``InputError``."""
        defined = [each for each, thing in vars(self.module).items() if self._is_model(thing)]
        if name is None:
            name = "model" if hasattr(self.module, "model") or len(defined) != 1 else defined[0]
        found = getattr(self.module, name, None)
        if isinstance(found, Program):
            raise InputError(
                f"{self.path}: {name!r} is a program, which has its arguments already; name the function or the poutine that it was made "
                "of, and give the arguments as data"
            )
        if not callable(found):
            known = (
                f"its generator functions are {', '.join(defined)}" if defined else "it has no generator function: a model yields messages"
            )
            raise InputError(f"{self.path} has no model {name!r}; {known}" + (f"; name one as {given_as}" if defined else ""))
        return found  # type: ignore[no-any-return]  # whatever the file defined

    def _is_model(self, thing: Any) -> bool:
        return inspect.isgeneratorfunction(thing) and thing.__module__ == self.module.__name__


class _FromSource(SourceFileLoader):
    """Compiles the file as it is now. Python goes by the second and the size of what it has compiled before, and takes an edit for none."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def split(argument: str) -> tuple[Path, str | None]:
    """``MODEL.py:NAME`` as a path and a name."""
    path, colon, name = argument.rpartition(":")
    return (Path(path), name) if colon and name.isidentifier() else (Path(argument), None)


@contextmanager
def blaming(path: Path, always: bool = False) -> Iterator[None]:
    """What is raised by the code in ``path``, or by this library about it, becomes an ``InputError`` that names the line.

    With ``always``, so does all else: what cannot be read or compiled has no line.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a model may exit, or raise something of its own
        line = line_of(error, path)
        if line is None and not always and not isinstance(error, PoutineError):
            raise  # a fault of ours, and not of the model
        where = f"{path}, line {line}" if line is not None else str(path)
        what = "" if isinstance(error, PoutineError) else type(error).__name__
        text = " ".join([str(error), *getattr(error, "__notes__", ())])
        raise InputError(one_line(": ".join(filter(None, (where, what, text))))) from error


def one_line(text: str, width: int = 400) -> str:
    """``text`` without line breaks, cut where it gets longer than anybody reads."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def line_of(error: BaseException, path: Path) -> int | None:
    """The last line in ``path`` on the way of ``error``."""
    if isinstance(error, SyntaxError) and Path(error.filename or "") == path.absolute():
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.absolute()]
    if not lines and error.__cause__ is not None:  # Python makes a RuntimeError of a generator's StopIteration, outside of its frames
        return line_of(error.__cause__, path)
    return lines[-1] if lines else None


@contextmanager
def _importable(path: Path, module: ModuleType) -> Iterator[None]:
    """While the file runs it is in ``sys.modules``, which dataclasses need, and its folder on ``sys.path``; then all is as before."""
    folder, before = str(path.resolve().parent), sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if before is None:
            sys.modules.pop(module.__name__, None)
        else:
            sys.modules[module.__name__] = before
