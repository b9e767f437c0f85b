#!/usr/bin/env bash
# The batch script that launch.sh hands to sbatch.
#
#   slurm_job.sh DIR PORT MAX_RESTARTS COMMAND...
#
# Runs COMMAND on every node; when one worker dies the others are ended. SLURM queues the
# job again when it was preempted or lost a node; this script does so near its time limit,
# of which SLURM tells it by the signal USR1.
set -euo pipefail
dir="$1" port="$2" max_restarts="$3"
shift 3
cd "$dir"

# The workers alone are told to save their state and end.
time_is_up=no
trap 'time_is_up=yes && scancel --signal=TERM "$SLURM_JOB_ID"' USR1

CLUSTER=slurm PORT="$port" srun --kill-on-bad-exit=1 --open-mode=append \
  --output=worker-%t.log bash worker.sh run "$@" &
# A signal ends `wait` too, but not the workers.
code=0
wait "$!" || code=$?
while kill -0 "$!" 2>/dev/null; do
  code=0
  wait "$!" || code=$?
done

if [ "$time_is_up" = yes ] && [ "$code" != 0 ]; then
  if [ "${SLURM_RESTART_COUNT:-0}" -lt "$max_restarts" ]; then
    scontrol requeue "$SLURM_JOB_ID"
  else
    echo "restarted $max_restarts times, the limit (max_restarts); resume goes on" >&2
  fi
fi
exit "$code"
