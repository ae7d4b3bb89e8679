"""Net2DeeperNet (Chen et al., 2016): new layers that change nothing at first."""

import types

from official_ext.growth.depths.interleave import interleave_layers
from official_ext.growth.depths.rule import DepthRule

IDENTITY = DepthRule(
    interleave_layers,
    summary='every layer is followed by layers that add zero (Net2Net, deeper)',
    preserves="preserves a GPT's function; a BERT normalises once more",
    preserving_families=('gpt',),
    # Both sublayers end in zeros, so that a pre-LN block hands on its input.
    # After a post-LN block each of its two LayerNorms normalises once more: with
    # the gamma g and beta b of the layer below, x becomes N(N(x)), N(x) = g *
    # (x - mean(x)) / deviation(x) + b, which is x if g and b are constant.
    substitutes=types.MappingProxyType({
        'attention/output/kernel': None,
        'attention/output/bias': None,
        'ffn/output/kernel': None,
        'ffn/output/kernel_out': None,
        'ffn/output/bias': None,
        'attention/norm/gamma': 'ffn/norm/gamma',
        'attention/norm/beta': 'ffn/norm/beta',
    }))
