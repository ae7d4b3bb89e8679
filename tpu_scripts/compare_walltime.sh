#!/usr/bin/env bash
# Trains the baseline, then each growth, on the same device; then compares them.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: compare_walltime.sh --baseline GIN_FILE --growth GIN_FILE --data_dir DIR \
         --output_dir DIR [flags] [-- TRAIN_ARGUMENTS]

Runs `train` for the baseline and for each growth, one after the other on this
machine, then `compare`. Given again after an interruption, it goes on where it
was. The runs are in OUTPUT_DIR/NAME, after the gin files; the comparison is in
OUTPUT_DIR/comparison.

  --baseline GIN_FILE     experiment that the others are compared with
  --growth GIN_FILE       may be repeated
  --data_dir DIR          data of all runs
  --output_dir DIR        where runs and comparison go
  --gin_params SETTING    of all runs; may be repeated
  --dry_run               print what would be run, and do nothing
  --help                  show this text

TRAIN_ARGUMENTS, such as --tpu local, go to every run. PYTHON names the
interpreter; default: the checkout's .venv/bin/python.
HELP
}

die() {
  echo "error: $1" >&2
  exit 2
}

dry_run=false baseline='' data_dir='' output_dir=''
# None is ever empty, which Bash 3.2 takes for unset.
growths=(baseline) shared=(--data_dir) params=(--nojson)
while (($#)); do
  case $1 in
    --dry_run) dry_run=true; shift; continue ;;
    --help | -h) usage; exit 0 ;;
    --) shift; shared+=("$@"); break ;;
  esac
  (($# >= 2)) || die "$1 lacks its value (--help lists the flags)"
  case $1 in
    --baseline) baseline=$2 ;;
    --growth) growths+=("$2") ;;
    --data_dir) data_dir=$2 ;;
    --output_dir) output_dir=$2 ;;
    --gin_params) shared+=(--gin_params "$2") params+=(--gin_params "$2") ;;
    *) die "unknown argument '$1' (--help lists the flags)" ;;
  esac
  shift 2
done
[[ -n $baseline && -n $data_dir && -n $output_dir && ${#growths[@]} -gt 1 ]] ||
  die '--baseline, --growth, --data_dir and --output_dir are needed (--help shows how)'
growths[0]=$baseline
shared=(--data_dir "$data_dir" "${shared[@]:1}")
python=${PYTHON:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin/python}

run() {
  if [[ $dry_run == true ]]; then
    printf 'would run:'
    printf ' %q' "$@"
    echo
  else
    "$@"
  fi
}

names=' ' runs=(--output_dir "$output_dir/comparison")
for gin_file in "${growths[@]}"; do
  name=$(basename "$gin_file" .gin)
  [[ $names != *" $name "* ]] || die "two gin files are called $name; rename one, runs are named after them"
  names+="$name "
  runs+=("$output_dir/$name")
done
# The last file's mistakes are to be told before the first one is trained.
for gin_file in "${growths[@]}"; do
  if [[ $dry_run == true ]]; then
    run "$python" -m official_ext.plan --gin_file "$gin_file" "${params[@]}"
  else
    "$python" -m official_ext.plan --gin_file "$gin_file" "${params[@]}" >/dev/null || exit 2
  fi
done
for gin_file in "${growths[@]}"; do
  run "$python" -m official_ext.train --gin_file "$gin_file" \
    --model_dir "$output_dir/$(basename "$gin_file" .gin)" "${shared[@]}"
done
run "$python" -m official_ext.compare "${runs[@]}"
