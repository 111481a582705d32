#!/usr/bin/env bash
# One task for each GPU; the same command continues, and it is queued again when it has to stop:
#
#   sbatch --nodes=2 --gpus-per-node=4 --ntasks-per-node=4 launch/slurm.sh \
#     --config=s2l:wells=SHARED/wells.parquet --workdir=SHARED/run
#
# The batch options below are defaults; those of the command line go before them. Every task sees
# all GPUs of its node, and JAX gives it the one of its SLURM_LOCALID.
#SBATCH --job-name=molphenix
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --gpu-bind=none
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=molphenix-%j.log
set -uo pipefail

# Slurm sends SIGTERM to the tasks 120 s before the time is up (`B:` would send it here alone).
# Preempted jobs get it here too: the shell waits for the tasks, which save.
trap 'echo "told to end: the tasks save"' TERM
srun --kill-on-bad-exit=0 --label "${PYTHON:-python}" -m molphenix_jax.main "$@" &
step=$! status=0
wait "$step" || status=$?
while kill -0 "$step" 2>/dev/null; do # the trap ended the wait
  status=0
  wait "$step" || status=$?
done

# 142: another task was lost; 143: told to end, saved; 134 and 137: killed on the way.
case $status in
  134 | 137 | 142 | 143)
    echo "exit status $status: queued again, the same command continues"
    scontrol requeue "$SLURM_JOB_ID"
    ;;
esac
exit "$status"
