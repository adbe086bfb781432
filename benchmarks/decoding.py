"""Decoding 32 prompts × 8 completions against `model.generate`: CPU seconds and peak memory.

python benchmarks/decoding.py                  12-token prompts, 32 new tokens
python benchmarks/decoding.py --prompt 192     long prompts
python benchmarks/decoding.py --size 26M       a larger model

Each way runs in a process of its own, with one thread; figures are medians of several runs after
one that does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

WAYS = {
    "generate": "model.generate, every completion with a copy of its prompt",
    "shared": "decode, prompts read in one place, no lazy branching",
    "lazy": "decode, prompts read in one place, lazy branching",
}


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", choices=("1.3M", "26M"), default="1.3M")
    parser.add_argument("--prompt", type=int, default=12, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=32, help="new tokens")
    parser.add_argument("--runs", type=int, default=3, help="runs that count")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def made(way: str, options: argparse.Namespace) -> Callable[[int], object]:
    """A function of the seed that decodes once, this way."""
    import tempfile

    import torch
    from lm.models import build, mute

    from logpi.worlds.lm.decoding import Sampling, decode
    from logpi.worlds.lm.model import load

    torch.set_num_threads(1)
    model, tokenizer = build(options.size)
    mute(model, tokenizer.eos_token_id, tokenizer.pad_token_id)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, len(tokenizer), (32, options.prompt), generator=generator)
    if way == "generate":
        copies = ids.repeat_interleave(8, 0)
        seen = torch.ones_like(copies)

        def generate(seed: int) -> object:
            torch.manual_seed(seed)
            return model.generate(
                copies, attention_mask=seen, do_sample=True, max_new_tokens=options.new
            )

        return generate
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        lm = load(folder)
    sampling = Sampling(max_new_tokens=options.new)
    return lambda seed: decode(
        lm, list(ids), copies=8, sampling=sampling, seed=seed, lazy=way == "lazy"
    )


def measure(way: str, options: argparse.Namespace) -> None:
    """Print the median CPU seconds and the peak memory of this way."""
    from lm.measure import peak_mb

    once = made(way, options)
    once(0)
    seconds = []
    for seed in range(1, options.runs + 1):
        begin = time.process_time()
        once(seed)
        seconds.append(time.process_time() - begin)
    print(statistics.median(seconds), peak_mb()["process"])


def main() -> None:
    """Run every way and print the table."""
    options = parsed()
    if options.way:
        measure(options.way, options)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    base = 0.0
    print(f"{options.size} parameters, prompts of {options.prompt} tokens, {options.new} new ones")
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    for way, meaning in WAYS.items():
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seconds, memory = map(float, done.stdout.split()[-2:])
        base = base or seconds
        print(
            f"{seconds:7.2f} CPU s  {base / seconds:4.1f}×  {memory:6.0f} MB   {meaning}",
            flush=True,
        )


if __name__ == "__main__":
    main()
