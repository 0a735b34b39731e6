"""Libraries that only the results need: imported when asked for, with an error that names the way out."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


def extra(name: str) -> Any:
    """The module ``name``. Raises ``ImportError`` that tells which extra to install."""
    try:
        with warnings.catch_warnings():
            # ArviZ 0.23 announces its version 1 at import, to everybody; setup.cfg asks for a version before that.
            warnings.filterwarnings("ignore", "\\s*ArviZ is undergoing a major refactor", FutureWarning)
            return importlib.import_module(name)
    except ImportError as error:
        needed = "zarr" if name == "zarr" else "infer"
        raise ImportError(f"this needs {name}: pip install 'poutine[{needed}]' ({error})") from error
