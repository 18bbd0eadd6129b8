"""What issue "Every file" said must be shown."""

import calendar
import json
import math
import pathlib
import random
import subprocess
import time

import showlib
from showlib import GOLDEN, ROOT, NotHere, line, need, say, some

LOGITS_LIMIT = 1e-3           # golden models against the reference, --exact
VECTOR_LIMIT = 1e-4           # encoders
PPL_LIMIT = 0.003             # of ln ppl against float32, if llama.cpp's own error is smaller
CHUNKS = (37, 512)            # tokens of a pass, against the whole prompt in one
LONG_TOKENS, TINY_TOKENS = 8000, 500
N_NEEDLES, NEEDLE_TOKENS = 20, 8000


# --- golden models ---------------------------------------------------------------------------

def arch_models(is_encoder):
    """(folder, file, golden data) of every GGUF of golden/arch of one kind."""
    for path in sorted(need(GOLDEN / "arch").glob("*/golden.json")):
        data = json.loads(path.read_text())
        if ("pooled_b64" in data["cases"][0]) == is_encoder:
            for file in sorted(path.parent.glob("*.gguf")):
                yield path.parent, file, data


def model_verdicts(models, error_of, greedy):
    """Runs every case of every model; returns (figure, passed). error_of(folder, file, case) is a
    difference; a model that does not run fails."""
    worst, n_cases, n_models, broken, far, parted = (0.0, ""), 0, 0, {}, set(), set()
    for folder, file, data in models:
        n_models += 1
        for case in data["cases"]:
            try:
                error = error_of(folder, file, case)
                if greedy and showlib.golden_greedy_wrong(file, case):
                    parted.add(file.name)
            except (RuntimeError, KeyError, ValueError) as reason:
                broken[file.name] = str(reason)
                break
            worst = max(worst, (error, f"{file.name} {case['id']}"))
            if not error <= (LOGITS_LIMIT if greedy else VECTOR_LIMIT):
                far.add(file.name)
            n_cases += 1
    for name, reason in broken.items():
        say(f"{name}: {reason}")
    good = n_models - len(far | parted | set(broken))
    figure = f"{good} of {n_models} files ({n_cases} cases), largest difference {worst[0]:.1e}"
    figure += f" ({worst[1]})" if worst[1] else ""
    for what, names in (("do not run", broken), ("too far", far), ("other greedy tokens", parted)):
        if names:
            figure += f"; {what}: {len(names)} ({some(sorted(names))})"
    return figure, n_models > 0 and good == n_models


@line("arch", "every model of golden/arch, --exact: logits within 1e-3, same greedy tokens")
def arch():
    def error_of(folder, file, case):
        rows = folder / "p17_logits.npy"
        return showlib.golden_case_error(file, case, showlib.npy_rows(rows) if rows.exists() else None)
    return model_verdicts(arch_models(False), error_of, True)


@line("encoders", "every encoder of golden/arch: vectors, plain and of length 1, within 1e-4")
def encoders():
    def vector(file, case, *options):
        answer = json.loads(showlib.sluice("embed", file, "--ids", ",".join(map(str, case["prompt"])),
                                           "--exact", "--json", *options))
        return answer["embedding"]

    def error_of(_, file, case):
        plain = showlib.max_difference(vector(file, case), showlib.floats_b64(case["pooled_b64"]))
        unit = showlib.max_difference(vector(file, case, "--normalize"),
                                      showlib.floats_b64(case["pooled_l2_b64"]))
        return max(plain, unit)
    return model_verdicts(arch_models(True), error_of, False)


@line("quant", "every model of golden/quant, --exact: logits within 1e-3, same greedy tokens")
def quant():
    def models():
        folder = need(GOLDEN / "quant")
        for path in sorted(folder.glob("*.golden.json")):
            data = json.loads(path.read_text())
            for name in data["gguf"].values():
                yield folder, folder / name, data
    return model_verdicts(models(), lambda _, file, case: showlib.golden_case_error(file, case, None),
                          True)


@line("blocks", "every block type of quant/blocks.json decodes as there, to the last two bits")
def blocks():
    types = json.loads(need(GOLDEN / "quant" / "blocks.json").read_text())
    program = next((path for path in sorted((ROOT / "tests/unit/quant").glob("test_*.c"))
                    if "blocks.json" in path.read_text()), None)
    if program is None:
        return "no unit test reads blocks.json", False
    figure, passed = showlib.unit_test(program.stem)  # it fails for a type that does not decode
    return f"{len(types)} types; {figure}", passed


# --- real models -----------------------------------------------------------------------------

def perplexity(model, golden):
    data = showlib.real_golden(golden)["perplexity"]
    answer = json.loads(showlib.sluice(
        "eval", model, "--text", need(GOLDEN / "real" / data["text_file"]), "--ctx", data["n_ctx"],
        "--json", timeout=3600))
    ours = abs(math.log(answer["ppl"] / data["f32"]["ppl"]))
    theirs = abs(math.log(data["quantised"]["ppl"] / data["f32"]["ppl"]))
    return (f"ppl {answer['ppl']:.4f}, float32 {data['f32']['ppl']:.4f}, llama.cpp "
            f"{data['quantised']['ppl']:.4f}: off by {100 * ours:.2f} % and {100 * theirs:.2f} %",
            ours <= max(PPL_LIMIT, theirs))


@line("ppl-smollm2", "SmolLM2, default mode: ln perplexity within llama.cpp's error, or 0.3 %")
def ppl_smollm2():
    return perplexity(showlib.smollm2(), "smollm2.json")


@line("ppl-gemma", "Gemma-3-270m, default mode: ln perplexity within llama.cpp's error, or 0.3 %")
def ppl_gemma():
    return perplexity(showlib.gemma(), "gemma3.json")


@line("smollm2-exact", "SmolLM2, --exact: first-token top-20 within 1e-2, greedy tokens")
def smollm2_exact():
    return showlib.first_token_exact(showlib.smollm2(), "smollm2.json")


@line("smollm2-default", "SmolLM2, default mode: mean top-20 difference at most 1.1 x llama.cpp's")
def smollm2_default():
    return showlib.first_token_default(showlib.smollm2(), "smollm2.json")


@line("gemma-exact", "Gemma-3-270m, --exact: first-token top-20 within 1e-2, greedy tokens")
def gemma_exact():
    return showlib.first_token_exact(showlib.gemma(), "gemma3.json")


@line("gemma-default", "Gemma-3-270m, default mode: mean top-20 difference at most 1.1 x llama.cpp's")
def gemma_default():
    return showlib.first_token_default(showlib.gemma(), "gemma3.json")


# --- tokenizers and templates ----------------------------------------------------------------

def vocabulary(name):
    """The file of a vocabulary: a real model's, one of golden/tok/vocab, or llama.cpp's own."""
    if name.startswith("SmolLM2"):
        return showlib.smollm2()
    if name.startswith("gemma-3"):
        return showlib.gemma()
    here = GOLDEN / "tok" / "vocab" / name
    return here if here.exists() else need(showlib.fetched("vocab") / name)


def tokenizer_cases():
    """(file, text, options, ids, must come back) of every case of golden/tok and golden/arch."""
    for path in sorted(need(GOLDEN / "tok" / "vocab_cases").glob("*.json")):
        data = json.loads(path.read_text())
        file = vocabulary(f"ggml-vocab-{data['vocab']}.gguf")
        for case in data["cases"]:
            yield file, case["input"].encode(), [], case["ids"], False
    for path in sorted(need(GOLDEN / "tok" / "extra_cases").glob("*.json")):
        data = json.loads(path.read_text())
        file = vocabulary(data["gguf"])
        for case in data["cases"]:
            text = case["text"].encode()
            yield file, text, [], case["ids"], case["llama_cpp_detokenizes_back"]
            yield (file, text, ["--add-special", "--parse-special"],
                   case["ids_add_special_parse_special"], False)
    for is_encoder in (False, True):
        for _, file, data in arch_models(is_encoder):
            for case in data.get("tokenizer_cases", []):
                yield file, case["text"].encode(), [], case["ids"], False


@line("tokenizers", "every case of golden/tok and golden/arch: same ids, and back where llama.cpp does")
def tokenizers():
    return showlib.tokenizer_verdict(tokenizer_cases())


def template_right(folder, data, case):
    request = {**data["tokens"], **case["kwargs"], "messages": case["messages"],
               "tools": case["tools"], "add_generation_prompt": case["add_generation_prompt"]}
    now = calendar.timegm(time.strptime(data["now"], "%Y-%m-%dT%H:%M:%S"))
    done = subprocess.run([str(showlib.SLUICE), "render", str(folder / data["template"]), "-"],
                          input=json.dumps(request).encode(), capture_output=True, timeout=60,
                          env={"SOURCE_DATE_EPOCH": str(now)})
    if case["error"] is not None:
        return done.returncode == 1 and not done.stdout
    return done.returncode == 0 and done.stdout == case["expected"].encode()


@line("templates", "every case of golden/templates: the same text, or refused where it must be")
def templates():
    folder, cases = need(GOLDEN / "templates"), []
    for path in sorted((folder / "cases").glob("*.json")):
        data = json.loads(path.read_text())
        cases += [(path.stem, data, case) for case in data["cases"]]
    right = showlib.parallel(lambda case: template_right(folder / "jinja", *case[1:]), cases)
    wrong = [f"{name}/{case['id']}" for (name, _, case), ok in zip(cases, right) if not ok]
    figure = f"{sum(right)} of {len(cases)} cases"
    return figure + (f"; wrong: {some(wrong, 5)}" if wrong else ""), bool(cases) and not wrong


# --- long contexts ---------------------------------------------------------------------------

def same_chunked(file, ids, *options):
    """Whether the last logits of a prompt are the same bits for every size of a pass."""
    whole, *others = (showlib.logits(file, ids, "--chunk", n, *options, last=True)[0]
                      for n in (len(ids), *CHUNKS))
    return all(other == whole for other in others)


@line("chunks-long", f"Gemma-3-270m, {LONG_TOKENS} tokens: same last logits in chunks and at once")
def chunks_long():
    model = showlib.gemma()
    text = need(GOLDEN / "real" / "ppl_text_a.txt").read_bytes()
    ids = showlib.tokenize(model, text, "--add-special")[:LONG_TOKENS]
    same = same_chunked(model, ids, "--no-exact")
    return (f"{len(ids)} tokens in chunks of {' and '.join(map(str, CHUNKS))}: "
            f"{'the same bits' if same else 'different'}", same and len(ids) == LONG_TOKENS)


@line("chunks-tiny", f"llama-rope-yarn and gemma3, {TINY_TOKENS} tokens: same last logits in chunks")
def chunks_tiny():
    ids = [(i * 7919 + 13) % 500 for i in range(TINY_TOKENS)]
    results = []
    for _, file, data in arch_models(False):
        if data["name"] in ("llama-rope-yarn", "gemma3"):
            for mode in ("--exact", "--no-exact"):
                try:
                    same = same_chunked(file, ids, mode)
                except RuntimeError as reason:
                    same = say(str(reason))
                results.append((f"{file.name} {mode}", same))
    different = [name for name, same in results if not same]
    figure = f"{len(results) - len(different)} of {len(results)} the same bits"
    return (figure + (f"; different: {some(different)}" if different else ""),
            len(results) >= 4 and not different)


NAMES = ("Karim", "Ingrid", "Tomas", "Yuki", "Amara", "Pavel", "Lucia", "Henrik", "Noor", "Mateo",
         "Freya", "Oscar", "Priya", "Jonas", "Salma", "Viktor", "Elena", "Bruno", "Hanna", "Idris")
SUBJECTS = ("The ferry", "A grey cat", "The baker", "An old clock", "The north wind", "A tall ship",
            "The gardener", "A copper kettle", "The post office", "A slow train")
VERBS = ("passes", "watches", "remembers", "crosses", "leaves", "repairs", "follows", "paints")
OBJECTS = ("the quiet harbour", "a row of lamps", "the market square", "two wooden bridges",
           "the long road home", "a field of barley", "the empty theatre", "a basket of pears")
ENDS = ("before the rain", "in the early morning", "without a word", "every second Tuesday",
        "while the bells ring", "as it did last year", "when the tide is low")


def needle_text(i, n_filler):
    """One fact at depth i / (N_NEEDLES - 1) among n_filler sentences that repeat nothing of it, then
    the question. Returns (text, what the answer must hold)."""
    rng = random.Random(i)
    filler = [f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)} {rng.choice(ENDS)}."
              for _ in range(n_filler)]
    number = str(rng.randrange(10000, 100000))
    filler.insert(round(n_filler * i / (N_NEEDLES - 1)),
                  f"The secret number of {NAMES[i]} is {number}.")
    return (" ".join(filler) + f" Question: What is the secret number of {NAMES[i]}? Answer: "
            f"The secret number of {NAMES[i]} is", number)


def needle(model, i):
    """(ids, answer) of the longest such prompt of at most NEEDLE_TOKENS tokens."""
    low, high, best = 1, NEEDLE_TOKENS, None
    while low <= high:
        middle = (low + high) // 2
        text, number = needle_text(i, middle)
        ids = showlib.tokenize(model, text.encode(), "--add-special")
        if len(ids) <= NEEDLE_TOKENS:
            best, low = (ids, number), middle + 1
        else:
            high = middle - 1
    return best


def rival_answers(model, prompts):
    port, threads = showlib.free_port(), showlib.n_cpus()
    command = [showlib.rival_binaries() / "llama-server", "-m", model, "-t", threads, "-tb", threads,
               "-np", 1, "-c", NEEDLE_TOKENS + 512, "--host", "127.0.0.1", "--port", port]
    with showlib.server(command, port):
        for ids in prompts:
            yield showlib.post(port, "/completion", {"prompt": ids, "n_predict": 12,
                                                     "temperature": 0, "cache_prompt": False},
                               timeout=1800)["content"]


@line("needles", f"{N_NEEDLES} needles at {NEEDLE_TOKENS} tokens, Gemma-3-270m: as many as llama.cpp")
def needles():
    model = showlib.gemma()
    prompts = [needle(model, i) for i in range(N_NEEDLES)]
    ours = []
    for ids, number in prompts:
        answer = json.loads(showlib.sluice(
            "run", model, "--ids", ",".join(map(str, ids)), "-n", 12, "--temp", 0, "--ctx",
            NEEDLE_TOKENS + 512, "--json", timeout=1800))
        ours.append(number in answer["text"])
    theirs = [number in text for (_, number), text in
              zip(prompts, rival_answers(model, [ids for ids, _ in prompts]), strict=True)]
    lengths = [len(ids) for ids, _ in prompts]
    return (f"ours {sum(ours)}, llama.cpp {sum(theirs)} of {N_NEEDLES} at {min(lengths)} to "
            f"{max(lengths)} tokens", sum(ours) >= sum(theirs) and any(ours))


# --- hardening and structure -----------------------------------------------------------------

@line("fuzz", "template and tokenizer: 10 minutes of fuzzing each without a finding")
def fuzz():
    return showlib.fuzz_record(("template", "tokenizer"))


@line("nasty-texts", "1 MB of each of twenty nasty texts is tokenized within the bound of work")
def nasty_texts():
    return showlib.unit_test("test_tokenizer_work")


def git(*arguments):
    return showlib.check(["git", "-C", ROOT, *arguments]).decode()


def is_accompaniment(path):
    return path.startswith(("tests/", "docs/")) or pathlib.PurePosixPath(path).suffix == ".md"


@line("new-arch", "the last architecture added: one new file, the list, tests and documents")
def new_arch():
    folder = "src/model/arch/"
    listing = [folder + name for name in ("arch.h", "arch_list.c", "arch_list.inc.h")]
    no_arch = ("arch_list.c", "blocks.c")  # these two describe no architecture
    added = git("log", "-1", "--diff-filter=A", "--format=%H", "--",
                f":(glob){folder}*.c", *(f":(exclude){folder}{name}" for name in no_arch)).strip()
    if not added:
        raise NotHere("the history holds no commit that adds an architecture")
    changes = [row.split("\t") for row in
               git("show", "--format=", "--name-status", "--no-renames", added).splitlines() if row]
    new = [path for state, path in changes
           if state == "A" and path.startswith(folder) and path not in listing]
    others = [path for _, path in changes
              if path not in new and path not in listing and not is_accompaniment(path)]
    figure = f"{added[:12]}: new {some(new)}; {len(changes)} files in all"
    if others:
        figure += f"; besides list, tests and documents: {some(others)}"
    return figure, len(new) == 1 and not others
