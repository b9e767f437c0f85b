"""Observers of a run: told what happens, free to stop it by raising."""

import math


class Observer:
    """What may follow a run; every method does nothing by default.

    The run (`loop.Run`) has `step`, `steps`, `history`, `checkpoints`, `train_step` and
    `clients`, the processes that take part.
    """

    #: Whether, on several processes, only the first one has this observer.
    only_first = False

    def on_start(self, run):
        """Before the first step, after a resumption has been restored."""

    def on_step(self, run):
        """After each step. The device may still be computing it."""

    def on_steps(self, run, first_step, metrics):
        """When the metrics of the steps since last time are fetched.

        This is at each log and before each checkpoint.

        Args:
            run: the run.
            first_step: number of the step that `metrics[0]` is of.
            metrics: list of dictionaries of floats.
        """

    def on_record(self, run, record):
        """After a log or an evaluation."""

    def on_save(self, run, path):
        """After a checkpoint."""

    def on_end(self, run):
        """At the end of the run, however it ends."""


class Diverged(RuntimeError):
    """The loss is no number any more."""


class DivergenceGuard(Observer):
    """Stops a run at the first loss that is not finite, before it is saved."""

    def on_steps(self, run, first_step, metrics):
        for step, values in enumerate(metrics, first_step):
            if not math.isfinite(values["loss"]):
                raise Diverged(_advice(run, step, values))


def _advice(run, step, values):
    latest = run.checkpoints.latest if run.checkpoints else None
    kept = f"The last good checkpoint is {latest}." if latest else "Nothing was saved."
    clip = run.train_step.max_grad_norm
    return (
        f"The loss became {values['loss']} at step {step} (learning rate "
        f"{values['learning_rate']:.3g}, gradient norm {values['grad_norm']:.3g}). "
        f"{kept} Go on from there with a lower learning rate or a longer warm-up, with "
        f"gradients clipped (max_grad_norm, now {clip}), with a router z-loss of 1e-3, "
        "or in float32 if the policy is of lower precision; and look for broken "
        "examples in the batches around this step."
    )
