#!/usr/bin/env bash
# Runs keras-switch on many machines: a TPU pod slice, GPU hosts, SLURM, or here.
set -euo pipefail

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "launch: bash $BASH_VERSION is too old; 4.4 or later is needed" >&2
  exit 2
fi
SCRIPTS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$SCRIPTS/lib/shell.sh"
source "$SCRIPTS/lib/settings.sh"

usage() {
  cat <<'TEXT'
launch.sh VERB [--settings=FILE] [--NAME=VALUE ...] [--dry_run] [-- ARGUMENTS]

  create   gets the machines (ssh: looks whether they answer; slurm: asks the scheduler)
  setup    installs keras-switch on them
  train    runs keras-switch train ARGUMENTS on all of them and watches it
  resume   the same, but gets lost machines back and goes on from the last checkpoint,
           again and again; follows a run that is still going
  status   tells what machines and workers are doing
  logs     fetches the workers' logs
  stop     ends the training; the workers save their state
  delete   stops, and gives the machines back: they cost money until then

ARGUMENTS are those of keras-switch train: --gin_file=..., --gin.NAME=VALUE, --model_dir=...
--dry_run prints every command as it would be run, and runs nothing.

example: two processes with four virtual devices each, on this machine
  tpu_scripts/launch.sh train --backend=local --name=try -- \
      --gin_file=models/switch_tiny.gin --gin_file=runs/pretrain.gin \
      --gin_file=layouts/data_8_experts.gin --gin.TASK=pydocs_span_corruption \
      --model_dir=runs/try

settings, each a flag or a line name=value of the file (defaults in parentheses):
TEXT
  list_settings
}

# parse ARGUMENTS: fills VERB, VALUE, DRY_RUN, TRAIN_ARGUMENTS.
parse() {
  local argument flags=()
  VERB="${1-}"
  shift || true
  while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
    argument="$1"
    shift
    case "$argument" in
      --dry_run) DRY_RUN=yes ;;
      --help | -h) VERB=help ;;
      --settings=*) read_settings "${argument#*=}" ;;
      --*=*) flags+=("${argument#--}") ;;
      *) fail "'$argument' is no flag; arguments of keras-switch train come after --" ;;
    esac
  done
  TRAIN_ARGUMENTS=("${@:2}")
  for argument in ${flags[@]+"${flags[@]}"}; do
    set_value "${argument%%=*}" "${argument#*=}" "--${argument%%=*}"
  done
}

load_backend() {
  case "${VALUE[backend]}" in
    tpu | ssh | local) source "$SCRIPTS/lib/workers.sh" ;;
    slurm) ;;
    '') need backend ;;
    *) fail "backend=${VALUE[backend]} is none of tpu, ssh, slurm, local" ;;
  esac
  source "$SCRIPTS/lib/machines.sh"
  # shellcheck source=/dev/null
  source "$SCRIPTS/lib/${VALUE[backend]}.sh"
}

parse "$@"
case "$VERB" in
  create | setup | train | resume | status | logs | stop | delete) ;;
  help | --help | -h) usage && exit ;;
  '') usage >&2 && exit 2 ;;
  *) fail "'$VERB' is no verb; 'launch.sh help' lists them" ;;
esac
load_backend
prepare
"do_$VERB"
