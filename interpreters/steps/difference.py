"""The difference of two runs: which sites departed, their values and log densities."""

from __future__ import annotations

from collections import defaultdict

import attrs
import torch

from interpreters.replies import unsealed
from interpreters.steps.answers import Answer
from interpreters.steps.live import Ending
from interpreters.steps.suspended import Suspended
from interpreters.steps.text import number, score, shown, table
from poutine import same


@attrs.frozen(eq=False)
class SiteDifference:
    """One site of two runs: ``what`` differs ("value", "log density", "type", "only left" or "only right").

    ``name`` is that of the site, with ``#2`` at the second visit, and so on.
    """

    name: str
    what: str
    left: Answer | None
    right: Answer | None


@attrs.frozen(eq=False)
class Comparison:
    """Two runs, site by site. ``sites`` are those that differ, in order; ``endings`` of both; its ``str`` is a table.

    log_densities:  of both, in nats; nan where a site cannot be scored.
    """

    sites: tuple[SiteDifference, ...]
    log_densities: tuple[torch.Tensor, torch.Tensor]
    endings: tuple[Ending[object] | None, Ending[object] | None]

    @property
    def same(self) -> bool:
        """Whether the runs answered the same, and ended (or wait) alike."""
        return not self.sites and _ending(self.endings[0]) == _ending(self.endings[1])

    def __str__(self) -> str:
        if self.same:
            return "no difference"
        rows = [["site", "", "left", "right", "log density", ""], *map(_row, self.sites)]
        rows.append(["all sites", "", "", "", *map(number, self.log_densities)])
        lines = [table(rows, left=2)]
        if _ending(self.endings[0]) != _ending(self.endings[1]):
            lines.append(f"left {_ending(self.endings[0])}, right {_ending(self.endings[1])}")
        return "\n".join(lines)


def compare(left: Suspended[object], right: Suspended[object]) -> Comparison:
    """The sites that both have answered so far, and those of one alone; they are matched by name and visit."""
    mine, yours = _by_visit(left), _by_visit(right)
    names = list(dict.fromkeys([*mine, *yours]))
    found = (SiteDifference(name, _what(mine.get(name), yours.get(name)), mine.get(name), yours.get(name)) for name in names)
    return Comparison(tuple(each for each in found if each.what), (_total(mine), _total(yours)), (left.ending, right.ending))


def _total(answers: dict[str, Answer]) -> torch.Tensor:
    if any(each.problem is not None for each in answers.values()):
        return torch.tensor(torch.nan)
    return sum((each.scored for each in answers.values() if each.scored is not None), start=torch.zeros(()))


def _by_visit(point: Suspended[object]) -> dict[str, Answer]:
    visits: defaultdict[str, int] = defaultdict(int)
    found: dict[str, Answer] = {}
    for answer in point.answers:
        name = unsealed(answer.site).name
        visits[name] += 1
        found[name if visits[name] == 1 else f"{name}#{visits[name]}"] = answer
    return found


def _what(left: Answer | None, right: Answer | None) -> str:
    if left is None or right is None:
        return "only right" if left is None else "only left"
    if type(unsealed(left.site)) is not type(unsealed(right.site)):
        return "type"
    if not same(unsealed(left.site).value, unsealed(right.site).value):
        return "value"
    alike = same(left.scored, right.scored) and (left.problem is None) == (right.problem is None)
    return "" if alike else "log density"


def _row(site: SiteDifference) -> list[str]:
    values = ["" if each is None else shown(unsealed(each.site).value, 30) for each in (site.left, site.right)]
    return [site.name, site.what, *values, *("" if each is None else score(each) for each in (site.left, site.right))]


def _ending(ending: Ending[object] | None) -> str:
    if ending is None:
        return "has not ended"
    return f"returned {shown(ending.value)}" if ending.error is None else f"raised {type(ending.error).__name__}: {ending.error}"
