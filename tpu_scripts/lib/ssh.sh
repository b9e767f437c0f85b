# shellcheck shell=bash
# Machines that exist already, by ssh: one worker on each, with all of its GPUs.

prepare() {
  default tensorflow 'tensorflow[and-cuda]'
  prepare_names
  need hosts
  PROGRAM=env/bin/keras-switch
  local poll="${VALUE[poll_seconds]}"
  LOSS_SECONDS=$((2 * poll))
  IFS=, read -ra HOSTS <<<"${VALUE[hosts]}"
  default addresses "$(printf '%s\n' "${HOSTS[@]##*@}" | paste -s -d, -)"
  IFS=, read -ra ADDRESSES <<<"${VALUE[addresses]}"
  WORKERS="${#HOSTS[@]}"
  [ "${#ADDRESSES[@]}" = "$WORKERS" ] ||
    fail "hosts names $WORKERS machines and addresses ${#ADDRESSES[@]}; give one for each"
  JOBS="$(printf "%s:${VALUE[port]}\n" "${ADDRESSES[@]}" | paste -s -d, -)"
  read -ra SSH_FLAGS <<<"${VALUE[ssh_flags]}"
  OPTIONS=(-o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15)
  OPTIONS+=(${SSH_FLAGS[@]+"${SSH_FLAGS[@]}"})
}

# on_host I COMMAND
on_host() { run ssh "${OPTIONS[@]}" "${HOSTS[$1]}" "$2"; }

# on_worker I WORD...
on_worker() {
  in_worker "$1" env "DTENSOR_CLIENT_ID=$1" "DTENSOR_JOBS=$JOBS" bash worker.sh "${@:2}"
}

# in_worker I WORD...
in_worker() {
  on_host "$1" "$(quoted cd "$DIR") && $(quoted "${@:2}")" ||
    { say "that was worker $1, on ${HOSTS[$1]}" && return 1; }
}

on_workers() { every_worker on_worker "$@"; }
in_workers() { every_worker in_worker "$@"; }

# Of machines we do not own we only know whether they answer.
machines_state() {
  local i
  for ((i = 0; i < WORKERS; i++)); do
    on_host "$i" true 2>/dev/null || { echo lost && return; }
  done
  echo ready
}

# get_machines_back STATE: they come back by themselves, as they were.
get_machines_back() {
  note "they are waited for"
  if dry || [ "$1" = ready ]; then return 0; fi
  say "some of ${VALUE[hosts]} do not answer"
  return 1
}

do_create() {
  local i
  for ((i = 0; i < WORKERS; i++)); do
    on_host "$i" 'nvidia-smi --list-gpus' || tell "no GPUs found on ${HOSTS[$i]}"
  done
  [ "$(machines_state)" != lost ] || fail "some of ${VALUE[hosts]} do not answer"
}

# The installation is removed; logs stay.
do_delete() {
  local i
  do_stop
  for ((i = 0; i < WORKERS; i++)); do
    on_host "$i" "$(quoted cd "$DIR") && rm -rf env worker.sh install.sh" ||
      fail "$DIR on ${HOSTS[$i]} could not be cleaned"
  done
}

copy_to_workers() {
  local i
  for ((i = 0; i < WORKERS; i++)); do
    on_host "$i" "$(quoted mkdir -p "$DIR")" || fail "${HOSTS[$i]} cannot be reached"
    run scp "${OPTIONS[@]}" -r "$@" "${HOSTS[$i]}:$DIR/" ||
      fail "not all files reached ${HOSTS[$i]}"
  done
}

fetch_logs() {
  local i failed=0
  for ((i = 0; i < WORKERS; i++)); do
    run scp "${OPTIONS[@]}" "${HOSTS[$i]}:$DIR/worker-$i.log" "$LOG_DIR/" || failed=1
  done
  return "$failed"
}
