"""Lines of results that no training made."""


def make_run(arm='bert/stack', seed=0, curve=(), growths=(), steps=(100, 200),
             **more):
  return {
      'arm': arm, 'seed': seed, 'settings': {}, 'data': 'd', 'parameters': 1000,
      'tokens': 5000, 'curve': [list(point) for point in curve],
      'final_loss': curve[-1][3], 'final_accuracy': curve[-1][4],
      'growths': list(growths),
      'stages': [{'name': str(index), 'steps': count, 'flops_per_step': 1,
                  'processor_seconds_per_step': 1.0}
                 for index, count in enumerate(steps)],
      'code': {'commit': 'c', 'modified': False},
      'machine': {'processor': 'p', 'tensorflow': 't'}} | more


GROWTH = {'step': 100, 'operators': ['depth 1 -> 2 (append)'],
          'loss_before': 5.0, 'loss_after': 5.6, 'max_logit_difference': 1.0}
# Step, FLOPs, processor seconds, loss, accuracy.
CURVE = ((50, 5e9, 5.0, 5.5, 0.1), (100, 1e10, 10.0, 5.0, 0.15),
         (150, 2e10, 20.0, 5.2, 0.14), (200, 3e10, 30.0, 4.8, 0.2),
         (300, 5e10, 50.0, 4.4, 0.3))
