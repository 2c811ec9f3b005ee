"""
The GPU benchmark beside PyTorch or CuPy, at the same products and copies in the same run.

    python tests/load/gpu_peers.py [--python FILE] [--rounds 3]

`--python`: an interpreter that has PyTorch or CuPy, if this one has neither. Ours and theirs take turns, so that both get
a warm GPU; all GPUs work while ours measures, and the first is compared. Goals: products >= 0.95 of theirs, copies within
the GPU >= 0.9 of theirs, batches of ours spread <= 2 % where nothing held the clock down, and nobody left on a GPU.
Exit 1 when one is missed, 2 where there is no GPU or no peer.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.benchmarks import Found
from agent.benchmarks.gpu import judged
from agent.engines.gpu.crew import measure
from agent.engines.gpu.records import FULL
from agent.wiper.gpu import nvml
from shared.codes import Code, Trouble

GOALS = {"fp16": 0.95, "fp32": 0.95, "memory": 0.9}
MOST_SPREAD = 0.02

PEER = """
import json, sys, time
size, block = int(sys.argv[1]), int(sys.argv[2])
try:
    import torch
    torch.backends.cuda.matmul.allow_tf32 = False
    name, wait = "PyTorch " + torch.__version__, torch.cuda.synchronize
    def product(kind):
        a, b = (torch.rand(size, size, device="cuda", dtype=torch.float32).mul_(2).sub_(1).to(getattr(torch, kind)) for _ in "ab")
        out = torch.empty_like(a)
        return lambda: torch.mm(a, b, out=out)
    one, other = (torch.zeros(block, dtype=torch.uint8, device="cuda") for _ in "ab")
    copy = lambda: other.copy_(one)
except ImportError:
    import cupy
    name, wait = "CuPy " + cupy.__version__, cupy.cuda.get_current_stream().synchronize
    def product(kind):
        a, b = ((cupy.random.random((size, size), dtype="float32") * 2 - 1).astype(kind) for _ in "ab")
        out = cupy.empty_like(a)
        return lambda: cupy.matmul(a, b, out=out)
    one, other = (cupy.zeros(block, dtype="uint8") for _ in "ab")
    copy = lambda: cupy.copyto(other, one)
def rate(begin, work):
    count, rates, began = 1, [], time.perf_counter()
    while time.perf_counter() - began < 7:
        wait()
        first = time.perf_counter()
        for _ in range(count):
            begin()
        wait()
        took = time.perf_counter() - first
        if time.perf_counter() - began > 2:
            rates.append(work * count / took)
        count = max(1, round(count * 0.25 / took))
    return sorted(rates)[len(rates) // 2]
found = {kind: rate(product(dtype), 2.0 * size**3) / 1e12 for kind, dtype in (("fp16", "float16"), ("fp32", "float32"))}
print(json.dumps({"name": name, **found, "memory": rate(copy, 2.0 * block) / 1e9}))
"""


def ours() -> Found:
    """Measure as the agent does."""
    return judged(asyncio.run(measure(FULL, None, lambda *_: None)))


def theirs(python: str, size: int) -> dict[str, Any]:
    """Measure the first GPU by the peer, with the median of its batches too."""
    argv = [python, "-c", PEER, str(size), str(FULL.copy_bytes)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        print(f"no peer: {(done.stderr.strip().splitlines() or ['it ended without a word'])[-1]}", file=sys.stderr)
        sys.exit(2)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    mine, other = [], []
    try:
        for _ in range(given.rounds):
            found = ours()
            mine.append(found)
            other.append(theirs(given.python, found.details["models"][0]["size"]))
    except Trouble as trouble:
        print(f"{'no GPU' if trouble.code == Code.NO_GPU else trouble.code}: {trouble.detail}", file=sys.stderr)
        return 2
    left = [pid for gpu in nvml.look() for pid in gpu.users or ()]
    return report(mine, other, left)


def report(mine: list[Found], other: list[dict[str, Any]], left: list[Any]) -> int:
    """Print a row a figure, and return 1 where a goal is missed."""
    gpus = [one.details["gpus"][0] for one in mine]
    model = mine[0].details["models"][0]
    print(f"{model['name']}, cuBLAS {model['cublas']}, driver {mine[0].details['driver']}; beside {other[0]['name']}\n")
    print(f"{'figure':8} {'ours':>10} {'theirs':>10} {'ratio':>7} {'goal':>6}")
    missed = []
    for name, goal in GOALS.items():
        best = max(gpu["memory_gb_s"] if name == "memory" else gpu[name]["tflop_s"] for gpu in gpus)
        peer = max(one[name] for one in other)
        print(f"{name:8} {best:10.1f} {peer:10.1f} {best / peer:7.3f} {goal:6.2f}")
        missed += [name] if best / peer < goal else []
    spread = max(gpu[name]["spread"] for gpu in gpus for name in ("fp16", "fp32"))
    held = sorted({str(mark) for one in mine for mark in one.marks})
    print(f"\nwidest spread of the batches: {spread:.2%} ({', '.join(held) or 'nothing held the clock down'})")
    missed += ["spread"] if spread > MOST_SPREAD and not held else []
    print(f"processes left on a GPU: {len(left)}")
    missed += ["left"] if left else []
    print(f"missed: {', '.join(missed)}" if missed else "all goals met")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
