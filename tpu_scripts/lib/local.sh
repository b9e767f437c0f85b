# shellcheck shell=bash
# Several processes on this machine, each with its own virtual CPU devices: the code that
# a pod runs, without a pod.

prepare() {
  default poll_seconds 1
  dry || default port "$(free_ports)"
  prepare_names
  need_number workers virtual_devices
  WORKERS="${VALUE[workers]}"
  LOSS_SECONDS=0
  JOBS="$(seq "${VALUE[port]}" "$((VALUE[port] + WORKERS - 1))" | sed 's/^/localhost:/' | paste -s -d, -)"
  PROGRAM="$(command -v keras-switch || printf '%s' "$CHECKOUT/.venv/bin/keras-switch")"
}

# free_ports: the first of so many ports in a row that nobody listens on.
free_ports() {
  local first=23410 port
  for ((port = first; port < first + VALUE[workers]; port++)); do
    if (exec 4<>"/dev/tcp/localhost/$port") 2>/dev/null; then first=$((port + 1)); fi
  done
  printf '%s' "$first"
}

# on_worker I WORD...
on_worker() {
  run env "DTENSOR_CLIENT_ID=$1" "DTENSOR_JOBS=$JOBS" "STATE_DIR=$LOG_DIR" \
    "KERAS_SWITCH_VIRTUAL_DEVICES=${VALUE[virtual_devices]}" \
    bash "$SCRIPTS/worker.sh" "${@:2}"
}

on_workers() { every_worker on_worker "$@"; }
machines_state() { echo ready; }
get_machines_back() { :; }
fetch_logs() { :; }

do_create() { tell "this machine is there already"; }
do_delete() { do_stop; }

do_setup() {
  dry || [ -n "$(type -P "${VALUE[program]:-$PROGRAM}")" ] ||
    fail "there is no keras-switch: 'make setup' installs it"
}
