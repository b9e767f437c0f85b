# shellcheck shell=bash
# The verb that gets lost machines back and goes on. Sourced by workers.sh.

# Lost machines come back as new, empty ones: they are set up again.
do_resume() {
  local restarts most="${VALUE[max_restarts]}"
  UNFINISHED=no
  prepare_command "$PROGRAM"
  make_log_dir
  for ((restarts = 0; restarts <= most; restarts++)); do
    if [ "$restarts" -gt 0 ]; then
      say "restart $restarts of at most $most"
      pause "${VALUE[restart_wait]}"
    fi
    bring_back || continue
    resume_once && return
    [ "$?" = "$LOST" ] || exit 1
  done
  end_with "$LOST"
}

# bring_back: waits for machines that are on their way; otherwise gets them anew. Either
# way they are UNFINISHED until they have been set up.
bring_back() {
  local state
  while state="$(machines_state)" && ! dry; do
    case "$state $UNFINISHED" in
      'ready no') return 0 ;;
      pending*) UNFINISHED=yes && sleep "${VALUE[poll_seconds]}" ;;
      unknown*) return 1 ;; # they may be well: nothing is deleted
      *) break ;;
    esac
  done
  note "unless the machines are ready:"
  UNFINISHED=yes
  # In a process of its own, because an error in it must not end the whole.
  if (get_machines_back "$state"); then
    UNFINISHED=no
  else
    say "the machines did not come back"
    return 1
  fi
}

resume_once() {
  note "unless the workers are running:"
  states || true
  if grep -q ' running' <<<"$STATES"; then
    say "still running: following it"
    watch_workers
  else
    start_and_watch
  fi
}
