"""FLOPs and parameters, against the papers' figures and a real graph."""

import dataclasses

import numpy as np
import pytest

from official_ext.analysis import flops
from official_ext.growth import named_weights
from official_ext.growth.architecture import Architecture

BASE = Architecture(num_layers=12, hidden_size=768, num_heads=12,
                    inner_size=3072, vocab_size=30522)
LARGE = Architecture(num_layers=24, hidden_size=1024, num_heads=16,
                     inner_size=4096, vocab_size=30522)
TINY = Architecture(num_layers=3, hidden_size=24, num_heads=3, inner_size=48,
                    vocab_size=97, max_positions=32)


@dataclasses.dataclass(frozen=True)
class _Stage:
  start_step: int
  end_step: int
  architecture: Architecture


def _schedule(*parts):
  stages, start = [], 0
  for steps, architecture in parts:
    stages.append(_Stage(start, start + steps, architecture))
    start += steps
  return stages


def _compound_grow(target, sharing):
  treated = target.replace(ffn_sharing=sharing, query_pool_size=2)
  return _schedule(
      (200_000, treated.replace(num_layers=target.num_layers // 4)),
      (200_000, treated.replace(num_layers=target.num_layers // 2)),
      (300_000, treated), (300_000, target))


def _stack(target):
  return _schedule(
      (300_000, target.replace(num_layers=target.num_layers // 4)),
      (400_000, target.replace(num_layers=target.num_layers // 2)),
      (300_000, target))


@pytest.mark.parametrize('stages, published, tolerance', [
    (_compound_grow(BASE, 2), 1.02, 0.01),
    (_compound_grow(BASE, 4), 1.18, 0.01),
    (_compound_grow(LARGE, 4), 1.26, 0.01),
    (_stack(BASE), 0.687, 0.02),
    (_stack(LARGE), 0.707, 0.02),
], ids=['compound-base-k2', 'compound-base-k4', 'compound-large-k4',
        'stack-base', 'stack-large'])
def test_speedup_is_the_published_one(stages, published, tolerance):
  assert flops.schedule_speedup(stages, 76) == pytest.approx(
      published, abs=tolerance)


def test_a_schedule_of_one_stage_has_no_speedup():
  assert flops.schedule_speedup(_schedule((10, BASE)), 76) == 0


def test_no_stage_is_refused():
  with pytest.raises(ValueError, match='give at least one stage'):
    flops.schedule_speedup([], 76)


def _matrix_product_flops(graph):
  """FLOPs of the MatMul and Einsum ops of a traced graph, from their shapes."""
  total = 0
  for op in graph.get_operations():
    shapes = [tuple(tensor.shape) for tensor in op.inputs]
    if op.type == 'Einsum':
      labels = op.get_attr('equation').decode().split('->')[0].split(',')
      sizes = {}
      for names, shape in zip(labels, shapes, strict=True):
        sizes.update(zip(names, shape, strict=True))
      total += 2 * int(np.prod(list(sizes.values())))
    elif op.type in ('MatMul', 'BatchMatMulV2'):
      # Rows and depth from the left operand, columns from the result.
      total += 2 * int(np.prod(shapes[0])) * op.outputs[0].shape[-1]
      assert not op.get_attr('transpose_a' if op.type == 'MatMul' else 'adj_x')
  return total


def test_forward_equals_the_products_of_a_stock_model_s_graph():
  import tensorflow as tf
  from official.nlp.modeling import layers, models, networks
  encoder = networks.BertEncoderV2(
      vocab_size=TINY.vocab_size, hidden_size=TINY.hidden_size,
      num_layers=TINY.num_layers, num_attention_heads=TINY.num_heads,
      max_sequence_length=TINY.max_positions,
      type_vocab_size=TINY.type_vocab_size, inner_dim=TINY.inner_size)
  model = models.BertPretrainerV2(
      encoder_network=encoder,
      classification_heads=[layers.ClassificationHead(
          inner_dim=TINY.hidden_size, num_classes=2, name='next_sentence')])
  batch, predictions = 2, 5
  ids = tf.zeros([batch, TINY.sequence_length], tf.int32)
  inputs = {'input_word_ids': ids, 'input_mask': tf.ones_like(ids),
            'input_type_ids': ids,
            'masked_lm_positions': tf.zeros([batch, predictions], tf.int32)}
  graph = tf.function(model).get_concrete_function(inputs).graph
  graphs = [graph] + [
      function.graph for function in graph._functions.values()
      if hasattr(function, 'graph')]
  counted = sum(_matrix_product_flops(graph) for graph in graphs)
  assert counted == flops.forward_flops(TINY, predictions, batch)
  assert (sum(int(np.prod(variable.shape)) for variable
              in model.trainable_variables) == flops.parameter_count(TINY))


def test_pooled_queries_are_short_from_layer_0_keys_from_layer_1():
  pooled = TINY.replace(query_pool_size=2)
  width, predictions = TINY.hidden_size, 5
  long, slots = 32, 13             # ceil((32 - 1 - 5) / 2)
  short = 1 + slots + predictions
  by_hand = 2 * (
      2 * short * width**2 + 2 * long * width**2 + 2 * short * long * width
      + 2 * (4 * short * width**2 + 2 * short**2 * width))
  assert flops.forward_breakdown(pooled, predictions).attention == by_hand
  assert flops.forward_breakdown(pooled, predictions).embedding == (
      2 * width * long * (2 + slots))


def test_groups_add_up_and_a_training_step_is_three_forward_passes():
  parts = flops.forward_breakdown(BASE, 76, 4)
  assert parts.total == flops.forward_flops(BASE, 76, 4)
  assert flops.train_flops(BASE, 76, 4) == 3 * 4 * flops.forward_flops(BASE, 76)
  assert flops.train_breakdown(BASE, 76).ffn == (
      3 * 12 * 2 * 2 * 512 * 768 * 3072)


def test_parameters_of_bert_base():
  # BERT-base is published as 110 M: 109,482,240 without the pre-training heads.
  heads = (768 * 769 + 2 * 768 + 30522) + (768 * 769 + 2 * 769)
  assert flops.parameter_count(BASE) == 109_482_240 + heads


@pytest.mark.parametrize('architecture', [
    TINY, BASE, TINY.replace(ffn_sharing=4, query_pool_size=2),
    TINY.replace(head_size=4)])
@pytest.mark.parametrize('has_next_sentence', [True, False])
def test_parameters_are_the_named_weights(architecture, has_next_sentence):
  specs = named_weights.weight_specs(
      architecture, has_next_sentence=has_next_sentence)
  assert flops.parameter_count(
      architecture, has_next_sentence=has_next_sentence) == sum(
          int(np.prod(spec.shape)) for spec in specs.values())


def test_factorised_block():
  factorised = TINY.replace(ffn_rank=8)
  rows, width, inner = 32, 24, 48
  assert flops.forward_breakdown(factorised, 5).ffn == (
      3 * 2 * 2 * rows * 8 * (width + inner))


def test_impossible_numbers_are_refused():
  with pytest.raises(ValueError, match='num_predictions is 33; give 0 to '
                     'sequence_length 32'):
    flops.forward_flops(TINY, 33)
  with pytest.raises(ValueError, match='batch_size is 0; give at least 1'):
    flops.train_flops(TINY, 3, 0)
