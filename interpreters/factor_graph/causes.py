"""What may be the cause where a program cannot be run once for all values, for the errors that say so."""

from __future__ import annotations

from collections.abc import Iterable

from interpreters.factor_graph.factors import Plate


def of_error(error: Exception, plates: Iterable[Plate]) -> str:
    """What a program must not do, which has raised ``error`` after sites in ``plates``."""
    names = sorted({repr(plate.name) for plate in plates if plate.loop is None and plate.branch is None})
    loops = sorted({repr(plate.name) for plate in plates if plate.loop is not None})
    if isinstance(error, IndexError) and names:
        return (
            f"the elements of plate {', '.join(names)} are not addressed one by one there (x[..., 1]), since its dimension is of size 1 in what "
            "is the same for all of them; use plate(..., vectorized=False), or interpreters.enumeration.exact, which runs it once for each value"
        )
    steps = f", nor on the step of {', '.join(loops)}, whose steps are taken at once (int(t))" if loops else ""
    return (
        f"what it does must not depend on which value it is (if x:, int(x), xs[i]){steps}: make the branch a torch.where, a mask or an index into "
        "a tensor, or use interpreters.enumeration.exact, which runs it once for each value"
    )


def of_layout(plates: Iterable[Plate]) -> str:
    """How what is in ``plates`` is to be laid out, where one of them is the steps of a loop within others; else nothing."""
    loops = sorted({repr(plate.name) for plate in plates if plate.loop is not None and plate.dim < -1})
    if not loops:
        return ""
    return f"in the steps of {', '.join(loops)} t is a column beside the indices of the plates around: index data with all of them, y[i, t]"
