# shellcheck shell=bash
# Messages, quoting, and running or printing commands. Sourced by launch.sh.

DRY_RUN=no
exec 3>&1 # where a dry run prints, also from inside $(...)

say() { printf 'launch: %s\n' "$*" >&2; }

# tell TEXT: say, unless nothing has happened.
tell() { dry || say "$@"; }

fail() {
  say "$*"
  exit 2
}

# quoted WORD...: the words as any shell (not only bash) reads them back.
quoted() {
  local word line=()
  for word in "$@"; do
    case "$word" in
      '' | *[!A-Za-z0-9_./:=,@%+-]*) word="'${word//\'/\'\\\'\'}'" ;;
    esac
    line+=("$word")
  done
  printf '%s' "${line[*]-}"
}

dry() { [ "$DRY_RUN" = yes ]; }

# note TEXT: a line of comment between the commands of a dry run.
note() { if dry; then printf '# %s\n' "$*" >&3; fi; }

# run COMMAND...: runs it, without the terminal's input; a dry run prints it instead.
run() {
  if dry; then
    quoted "$@" >&3
    echo >&3
  else
    "$@" </dev/null
  fi
}

# absolute PATH: also if it does not exist.
absolute() {
  case "$1" in
    /*) printf '%s' "$1" ;;
    *) printf '%s/%s' "$PWD" "$1" ;;
  esac
}

# pause SECONDS: nothing in a dry run.
pause() { dry || sleep "$1"; }
