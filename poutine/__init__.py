"""Probabilistic programs as Python generators, poutines that rewrite them, and nothing global.

A model yields ``Sample``, ``Observe`` and ``Param`` messages and is sent values; a poutine turns a program into a program;
``run`` answers what is left. See the README for a first model.
"""

from poutine.aliases import (
    Alias,
    Awaiting,
    block,
    broadcast,
    chain,
    condition,
    do,
    escape,
    indep,
    infer_config,
    lift,
    mask,
    replay,
    scale,
    scope,
    seed,
    substitute,
    trace,
    uncondition,
)
from poutine.bijections import bijection_to, ordered, positive_ordered
from poutine.dense import PlateUse, vectorized_plates
from poutine.densities import batch_log_density, log_density
from poutine.driver.engine import answer, drive
from poutine.driver.fleet import Fleet
from poutine.driver.places import Place
from poutine.driver.running import Running
from poutine.equality import same
from poutine.errors import (
    AlreadyObserved,
    BadReply,
    BadRules,
    DistributionError,
    DuplicateSite,
    NoDensity,
    NonlocalExit,
    NotAMessage,
    NotAProgram,
    ParamError,
    PlateError,
    PoutineError,
    ProgramError,
    SiteError,
    UnhandledMessage,
    UnusedNames,
)
from poutine.explanation import Explanation, Passing, Probed, explain
from poutine.factors import Unit, factor
from poutine.handlers.block import BlockPoutine
from poutine.handlers.broadcast import BroadcastPoutine
from poutine.handlers.condition import ConditionPoutine
from poutine.handlers.do import DoPoutine
from poutine.handlers.escape import EscapePoutine
from poutine.handlers.indep import IndepPoutine
from poutine.handlers.infer_config import InferConfigPoutine
from poutine.handlers.lift import LiftPoutine
from poutine.handlers.mask import MaskPoutine
from poutine.handlers.replay import ReplayPoutine
from poutine.handlers.scale import ScalePoutine
from poutine.handlers.scope import ScopePoutine
from poutine.handlers.seed import SeedPoutine
from poutine.handlers.substitute import SubstitutePoutine
from poutine.handlers.trace import TracePoutine
from poutine.handlers.uncondition import UnconditionPoutine
from poutine.improper import ImproperUniform
from poutine.markov import MarkovPoutine, markov
from poutine.messages import (
    UNDECIDED,
    Choice,
    CondIndepStackFrame,
    Deterministic,
    EnterMarkov,
    EnterPlate,
    MarkovEntry,
    Message,
    Observe,
    Param,
    PlateEntry,
    Sample,
    Sealed,
    Site,
)
from poutine.params import ParamStore
from poutine.plates import PlatePoutine, Subsample, plate
from poutine.poutine import Poutine
from poutine.program import Coroutine, Handling, Program, Rule, Rules, as_program
from poutine.randomness import Keyed
from poutine.runtime import Runtime, run
from poutine.trace_graph import Input, Return, Trace
from poutine.value_map import ValueMap

__all__ = [
    "UNDECIDED",
    "Alias",
    "AlreadyObserved",
    "Awaiting",
    "BadReply",
    "BadRules",
    "BlockPoutine",
    "BroadcastPoutine",
    "Choice",
    "CondIndepStackFrame",
    "ConditionPoutine",
    "Coroutine",
    "Deterministic",
    "DistributionError",
    "DoPoutine",
    "DuplicateSite",
    "EnterMarkov",
    "EnterPlate",
    "EscapePoutine",
    "Explanation",
    "Fleet",
    "Handling",
    "ImproperUniform",
    "IndepPoutine",
    "InferConfigPoutine",
    "Input",
    "Keyed",
    "LiftPoutine",
    "MarkovEntry",
    "MarkovPoutine",
    "MaskPoutine",
    "Message",
    "NoDensity",
    "NonlocalExit",
    "NotAMessage",
    "NotAProgram",
    "Observe",
    "Param",
    "ParamError",
    "ParamStore",
    "Passing",
    "Place",
    "PlateEntry",
    "PlateError",
    "PlatePoutine",
    "PlateUse",
    "Poutine",
    "PoutineError",
    "Probed",
    "Program",
    "ProgramError",
    "ReplayPoutine",
    "Return",
    "Rule",
    "Rules",
    "Running",
    "Runtime",
    "Sample",
    "ScalePoutine",
    "ScopePoutine",
    "Sealed",
    "SeedPoutine",
    "Site",
    "SiteError",
    "Subsample",
    "SubstitutePoutine",
    "Trace",
    "TracePoutine",
    "UnconditionPoutine",
    "UnhandledMessage",
    "Unit",
    "UnusedNames",
    "ValueMap",
    "answer",
    "as_program",
    "batch_log_density",
    "bijection_to",
    "block",
    "broadcast",
    "chain",
    "condition",
    "do",
    "drive",
    "escape",
    "explain",
    "factor",
    "indep",
    "infer_config",
    "lift",
    "log_density",
    "markov",
    "mask",
    "ordered",
    "plate",
    "positive_ordered",
    "replay",
    "run",
    "same",
    "scale",
    "scope",
    "seed",
    "substitute",
    "trace",
    "uncondition",
    "vectorized_plates",
]
