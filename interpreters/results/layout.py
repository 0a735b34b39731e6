"""What lies where in a result on disk: read once, so that nothing that is asked of a site later looks at all of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Variable:
    """An array on disk. ``name`` is that there, of ``dims`` the names; ``chunks`` is what lies together, () for all of it."""

    name: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    chunks: tuple[int, ...]


@attrs.frozen
class Group:
    """The ``variables`` by name of site, the labels of dimensions that have some, and what the group is marked with."""

    variables: Mapping[str, Variable]
    labels: Mapping[str, list[Any]]
    attributes: Mapping[str, Any]


NOTHING = Group({}, {}, {})
