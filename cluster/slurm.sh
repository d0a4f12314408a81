#!/usr/bin/env bash
# Find duplicates on the nodes of a Slurm job:
#   sbatch --nodes=4 cluster/slurm.sh /shared/photos --work-dir /shared/dedupe
# Arguments and exit code are those of `fastdup-ray run`. All nodes have to see input, work_dir and home under the same
# paths (or the first two in S3), and have fastdup-ray in the environment VENV. For --compute gpu: --gpus-per-node=N.
#
# The tests run it on two nodes of Slurm 22.05 on one machine. Not run on several machines, or with GPUs.
# Security: Ray asks for a token of this job, which only its user can read; the dashboard listens on localhost.
#
#SBATCH --job-name=fastdup-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --signal=B:TERM@60
#SBATCH --output=fastdup-ray-%j.log
set -euo pipefail

VENV=${VENV:-$HOME/fastdup-ray}
NODES=${SLURM_JOB_NUM_NODES:?run this with sbatch}
PORT=$((20000 + SLURM_JOB_ID % 10000))
WAIT_SECONDS=${WAIT_SECONDS:-300}

export PATH="$VENV/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN_PATH=$(umask 077 && mktemp "$HOME/.fastdup-ray-token.XXXXXXXX")
export RAY_AUTH_TOKEN_PATH
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH"

steps=()
run=
# shellcheck disable=SC2329
finish() {
  kill "${steps[@]}" 2> /dev/null || true
  wait "${steps[@]}" || true
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap finish EXIT
trap 'kill -TERM "$run" 2> /dev/null' TERM INT

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | cut -d ' ' -f 1)
export RAY_ADDRESS="$address:$PORT"

# The cores of each node are those of the step there.
# shellcheck disable=SC2016
start=(bash -c 'exec ray start --block --disable-usage-stats --num-cpus "$SLURM_CPUS_ON_NODE" "$@"' ray)
srun --nodes=1 --ntasks=1 --nodelist="$first" --overlap \
  "${start[@]}" --head --node-ip-address "$address" --port "$PORT" --dashboard-host 127.0.0.1 &
steps+=($!)
python -c '
import socket, sys, time
host, port = sys.argv[1].rsplit(":", 1)
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    try:
        sys.exit(socket.create_connection((host, int(port)), 2).close())
    except OSError:
        time.sleep(1)
sys.exit("slurm.sh: the head of the cluster did not start.")' "$RAY_ADDRESS" "$WAIT_SECONDS"
if ((NODES > 1)); then
  srun --nodes=$((NODES - 1)) --ntasks=$((NODES - 1)) --exclude="$first" "${start[@]}" --address "$RAY_ADDRESS" &
  steps+=($!)
fi
python -c '
import logging, sys, time, ray
ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
deadline = time.monotonic() + float(sys.argv[3])
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    if time.monotonic() > deadline:
        sys.exit("slurm.sh: not all nodes joined the cluster.")
    time.sleep(1)' "$RAY_ADDRESS" "$NODES" "$WAIT_SECONDS"

fastdup-ray run "$@" &
run=$!
while kill -0 "$run" 2> /dev/null; do  # a signal ends the wait, not the run
  status=0
  wait "$run" || status=$?
done
exit "$status"
