# shellcheck shell=bash
# Follows the workers until all have ended, and says how. Sourced by launch.sh.

# Questions that a machine may leave open in a row before we give up.
readonly PATIENCE=5

# states: fills STATES with a line `worker N STATE: last line of its log` for each. STATE
# is none, running, `exit CODE @TIME`, or lost (running when its machine went down).
states() {
  local failed=0 said
  said="$(mktemp)" # gcloud tells every connection
  STATES="$(on_workers state 2>"$said")" || failed=1
  if [ "$failed" = 1 ]; then tail -n 5 "$said" >&2; fi
  rm "$said"
  STATES="$(grep -E '^worker [0-9]+ (none|running|exit [0-9]+|lost)' <<<"$STATES" | sort -k2n)" || true
  [ "$failed" = 0 ] && [ -n "$STATES" ]
}

# watch_workers: returns 0 if all ended well, LOST if machines went away, 1 otherwise.
watch_workers() {
  local silent=0
  note "every ${VALUE[poll_seconds]} s until all workers have ended:"
  while true; do
    if states; then silent=0; else silent=$((silent + 1)); fi
    if dry; then
      return 0
    elif grep -q -E '^worker [0-9]+ (exit [1-9]|none|lost)' <<<"$STATES"; then
      after_failure "$(first_failure)"
      return
    elif [ "$silent" = 0 ] && ! grep -q running <<<"$STATES"; then
      say "all workers have ended well"
      return 0
    elif [ "$silent" -gt 0 ] && machines_went_away 0; then
      return "$LOST"
    elif [ "$silent" -ge "$PATIENCE" ]; then
      say "the workers did not answer $silent times, but their machines are there;" \
        "training may be going on: try status, resume or stop"
      return 1
    fi
    show_progress
    sleep "${VALUE[poll_seconds]}"
  done
}

# show_progress: the last line of the first worker's log, when it has changed.
show_progress() {
  local line
  line="$(head -n 1 <<<"$STATES")"
  if [ "$line" != "${SHOWN-}" ]; then printf '%s\n' "$line" >&2; fi
  SHOWN="$line"
}

# first_failure: a lost worker, or else the one that ended first and so ended the others;
# with code 75 keras-switch says that it was another one.
first_failure() {
  local failures
  failures="$(grep -E '^worker [0-9]+ (exit [1-9]|lost|none)' <<<"$STATES" | cut -d: -f1 |
    LC_ALL=C sort -t@ -k2,2g | sed -E 's/exit ([0-9]+) .*/died with exit code \1/')"
  grep -m 1 -E ' (lost|none)$' <<<"$failures" || grep -m 1 -v ' 75$' <<<"$failures" ||
    head -n 1 <<<"$failures"
}

# machines_went_away SECONDS: waits so long for the news. A worker dies of its machine's
# end before the machine is gone, and the others die of that worker's silence.
machines_went_away() {
  local end=$((SECONDS + $1))
  while true; do
    case "$(machines_state)" in lost | absent) return 0 ;; esac
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep "${VALUE[poll_seconds]}"
  done
}

# after_failure WHAT: stops the other workers; returns LOST or 1.
after_failure() {
  say "$1; stopping the others"
  on_workers stop "${VALUE[stop_seconds]}" >/dev/null || say "not all could be stopped"
  if machines_went_away "$LOSS_SECONDS"; then return "$LOST"; fi
  fetch_logs >/dev/null || say "not all logs could be fetched"
  case "$1" in
    *' lost' | *' none') return "$LOST" ;; # its machine was restarted
    *" code $LOST") return "$LOST" ;;      # all say that they lost each other
    'worker '*) show_end_of_log "$1" ;;
  esac
  return 1
}

# show_end_of_log 'worker N ...'
show_end_of_log() {
  local file
  file="$LOG_DIR/worker-$(cut -d' ' -f2 <<<"$1").log"
  tail -n 20 "$file" >&2 || true
  say "$1; the lines above are the end of its log, $file"
}

# interrupted: Ctrl-C. Workers on other machines go on without us.
interrupted() {
  trap - INT TERM
  if [ "${VALUE[backend]}" = local ]; then
    do_stop
  else
    say "no longer watching; training goes on: resume follows it, stop ends it"
  fi
  exit 130
}
