# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # run, phase, threads, scratch, modules are set above this text, others used below it
# What a job of this suite stands in: signals, its own log, modules, Python or a container, threads, and caches on the
# node's own disk.  Set before it: run phase threads scratch modules (array) log_folder log_name; may be set: container
# (image file or folder; else QUINTET_CONTAINER) and container_options (array).

umask 027
child='' caught='' early='' terminated=''
# Passes a signal on, also one that comes before there is a process to pass it to.
# shellcheck disable=SC2034,SC2317,SC2329 # called by the traps; what it sets is read by element.sh
forward() {
  caught=1
  [ "$1" = TERM ] && terminated=1
  if [ -n "$child" ]; then kill -s "$1" "$child" 2>/dev/null; else early=$1; fi
}
trap 'forward USR1' USR1
trap 'forward TERM' TERM

log=$log_folder/$log_name.log
# Slurm's own output goes to /dev/null: it makes no folders, and a name with the run's path in it would be a pattern.
if { [ -d "$log_folder" ] || mkdir -p -- "$log_folder"; } && : >>"$log"; then
  exec >>"$log" 2>&1
fi

if [ "${#modules[@]}" -gt 0 ]; then
  if ! command -v module >/dev/null; then
    for start in "${LMOD_PKG:-}/init/bash" "${MODULESHOME:-}/init/bash" /etc/profile.d/lmod.sh /etc/profile.d/modules.sh; do
      # shellcheck disable=SC1090 # the site's own start file
      [ -r "$start" ] && . "$start" && break
    done
  fi
  if ! module load "${modules[@]}"; then
    echo "quintet: rc 69: module load ${modules[*]} failed on ${SLURMD_NODENAME:-this node}" >&2
    exit 69
  fi
fi
set -u

# Ends the job with 78 and one sentence where no Python is found, or the one that is found cannot run the suite.
need_python() {
  local lacking
  if [ -n "$container" ]; then
    need_container
    return
  fi
  if ! command -v -- "$QUINTET_PYTHON" >/dev/null; then
    lacking='no such program'
  elif ! lacking=$("$QUINTET_PYTHON" -c '
import sys
from importlib.util import find_spec
old = ["Python 3.11"] if sys.version_info < (3, 11) else []
print(*old, *(name for name in ("click", "numpy", "h5py", "filelock") if find_spec(name) is None), sep=", ")
' 2>&1); then
    lacking="it does not start: ${lacking##*$'\n'}"
  elif [ -n "$lacking" ]; then
    lacking="it lacks $lacking"
  else
    return 0
  fi
  echo "quintet: rc 78: cannot run with '$QUINTET_PYTHON' on ${SLURMD_NODENAME:-this node} ($lacking): submit from the project's" \
    "folder after make setup, or export QUINTET_PYTHON before sbatch" >&2
  exit 78
}

# The same for a container: its runtime, its image, and what is in it.
need_container() {
  local lacking
  if ! command -v -- "$runtime" >/dev/null; then
    lacking='neither apptainer nor singularity is on PATH'
  elif [ ! -e "$container" ]; then
    lacking='no such image'
  elif ! lacking=$("${python[@]}" -c 'import click, numpy, h5py, filelock, quintet.shard' 2>&1); then
    lacking="it does not start: ${lacking##*$'\n'}"
  else
    return 0
  fi
  echo "quintet: rc 78: cannot run in '$container' on ${SLURMD_NODENAME:-this node} ($lacking): name the runtime's module" \
    "in the site, and an image of this suite that the nodes see" >&2
  exit 78
}

container=${container:-${QUINTET_CONTAINER:-}}
runtime=apptainer
if [ -n "$container" ]; then
  container=$(readlink -f -- "$container") || container=${QUINTET_CONTAINER:-}
  command -v apptainer >/dev/null || runtime=singularity
fi
if [ -z "$container" ] && [ -z "${QUINTET_PYTHON:-}" ]; then
  QUINTET_PYTHON=${SLURM_SUBMIT_DIR:-.}/.venv/bin/python
  if [ ! -x "$QUINTET_PYTHON" ]; then
    QUINTET_PYTHON=python3 # a guess, unlike the others, so that it is asked before anything is written
    need_python
  fi
fi
[ -n "$container" ] || command -v -- "$QUINTET_PYTHON" >/dev/null || need_python

for base in "$scratch" "${SLURM_TMPDIR:-}" "${TMPDIR:-}" /tmp; do
  [ -n "$base" ] && [ -d "$base" ] && [ -w "$base" ] && break
done
cache=$(mktemp -d -- "$base/quintet.XXXXXXXX") || cache=$base
# Kernels that a node compiles itself are kept there, for this user's next jobs.
node_cache=$base/quintet-node-$UID
[ -d "$node_cache" ] || mkdir -m 700 -- "$node_cache" 2>/dev/null
[ -O "$node_cache" ] || node_cache=$cache

# What a process in a container sees of the environment outside, besides QUINTET_...
container_variables=(
  SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_JOB_ID SLURM_RESTART_COUNT SLURMD_NODENAME SLURM_JOB_PARTITION
  SLURM_CPUS_PER_TASK SLURM_JOB_END_TIME CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES GPU_DEVICE_ORDINAL
)

# Sets `python` to the command that runs Python as the environment is now: with the run's snapshot of the code, or in a
# container with the image's own.  Its settings are given to Python alone: a job that this one submits must not inherit
# a folder that is gone by then.
set_python() {
  local name code settings=(
    PYTHONSAFEPATH=1 PYTHONFAULTHANDLER=1 HDF5_USE_FILE_LOCKING=BEST_EFFORT
    "OMP_NUM_THREADS=$threads" "OPENBLAS_NUM_THREADS=$threads" "MKL_NUM_THREADS=$threads" "NUMBA_NUM_THREADS=$threads"
    "TMPDIR=$cache" "XDG_CACHE_HOME=$cache/xdg" "MPLCONFIGDIR=$cache/matplotlib" "NUMBA_CACHE_DIR=$cache/numba"
    "TORCHINDUCTOR_CACHE_DIR=$cache/torchinductor"
  )
  if [ -z "$container" ]; then
    # the folder that the link names now: a plan made again meanwhile must not change what is imported later
    code=$(cd -P -- "$run/plan/code" 2>/dev/null && pwd) || code=$run/plan/code
    python=(env "PYTHONPATH=$code${PYTHONPATH:+:$PYTHONPATH}" "${settings[@]}" "$QUINTET_PYTHON")
    return
  fi
  for name in "${!QUINTET_@}" "${container_variables[@]}"; do
    case $name in
      QUINTET_PYTHON | QUINTET_CONTAINER | QUINTET_SITE | QUINTET_IMAGE_ID | QUINTET_KERNEL_CACHE) ;;
      *) [ -z "${!name+set}" ] || settings+=("$name=${!name}") ;;
    esac
  done
  python=(
    "$runtime" exec --cleanenv --containall --pwd "$run" --bind "$run:$run" --bind "$cache:$cache"
    --bind "$node_cache:$node_cache" "${container_options[@]}" "$container"
    env "QUINTET_NODE_CACHE=$node_cache" "${settings[@]}" /opt/quintet/bin/.entry python
  )
}
[ -n "${container_options+set}" ] || container_options=()
set_python

# Removes the job's folder, and the log of a job that ended well or stopped early, unless QUINTET_KEEP_LOGS is set.
leave() {
  local gone=()
  case $cache in */quintet.????????) gone+=("$cache") ;; esac
  case $1 in 0 | 75) [ -n "${QUINTET_KEEP_LOGS:-}" ] || gone+=("$log") ;; esac
  [ "${#gone[@]}" = 0 ] || rm -rf -- "${gone[@]}"
}
