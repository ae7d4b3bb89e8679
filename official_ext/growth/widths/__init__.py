"""How units are added: one file a rule, one table."""

from official_ext.growth.widths.aki import AKI
from official_ext.growth.widths.aki_literal import AKI_LITERAL
from official_ext.growth.widths.direct_copy import DIRECT_COPY
from official_ext.growth.widths.fpi import FPI
from official_ext.growth.widths.net2net import NET2NET
from official_ext.growth.widths.rule import Widening
from official_ext.growth.widths.rule import WidthRule

# A new rule is one file in this folder and one row here.
WIDTH_RULES: dict[str, WidthRule] = {
    'fpi': FPI,
    'aki': AKI,
    'aki_literal': AKI_LITERAL,
    'net2net': NET2NET,
    'direct_copy': DIRECT_COPY,
}
