#!/usr/bin/env bash
# All that needs a CUDA device, in the order of what matters: is it right, how fast is it, does it
# learn, can runs share it. Takes about ten minutes:
#   benchmarks/gpu.sh [FOLDER for the results, default benchmarks/results]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
name=$(python -c 'import torch; print(torch.cuda.get_device_name().lower().replace(" ", "-"))')
python -m pytest -m gpu -q --timeout 300
python -m ezcli bench tree search learner run --preset atari100k --game pong -o "$out/$name.json"
python benchmarks/memory.py atari100k | tee "$out/$name-memory.txt"
python -m ezcli bench search --preset atari100k --game pong --set compute.search=cpu \
  --against "$out/$name.json" -o "$out/$name-trees-on-the-cpu.json"
python -m ezcli train --env catch --device cuda --name "catch-$name" --runs-dir "$out/runs"
python -m benchmarks.sharing --device cuda --seconds 20 -o "$out/$name-sharing.json"
