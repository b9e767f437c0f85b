#!/usr/bin/env bash
# Installs keras-switch on a worker, into env/ beside this file; launch.sh copies it there.
#
#   install.sh PACKAGE TENSORFLOW SETUP_COMMAND      (the last two may be empty)
#
# By uv, which gets along with any Python and fetches one that is new enough.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
package="$1" tensorflow="$2" setup_command="$3"

uv() {
  if [ -n "$(type -P uv)" ]; then command uv "$@"; else python3 -m uv "$@"; fi
}

# The last is for Pythons that belong to the system's packages.
get_uv() {
  uv --version >/dev/null 2>&1 || python3 -m pip install --quiet --user uv ||
    python3 -m pip install --quiet --user --break-system-packages uv
}

into() { uv pip "$1" --python env/bin/python "${@:2}"; }

get_uv
[ -x env/bin/python ] || uv venv --python '>=3.11,<3.14' env
into install "$package"
into install --no-deps t5==0.9.4 # its own dependencies would overwrite SeqIO's
# Both packages bring the same files.
if [[ "$tensorflow" = tensorflow-tpu* ]]; then into uninstall tensorflow; fi
if [ -n "$tensorflow" ]; then into install "$tensorflow"; fi
if [ -n "$setup_command" ]; then bash -c "$setup_command"; fi
env/bin/keras-switch --help >/dev/null
