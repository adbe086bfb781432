"""TRL's own GRPO code, audited: what its gradient is on average, over every group there is.

Nothing of TRL is written again. A `GRPOTrainer` is built, and for each of the 820 groups of 2 of 40
texts its own code turns rewards into advantages and log-probabilities into a loss. Only sampling
and the model are replaced, by the group and its log-probabilities; it answers with ∂loss/∂logp. TRL
runs in a Python of its own, which needs nothing of logpi; `make bench` has one.

    python examples/audit_trl.py [--trl path/to/python]
"""

import argparse
import json
import subprocess
import sys
from importlib import import_module
from subprocess import PIPE

SETTINGS = {
    "paper GRPO": {"loss_type": "grpo", "scale_rewards": "group"},
    "TRL's default": {},
    "Dr. GRPO as TRL's default scales it": {"loss_type": "dr_grpo"},
    "Dr. GRPO": {"loss_type": "dr_grpo", "scale_rewards": "none"},
}
PLAIN = {"output_dir": "runs/audit_trl", "use_cpu": True, "bf16": False, "report_to": "none"}


def trainer(setting, size, longest):
    """Return TRL's trainer, with a model and a tokenizer that it never gets to use."""
    trl, hf, tok = import_module("trl"), import_module("transformers"), import_module("tokenizers")
    words = {"<pad>": 0, "<eos>": 1, "a": 2}
    inner = tok.Tokenizer(tok.models.WordLevel(words, unk_token="<pad>"))
    special = {"pad_token": "<pad>", "eos_token": "<eos>"}
    config = hf.LlamaConfig(vocab_size=3, num_hidden_layers=1, hidden_size=64, pad_token_id=0)
    told = trl.GRPOConfig(
        **PLAIN,
        per_device_train_batch_size=size,
        num_generations=size,
        max_completion_length=longest,
        **setting,
    )
    rows, earned = import_module("datasets").Dataset.from_list([{"prompt": "a"}] * size), []
    made = trl.GRPOTrainer(
        model=hf.LlamaForCausalLM(config),
        processing_class=hf.PreTrainedTokenizerFast(tokenizer_object=inner, **special),
        reward_funcs=lambda completions, **_: earned[-1],
        args=told,
        train_dataset=rows,
    )
    made.model.train()
    made.current_gradient_accumulation_steps = told.gradient_accumulation_steps
    return made, earned


def slope(made, earned, group, torch):
    """Return ∂loss/∂logp of one group, by TRL."""
    logp = torch.tensor(group["logp"], dtype=torch.float64, requires_grad=True)
    texts, earned[:] = [[2] * n for n in group["length"]], [group["reward"]]
    ones = [[2]] * len(texts)
    made._generate = lambda _: (ones, texts, None, ["a"] * len(texts), None, {}, None, None)
    made._get_per_token_logps_and_entropies = lambda *_, **__: (logp, torch.zeros_like(logp), None)
    inputs = made._generate_and_score_completions([{"prompt": "a"}] * len(texts))
    loss = made.compute_loss(made.model, inputs) * made.current_gradient_accumulation_steps
    return torch.autograd.grad(loss, logp)[0].tolist()


def serve():
    """Answer groups on standard input with slopes: this side knows TRL, and nothing of logpi."""
    torch, answer = import_module("torch"), sys.stdout
    sys.stdout = sys.stderr  # whatever TRL prints is no answer
    asked = json.loads(sys.stdin.readline())
    made = trainer(asked["setting"], asked["size"], asked["longest"])
    for line in sys.stdin:
        print(json.dumps(slope(*made, json.loads(line), torch)), file=answer, flush=True)


def audited(python, setting, m, size, longest):
    """Return the audit of TRL's loss with these settings."""
    torch, audit = import_module("torch"), import_module("logpi.audit")
    command = [python, "-W", "ignore", __file__, "--serve"]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) as child:
        question, answer = child.stdin, child.stdout
        assert question is not None
        assert answer is not None

        def loss(x):
            group = {name: x[name].tolist() for name in ("logp", "reward")}
            ask = {**group, "length": x["mask"].sum(1).tolist()}
            print(json.dumps(ask), file=question, flush=True)
            return (torch.tensor(json.loads(answer.readline())) * x["logp"]).sum()

        print(json.dumps({"setting": setting, "size": size, "longest": longest}), file=question)
        return audit.loss(loss, m, group_size=size)


def main():
    """Print the table, or serve."""
    parser = argparse.ArgumentParser(description="TRL's own GRPO code, audited.")
    parser.add_argument("--trl", default=".venv-bench/bin/python", help="a Python that has TRL")
    parser.add_argument("--seed", type=int, default=0, help="of policy and rewards")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    try:
        subprocess.run([given.trl, "-c", "import trl"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        print(f"{given.trl} has no TRL: run `make bench`, which installs it, or name another.")
        return
    print(f"{'':<38}{'cosine':>9}{'scale':>9}{'noise/signal':>14}  against the return")
    m = import_module("logpi.audit.models").texts(3, 3, seed=given.seed)
    for name, setting in SETTINGS.items():
        found = audited(given.trl, setting, m, size=2, longest=3).against("return")
        print(f"{name:<38}{found.cosine:>9.5f}{found.scalar:>9.4f}{found.noise_to_signal:>14.1f}")


if __name__ == "__main__":
    main()
