#!/bin/bash
# `emocaliber respond` as a Slurm job array: one shard for each task, with a GPU each. No task needs another.
#
#   sbatch --array=1-8 deploy/respond.slurm.sh bench/test.jsonl wudq/EmoCaliber runs/emocaliber [further options of respond]
#   emocaliber score runs/emocaliber                      # when all are there; it says which are missing
#
# A task that is requeued, or given again, goes on where its shard was broken off. One shard alone, of the same eight:
#
#   SHARDS=8 sbatch --array=3 deploy/respond.slurm.sh bench/test.jsonl wudq/EmoCaliber runs/emocaliber
#
# The folders must be shared by all machines, and `emocaliber` installed where the job runs: put the activation of its environment below.
#SBATCH --job-name=respond
#SBATCH --array=1-8
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=48G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A-%a.log

set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: sbatch --array=1-N deploy/respond.slurm.sh SAMPLES MODEL FOLDER [options of respond]" >&2
    exit 2
fi
samples=$1 model=$2 out=$3
shift 3

# source ~/emocaliber/.venv/bin/activate

exec emocaliber respond "$samples" --model "$model" --out "$out/" --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$SLURM_ARRAY_TASK_MAX}" --resume "$@"
