# shellcheck shell=bash
# Verbs for machines on which we start the workers ourselves: tpu, ssh, local. A back-end
# gives `on_workers WORD...` (runs worker.sh WORD... on every machine; fails if one is out
# of reach), `in_workers WORD...` (runs any command there, in the folder of the launch),
# machines_state (ready, pending, lost, absent or unknown), get_machines_back STATE,
# copy_to_workers FILE..., fetch_logs, do_create and do_delete.

source "$SCRIPTS/lib/watch.sh"
source "$SCRIPTS/lib/resume.sh"

do_setup() {
  make_log_dir
  collect_files
  copy_to_workers "${FILES[@]}"
  in_workers bash install.sh "$(package)" "${VALUE[tensorflow]}" "${VALUE[setup_command]}" ||
    fail "the installation failed; its messages stand above"
  tell "installed; next: train"
}

do_train() {
  prepare_command "$PROGRAM"
  make_log_dir
  note "unless a worker is running:"
  states || true
  if grep -q ' running' <<<"$STATES"; then
    fail "'${VALUE[name]}' is running: follow it with resume, end it with stop"
  fi
  start_and_watch || end_with "$?"
}

start_and_watch() {
  on_workers start "${COMMAND[@]}" || {
    after_failure "a worker could not be started; 'setup' installs what it needs"
    return
  }
  trap interrupted INT TERM
  watch_workers
}

# end_with CODE: the last words.
end_with() {
  if [ "$1" = "$LOST" ]; then
    say "machines were lost, or the workers lost each other: 'resume' with the same" \
      "arguments goes on from the last checkpoint"
  fi
  exit "$1"
}

do_status() {
  local machines
  machines="$(machines_state)"
  states || tell "the workers cannot all be reached"
  if dry; then return 0; fi
  printf 'machines: %s\n' "$machines"
  sed -E 's/ @[0-9.]+:/:/' <<<"$STATES"
}

do_logs() {
  make_log_dir
  fetch_logs || fail "not all logs could be fetched"
  tell "logs are in $LOG_DIR"
}

# every_worker FUNCTION WORD...: FUNCTION I WORD... for all of them at once.
every_worker() {
  local i running=() failed=0
  for ((i = 0; i < WORKERS; i++)); do
    if dry; then
      "$1" "$i" "${@:2}"
    else
      "$1" "$i" "${@:2}" &
      running+=("$!")
    fi
  done
  for i in ${running[@]+"${running[@]}"}; do wait "$i" || failed=1; done
  return "$failed"
}

do_stop() {
  on_workers stop "${VALUE[stop_seconds]}" || fail "not all workers could be stopped"
}
