# shellcheck shell=bash
# Queued resources: a request that becomes a slice when there is one. Sourced by tpu.sh.

queue() { run gcloud compute tpus queued-resources "$@" "${WHERE[@]}"; }
queue_state() { queue describe "$NODE" '--format=value(state.state)'; }
queued() { [ "${VALUE[queued]}" = yes ]; }

# is_waiting: whether there is a request whose slice is still to come.
is_waiting() {
  queued || return
  case "$(queue_state 2>/dev/null)" in
    CREATING | ACCEPTED | WAITING_FOR_RESOURCES | PROVISIONING) return 0 ;;
    *) return 1 ;;
  esac
}

create_queued() {
  if [ -n "${VALUE[queue_hours]}" ]; then
    flags+=("--valid-until-duration=${VALUE[queue_hours]}h")
  fi
  queue create "$NODE" "--node-id=$NODE" "--accelerator-type=${VALUE[accelerator_type]}" \
    "--runtime-version=${VALUE[runtime_version]}" ${flags[@]+"${flags[@]}"} ||
    fail "the request was not taken"
  note "until it is ACTIVE, every ${VALUE[poll_seconds]} s:"
  wait_in_queue
}

wait_in_queue() {
  local state last=''
  while true; do
    state="$(queue_state)" || state=unknown
    if dry; then return; fi
    if [ "$state" != "$last" ]; then say "queue: $state"; fi
    last="$state"
    case "$state" in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING) fail "the request for $NODE is $state" ;;
    esac
    sleep "${VALUE[poll_seconds]}"
  done
}
