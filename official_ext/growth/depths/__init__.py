"""How layers are added: one file a rule, one table."""

from official_ext.growth.depths.append import APPEND
from official_ext.growth.depths.identity import IDENTITY
from official_ext.growth.depths.interleave import INTERLEAVE
from official_ext.growth.depths.middle import MIDDLE
from official_ext.growth.depths.rule import DepthRule
from official_ext.growth.depths.top import TOP

# A new rule is one file in this folder and one row here.
DEPTH_RULES: dict[str, DepthRule] = {
    'append': APPEND,
    'top': TOP,
    'interleave': INTERLEAVE,
    'middle': MIDDLE,
    'identity': IDENTITY,
}
