#!/usr/bin/env bash
# Train on several GPUs or nodes, and go on when the time of the job is over: as often as it takes.
#
#   sbatch docs/cluster/train_slurm.sh ethanol --model lorem --preset small --epochs 1000 --folder runs/big
#   PROCESSES=4 docs/cluster/train_slurm.sh ethanol ...      without SLURM: four processes of this machine, by torchrun
#
# The words are those of `workbench train`; --batch-size counts over all processes. Change the lines below to your
# cluster, and activate the environment that has the workbench. SLURM sends SIGINT to the processes three minutes
# before the end: they save and stop, and the job queues itself again. scancel ends the script too, so it stays ended.
#SBATCH --job-name=workbench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=INT@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=workbench-%j.log
set -uo pipefail

STOPPED=130 # exit code of `workbench train` that was asked to stop
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

if [ -n "${SLURM_JOB_ID:-}" ]; then
    srun --kill-on-bad-exit=0 python -m workbench train "$@" --resume
    code=$?
    if [ "$code" -eq "$STOPPED" ]; then
        echo "stopped before its end; queued again"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
fi
exec python -m torch.distributed.run --standalone --nproc-per-node="${PROCESSES:-1}" -m workbench train "$@" --resume
