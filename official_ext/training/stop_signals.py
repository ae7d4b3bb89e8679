"""SIGTERM and Ctrl-C as a wish: the run saves, and then stops.

TensorFlow has `tf.distribute.experimental.PreemptionCheckpointHandler` for
this. It saves a checkpoint object that it is given once, from inside a training
loop of its own that calls it for every step, and ends the process itself; here
the model and its optimizer are replaced in the middle of Keras' `fit`, and
metrics and the time spent have to be saved with them.
"""

import os
import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
  """Notes a first signal, and ends the process at the second.

  Use it as a context manager, in the main thread. Python runs signal handlers
  between two of its own instructions only, and compiling a step can take
  minutes within one. So the signals are read by a thread, from a pipe that they
  are written into at once.
  """

  def __init__(self):
    self._signal = None
    self._pipe = ()
    self._earlier = {}
    self._earlier_pipe = -1

  @property
  def requested(self) -> bool:
    """Whether the run is to stop."""
    return self._signal is not None

  @property
  def name(self) -> str:
    """The signal that came, such as 'SIGTERM'."""
    return signal.Signals(self._signal).name if self._signal else ''

  def __enter__(self) -> 'StopSignals':
    self._pipe = os.pipe()
    os.set_blocking(self._pipe[1], False)
    self._earlier_pipe = signal.set_wakeup_fd(self._pipe[1])
    # Handlers have to be there for the pipe to be written; they do nothing.
    self._earlier = {
        each: signal.signal(each, lambda *_: None) for each in _SIGNALS}
    threading.Thread(
        target=self._listen, args=(self._pipe[0],), daemon=True).start()
    return self

  def __exit__(self, *exception) -> None:
    for each, handler in self._earlier.items():
      signal.signal(each, handler)
    signal.set_wakeup_fd(self._earlier_pipe)
    os.close(self._pipe[1])

  def _listen(self, pipe: int) -> None:
    while received := os.read(pipe, 1):
      if received[0] not in _SIGNALS:
        continue
      if self.requested:
        # What a shell reports for a process that the signal ended.
        os._exit(128 + received[0])
      self._signal = signal.Signals(received[0])
      # Not `print`: the main thread may be in the middle of a line.
      os.write(2, f'\n{self.name}: finishing this step, then saving and stopping;'
                  ' once more stops at once\n'.encode())
    os.close(pipe)
