#!/usr/bin/env bash
# Installs on, and trains with, all hosts of a TPU slice of Compute Engine:
#
#   TPU=my-slice ZONE=us-east5-b launch/tpu_pod.sh install REPOSITORY_URL
#   TPU=my-slice ZONE=us-east5-b launch/tpu_pod.sh train \
#     --config=s2l:wells=/mnt/shared/wells.parquet --workdir=/mnt/shared/run
#
# Each host asks the slice's metadata who the others are. /mnt/shared is a file system that all
# hosts mount (Filestore, or a bucket by gcsfuse). A slice that was preempted is made again, and the
# same command continues. GCLOUD is the program; `PROJECT` the project, where it is not the default.
set -euo pipefail

: "${TPU:?name of the slice}" "${ZONE:?zone of the slice}"
what=${1:?usage: launch/tpu_pod.sh install URL | train FLAGS}
shift

on_all() {
  local options=("$TPU" --zone="$ZONE" --worker=all)
  if [[ -n ${PROJECT:-} ]]; then options+=(--project="$PROJECT"); fi
  "${GCLOUD:-gcloud}" compute tpus tpu-vm ssh "${options[@]}" --command="$1"
}

case $what in
  install)
    url=$(printf '%q' "${1:?URL of the repository}")
    on_all "python3 -m venv ~/molphenix && git clone $url ~/molphenix/source && \
~/molphenix/bin/pip install -c ~/molphenix/source/constraints.txt ~/molphenix/source 'jax[tpu]'"
    ;;
  train)
    # A terminal that closes does not end the training; its log is on each host.
    flags=$(printf ' %q' "$@")
    on_all "set -o pipefail; ~/molphenix/bin/python -m molphenix_jax.main$flags 2>&1 \
| tee -a ~/molphenix/log; exit \${PIPESTATUS[0]}"
    ;;
  *)
    echo "$what: install or train" >&2
    exit 2
    ;;
esac
