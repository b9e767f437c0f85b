#!/usr/bin/env bash
# One worker of a launch, on its own machine; launch.sh copies it there and calls it.
#
#   worker.sh start COMMAND...   in the background; the log and the exit code are kept
#   worker.sh run COMMAND...     in the foreground
#   worker.sh state              one line: none, running, exit CODE @TIME, or lost
#   worker.sh stop SECONDS       asks it to save and end; kills it after so long
#   worker.sh log                prints all of the log
#
# Environment: DTENSOR_CLIENT_ID, DTENSOR_JOBS, or, where only the machine knows them,
# CLUSTER=tpu or CLUSTER=slurm and PORT. Files are in $STATE_DIR (default: beside this one).
set -euo pipefail
export STATE_DIR="${STATE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}"

metadata() {
  curl --fail --silent --show-error --max-time 10 --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

# The endpoints are uid:port:address of every worker, with commas between.
join_tpu() {
  local endpoints
  DTENSOR_CLIENT_ID="$(metadata agent-worker-number)"
  endpoints="$(metadata worker-network-endpoints)"
  DTENSOR_JOBS="$(tr ',' '\n' <<<"$endpoints" | cut -d: -f3 | with_port)"
}

join_slurm() {
  DTENSOR_CLIENT_ID="$SLURM_PROCID"
  DTENSOR_JOBS="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | with_port)"
}

# with_port: host:PORT,host:PORT,... of lines.
with_port() { sed "s/\$/:$PORT/" | paste -s -d, -; }

# join: the environment by which DTensor knows this client; alone it needs none.
join() {
  case "${CLUSTER-}" in
    tpu) join_tpu ;;
    slurm) join_slurm ;;
  esac
  FILE="$STATE_DIR/worker-$DTENSOR_CLIENT_ID"
  DTENSOR_NUM_CLIENTS="$(tr ',' '\n' <<<"${DTENSOR_JOBS-}" | wc -l | tr -d ' ')"
  if [ "$DTENSOR_NUM_CLIENTS" -gt 1 ]; then
    export DTENSOR_CLIENT_ID DTENSOR_JOBS DTENSOR_NUM_CLIENTS DTENSOR_JOB_NAME=worker
  else
    unset DTENSOR_JOBS DTENSOR_NUM_CLIENTS
  fi
}

boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown; }

alive() {
  local id during
  read -r id during <"$FILE.pid" && [ "$during" = "$(boot)" ] && kill -0 "$id" 2>/dev/null
}

state() {
  if [ -s "$FILE.exit" ]; then
    echo "exit $(cat "$FILE.exit")"
  elif [ ! -e "$FILE.pid" ]; then
    echo none
  elif alive; then
    echo running
  else
    echo lost
  fi
}

last_line() {
  if [ -e "$FILE.log" ]; then tail -c 500 "$FILE.log" | tr '\r' '\n' | grep . | tail -n 1; fi
}

# start COMMAND...: as a process group of its own, which outlives the connection.
start() {
  if [ "$(state)" = running ]; then
    echo "worker $DTENSOR_CLIENT_ID is running already" >&2
    return 3
  fi
  mkdir -p "$STATE_DIR"
  rm -f "$FILE.exit"
  set -m
  nohup bash "${BASH_SOURCE[0]}" supervise "$@" >>"$FILE.log" 2>&1 </dev/null &
  echo "$! $(boot)" >"$FILE.pid"
}

# supervise COMMAND...: a signal to the group reaches the command; we stay for its end.
supervise() {
  local code=0
  trap : TERM INT HUP
  echo "== $(date -u +%FT%TZ), worker $DTENSOR_CLIENT_ID:$(printf ' %q' "$@")"
  "$@" || code=$?
  echo "$code @$(date +%s.%N)" >"$FILE.exit"
}

stop() {
  local id end=$((SECONDS + $1))
  if [ "$(state)" != running ]; then return; fi
  read -r id _ <"$FILE.pid"
  kill -TERM -- "-$id"
  while [ "$SECONDS" -lt "$end" ] && alive; do sleep 0.2; done
  if alive; then
    kill -KILL -- "-$id"
    echo "137 @$(date +%s.%N)" >"$FILE.exit"
  fi
}

verb="$1"
shift
join
case "$verb" in
  start | supervise | stop) "$verb" "$@" ;;
  state) echo "worker $DTENSOR_CLIENT_ID $(state): $(last_line || true)" ;;
  run) exec "$@" ;;
  log) cat "$FILE.log" ;;
esac
