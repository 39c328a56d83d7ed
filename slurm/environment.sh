# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # run, phase, threads, scratch, modules are set above this text, others used below it
# What a job of this suite stands in: signals, its own log, modules, Python, threads, and caches on the node's own disk.
# Set before it: run phase threads scratch modules (array) log_folder log_name.

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
if mkdir -p -- "$log_folder" && : >>"$log"; then
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
    echo "quintet: module load ${modules[*]} failed" >&2
    exit 69
  fi
fi
set -u

if [ -z "${QUINTET_PYTHON:-}" ]; then
  QUINTET_PYTHON=${SLURM_SUBMIT_DIR:-.}/.venv/bin/python
  [ -x "$QUINTET_PYTHON" ] || QUINTET_PYTHON=python3
fi

for base in "$scratch" "${SLURM_TMPDIR:-}" "${TMPDIR:-}" /tmp; do
  [ -n "$base" ] && [ -d "$base" ] && [ -w "$base" ] && break
done
cache=$(mktemp -d -- "$base/quintet.XXXXXXXX") || cache=$base
# Given to Python alone: a job that this one submits must not inherit a folder that is gone by then.
python=(
  env
  "PYTHONPATH=$run/plan/code${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1 PYTHONFAULTHANDLER=1
  "OMP_NUM_THREADS=$threads" "OPENBLAS_NUM_THREADS=$threads" "MKL_NUM_THREADS=$threads" "NUMBA_NUM_THREADS=$threads"
  HDF5_USE_FILE_LOCKING=BEST_EFFORT
  "TMPDIR=$cache" "XDG_CACHE_HOME=$cache/xdg" "MPLCONFIGDIR=$cache/matplotlib" "NUMBA_CACHE_DIR=$cache/numba"
  "TORCHINDUCTOR_CACHE_DIR=$cache/torchinductor"
  "$QUINTET_PYTHON"
)

# Removes the job's folder, and the log of a job that ended well or stopped early with nothing lost.
leave() {
  case $cache in */quintet.????????) rm -rf -- "$cache" ;; esac
  case $1 in 0 | 75) rm -f -- "$log" ;; esac
}
