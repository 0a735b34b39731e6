"""The shell: reads commands from a terminal or a pipe, and shows what they return."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from interpreters.command.model_file import blaming, one_line
from interpreters.command.output import say
from interpreters.console import view
from interpreters.console.commands import COMMANDS, find, perform, quoted
from interpreters.console.session import Session
from interpreters.errors import InputError
from interpreters.replies import unsealed
from poutine import PoutineError

_PROMPT = "(step) "


def converse(session: Session) -> int:
    """Carries out commands until ``quit`` or the end of the input; returns the exit code.

    A command that fails is told in one line on stderr; where the run has come to nevertheless, is shown. The code is 1 if one of a script
    failed, else 0.
    """
    is_terminal = sys.stdin.isatty()
    say(view.stop(session))
    failed = False
    for line in _typed(session) if is_terminal else _piped():
        if line.split(maxsplit=1)[0] in find("quit").names:
            break
        failed = not _carried_out(session, line, is_terminal) or failed
    return int(failed and not is_terminal)


def _carried_out(session: Session, line: str, is_terminal: bool) -> bool:
    before = session.here
    try:
        with blaming(session.model.origin.path):
            text = _performed(session, line)
    except KeyboardInterrupt:
        if not is_terminal:
            raise
        print("interrupted" + ("; the run is where it was" if session.here is before else ""), file=sys.stderr)
    except InputError as error:
        print(f"poutine: error: {one_line(str(error))}", file=sys.stderr)
    else:
        say(text)
        return True
    if session.here is not before:
        say(view.stop(session))
    return False


def _performed(session: Session, line: str) -> str:
    try:
        return perform(session, line)
    except (PoutineError, OSError) as error:
        raise InputError(str(error)) from error


def _piped() -> Iterator[str]:
    for line in _lines():
        if line.strip() and not line.lstrip().startswith("#"):
            say(f"\n{_PROMPT}{line.strip()}")
            yield line


def _lines() -> Iterator[str]:
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise InputError(f"the commands are no text: {error}") from error


def _typed(session: Session) -> Iterator[str]:
    """Lines from a terminal, with history and completion where there is readline. An empty line steps."""
    _complete_with(session)
    while True:
        try:
            yield input(_PROMPT).strip() or "step"
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()


def _complete_with(session: Session) -> None:
    try:
        import readline  # not on every platform
    except ImportError:
        return
    readline.set_completer(completer(session))
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")


def completer(session: Session) -> Callable[[str, int], str | None]:
    """What readline asks for the words that a text may become, one after the other."""

    def complete(text: str, state: int) -> str | None:
        found = [word for word in _words(session) if word.startswith(text)]
        return found[state] if state < len(found) else None

    return complete


def _words(session: Session) -> list[str]:
    sites = [unsealed(answer.site).name for answer in session.here.answers]
    return sorted({*(command.names[0] for command in COMMANDS), *map(quoted, sites), *map(quoted, session.branches)})
