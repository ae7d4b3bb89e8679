"""Names and shapes of what is not the plain BERT, written out by hand."""

from official_ext import growth
from tests.growth.rule_properties import SMALL


def shapes(architecture):
  return {name: spec.shape
          for name, spec in growth.weight_specs(architecture).items()}


def test_a_gpt_has_these_weights():
  gpt = SMALL['gpt'].replace(num_layers=1, inner_size=5)
  assert shapes(gpt) == {
      'embeddings/word': (11, 4),
      'embeddings/position': (8, 4),
      'layer_0/attention/query/kernel': (4, 2, 3),
      'layer_0/attention/query/bias': (2, 3),
      'layer_0/attention/key/kernel': (4, 2, 3),
      'layer_0/attention/key/bias': (2, 3),
      'layer_0/attention/value/kernel': (4, 2, 3),
      'layer_0/attention/value/bias': (2, 3),
      'layer_0/attention/output/kernel': (2, 3, 4),
      'layer_0/attention/output/bias': (4,),
      'layer_0/attention/norm/gamma': (4,),
      'layer_0/attention/norm/beta': (4,),
      'layer_0/ffn/inner/kernel': (4, 5),
      'layer_0/ffn/inner/bias': (5,),
      'layer_0/ffn/output/kernel': (5, 4),
      'layer_0/ffn/output/bias': (4,),
      'layer_0/ffn/norm/gamma': (4,),
      'layer_0/ffn/norm/beta': (4,),
      'final_norm/gamma': (4,),
      'final_norm/beta': (4,),
  }
  assert shapes(gpt) == {
      name: spec.shape for name, spec in growth.weight_specs(
          gpt, has_pooler=False, has_masked_lm=False,
          has_next_sentence=False).items()}


def test_factors_stand_in_for_the_kernels():
  whole = SMALL['bert'].replace(num_layers=1, inner_size=5)
  expected = shapes(whole)
  for name, size_in, size_out in (('inner', 4, 5), ('output', 5, 4)):
    del expected[f'layer_0/ffn/{name}/kernel']
    expected[f'layer_0/ffn/{name}/kernel_in'] = (size_in, 2)
    expected[f'layer_0/ffn/{name}/kernel_out'] = (2, size_out)
  assert shapes(whole.replace(ffn_rank=2)) == expected
