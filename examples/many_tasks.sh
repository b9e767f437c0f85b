#!/usr/bin/env bash
# One sparse model for many tasks and four languages: sentences to sort, captions to
# translate, questions to answer, text to restore. Trains it on a mixture of them, then
# tells what it reaches on each task and which experts each task uses.
#
#   KERAS_SWITCH_DATA=../shared/data examples/many_tasks.sh several_temperature
#
# Mixtures: several_proportional (as often as a task has examples, 10,000 at most),
# several_temperature (square roots of their numbers), several_equal; see docs/tasks.md.
# Words behind the mixture go to the training. Ctrl-C leaves a checkpoint, and the same
# command goes on. The runs lie in $RUNS, or in runs/ beside you.
set -euo pipefail

PATH="$PATH:$(dirname "${BASH_SOURCE[0]}")/../.venv/bin" # what `make setup` made
mixture="${1:-several_temperature}"
folder="${RUNS:-runs}/$mixture"

keras-switch train --gin_file=models/switch_tiny.gin --gin_file=runs/pretrain.gin \
  --gin_file="tasks/$mixture.gin" --gin_file=optimizers/adafactor_short.gin \
  --gin.Sparse.num_experts=16 --gin.TRAIN_STEPS=3000 --model_dir="$folder" "${@:2}"
keras-switch eval --model_dir="$folder"
