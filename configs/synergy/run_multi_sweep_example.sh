#!/bin/sh
# A sweep by its flags, with the records and the text summary that belong to it.
#     configs/synergy/run_multi_sweep_example.sh [CONFIG] [OUTPUT_DIR] [MORE FLAGS OF bin/synergy ...]
set -eu
home=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")")
config=${1:-$home/configs/synergy/config_multi_run_template.json}
output=${2:-results/multi_run_sweep}
[ $# -lt 1 ] || shift
[ $# -lt 1 ] || shift
[ $# -gt 0 ] || set -- --preset quick --network small --parallel-jobs 2
mkdir -p "$output"
cp -- "$config" "$output/base_config.json"
{
  date -u '+%Y-%m-%dT%H:%M:%SZ'
  uname -srm
  echo "CPUs: $(getconf _NPROCESSORS_ONLN)"
  "$home/bin/synergy" --version
  command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || echo "GPU: none"
} >"$output/system_info.txt"
code=0
"$home/bin/synergy" --config "$config" --output-dir "$output" --no-wandb "$@" >"$output/sweep_log.txt" 2>&1 || code=$?
cat "$output/sweep_log.txt"
[ "$code" -eq 0 ] || exit "$code"
"$home/bin/synergy" summary "$output"
