"""Entries: functions that are named by ``module:name``, and imported when they are called for.

What a command needs may take seconds to import. tests/test_layout.py counts an entry as an import of the file that names it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def entry(name: str) -> Any:
    """The function ``name``, a ``module:function``."""
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
