"""What a growth is: architectures, maps, operators, parity. NumPy only."""

from official_ext.growth.architecture import Architecture
from official_ext.growth.description import describe_operators
from official_ext.growth.description import preserves_function
from official_ext.growth.description import weight_growth_preserves
from official_ext.growth.errors import GrowthError
from official_ext.growth.growing import grow
from official_ext.growth.growing import grow_moments
from official_ext.growth.growing import maps_between
from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.layer_maps import DEPTH_RULES
from official_ext.growth.layer_maps import layer_map
from official_ext.growth.named_weights import Axis
from official_ext.growth.named_weights import weight_specs
from official_ext.growth.named_weights import WeightSpec
from official_ext.growth.operators import chain
from official_ext.growth.operators import Operator
from official_ext.growth.parity import compare
from official_ext.growth.parity import max_difference
from official_ext.growth.parity import ParityReport
from official_ext.growth.refusals import growth_mistakes
from official_ext.growth.transfer import learning_rate_multipliers
from official_ext.growth.unit_maps import UnitMap
