# shellcheck shell=bash
# The settings: one list of names, given by a file or by flags. Sourced by launch.sh.
#
# A file has lines `name=value`; the value is the rest of the line as it stands, no
# quotes, no variables. Lines that begin with # are comments. A flag --name=value wins.

declare -A VALUE=() TEXT=()
NAMES=()

# setting NAME DEFAULT TEXT
setting() {
  NAMES+=("$1")
  VALUE[$1]="$2"
  TEXT[$1]="$3"
}

setting backend '' "where to run: tpu, ssh, slurm or local"
setting name '' "of the slice, of the job, and of the folder of this launch on every machine"
setting model_dir '' "the same as --model_dir after --; a folder that all workers share"
setting install . "what to install: . (this checkout), a wheel, or what pip understands"
setting tensorflow '' "its package on the workers; tpu: tensorflow-tpu, ssh and slurm: tensorflow[and-cuda]"
setting send '' "own files and folders for the workers, with spaces between: gin files, tasks"
setting setup_command '' "run on every worker after the installation, such as a mount of a bucket"
setting environment '' "NAME=VALUE for the workers, with spaces between"
setting program '' "what runs on the workers, if not the installed keras-switch"
setting remote_dir '' "folder of this launch on the workers: keras_switch/NAME at home"
setting log_dir '' "folder for logs here: runs/launch/NAME; slurm: all of the launch"
setting port '' "on which the workers talk to each other: 23410; local: the first of free ones"
setting poll_seconds '' "how often to look at the workers: 30, local: 1"
setting stop_seconds 60 "how long a worker may take to save its state when it is stopped"
setting max_restarts 10 "how often resume starts again after lost machines"
setting restart_wait 60 "seconds before machines are looked for again"
setting ssh_flags '' "tpu: further flags of gcloud ... ssh and scp; ssh: options of ssh and scp"

setting project '' "tpu: project in Google Cloud that pays"
setting zone '' "tpu: zone of the slice, such as us-central2-b"
setting accelerator_type '' "tpu: type and size of the slice, such as v4-32"
setting runtime_version '' "tpu: image of its machines, such as tpu-ubuntu2204-base"
setting spot no "tpu: yes for a cheaper slice that may be taken away at any time"
setting queued no "tpu: yes to wait in the queue of queued resources"
setting queue_hours '' "tpu: with queued=yes, how long to wait at most"
setting create_flags '' "tpu: further flags of gcloud ... create, with spaces between"

setting hosts '' "ssh: machines as ssh knows them, [user@]host, with commas between"
setting addresses '' "ssh: how these machines reach each other, if not by the names in hosts"

setting nodes '' "slurm: number of nodes"
setting gpus_per_node '' "slurm: GPUs of each"
setting partition '' "slurm: partition"
setting account '' "slurm: account that pays"
setting time '' "slurm: limit, such as 24:00:00; the job goes on in the next one"
setting sbatch_flags '' "slurm: further flags of sbatch, with spaces between"

setting workers 2 "local: number of processes"
setting virtual_devices 4 "local: virtual CPU devices of each"

list_settings() {
  local name
  for name in "${NAMES[@]}"; do
    printf '  --%-17s %s' "$name=" "${TEXT[$name]}"
    printf '%s\n' "${VALUE[$name]:+ (${VALUE[$name]})}"
  done
}

# default NAME VALUE: where nothing is given.
default() { VALUE[$1]="${VALUE[$1]:-$2}"; }

# set_value NAME VALUE SOURCE
set_value() {
  [ -n "${TEXT[$1]+known}" ] ||
    fail "$3: there is no setting '$1'; 'launch.sh help' lists all of them"
  VALUE[$1]="$2"
}

read_settings() {
  local line number=0
  [ -r "$1" ] || fail "--settings=$1: there is no such file to read"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line="${line%$'\r'}"
    case "$line" in
      '' | '#'*) ;;
      *=*) set_value "${line%%=*}" "${line#*=}" "$1, line $number" ;;
      *) fail "$1, line $number: '$line' is not name=value" ;;
    esac
  done <"$1"
}

# need NAME...: ends with all missing settings at once.
need() {
  local name missing=()
  for name in "$@"; do
    [ -n "${VALUE[$name]}" ] || missing+=("$name")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "'$VERB' on backend '${VALUE[backend]}' needs"
  for name in "${missing[@]}"; do
    printf '  --%s=...   %s\n' "$name" "${TEXT[$name]}" >&2
  done
  fail "give flags, or lines such as ${missing[0]}=... in a file (--settings=FILE)"
}

need_number() {
  local name
  for name in "$@"; do
    [[ "${VALUE[$name]}" =~ ^[0-9]+$ ]] ||
      fail "$name=${VALUE[$name]} is no whole number: ${TEXT[$name]}"
  done
}

need_yes_or_no() {
  local name
  for name in "$@"; do
    [[ "${VALUE[$name]}" =~ ^(yes|no)$ ]] ||
      fail "$name=${VALUE[$name]} is neither yes nor no: ${TEXT[$name]}"
  done
}
