"""The messages that a program yields.

1. A message is a frozen value. Going up it is a request; coming down, finished, it is a *site*.
2. A ``Sample`` that carries a value is *decided*: nobody draws it again. An ``Observe`` always carries its value.
3. Rewriting is a new object: ``message.evolve(scale=2.0)``. (Not ``attrs.evolve``, which calls the constructor: the keyword
   arguments of a site's constructor are its distribution's.)
4. ``Sample("x", Normal(0.0, 1.0))`` carries a distribution; ``Sample("x", Normal, 0.0, 1.0)`` is *deferred*: the
   distribution is built once, by whoever first asks for ``message.dist``.
5. Users define their own types as subclasses of ``Message``; a poutine that does not know a type passes it on.
6. A message reads as the seed's dictionary, too: ``message["value"]`` is ``message.value``.

One kind a file; what is imported from elsewhere is imported from here.
"""

from __future__ import annotations

from poutine.messages.choice import Choice
from poutine.messages.distribution_like import DistributionLike, is_distribution
from poutine.messages.entries import EnterMarkov, EnterPlate, MarkovEntry, PlateEntry
from poutine.messages.frames import CondIndepStackFrame
from poutine.messages.message import UNDECIDED, Message, Sealed, Undecided, blank
from poutine.messages.param import Param, is_of_all_steps, param_of
from poutine.messages.sample_observe import Observe, Sample
from poutine.messages.site import Deterministic, Site

__all__ = [
    "UNDECIDED",
    "Choice",
    "CondIndepStackFrame",
    "Deterministic",
    "DistributionLike",
    "EnterMarkov",
    "EnterPlate",
    "MarkovEntry",
    "Message",
    "Observe",
    "Param",
    "PlateEntry",
    "Sample",
    "Sealed",
    "Site",
    "Undecided",
    "blank",
    "is_distribution",
    "is_of_all_steps",
    "param_of",
]
