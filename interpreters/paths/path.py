"""Path: a choice after others."""

from __future__ import annotations

import attrs
import torch


@attrs.frozen(eq=False)
class Path:
    """A choice after those of ``before``, and where it was made: the site's name and number of values.

    value, own:  what was chosen, which nobody else may have, and the log probability of that.
    length:      of the path, in choices.
    log_prob:    of all of its choices.
    """

    before: Path | None = None
    site: tuple[str, int] = ("", 0)
    value: torch.Tensor = attrs.field(factory=lambda: torch.zeros(()))
    own: float = 0.0
    log_prob: float = 0.0
    length: int = 0

    def steps(self) -> list[Path]:
        """The paths to each of the choices, the first one first."""
        found, path = [], self
        while path.before is not None:
            found.append(path)
            path = path.before
        return found[::-1]
