"""The commands of a session, as a table: names, short forms, help, and what they do. Each returns what is to be shown."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import torch

from interpreters.console import view
from interpreters.console.session import BEFORE, Session
from interpreters.errors import InputError
from interpreters.replies import unsealed
from interpreters.steps.breakpoints import Breakpoint
from interpreters.steps.resumed import Departure

_WORD: Final = re.compile(r"""\"[^\"]*\"|'[^']*'|\S+""")  # in quotes, or without a space
_TYPES: Final = ("sample", "observe", "param", "deterministic")


@attrs.frozen
class Command:
    """``do(session, rest of the line)`` returns what is shown; ``needs`` is the least number of words in the rest, ``takes`` the most."""

    names: tuple[str, ...]
    usage: str
    help: str
    do: Callable[[Session, str], str]
    needs: int = 0
    takes: int = 0


def find(word: str) -> Command:
    """The command of this name or short form. Raises ``InputError``."""
    for command in COMMANDS:
        if word in command.names:
            return command
    raise InputError(f"no command {word!r}; help lists them all")


def perform(session: Session, line: str) -> str:
    """Carries out one line. Raises ``InputError`` and what the commands raise."""
    word, _, rest = line.strip().partition(" ")
    command, rest = find(word), rest.strip()
    if not command.needs <= len(_WORD.findall(rest)) <= command.takes:
        raise InputError(f"expected {command.usage}, got {line.strip()!r}")
    return command.do(session, _unquoted(rest) if command.takes == 1 else rest)


def quoted(name: str) -> str:
    """``name`` as it is written in a command."""
    quote = '"' if "'" in name else "'"
    return f"{quote}{name}{quote}" if len(_WORD.findall(name)) > 1 else name


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word


def _step(session: Session, rest: str) -> str:
    _refuse_end(session)
    session.step(_count(rest))
    return view.stop(session)


def _back(session: Session, rest: str) -> str:
    if session.here.previous is None:
        raise InputError("this is the beginning")
    session.back(_count(rest))
    return view.stop(session)


def _goto(session: Session, rest: str) -> str:
    session.goto(rest)
    return view.stop(session)


def _proceed(session: Session, rest: str) -> str:
    _refuse_end(session)
    session.proceed()
    return view.stop(session)


def _set(session: Session, rest: str) -> str:
    return view.edited(session, session.reply(_value(rest)))


def _edit(session: Session, rest: str) -> str:
    name = _WORD.findall(rest)[0]
    return view.edited(session, session.edit(_unquoted(name), _value(rest.removeprefix(name).strip())))


def _break(session: Session, rest: str) -> str:
    if rest:
        session.breakpoints.append(Breakpoint(types=rest) if rest in _TYPES else Breakpoint(names=rest))
    return f"stops at: {_breakpoints(session)}"


def _clear(session: Session, rest: str) -> str:
    kept = [each for each in session.breakpoints if rest and rest not in (*each.names, *each.types)]
    if rest and len(kept) == len(session.breakpoints):
        raise InputError(f"no breakpoint {rest!r}; it stops at: {_breakpoints(session)}")
    session.breakpoints[:] = kept
    return f"stops at: {_breakpoints(session)}"


def _trace(session: Session, rest: str) -> str:
    return view.trace(session.here)


def _chain(session: Session, rest: str) -> str:
    points = session.here.points
    if not rest:
        return view.chain(session.here.way) or "the program has ended"
    ways = (point.pause.answered.way for point in points if point.pause.answered is not None)
    found = next((way for way in ways if any(unsealed(message).name == rest for _, _, message in way)), None)
    if found is None:
        raise InputError(f"no site {rest!r} so far; trace shows those that there are")
    return view.chain(found)


def _where(session: Session, rest: str) -> str:
    return view.stack(session)


def _branch(session: Session, rest: str) -> str:
    if rest:
        session.branch(rest)
    return view.branches(session) or "no branches"


def _switch(session: Session, rest: str) -> str:
    session.switch(rest)
    return view.stop(session)


def _diff(session: Session, rest: str) -> str:
    return str(session.difference(rest or BEFORE))


def _save(session: Session, rest: str) -> str:
    session.save(Path(rest))
    return f"wrote {rest}: go on with poutine step --resume {rest}"


def _load(session: Session, rest: str) -> str:
    return _told(session, session.load(Path(rest)))


def _reload(session: Session, rest: str) -> str:
    return _told(session, session.reload())


def _help(session: Session, rest: str) -> str:
    chosen = [find(rest)] if rest else COMMANDS
    width = max(len(command.usage) for command in chosen)
    return "\n".join(f"{command.usage:{width}}  {', '.join(command.names[1:]):4}  {command.help}" for command in chosen)


def _told(session: Session, departure: Departure | None) -> str:
    return view.stop(session) if departure is None else f"{departure}\n{view.stop(session)}"


def _breakpoints(session: Session) -> str:
    return ", ".join(name for each in session.breakpoints for name in (*each.names, *each.types)) or "(no breakpoint)"


def _refuse_end(session: Session) -> None:
    if session.here.has_ended:
        raise InputError("the program has ended; back, goto and edit go back into it")


def _count(text: str) -> int:
    if not text:
        return 1
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"expected a number of messages, got {text!r}")
    return int(text)


def _value(text: str) -> Any:
    """A number, true or false, a list of such of any depth, or a string in quotes."""
    words = {"true": True, "false": False, "nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
        return torch.tensor(value, dtype=torch.float64) if _has_floats(value) else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(f"expected a number, or a list of numbers such as [1.0, 2.0], got {text!r}") from error


def _has_floats(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, float) or _has_floats(each) for each in value)


COMMANDS: Final = (
    Command(("step", "s", "next", "n"), "step [N]", "answer the message as run does, and go to the next one (or N of them)", _step, 0, 1),
    Command(("back", "b"), "back [N]", "go back to the message before (or N of them)", _back, 0, 1),
    Command(("goto", "g"), "goto NAME", "go to a site, back or ahead; NAME may be a pattern: theta*, or in quotes", _goto, 1, 1),
    Command(("continue", "c"), "continue", "go on to the next breakpoint, or to the end", _proceed),
    Command(("set",), "set VALUE", "answer the message with VALUE: 0.5, [1.0, 2.0], true", _set, 1, 10**9),
    Command(("edit", "e"), "edit NAME VALUE", "go to a site and answer it with VALUE; the run as it was is the branch before", _edit, 2, 10**9),
    Command(("break",), "break [NAME|TYPE]", "stop there: a name, a pattern, or one of " + ", ".join(_TYPES) + "; or list the breakpoints", _break, 0, 1),
    Command(("clear",), "clear [NAME|TYPE]", "remove a breakpoint, or all", _clear, 0, 1),
    Command(("trace", "t"), "trace", "all sites so far, with the running log density", _trace),
    Command(("chain",), "chain [NAME]", "what each poutine around the program does to the message, or did to a site", _chain, 0, 1),
    Command(("where", "w"), "where", "the lines at which the program waits, outermost first", _where),
    Command(("branch",), "branch [NAME]", "keep this place under a name, or list those that are kept", _branch, 0, 1),
    Command(("switch",), "switch NAME", "go to a branch", _switch, 1, 1),
    Command(("diff", "d"), "diff [NAME]", "compare a branch (before, if none is named) with the run where it is", _diff, 0, 1),
    Command(("save",), "save FILE", "write the run as it waits", _save, 1, 1),
    Command(("load",), "load FILE", "go on with a run that was saved, with its model as it is now", _load, 1, 1),
    Command(("reload", "r"), "reload", "go on with the model as its file is now (what it imports stays as it was), as far as it does what it did", _reload),
    Command(("help", "h", "?"), "help [COMMAND]", "this", _help, 0, 1),
    Command(("quit", "q", "exit"), "quit", "leave", lambda session, rest: ""),
)  # fmt: skip
