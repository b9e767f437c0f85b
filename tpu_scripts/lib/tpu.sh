# shellcheck shell=bash
# TPU VMs of Google Cloud, by gcloud. The workers ask their machine for their number and
# each other's addresses, so all get the same command in one call.

source "$SCRIPTS/lib/tpu_queue.sh"

prepare() {
  default tensorflow tensorflow-tpu
  prepare_names
  need project zone
  need_yes_or_no spot queued
  PROGRAM=env/bin/keras-switch
  local poll="${VALUE[poll_seconds]}"
  LOSS_SECONDS=$((2 * poll))
  read -ra CREATE_FLAGS <<<"${VALUE[create_flags]}"
  read -ra SSH_FLAGS <<<"${VALUE[ssh_flags]}"
  WHERE=("--project=${VALUE[project]}" "--zone=${VALUE[zone]}" --quiet)
  NODE="${VALUE[name]}"
}

tpu_vm() { run gcloud compute tpus tpu-vm "$@" "${WHERE[@]}"; }

do_create() {
  local flags=()
  need accelerator_type runtime_version
  if [ "${VALUE[spot]}" = yes ]; then flags+=(--spot); fi
  flags+=(${CREATE_FLAGS[@]+"${CREATE_FLAGS[@]}"})
  if queued; then create_queued; else create_now; fi
  tell "$NODE costs money until 'delete' has ended well"
}

create_now() {
  tpu_vm create "$NODE" "--accelerator-type=${VALUE[accelerator_type]}" \
    "--version=${VALUE[runtime_version]}" ${flags[@]+"${flags[@]}"} ||
    fail "the slice was not created; queued=yes waits for one"
}

machines_state() {
  local state
  if ! state="$(tpu_vm describe "$NODE" '--format=value(state)' 2>&1)"; then
    case "$state" in
      *NOT_FOUND* | *'not found'*) if is_waiting; then echo pending; else echo absent; fi ;;
      *) say "$state" && echo unknown ;;
    esac
    return
  fi
  case "$state" in
    *READY*) echo ready ;;
    *PREEMPTED* | *TERMINATED* | *STOPP* | *DELETING*) echo lost ;;
    *) echo pending ;;
  esac
}

# get_machines_back STATE. A slice that was taken away keeps its name until it is deleted.
get_machines_back() {
  if dry || [ "$1" != ready ]; then
    if dry || queued || [ "$1" != absent ]; then release || true; fi
    do_create
  fi
  do_setup
}

release() {
  if queued; then queue delete "$NODE" --force; else tpu_vm delete "$NODE"; fi
}

do_delete() {
  if dry || [ "$(machines_state)" = ready ]; then
    on_workers stop "${VALUE[stop_seconds]}" || say "the workers could not be stopped first"
  fi
  release || fail "not deleted, it may still cost money; see" \
    "gcloud compute tpus tpu-vm list ${WHERE[*]}"
}

# on_all COMMAND FLAG...
on_all() {
  tpu_vm ssh "$NODE" --worker=all "--command=$1" --ssh-flag=-oConnectTimeout=15 \
    --ssh-flag=-oServerAliveInterval=15 "${@:2}" ${SSH_FLAGS[@]+"${SSH_FLAGS[@]}"}
}

in_dir() { printf '%s && %s' "$(quoted cd "$DIR")" "$(quoted "$@")"; }
as_worker() { in_dir env CLUSTER=tpu "PORT=${VALUE[port]}" bash worker.sh "$@"; }
in_workers() { on_all "$(in_dir "$@")"; }
on_workers() { on_all "$(as_worker "$@")"; }

copy_to_workers() {
  on_all "$(quoted mkdir -p "$DIR")" || fail "the machines cannot be reached"
  tpu_vm scp --recurse --worker=all "$@" "$NODE:$DIR/" ${SSH_FLAGS[@]+"${SSH_FLAGS[@]}"} ||
    fail "not all machines got all files"
}

# gcloud names the logs by number alone.
fetch_logs() {
  local file
  on_all "$(as_worker log)" "--output-directory=$LOG_DIR" || return
  for file in "$LOG_DIR"/[0-9]*.log; do
    if [ -e "$file" ]; then mv "$file" "$LOG_DIR/worker-${file##*/}"; fi
  done
}
