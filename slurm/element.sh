# shellcheck shell=bash
# shellcheck disable=SC2154 # run, phase, map, offset, time_s, max_restarts and environment.sh's names are set above this text
# One array element around its Python process: deadline, signals, the true exit code, requeue.  It ends the script.

# Prints the seconds of squeue's [days-][hours:]minutes:seconds.
seconds_of() {
  local days=0 text=$1 part total=0
  case $text in *-*) days=${text%%-*} text=${text#*-} ;; esac
  local parts
  IFS=: read -r -a parts <<<"$text"
  for part in "${parts[@]}"; do total=$((total * 60 + 10#$part)); done
  echo $((total + 86400 * 10#$days))
}

# Sets QUINTET_DEADLINE to the epoch second by which work must be published, to nothing where no limit is known: the
# shard may sit in a container without Slurm's tools.  The limit that was submitted spares the controller a question
# from every element; a limit that was changed since makes itself known by its signal.  The job's id alone would name
# the whole array in its last element.
set_deadline() {
  local now end margin left
  printf -v now '%(%s)T' -1
  end=${SLURM_JOB_END_TIME:-}
  if [[ ! $end =~ ^[0-9]+$ ]]; then
    if [ -z "$time_s" ]; then
      left=$(squeue -h -j "$element" -o %L 2>/dev/null)
      [[ $left =~ ^([0-9]+-)?[0-9]+(:[0-9]+)*$ ]] && time_s=$(seconds_of "$left")
    fi
    end=${time_s:+$((now + time_s))}
  fi
  QUINTET_DEADLINE=
  if [ -n "$end" ]; then
    margin=$(((end - now) / 10))
    QUINTET_DEADLINE=$((end - (margin > 30 ? 30 : margin)))
  fi
  export QUINTET_DEADLINE
}

if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  echo "quintet: rc 64: no SLURM_ARRAY_TASK_ID; submit this script with sbatch --array=FIRST-LAST" >&2
  leave 64
  exit 64
fi
element=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
set_deadline

shard=(-m quintet.shard.array_element "$run" "$phase" "$map" "$offset" ${drift:+"$drift"})
set_python
"${python[@]}" "${shard[@]}" &
child=$!
[ -n "$early" ] && kill -s "$early" "$child" 2>/dev/null

# A trapped signal ends `wait` early with its own code: ask again until none came in between.
rc=127 lost=1
while :; do
  caught=
  wait "$child"
  code=$?
  # 127: a command that was not found, or a process that was waited for already.  -1: bash 5.2 lost the code, since a
  # signal came while the process ended.
  case $code in 127 | -1) lost=1 ;; *) rc=$code lost='' ;; esac
  [ -n "$caught" ] || break
done
# USR1 or TERM before Python has its handlers ends it: nothing was begun, so nothing is lost.
case $rc in 138 | 143) rc=75 ;; esac
# A Python that ends with its own codes, not the suite's, may be the wrong one: 78 tells that no repetition mends it.
# Where only the code was lost, the shard is asked again with no time left: 0 where it is published, else 75.
# 255 is a container that did not start.
if [ -n "$lost" ] || [ "$rc" = 1 ] || [ "$rc" = 126 ] || [ "$rc" = 255 ]; then
  if ! (need_python); then
    rc=78
  elif [ -n "$lost" ]; then
    QUINTET_DEADLINE=1
    set_python
    "${python[@]}" "${shard[@]}"
    rc=$?
  elif [ "$rc" = 255 ]; then
    rc=69 # it does start now
  fi
fi

leave "$rc"
case $rc in
  0) ;;
  75)
    # After TERM Slurm itself knows what becomes of the element: cancelled, preempted or requeued.
    if [ -z "$terminated" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$max_restarts" ]; then
      for pause in 2 10 60 0; do
        scontrol requeue "$element" && sleep 600 && break # Slurm ends us here
        [ -n "$terminated" ] && break
        sleep "$pause"
      done
    fi
    ;;
  *) echo "quintet: element $element ended with rc $rc${terminated:+ after TERM}" ;;
esac
exit "$rc"
