"""What issue "First light" said must be shown."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import showlib
from showlib import GOLDEN, ROOT, SLUICE, NotHere, line, need

LOGITS_LIMIT = 1e-3           # golden models against the reference, --exact
STREAMS = 32
RESIDENT_GROWTH_BYTES = 2 << 20
DECODE_RATIO, USERS_RATIO = 0.9, 2.0


# --- from nothing ----------------------------------------------------------------------------

@contextlib.contextmanager
def from_nothing(*command):
    """Runs a command in a fresh clone with nothing cached: on a bare Debian (tools/fresh.sh) where
    that can be made here, else on this machine. Yields (process, log file, start time, where)."""
    with tempfile.TemporaryDirectory(prefix="sluice-show-") as folder:
        log = pathlib.Path(folder, "log")
        env, where, start = dict(os.environ), "a bare Debian", ROOT
        if os.geteuid() == 0 and shutil.which("debootstrap"):
            command = ("tools/fresh.sh", *command)
        else:
            where, start = "this machine", pathlib.Path(folder, "main")
            showlib.check(["git", "clone", "--quiet", "--no-hardlinks", ROOT, start])
            env["SLUICE_CACHE"] = str(pathlib.Path(folder, "cache"))
            if showlib.SHARED.is_dir():
                os.symlink(showlib.SHARED, pathlib.Path(folder, "shared"))
        with open(log, "wb") as out:
            process = subprocess.Popen(command, cwd=start, env=env, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, start_new_session=True)
        try:
            # Making the bare system is not part of what is timed.
            while where == "a bare Debian" and process.poll() is None and \
                    b"\nfresh: " not in b"\n" + log.read_bytes():
                time.sleep(0.1)
            yield process, log, time.monotonic(), where
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)


@line("make-run", "`make run` from nothing on a fresh machine: an answer, then a server")
def make_run():
    port = showlib.free_port()
    with from_nothing("make", "run", f"PORT={port}") as (process, log, began, where):
        while True:
            if process.poll() is not None or time.monotonic() - began > 1800:
                raise RuntimeError("make run did not serve: " +
                                   log.read_text(errors="replace").strip()[-300:])
            with contextlib.suppress(OSError, http.client.HTTPException):
                if showlib.get(port, "/health", timeout=5)[0] == 200:
                    break
            time.sleep(0.2)
        seconds = time.monotonic() - began
        learn_model(port)
        text = chat(port, 0, 8, False)
        return f"{seconds:.0f} s on {where} to a ready server", bool(text)


@line("make-test", "`make test` from nothing on a fresh machine")
def make_test():
    with from_nothing("make", "test") as (process, log, began, where):
        code = process.wait(3600)
        seconds = time.monotonic() - began
        counts = re.findall(r"^\d+ passed, .*$", log.read_text(errors="replace"), re.M)
        return (f"{seconds:.0f} s on {where}: {counts[-1] if counts else 'no count'}",
                code == 0 and bool(counts))


@line("size", "build/sluice: one program under 5 MB, few shared libraries")
def size():
    n_bytes = SLUICE.stat().st_size
    libraries = showlib.check(["ldd", SLUICE]).decode().count("=>")
    return f"{n_bytes / 1e6:.2f} MB, {libraries} shared libraries", n_bytes < 5e6 and libraries <= 8


# --- golden ----------------------------------------------------------------------------------

def golden_models():
    need(GOLDEN / "arch")
    for folder in sorted([*(GOLDEN / "arch").glob("llama-*"), GOLDEN / "arch" / "llama3-rope"]):
        golden = json.loads((folder / "golden.json").read_text())
        for file in sorted(folder.glob("*.gguf")):
            yield folder, file, golden


@line("golden", "golden llama models, --exact, every level: logits within 1e-3, same greedy tokens")
def golden():
    levels = showlib.isa_levels()
    worst, n_cases, wrong = (0.0, ""), 0, []
    for folder, file, data in golden_models():
        all_rows = showlib.npy_rows(folder / "p17_logits.npy")
        for level in levels:
            for case in data["cases"]:
                name = f"{file.name} {case['id']} {level}"
                worst = max(worst, (showlib.golden_case_error(file, case, all_rows, level), name))
                if showlib.golden_greedy_wrong(file, case, level):
                    wrong.append(name)
                n_cases += 1
    figure = (f"{n_cases} cases at {', '.join(levels)}: largest difference {worst[0]:.1e} "
              f"({worst[1]}), {len(wrong)} with other greedy tokens")
    if wrong:
        figure += f", first {wrong[0]}"
    return figure, n_cases > 0 and worst[0] <= LOGITS_LIMIT and not wrong


@line("blocks", "block types decode as in quant/blocks.json, to the last two bits")
def blocks():
    need(GOLDEN / "quant" / "blocks.json")
    program = next((path for path in sorted((ROOT / "tests/unit/quant").glob("test_*.c"))
                    if "blocks.json" in path.read_text()), None)
    if program is None:
        raise NotHere("no unit test reads blocks.json")
    return showlib.unit_test(program.stem)


# --- SmolLM2 ---------------------------------------------------------------------------------

@line("smollm2-exact", "SmolLM2, --exact: first-token top-20 within 1e-2, greedy tokens")
def smollm2_exact():
    return showlib.first_token_exact(showlib.smollm2(), "smollm2.json")


@line("smollm2-default", "SmolLM2, default mode: mean top-20 difference at most 1.1 x llama.cpp's")
def smollm2_default():
    return showlib.first_token_default(showlib.smollm2(), "smollm2.json")


# --- tokenizers ------------------------------------------------------------------------------

def tokenizer_cases():
    """(file, text, options, ids, must round-trip) of every case of the tokenizers named."""
    need(GOLDEN / "tok")
    vocabularies = showlib.fetched("vocab")
    for name in ("gpt-2", "smollm2", "llama-bpe", "llama-spm"):
        file = showlib.smollm2() if name == "smollm2" else vocabularies / f"ggml-vocab-{name}.gguf"
        plain = GOLDEN / "tok" / "vocab_cases" / f"{name}.json"
        for case in json.loads(plain.read_text())["cases"] if plain.exists() else []:
            yield file, case["input"].encode(), [], case["ids"], False
        for case in json.loads((GOLDEN / "tok/extra_cases" / f"{name}.json").read_text())["cases"]:
            text = case["text"].encode()
            yield file, text, [], case["ids"], case["llama_cpp_detokenizes_back"]
            yield (file, text, ["--add-special", "--parse-special"],
                   case["ids_add_special_parse_special"], False)
    for folder, file, data in golden_models():
        for case in data["tokenizer_cases"]:
            yield file, case["text"].encode(), [], case["ids"], False


@line("tokenizers", "tokenizers of GPT-2, SmolLM, Llama 3, Llama 2: every case exact")
def tokenizers():
    return showlib.tokenizer_verdict(tokenizer_cases())


# --- the server ------------------------------------------------------------------------------

TOPICS = ("the sea", "a clock", "old maps", "bread", "snow", "a bridge", "salt", "glass", "a lighthouse",
          "rivers", "paper", "a garden", "iron", "a violin", "honey", "the moon")


def prompt(i):
    """Prompts of different lengths, so that chunks and decodes mix."""
    return f"Write a few sentences about {TOPICS[i % len(TOPICS)]}" + ", please" * (i // 4) + "."


def chat(port, i, max_tokens, stream):
    body = {"model": "any", "messages": [{"role": "user", "content": prompt(i)}],
            "temperature": 0, "max_tokens": max_tokens}
    body["model"] = chat.model
    if not stream:
        return showlib.post(port, "/v1/chat/completions", body)["choices"][0]["message"]["content"]
    return "".join(choice["delta"].get("content") or ""
                   for event in showlib.post_stream(port, "/v1/chat/completions", body)
                   for choice in event["choices"])


def learn_model(port):
    chat.model = json.loads(showlib.get(port, "/v1/models")[1])["data"][0]["id"]


def referenced_pages(port):
    """Pages that some request holds, from /metrics."""
    pages = showlib.metric(port, r"sluice_kv_pages_(used|referenced|in_use)\b")
    if pages is None:
        raise RuntimeError("/metrics does not tell the pages in use")
    return int(pages)


@line("streams", f"{STREAMS} streams at once give the text of each alone; pages return to 0")
def streams():
    with showlib.sluice_server("--batch-invariant") as (port, _):
        learn_model(port)
        alone = [chat(port, i, 48, i % 2 == 0) for i in range(STREAMS)]
        together = showlib.at_once(STREAMS, lambda i: chat(port, i, 48, True))
        same = sum(a == b for a, b in zip(alone, together))
        deadline = time.monotonic() + 5
        while (pages := referenced_pages(port)) and time.monotonic() < deadline:
            time.sleep(0.05)
        empty = sum(not text for text in together)
        return (f"{same} of {STREAMS} the same, {len(set(together))} different texts, "
                f"{pages} pages held afterwards", same == STREAMS and pages == 0 and not empty)


@line("memory", "--kv-memory 256M: resident memory after 2,000 requests at most 2 MB above 200")
def memory():
    with showlib.sluice_server("--kv-memory", "256M") as (port, process):
        learn_model(port)

        def many(count):
            with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
                list(pool.map(lambda i: chat(port, i % 64, 8, i % 2 == 0), range(count)))
            return showlib.resident_bytes(process.pid)
        first = many(200)
        last = many(1800)
        return (f"{first / 1e6:.1f} MB after 200, {last / 1e6:.1f} MB after 2,000",
                last <= first + RESIDENT_GROWTH_BYTES)


# --- speed -----------------------------------------------------------------------------------

def users_rate(port, n_prompt, n_gen, model):
    """Total tokens per second of 32 users, each one completion of n_prompt + n_gen tokens."""
    def one(i):
        ids = [1000 + (i * 7919 + k * 104729) % 40000 for k in range(n_prompt)]
        answer = showlib.post(port, "/v1/completions", {
            "model": model, "prompt": ids, "max_tokens": n_gen, "temperature": 0,
            "ignore_eos": True, "cache_prompt": False})
        return answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    began = time.monotonic()
    tokens = sum(showlib.at_once(STREAMS, one))
    seconds = time.monotonic() - began
    if tokens != STREAMS * (n_prompt + n_gen):
        raise RuntimeError(f"{tokens} tokens, {STREAMS * (n_prompt + n_gen)} asked for")
    return tokens / seconds


def ours_bench(model, *options):
    text = showlib.sluice("bench", model, *options, "--threads", showlib.n_cpus(), "--json",
                          timeout=1800).decode()
    return [json.loads(row) for row in text.splitlines() if row.strip()]


@line("decode", "one-stream decode at least 0.9 x llama.cpp's (llama-bench, depth 512)")
def decode():
    model, rival = showlib.smollm2(), showlib.rival_binaries()
    theirs = 0.0
    for flash in ("0", "1"):
        rows = json.loads(showlib.check(
            [rival / "llama-bench", "-m", model, "-t", showlib.n_cpus(), "-p", 0, "-n", 64, "-d", 512,
             "-fa", flash, "-r", 5, "-o", "json"], timeout=900))
        theirs = max(theirs, rows[0]["avg_ts"])
    ours = ours_bench(model, "--prompt", 512, "--gen", 64, "--batch", 1, "--depth", 0,
                      "--reps", 5)[0]["gen_tps"]
    return (f"ours {ours:.0f}, llama.cpp {theirs:.0f} tokens/s: {ours / theirs:.2f} x",
            ours >= DECODE_RATIO * theirs)


@line("users", "32 users x (128 + 64) total tokens/s at least 2 x llama.cpp's server")
def users():
    model, rival, threads = showlib.smollm2(), showlib.rival_binaries(), showlib.n_cpus()
    with showlib.sluice_server("--threads", threads) as (port, _):
        name = json.loads(showlib.get(port, "/v1/models")[1])["data"][0]["id"]
        users_rate(port, 128, 8, name)
        ours = max(users_rate(port, 128, 64, name) for _ in range(3))
    port = showlib.free_port()
    command = [rival / "llama-server", "-m", model, "-t", threads, "-tb", threads, "-np", STREAMS,
               "-c", STREAMS * 256, "-fa", "on", "--host", "127.0.0.1", "--port", port]
    with showlib.server(command, port):
        users_rate(port, 128, 8, "any")
        theirs = max(users_rate(port, 128, 64, "any") for _ in range(3))
    return (f"ours {ours:.0f}, llama-server {theirs:.0f} tokens/s: {ours / theirs:.2f} x",
            ours >= USERS_RATIO * theirs)


@line("batched", "batch of 32 x (128 + 64), no server: total tokens/s against llama-batched-bench")
def batched():
    model, rival, threads = showlib.smollm2(), showlib.rival_binaries(), showlib.n_cpus()
    row = ours_bench(model, "--prompt", 128, "--gen", 64, "--batch", STREAMS, "--depth", 0,
                     "--reps", 3)[0]
    total = STREAMS * (128 + 64)
    ours = total / (STREAMS * 128 / row["prompt_tps"] + STREAMS * 64 / row["gen_tps"])
    theirs = showlib.batched_bench(
        [rival / "llama-batched-bench", "-m", model, "-t", threads, "-c", STREAMS * 256, "-b", 2048,
         "-ub", 512, "-npp", 128, "-ntg", 64, "-npl", STREAMS, "-fa", "on", "--output-format",
         "jsonl"], 1)[0]["speed"]
    return (f"ours {ours:.0f}, llama.cpp {theirs:.0f} tokens/s: {ours / theirs:.2f} x",
            ours >= USERS_RATIO * theirs)


# --- hardening -------------------------------------------------------------------------------

@line("fuzz", "fuzz targets: 10 minutes each without a finding (docs/fuzz-record.tsv)")
def fuzz():
    return showlib.fuzz_record(
        p.stem.removeprefix("fuzz_") for p in (ROOT / "tests/fuzz").glob("fuzz_*.c"))


def sanitized(word):
    done = subprocess.run(["make", word], cwd=ROOT, capture_output=True, text=True, timeout=3600,
                          stdin=subprocess.DEVNULL)
    counts = re.findall(r"\d+% tests passed, \d+ tests failed out of \d+", done.stdout)
    return counts[-1] if counts else "did not run", done.returncode == 0 and bool(counts)


@line("asan", "address, leak and undefined-behaviour sanitizers clean")
def asan():
    return sanitized("asan")


@line("tsan", "thread sanitizer clean")
def tsan():
    return sanitized("tsan")
