"""LAWS: every law by its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from poutine.laws.law import Law
from poutine.laws.section_b import SECTION_B
from poutine.laws.section_c import SECTION_C
from poutine.laws.section_d import SECTION_D
from poutine.laws.section_h import SECTION_H
from poutine.laws.section_h_ambient import SECTION_H_AMBIENT
from poutine.laws.section_h_context import SECTION_H_CONTEXT
from poutine.laws.section_h_ends import SECTION_H_ENDS
from poutine.laws.section_h_gradients import SECTION_H_GRADIENTS
from poutine.laws.section_h_own import SECTION_H_OWN
from poutine.laws.section_h_sites import SECTION_H_SITES
from poutine.laws.section_i import SECTION_I
from poutine.laws.section_k import SECTION_K
from poutine.laws.section_plates import D_PLATES, I_PLATES, K_PLATES, R_PLATES
from poutine.laws.section_r import SECTION_R

OF_HANDLERS: Final = (
    *SECTION_H, *SECTION_H_AMBIENT, *SECTION_H_GRADIENTS, *SECTION_H_SITES, *SECTION_H_CONTEXT, *SECTION_H_ENDS, *SECTION_H_OWN,
)  # fmt: skip

LAWS: Final[Mapping[str, Law]] = MappingProxyType(
    {
        law.name: law
        for law in (
            *OF_HANDLERS, *SECTION_I, *I_PLATES, *SECTION_B, *SECTION_C, *SECTION_R, *R_PLATES, *SECTION_D, *D_PLATES, *SECTION_K, *K_PLATES,
        )
    }
)  # fmt: skip

# What any handler must obey, whatever it does, if it does not say that it breaks it. H1, H4 and H10 are for those that say so.
ANY_HANDLER: Final = tuple(law for law in OF_HANDLERS if law.name not in ("H1", "H4", "H10"))
