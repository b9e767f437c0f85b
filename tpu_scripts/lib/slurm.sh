# shellcheck shell=bash
# A cluster with SLURM and a file system that all nodes share. SLURM starts, watches and
# restarts the workers; see slurm_job.sh.

prepare() {
  default tensorflow 'tensorflow[and-cuda]'
  prepare_names
  DIR="$LOG_DIR"
  PROGRAM=env/bin/keras-switch
  MINE=("--name=${VALUE[name]}" "--user=${USER:-$(id -un)}")
  if [ "$VERB" = create ] || [ "$VERB" = train ] || [ "$VERB" = resume ]; then
    prepare_flags
  fi
}

prepare_flags() {
  local name own
  need nodes
  need_number nodes
  FLAGS=("--job-name=${VALUE[name]}" "--nodes=${VALUE[nodes]}" --ntasks-per-node=1)
  for name in gpus_per_node partition account time; do
    if [ -n "${VALUE[$name]}" ]; then FLAGS+=("--${name//_/-}=${VALUE[$name]}"); fi
  done
  FLAGS+=(--requeue --signal=B:USR1@120 --open-mode=append "--output=$DIR/job-%j.log")
  read -ra own <<<"${VALUE[sbatch_flags]}"
  FLAGS+=(${own[@]+"${own[@]}"})
}

do_create() {
  run sbatch --test-only "${FLAGS[@]}" "$SCRIPTS/slurm_job.sh" ||
    fail "SLURM would not take such a job"
}

# On this node: compute nodes often reach no package index.
do_setup() {
  make_log_dir
  collect_files
  run cp -r "${FILES[@]}" "$DIR/"
  run bash "$DIR/install.sh" "$(package)" "${VALUE[tensorflow]}" "${VALUE[setup_command]}" ||
    fail "the installation failed; its messages stand above"
}

jobs_of_mine() {
  run squeue --noheader "${MINE[@]}" '--format=%i %T %M of %l, nodes: %R'
}

do_train() {
  prepare_command "$PROGRAM"
  if ! dry && [ -n "$(jobs_of_mine)" ]; then
    fail "'${VALUE[name]}' is queued or running: resume adds a job after it, stop ends it"
  fi
  submit
}

# The dependency: after all earlier jobs of this name.
do_resume() {
  prepare_command "$PROGRAM"
  submit --dependency=singleton
}

# submit FLAG...
submit() {
  local job
  make_log_dir
  job="$(run sbatch --parsable "${FLAGS[@]}" "$@" "$SCRIPTS/slurm_job.sh" "$DIR" \
    "${VALUE[port]}" "${VALUE[max_restarts]}" "${COMMAND[@]}")" ||
    fail "SLURM did not take the job"
  tell "job ${job%%;*}; logs of the job and of its workers are written to $DIR"
}

do_status() { jobs_of_mine; }

do_logs() {
  run tail -n 20 "$DIR/worker-0.log" || fail "no worker has started yet: see status"
  tell "all logs are in $DIR"
}

# Jobs that wait are cancelled; those that run save their state and end.
do_stop() {
  run scancel --state=PENDING "${MINE[@]}"
  run scancel --state=RUNNING --signal=TERM "${MINE[@]}"
}

do_delete() {
  do_stop
  run rm -rf "$DIR/env"
}
