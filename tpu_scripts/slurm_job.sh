#!/usr/bin/env bash
# The batch script that launch.sh hands to sbatch.
#
#   slurm_job.sh DIR PORT MAX_RESTARTS COMMAND...
#
# Runs COMMAND on every node; when one worker dies the others are ended. SLURM queues the
# job again when it was preempted or lost a node; this script does so near its time limit.
set -euo pipefail
dir="$1" port="$2" max_restarts="$3"
shift 3
cd "$dir"

code=0
CLUSTER=slurm PORT="$port" srun --kill-on-bad-exit=1 --open-mode=append \
  --output=worker-%t.log bash worker.sh run "$@" || code=$?

# keras-switch ends with 130 when it was asked to stop and has saved its state.
if [ "$code" = 130 ] && [ ! -e stopped ]; then
  if [ "${SLURM_RESTART_COUNT:-0}" -lt "$max_restarts" ]; then
    scontrol requeue "$SLURM_JOB_ID"
  else
    echo "restarted $max_restarts times, the limit (max_restarts); resume goes on" >&2
  fi
fi
exit "$code"
