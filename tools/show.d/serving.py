"""What issue "The serving core" says must be shown, as far as it is built. Standard library only."""

import http.client
import json
import pathlib
import statistics
import subprocess
import sys
import threading
import time

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
    text = showlib.sluice("run", showlib.smollm2(), "--threads", showlib.n_cpus(), "--json", "--quiet",
                          "--batch-invariant", *options, timeout=600)
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


HALF = str(32 * 300 * KV_TOKEN_BYTES // 2)  # bytes: half of what 32 requests of 300 tokens hold


def crowd(*options):
    """What 32 requests at once get, 150 + 150 tokens each, how often one was put on hold, and the pages held
    afterwards."""
    with showlib.sluice_server("--threads", showlib.n_cpus(), "--no-calibrate", "--batch-invariant",
                               *options) as (port, _):
        def ask(i):
            body = {"prompt": [1000 + 7 * i + k * (i + 3) % 40000 for k in range(150)], "max_tokens": 150,
                    "temperature": 0.5, "seed": i, "ignore_eos": True, "return_token_ids": True}
            return showlib.post(port, "/v1/completions", body)["choices"][0]["token_ids"]
        answers = showlib.at_once(32, ask)
        return (answers, showlib.metric(port, r"sluice_requests_held_total") or 0,
                showlib.metric(port, r"sluice_kv_pages_used"))


@line("overload", "twice the pages needed than there are: everybody finishes, outputs as without the shortage", 1)
def overload():
    (alone, _, _), (answers, holds, used) = crowd(), crowd("--kv-memory", HALF)
    same = sum(a == b for a, b in zip(alone, answers))
    return (f"{same} of 32 answers the same, {holds:.0f} times somebody was put on hold, {used:.0f} pages held afterwards",
            same == 32 and used == 0)


@line("overload-goodput", "goodput at twice the users that the pages hold: at least 0.9 x that at as many as they hold", 4)
def overload_goodput():
    def goodput(users):
        f = served(("--kv-memory", HALF), "--users", users, "--requests", 64, "--prompt", 150, "--gen", 150)
        return f["output_tps"] if f["answered"] == 64 else 0.0
    ratio, twice, once = paired(lambda rate: rate, lambda: goodput(32), lambda: goodput(16))
    return f"{twice:.0f} tokens/s with 32 users, {once:.0f} with 16: {ratio:.2f} x ({PAIRS} pairs)", ratio >= 0.9


@line("tenants", "a second tenant finds nothing of the first one's prompt, and the first one does", 1)
def tenants():
    with showlib.sluice_server("--threads", showlib.n_cpus(), "--no-calibrate", "--trust-tenant-header") as (port, _):
        def cached(tenant):
            before = showlib.metric(port, r"sluice_prompt_tokens_total")
            usage = showlib.post(port, "/v1/completions", {"prompt": list(range(1000, 1640)), "max_tokens": 1},
                                 headers={"X-Sluice-Tenant": tenant})["usage"]
            computed = showlib.metric(port, r"sluice_prompt_tokens_total") - before
            return usage["prompt_tokens_details"]["cached_tokens"], computed
        first, other, again = cached("a"), cached("b"), cached("a")
    return (f"cached and computed of 640: first {first}, second tenant {other}, first again {again}",
            first == other == (0, 640) and again == (608, 32))


def gaps_beside_prompt():
    """Times between tokens of 8 streams: before a prompt of 4,000 tokens comes, and while it is read."""
    with showlib.sluice_server("--threads", showlib.n_cpus(), "--no-speculate", "--ctx", 8192) as (port, process):
        load(port, process, "--users", 8, "--requests", 8, "--prompt", 32, "--gen", 8)
        while not showlib.metric(port, r"sluice_step_cost_ratio"):  # once steps were measured, while it was idle
            time.sleep(1)
            load(port, process, "--users", 1, "--requests", 1, "--prompt", 32, "--gen", 8)
        times = [[] for _ in range(8)]
        over = threading.Event()

        def follow(i):
            body = {"prompt": [3000 + 11 * i + k for k in range(64)], "max_tokens": 4000, "temperature": 1, "seed": i,
                    "ignore_eos": True, "stream": True}
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            link.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = link.getresponse()
            while not over.is_set() and answer.readline().startswith(b"data: {"):
                times[i].append(time.monotonic())
                answer.readline()
            link.close()
        streams = [threading.Thread(target=follow, args=(i,), daemon=True) for i in range(8)]
        for stream in streams:
            stream.start()
        time.sleep(3)
        begin = time.monotonic()
        showlib.post(port, "/v1/completions", {"prompt": [500 + k for k in range(4000)], "max_tokens": 1})
        end = time.monotonic()
        over.set()
        for stream in streams:
            stream.join()
    before = [b - a for t in times for a, b in zip(t, t[1:]) if begin - 2 < b < begin]
    beside = [b - a for t in times for a, b in zip(t, t[1:]) if begin < b < end]
    return statistics.median(before), statistics.quantiles(beside, n=20)[-1], end - begin


@line("long-prompt", "a 4,000-token prompt among 8 streams: p95 between tokens at most 2 x the median before", 4)
def long_prompt():
    runs = [gaps_beside_prompt() for _ in range(PAIRS)]
    ratio = statistics.median(p95 / before for before, p95, _ in runs)
    before, p95, read_s = (statistics.median(column) for column in zip(*runs))
    return (f"{1e3 * before:.1f} ms before, p95 {1e3 * p95:.1f} ms beside the prompt, which took {read_s:.1f} s: "
            f"{ratio:.2f} x ({PAIRS} runs)", ratio <= 2.0)


def busy_s(pid):
    """Processor time of all threads of a process."""
    threads = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@line("burner", "another process burns a core: throughput at least 0.85 x (1 - its share of the machine) of the quiet run", 5)
def burner():
    work = ("--users", 32, "--requests", 64, "--prompt", 128, "--gen", 64)
    shares = []

    def beside():
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burning:
            try:
                begin, used = time.monotonic(), busy_s(burning.pid)
                rate = served((), *work)["total_tps"]
                shares.append((busy_s(burning.pid) - used) / (time.monotonic() - begin) / showlib.n_cpus())
                return rate
            finally:
                burning.kill()
    ratio, ours, quiet = paired(lambda rate: rate, beside, lambda: served((), *work)["total_tps"])
    bound = 0.85 * (1 - statistics.median(shares))
    return (f"{ours:.0f} beside it, {quiet:.0f} without: {ratio:.2f} x, {bound:.2f} asked with its share of "
            f"{100 * statistics.median(shares):.0f} % ({PAIRS} pairs)", ratio >= bound)


@line("idle", "a server with nothing to do: at most 10 ms of processor time in 60 s", 2)
def idle():
    with showlib.sluice_server("--threads", showlib.n_cpus()) as (port, process):
        load(port, process, "--users", 8, "--requests", 16, "--prompt", 128, "--gen", 32)
        time.sleep(15)  # steps are measured, if they were not
        before = busy_s(process.pid)
        time.sleep(60)
        ms = 1e3 * (busy_s(process.pid) - before)
    return f"{ms:.2f} ms in 60 s", ms <= 10


@line("resident", "--kv-memory 256M: resident memory after 10,000 requests at most 2 MB above that after 1,000", 8)
def resident():
    with showlib.sluice_server("--threads", showlib.n_cpus(), "--no-calibrate", "--kv-memory",
                               "256M") as (port, process):
        def after(count, seed):
            f = load(port, process, "--users", 32, "--requests", count, "--prompt", 32, "--gen", 8, "--seed", seed)
            time.sleep(3)  # memory that was freed goes back two seconds later
            return f["answered"], showlib.resident_bytes(process.pid) / 1e6
        (first, early), (second, late) = after(1000, 1), after(9000, 2)
        used = showlib.metric(port, r"sluice_kv_pages_used")
    return (f"{early:.1f} MB after 1,000, {late:.1f} MB after 10,000, {used:.0f} pages held afterwards",
            first == 1000 and second == 9000 and late <= early + 2 and used == 0)
