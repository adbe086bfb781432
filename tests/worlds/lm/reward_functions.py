"""Rewards of every temper; a worker imports this file, so it imports little."""

import math
import os
import subprocess
import sys
import time


def length(prompt, completion):
    return len(completion)


def answered(prompt, completion, answer):
    return completion == answer


def echo(prompt, completion, **columns):
    return float(columns["value"])


def moody(prompt, completion, mood="good"):
    if mood == "hang":
        time.sleep(60)
    if mood == "spin":
        import re

        re.match(r"(a+)+$", "a" * 40 + "b")  # holds the interpreter lock for hours
    if mood == "raise":
        raise KeyError("no such key")
    if mood == "exit":
        sys.exit("bye")
    if mood == "die":
        os._exit(3)
    if mood == "crash":
        os.kill(os.getpid(), 11)
    if mood == "talk":
        print("noise on stdout" * 10_000, flush=True)
        subprocess.run(["echo", "noise of a child"], check=True)
        sys.stdin.read()
    if mood == "child":
        subprocess.Popen(["sleep", "60"])
        time.sleep(60)
    odd = {
        "none": None,
        "nan": math.nan,
        "inf": -math.inf,
        "huge": 10**400,
        "text": "1",
        "dict": {},
    }
    return odd.get(mood, 1.0)


def slowly(prompt, completion):
    time.sleep(0.05)
    return float(completion)


def process_id(prompt, completion):
    return os.getpid()


def steps(prompt, completion):
    return [1.0] * len(completion)


def loaded_torch(prompt, completion):
    return "torch" in sys.modules or "transformers" in sys.modules


class Judge:
    def __init__(self, bonus):
        self.bonus = bonus

    def __call__(self, prompt, completion):
        return self.bonus
