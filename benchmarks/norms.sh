#!/usr/bin/env bash
# Norms of the network. On `keydoor`: the learning rate of each on a seed of its own, then five paired
# seeds, each norm at its best rate, and ten more seeds of two norms. On `catch`: five paired seeds at the
# preset's rate. On MinAtar Breakout and on two Atari games: how far the two modes of the network differ
# early in training.
# benchmarks/norms.sh [FOLDER of the runs, default runs], relative to the checkout. The same command
# continues after an interruption.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs}
out=benchmarks/results
norms=batch,batch-authors,batch-by-role,batch-recalibrated,batch-renorm,group,group-standardised,layer,rms
study() {
  local name=$1
  shift
  ez ablate --study "$name" "$@" --jobs 2 --runs-dir "$runs"
  ez report "$name" --runs-dir "$runs" -o "$out/$name.md" --plots "$out/plots"
}
ez ablate --env keydoor --vary "network.norm=$norms" --vary optimiser.learning_rate=0.001,0.003,0.01 \
  --seeds 100, --jobs 2 --study norm-tuning --runs-dir "$runs"
drops=()
for file in benchmarks/norms/*.toml; do
  drops+=(--drop "$file")
done
study norms-keydoor --env keydoor "${drops[@]}" --set optimiser.learning_rate=0.01 --seeds 10,11,12,13,14
study norms-confirm --env keydoor --vary network.norm=batch,batch-by-role \
  --seeds 15,16,17,18,19,20,21,22,23,24
study norms-catch --env catch --vary "network.norm=$norms" --set schedule.env_steps=2800 --seeds 10,11,12,13,14
study norms-minatar --env minatar/breakout --vary "network.norm=$norms" --seeds 0, \
  --set schedule.env_steps=20000 --set schedule.train_steps_per_env_step=0.25 \
  --set schedule.target_update_interval=500 --set evaluation.episodes=50
study norms-atari --preset atari-cpu --game up_n_down --game assault --vary "network.norm=${norms%,group,*}" \
  --seeds 1, --set schedule.env_steps=3000 --set schedule.random_env_steps=1000 \
  --set schedule.final_train_steps=0 --set evaluation.interval=200 --set evaluation.interval_episodes=1 \
  --set evaluation.episodes=2
python -m benchmarks.norm_speed -o "$out/$(uname -m)-norm-speed.json"
