#!/usr/bin/env bash
# Trains on TPU or GPU nodes of GKE through XPK, which makes the JobSet (launch/jobset.yaml is what
# it comes to, for clusters without XPK):
#
#   CLUSTER=c ZONE=z TPU_TYPE=v5litepod-16 IMAGE=REGISTRY/molphenix NAME=first launch/xpk.sh \
#     --config=s2l:wells=/mnt/shared/wells.parquet --workdir=/mnt/shared/first
#
# XPK_OPTIONS holds further options of `xpk workload create`, such as
# --dry-run --output-manifest-file=FILE.
set -euo pipefail

: "${CLUSTER:?name of the cluster}" "${ZONE:?its zone}" "${IMAGE:?of launch/Dockerfile}"
: "${TPU_TYPE:?such as v5litepod-16}" "${NAME:?of the workload}"
read -ra more <<<"${XPK_OPTIONS:-}"
# exec: XPK passes SIGTERM on to this process alone. It looks for it every 5 s, and saving may take
# 25: the 30 s of the default would be too short by a hair.
"${XPK:-xpk}" workload create --cluster="$CLUSTER" --zone="$ZONE" --workload="$NAME" \
  --tpu-type="$TPU_TYPE" --num-slices=1 --docker-image="$IMAGE" \
  --max-restarts="${MAX_RESTARTS:-100}" --termination-grace-period-seconds=60 \
  --command="exec python -m molphenix_jax.main$(printf ' %q' "$@")" "${more[@]}"
