"""Compiled layers against the layers as they are: CPU seconds of an update of `fixed`, in turns.

python benchmarks/compiled.py                  at 1024 positions a micro-batch
python benchmarks/compiled.py --budget 2048    at another size

One process, one thread. Turns alternate, so that what else runs on the machine meets both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from lm.workloads import GRPO, prepare

from logpi.worlds.lm.data import encode_all, read
from logpi.worlds.lm.decoding import Sampling, decode
from logpi.worlds.lm.model import load
from logpi.worlds.lm.policy import LMPolicy


def main() -> None:
    """Print the ratio of the two, and how long the first compiled pass took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=1024, help="positions of a micro-batch")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="models and data")
    given = parser.parse_args()
    torch.set_num_threads(1)
    spec = prepare(GRPO["fixed"], given.work.resolve())
    lm = load(spec["model"])
    examples = read(spec["data"], kind="prompts")[: spec["prompts"]]
    prompts = [ids for (ids,) in encode_all(lm.tokenizer, examples, kind="prompts", eos=lm.eos)]
    sampling = Sampling(max_new_tokens=spec["max_new_tokens"])
    inputs = decode(lm, prompts, copies=spec["group"], sampling=sampling, seed=0).inputs

    def update(policy: LMPolicy) -> float:
        start = time.process_time()
        for part in policy.parts(inputs, inputs.mask):
            part.logp.sum().backward()
        taken = time.process_time() - start
        lm.model.zero_grad()
        return taken

    plain = LMPolicy(lm)
    compiled = LMPolicy(lm, compiled=True, token_budget=given.budget)
    begin = time.perf_counter()
    update(compiled)
    print(f"first compiled update: {time.perf_counter() - begin:.0f} s (less where torch has it)")
    turns = [(update(plain), update(compiled)) for _ in range(given.turns + 1)][1:]
    for name, seconds in zip(("plain", "compiled"), zip(*turns, strict=True), strict=True):
        middle, best = statistics.median(seconds), min(seconds)
        print(f"{name:9} {middle:.3f} CPU s an update ({best:.3f} at best)")
    ratio = statistics.median(a / b for a, b in turns)
    print(f"compiled layers: {ratio:.2f}x as fast, the median of {given.turns} turns")


if __name__ == "__main__":
    main()
