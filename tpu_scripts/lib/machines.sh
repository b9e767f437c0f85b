# shellcheck shell=bash
# What all back-ends share: names, the package to install, the training command.
# Sourced by launch.sh after the settings are known.

CHECKOUT="$(dirname "$SCRIPTS")"
# The code of an end after which resume tries again; that of keras-switch, too, where a
# process lost another one.
readonly LOST=75

# prepare_names: settings that follow from others.
prepare_names() {
  need name
  [[ "${VALUE[name]}" =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] ||
    fail "name=${VALUE[name]}: lower-case letters, digits and inner dashes only"
  default port 23410
  default poll_seconds 30
  default remote_dir "keras_switch/${VALUE[name]}"
  default log_dir "runs/launch/${VALUE[name]}"
  need_number port stop_seconds max_restarts restart_wait poll_seconds
  DIR="${VALUE[remote_dir]}"
  LOG_DIR="$(absolute "${VALUE[log_dir]}")"
}

make_log_dir() { run mkdir -p "$LOG_DIR"; }

# package: what pip on a worker installs. A wheel lies in DIR by then.
package() {
  case "${VALUE[install]}" in
    .) printf '%s' "./$(basename "$(wheel_file)")[t5]" ;;
    *.whl) printf '%s' "./$(basename "${VALUE[install]}")[t5]" ;;
    *://*) printf '%s' "keras-switch[t5] @ ${VALUE[install]}" ;;
    *) printf '%s' "${VALUE[install]}" ;;
  esac
}

# wheel_file: path of the wheel that build_wheel makes of this checkout.
wheel_file() {
  local version
  version="$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$CHECKOUT/keras_switch/__init__.py")"
  printf '%s' "$LOG_DIR/keras_switch-$version-py3-none-any.whl"
}

# collect_files: fills FILES with what is copied to the workers; builds the wheel.
collect_files() {
  FILES=("$SCRIPTS/worker.sh" "$SCRIPTS/install.sh")
  case "${VALUE[install]}" in
    .)
      run python3 -m pip wheel --quiet --no-deps --wheel-dir "$LOG_DIR" "$CHECKOUT" ||
        fail "no wheel could be built of $CHECKOUT; install=... takes one that exists"
      FILES+=("$(wheel_file)")
      ;;
    *.whl) FILES+=("${VALUE[install]}") ;;
  esac
  local own
  read -ra own <<<"${VALUE[send]}"
  check_readable "${VALUE[install]}" ${own[@]+"${own[@]}"}
  FILES+=(${own[@]+"${own[@]}"})
}

# check_readable INSTALL FILE...
check_readable() {
  local file
  case "$1" in *.whl) ;; *) shift ;; esac
  for file in "$@"; do
    [ -r "$file" ] || fail "there is no file '$file' to copy to the workers"
  done
}

# model_dir_of ARGUMENTS: the value of the last --model_dir among them.
model_dir_of() {
  local argument found='' last=''
  for argument in "$@"; do
    case "$argument" in
      --model_dir=* | --gin.MODEL_DIR=*) found="${argument#*=}" ;;
      *) if [ "$last" = --model_dir ]; then found="$argument"; fi ;;
    esac
    last="$argument"
  done
  printf '%s' "$found"
}

# prepare_command PROGRAM: fills COMMAND with what every worker runs.
prepare_command() {
  local folder more
  folder="$(model_dir_of ${TRAIN_ARGUMENTS[@]+"${TRAIN_ARGUMENTS[@]}"})"
  if [ -n "${VALUE[model_dir]}" ]; then
    [ -z "$folder" ] || fail "model_dir is given twice: as a setting and after --"
    folder="${VALUE[model_dir]}"
    TRAIN_ARGUMENTS+=("--model_dir=$folder")
  fi
  VALUE[model_dir]="$folder"
  need model_dir
  check_model_dir "$folder"
  COMMAND=("${VALUE[program]:-$1}" train "${TRAIN_ARGUMENTS[@]}")
  read -ra more <<<"${VALUE[environment]}"
  if [ "${#more[@]}" -gt 0 ]; then COMMAND=(env "${more[@]}" "${COMMAND[@]}"); fi
}

# check_model_dir FOLDER: all workers write into it and must mean the same place.
check_model_dir() {
  case "$1" in
    *://* | /*) ;;
    *) [ "${VALUE[backend]}" = local ] ||
      fail "model_dir=$1: give the whole path (/...) or the address (gs://...) of a folder" \
        "that all workers share" ;;
  esac
}
