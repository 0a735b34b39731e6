"""What the interpreters raise on purpose.

::

    PoutineError
    ├── NotVectorizable    a program does not run for many particles at once
    ├── GuideMismatch      a guide does not fit its model (also a ValueError)
    ├── SubsampledWeight   a weight would come from a random part of the data (a SiteError)
    ├── DegenerateWeights  no draw can be told from the weights (also a ValueError)
    ├── StructureChanged   a program has other sites than in an earlier run
    ├── NoStart            a sampler found no position of finite density (also a ValueError)
    ├── NotContinuous      a site has no unconstrained coordinates (a SiteError)
    ├── NotFinite          a site cannot be enumerated (a SiteError)
    ├── WrongAnswer        a person's answer is none to the message (a SiteError)
    ├── NotReached         a run did not come to where it was asked for (also a LookupError)
    ├── RecordError        a run cannot be saved, or what was saved cannot be read (also a ValueError)
    ├── BatchError         an answer to a lockstep batch does not fit its instances (a SiteError)
    └── InputError         what was given to the command line cannot be used
"""

from __future__ import annotations

from poutine import PoutineError, SiteError


class NotVectorizable(PoutineError):
    """A program does not run for many particles at once; it says where. The way out: ``lockstep``, or particles one by one."""


class GuideMismatch(PoutineError, ValueError):
    """A guide does not fit its model: a site that the model does not sample, or one of another shape."""


class DegenerateWeights(PoutineError, ValueError):
    """The weights are all zero, or one of them is nan or infinite."""


class SubsampledWeight(SiteError, ValueError):
    """A plate draws which of its elements take part, where a density of all of them is asked for."""


class StructureChanged(PoutineError, ValueError):
    """A program has other sites, or shapes, than it had in the run that found its structure."""


class NoStart(PoutineError, ValueError):
    """A sampler found no place where the log density and its gradient are finite; it says what they were."""


class NotContinuous(SiteError, ValueError):
    """A site has no unconstrained coordinates: it is discrete, subsampled, or has no distribution."""


class NotFinite(SiteError, ValueError):
    """A site has infinitely many values, or too many, to enumerate."""


class WrongAnswer(SiteError, ValueError):
    """What somebody answered is no value for the message: another shape or type, or outside of the support."""


class NotReached(PoutineError, LookupError):
    """A run did not come to the site, or the end, that it was asked for."""


class RecordError(PoutineError, ValueError):
    """A suspended run cannot be saved, or a file holds none."""


class BatchError(SiteError, ValueError):
    """An answer to a message of a lockstep batch has no part for each of the instances that asked."""


class InputError(PoutineError):
    """What was given to the command line cannot be used; its text is one line that tells what to put right."""
