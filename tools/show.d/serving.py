"""What issue "The serving core" says must be shown, as far as it is built. Standard library only."""

import json
import statistics

import showlib
from showlib import line

PAIRS = 7
KV_TOKEN_BYTES = 2 * 192 * 30 * 2  # SmolLM2: keys and values of 30 layers, 192 halves each


def load(port, process, *options):
    """The figures of one run of the load generator."""
    text = showlib.sluice("bench", "serve", "--base", f"http://127.0.0.1:{port}", "--pid", process.pid,
                          "--json", *options, timeout=3600)
    return json.loads(text)


def served(options, *work):
    """The figures of a workload on a server of its own, warmed by a few requests."""
    with showlib.sluice_server("--threads", showlib.n_cpus(), "--no-calibrate", *options) as (port, process):
        load(port, process, "--users", 4, "--requests", 8, "--prompt", 32, "--gen", 8, "--seed", 999)
        return load(port, process, *work)


def paired(figure, ours, theirs, pairs=PAIRS):
    """Median of figure(ours()) / figure(theirs()) over interleaved pairs, with both medians."""
    a, b = [], []
    for i in range(pairs):
        for make, into in ((ours, a), (theirs, b)) if i % 2 == 0 else ((theirs, b), (ours, a)):
            into.append(figure(make()))
        showlib.say(f"  pair {i + 1}: {a[-1]:.1f} / {b[-1]:.1f} = {a[-1] / b[-1]:.3f}")
    return (statistics.median(x / y for x, y in zip(a, b)), statistics.median(a),
            statistics.median(b))


@line("simulator", "10,000 seeds of the scheduler's simulation without a violation", 3)
def simulator():
    return showlib.unit_test("test_sim_sched")


def against_cache_off(figure, limit, *work):
    ratio, ours, off = paired(figure, lambda: served((), *work), lambda: served(("--no-prefix-cache",), *work))
    return f"{ours:.0f} ms with, {off:.0f} ms without: {ratio:.3f} x ({PAIRS} pairs)", ratio <= limit


@line("shared-prompt", "64 requests at once, one 1,500-token beginning: TTFT p50 at most 0.1 x of that "
      "with the cache off", 6)
def shared_prompt():
    return against_cache_off(lambda f: f["ttft_ms"]["p50"], 0.1, "--users", 64, "--requests", 64, "--shared", 1500,
                             "--prompt", 1532, "--gen", 16)


@line("chats", "8-turn chats of 200-token messages and answers: mean TTFT of turns 2 to 8 at most 0.4 x of "
      "that with the cache off", 15)
def chats():
    return against_cache_off(lambda f: f["later_ttft_ms"]["mean"], 0.4, "--users", 8, "--requests", 8, "--turns", 8,
                             "--prompt", 200, "--gen", 200)


@line("static-batching", "callers that want 500, 10 and 2,000 tokens, equal memory: at least 3 x the output of "
      "static batches of 8", 30)
def static_batching():
    memory = ("--kv-memory", str(8 * 8192 * KV_TOKEN_BYTES), "--ctx", 8192)
    work = ("--users", 32, "--requests", 64, "--prompt", 64, "--gen", "500,10,2000")
    ratio, ours, static = paired(lambda f: f["output_tps"], lambda: served(memory, *work),
                                 lambda: served((*memory, "--batching", "static", "--batch", 8), *work),
                                 pairs=3)
    return f"{ours:.0f} against {static:.0f} tokens/s: {ratio:.2f} x (3 pairs)", ratio >= 3.0


TEXT = '''The harbour of the old town is small, but every morning before the sun is up the boats come
home with what the night has given them. The fishermen put their boxes on the stones in front of the
hall, and the buyers walk slowly from one to the next, look into each of them, and say nothing. At six
a bell rings. From then on everybody talks at the same time, prices are called and refused, hands are
shaken, and a boy with a piece of chalk writes the names of the buyers on the boxes. An hour later the
place is empty, the stones have been washed, and only the gulls still look for what was lost. The inn
at the corner opens its door, and those who have sold well sit down at the long table for coffee, bread
and the first stories of the day. Nobody believes them, and nobody minds. When the church strikes nine
the men go home to sleep, the children run to school along the sea wall, and the old women bring their
chairs out to the sunny side of the street to mend the nets. In the afternoon the ferry brings visitors
from the mainland. They buy postcards, take pictures of the nets and of the women, and ask where they
can eat fish. In the evening the harbour is quiet again. Lamps are lit on the boats, engines cough and
start, and one after the other they leave between the two stone towers at the end of the pier, towards
the dark line where the sky begins and where, as the fishermen say, the sea keeps its own accounts.'''
QUESTIONS = ("Tell me about the history of Rome.", "How do I bake bread?", "What is photosynthesis?",
             "Write a short story about a cat and a dog.", "Explain how a bicycle works.",
             "List ten animals and their homes.", "Why is the sky blue?", "How should I prepare for an interview?")


def generated(*options):
    """Tokens per second after the first one, and the ids, of one answer."""
    text = showlib.sluice("run", showlib.smollm2(), "--threads", showlib.n_cpus(), "--json", "--quiet", *options,
                          timeout=600)
    answer = json.loads(text)
    return (answer["timings"]["gen_n"] - 1) / answer["timings"]["gen_ms"] * 1e3, answer["ids"]


def guessed(prompts):
    """Median over the prompts of each one's speed with guesses / without, over PAIRS pairs; whether all
    answers are the same."""
    ratios, same = [], True
    for prompt in prompts:
        pairs = []
        for i in range(PAIRS):
            order = ((), ("--no-speculate",)) if i % 2 == 0 else (("--no-speculate",), ())
            found = {flags: generated(*prompt, *flags) for flags in order}
            pairs.append(found[()][0] / found["--no-speculate",][0])
            same = same and found[()][1] == found["--no-speculate",][1]
        ratios.append(statistics.median(pairs))
        showlib.say(f"  {ratios[-1]:.2f} x")
    return ratios, "the same tokens" if same else "OTHER TOKENS", same


@line("guesses-copy", "prompt lookup where a 400-token text is edited: at least 2 x one stream's speed, same tokens", 2)
def guesses_copy():
    again = (f"A text:\n{TEXT}\n\nThe same text, in which the town has got a name, Porto Luna:\n"
             f"{TEXT[:100].replace('the old town', 'Porto Luna')}")
    ratios, told, same = guessed([("--raw", "-p", again, "-n", 400)])
    return f"{ratios[0]:.2f} x ({PAIRS} pairs), {told}", same and ratios[0] >= 2.0


@line("guesses-chat", "prompt lookup in plain chat: never below 0.97 x one stream's speed, same tokens", 5)
def guesses_chat():
    ratios, told, same = guessed([("-p", question, "-n", 200) for question in QUESTIONS] +
                                 [("-p", question, "-n", 200, "--temp", 1, "--seed", 5) for question in QUESTIONS[:4]])
    return (f"{min(ratios):.2f} x for the slowest of {len(ratios)} questions, {statistics.median(ratios):.2f} x in the "
            f"middle, {told}", same and min(ratios) >= 0.97)


def in_process(n):
    text = showlib.sluice("bench", showlib.smollm2(), "--prompt", 128, "--gen", 64, "--batch", n, "--reps", 1,
                          "--threads", showlib.n_cpus(), "--json", "--quiet", timeout=1800).decode()
    row = json.loads(text)
    return n * (128 + 64) / (n * 128 / row["prompt_tps"] + n * 64 / row["gen_tps"])


def users(n):
    def over_http():
        # One token at a time as in process, where nothing is guessed.
        return served(("--no-speculate",), "--users", n, "--requests", 2 * n, "--prompt", 128, "--gen", 64)["total_tps"]
    ratio, ours, bench = paired(lambda rate: rate, over_http, lambda: in_process(n))
    return f"{ours:.0f} over HTTP, {bench:.0f} in process: {ratio:.2f} x ({PAIRS} pairs)", ratio >= 0.9


@line("plan", "sluice plan against a measurement: tokens/s of 8 and 32 sequences of 128 + 64 within a fifth", 2)
def plan():
    text = showlib.sluice("plan", showlib.smollm2(), "--users", 32, "--context", 192, "--threads", showlib.n_cpus(),
                          "--json", "--quiet", timeout=600)
    told, ratios = json.loads(text), []
    for n in 8, 32:
        expected = next(row["tokens_per_second"] for row in told["rows"] if row["users"] == n)
        rates = [json.loads(showlib.sluice("bench", showlib.smollm2(), "--prompt", 128, "--gen", 64, "--batch", n,
                                           "--reps", 1, "--threads", showlib.n_cpus(), "--json", "--quiet",
                                           timeout=600))["gen_tps"] for _ in range(PAIRS)]
        ratios.append(statistics.median(rates) / expected)
    return (f"measured {ratios[0]:.2f} x of what is foretold with 8 users, {ratios[1]:.2f} x with 32",
            all(0.8 <= ratio <= 1.25 for ratio in ratios))


@line("32-users", "32 users x (128 + 64), total tokens/s over HTTP: at least 0.9 x those in process", 3)
def users_32():
    return users(32)


@line("128-users", "128 users x (128 + 64), total tokens/s over HTTP: at least 0.9 x those in process", 5)
def users_128():
    return users(128)


@line("overload", "twice the pages needed than there are: everybody is answered, pages return", 3)
def overload():
    memory = str(32 * 300 * KV_TOKEN_BYTES // 2)  # half of what 32 requests of 300 tokens hold
    with showlib.sluice_server("--threads", showlib.n_cpus(), "--no-calibrate", "--kv-memory",
                               memory) as (port, process):
        f = load(port, process, "--users", 32, "--requests", 96, "--prompt", 150, "--gen", 150)
        holds = showlib.metric(port, r"sluice_requests_held_total")
        used = showlib.metric(port, r"sluice_kv_pages_used")
    return (f"{f['answered']} of 96 answered with {f['output_tokens']} tokens, {holds or 0:.0f} times somebody "
            f"waited, {used:.0f} pages held afterwards",
            f["answered"] == 96 and f["output_tokens"] == 96 * 150 and used == 0)
