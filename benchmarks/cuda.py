"""logpi on a CUDA device: decoding, training and memory of a 0.5 B Qwen2 with random weights, bf16.

python benchmarks/cuda.py            the figures, or a word that there is no CUDA device
python benchmarks/cuda.py --smoke    a tiny model on any device: only to see that the script works
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lm.measure import machine, versions
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from logpi.worlds.lm.decoding import Rollout, Sampling, decode
from logpi.worlds.lm.model import LanguageModel, load
from logpi.worlds.lm.policy import LMPolicy

FULL = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
}
SMOKE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def _folder(folder: Path, shape: dict[str, int]) -> Path:
    """A Qwen2 of this shape with random weights, and a tokenizer with as many entries."""
    words = ["<eos>", *(f"w{i}" for i in range(shape["vocab_size"] - 1))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    tokenizer.decoder = decoders.Fuse()
    config = Qwen2Config(**shape, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0)
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>"
    ).save_pretrained(folder)
    return folder


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _seconds(work: Callable[[], Any], *, times: int = 3) -> float:
    """The median of some runs, after one that is not counted."""
    found = []
    for _ in range(times + 1):
        _wait()
        start = time.perf_counter()
        work()
        _wait()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def _peak(work: Callable[[], Any]) -> float:
    """GB allocated at most while `work` runs, beyond what was allocated before."""
    if not torch.cuda.is_available():
        work()
        return float("nan")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def matmul_peak(device: torch.device, size: int) -> float:
    """Floating-point operations a second of one large bf16 matrix product, measured."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, times=10)


def decoding(lm: LanguageModel, prompts: list[torch.Tensor], copies: int, new: int) -> dict:
    """Sampled tokens a second: `decode` and `model.generate`, every completion of full length."""
    ids = torch.stack(prompts).repeat_interleave(copies, 0).to(lm.device)
    sampling = Sampling(max_new_tokens=new)

    def theirs() -> None:
        lm.causal.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            max_new_tokens=new,
            min_new_tokens=new,
        )

    tokens = len(ids) * new
    ours = _seconds(lambda: decode(lm, prompts, copies=copies, sampling=sampling, seed=0))
    return {"logpi": tokens / ours, "generate": tokens / _seconds(theirs)}


def _push(policy: LMPolicy, rollout: Rollout) -> None:
    policy.lm.model.zero_grad()
    for part in policy.parts(rollout.inputs, rollout.inputs.mask):
        (-part.logp.sum()).backward()


def _plain(lm: LanguageModel, rollout: Rollout, rows: int) -> None:
    """Prompt and completion of each row through the model, all logits, log-softmax."""
    lm.model.zero_grad()
    inputs = rollout.inputs
    prompts = torch.stack(inputs.prompts)[inputs.prompt_of]
    ids = torch.cat([prompts, inputs.tokens], 1)
    for at in range(0, len(ids), rows):
        logits = lm.causal(ids[at : at + rows], use_cache=False).logits[:, :-1].float()
        logp = logits.log_softmax(-1).gather(-1, ids[at : at + rows, 1:, None])
        (-logp[:, prompts.shape[1] - 1 :].sum()).backward()


def training(lm: LanguageModel, rollout: Rollout, peak: float, rows: int) -> dict[str, float]:
    """Trained tokens a second, share of the matmul peak, memory against the plain path."""
    policy = LMPolicy(lm)
    seconds = _seconds(lambda: _push(policy, rollout))
    head = lm.causal.get_output_embeddings().weight.numel()
    trunk = sum(p.numel() for p in lm.causal.parameters()) - head  # tied: counted once
    counts = policy.counts
    work = 6 * (trunk * counts.tokens_run + head * counts.decisions_live)
    return {
        "tokens_per_second": counts.decisions_live / seconds,
        "share_of_peak": work / seconds / peak,
        "plain_tokens_per_second": counts.decisions_live
        / _seconds(lambda: _plain(lm, rollout, rows)),
        "peak_gb": _peak(lambda: _push(policy, rollout)),
        "plain_peak_gb": _peak(lambda: _plain(lm, rollout, rows)),
        "rows_of_plain_pass": float(rows),
        "positions_of_a_pass": float(policy.token_budget),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny model, any device")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    if not (given.smoke or torch.cuda.is_available()):
        print("There is no CUDA device here, so there is nothing to measure.")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape, count, copies, prompt, new = (FULL, 32, 8, 192, 128)
    if given.smoke:
        shape, count, copies, prompt, new = (SMOKE, 2, 2, 8, 4)
    with tempfile.TemporaryDirectory() as scratch:
        lm = load(_folder(Path(scratch), shape), dtype="bfloat16", device=str(device))
    prompts = list(torch.randint(1, shape["vocab_size"], (count, prompt), device=device))
    peak = matmul_peak(device, 256 if given.smoke else 8192)
    rollout = decode(lm, prompts, copies=copies, sampling=Sampling(max_new_tokens=new), seed=0)
    found = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "matmul_tflops": peak / 1e12,
        "decoding_tokens_per_second": decoding(lm, prompts, copies, new),
        "training": training(lm, rollout, peak, rows=copies),
        "machine": machine(),
        "versions": versions("torch", "transformers", "logpi"),
    }
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
