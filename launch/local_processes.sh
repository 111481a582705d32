#!/usr/bin/env bash
# Starts N processes of one job on this machine and waits for all of them:
#
#   launch/local_processes.sh N --config=s2l --workdir=RUN …      (flags of `molphenix train`)
#
# JAX_NUM_CPU_DEVICES=4 gives each four simulated devices. PYTHON is the interpreter, PORT the
# first process' (free ones are found). Ctrl-C and SIGTERM go to all. Exit status: the highest.
set -euo pipefail

n=${1:?usage: launch/local_processes.sh N FLAGS}
shift
python=${PYTHON:-python}
free='import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])'
JAX_COORDINATOR_ADDRESS="localhost:${PORT:-$("$python" -c "$free")}"
export JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES="$n"

pids=()
# shellcheck disable=SC2329  # traps call it
pass_on() {
  passed=1
  kill -s "$1" "${pids[@]}" 2>/dev/null || true
}
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT

for ((i = 0; i < n; i++)); do
  JAX_PROCESS_ID=$i "$python" -m molphenix_jax.main "$@" &
  pids+=($!)
done

highest=0
for pid in "${pids[@]}"; do
  passed=1 status=0
  while ((passed)); do # a signal that is passed on ends `wait` before the process ends
    passed=0 before=$status status=0
    wait "$pid" || status=$?
    if ((status == 127)); then status=$before; fi
  done
  if ((status > highest)); then highest=$status; fi
done
exit "$highest"
