"""What the programs bench/rival_NAME.py share: they are started by bench/rivals.py in a virtual
environment as `rival_NAME.py MODEL THREADS SEQUENCES TOKENS SETTINGS` (the most that a run will ask
for; settings as JSON), say that they are ready with one line of JSON, and then answer each line of
standard input with one. Standard library only; to be imported before the library that is measured,
which may print what it likes: standard output is kept for the answers."""

import json
import os
import sys
import time

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def arguments():
    """(model, threads, sequences, tokens of each, settings)"""
    model, threads, sequences, tokens, settings = sys.argv[1:]
    return model, int(threads), int(sequences), int(tokens), json.loads(settings)


def prompts(count, length):
    """Token ids, no two prompts with a common beginning."""
    return [[1000 + (i * 7919 + k * 104729) % 40000 for k in range(length)] for i in range(count)]


def say(answer):
    ANSWERS.write(json.dumps(answer) + "\n")
    ANSWERS.flush()


def serve(version, generate):
    """generate(prompts, n) makes n tokens behind each prompt, greedily, whatever they are, and returns
    how many there are in all."""
    say({"version": version})
    for line in sys.stdin:
        work = json.loads(line)
        ids = prompts(work["batch"], work["prompt"])
        began = time.monotonic()
        generated = generate(ids, work["gen"])
        say({"seconds": time.monotonic() - began, "generated": generated})
