"""When a trajectory turns back on itself: the criterion of NUTS, and the counter of subtrees that it is asked of.

Of a subtree are kept the momentum and velocity of its first and last leaf, and rho, the sum of its momenta. Two siblings turn
unless rho has a positive product with the velocities at both ends: of their union, of the left one with the first leaf of the
right one, and of the last leaf of the left one with the right one. The last two are Stan's: without them a tree whose ends
happen to lie a whole number of periods apart is not seen to turn.

Sources: Betancourt, "A conceptual introduction to Hamiltonian Monte Carlo", arXiv:1701.02434 (2017), appendix A.4.2; Stan,
src/stan/mcmc/hmc/nuts/base_nuts.hpp (the additional checks).
"""

from __future__ import annotations

from typing import Any, Final

from interpreters.hamiltonian.integrator import MOMENTUM, VELOCITY, copy
from interpreters.hamiltonian.jit import inlined, reducing

# The rows of a subtree, [5, dim].
FIRST_P: Final = 0
FIRST_V: Final = 1
LAST_P: Final = 2
LAST_V: Final = 3
RHO: Final = 4


@inlined
def turns_somewhere(stack: Any, rho: Any, point: Any, leaf: int) -> bool:
    """Adds the leaf number ``leaf`` to the counter; True if a subtree that it completes turns."""
    copy(point[MOMENTUM], rho)
    first_p, first_v = point[MOMENTUM], point[VELOCITY]
    level = 0
    while (leaf >> level) & 1:
        left = stack[level]
        if level == 0:
            turning = pair_turns(left[LAST_P], left[LAST_V], point[MOMENTUM], point[VELOCITY])
        else:
            turning = turns(left[RHO], rho, left[FIRST_V], left[LAST_P], left[LAST_V], first_p, first_v, point[VELOCITY])
        if turning:
            return True
        for i in range(len(rho)):
            rho[i] += left[RHO, i]
        first_p, first_v = left[FIRST_P], left[FIRST_V]
        level += 1
    node = stack[level]
    copy(first_p, node[FIRST_P])
    copy(first_v, node[FIRST_V])
    copy(point[MOMENTUM], node[LAST_P])
    copy(point[VELOCITY], node[LAST_V])
    copy(rho, node[RHO])
    return False


@reducing
def turns(left: Any, right: Any, first_v: Any, near_p: Any, near_v: Any, next_p: Any, next_v: Any, last_v: Any) -> bool:
    """Whether two siblings, of rho ``left`` and ``right``, turn. ``near`` is the last leaf of the left one, ``next`` comes after."""
    a = b = c = d = e = f = 0.0
    for i in range(len(left)):
        both = left[i] + right[i]
        a += first_v[i] * both
        b += last_v[i] * both
        longer_left = left[i] + next_p[i]
        c += first_v[i] * longer_left
        d += next_v[i] * longer_left
        longer_right = right[i] + near_p[i]
        e += near_v[i] * longer_right
        f += last_v[i] * longer_right
    return not (a > 0 and b > 0 and c > 0 and d > 0 and e > 0 and f > 0)


@reducing
def pair_turns(first_p: Any, first_v: Any, last_p: Any, last_v: Any) -> bool:
    """``turns`` of two leaves, of which all three criteria are one."""
    a = b = 0.0
    for i in range(len(first_p)):
        both = first_p[i] + last_p[i]
        a += first_v[i] * both
        b += last_v[i] * both
    return not (a > 0 and b > 0)
