#!/usr/bin/env python3
"""The simulation fails when the scheduler or the KV tables are broken on purpose.

    tests/sim/mutants.py [--cc CC] [NAME ...]

Each mutant is one change of the source. It is compiled together with the simulation, in a folder of its
own, and must make it fail; a change that does not apply any more is a failure, too. Standard library only."""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEEDS = "400"
TESTS = "test_sim_sched", "test_sim_shares"
KV, INDEX = "src/kv/kv.c", "src/kv/prefix_index.c"
LIFE, PLAN, ORDER = (f"src/sched/{name}.c" for name in ("sched", "sched_plan", "sched_order"))

# name, file, what is there, what takes its place
MUTANTS = [
    ("a page that is given back is lost", KV,
     "        sl_page_pool_put(&kv->pool, page);\n    }\n}\n\n/* Entries before",
     "    }\n}\n\n/* Entries before"),
    ("a shared page is freed by the first who leaves", KV,
     "    if (!sl_page_pool_unref(&kv->pool, page)) {", "    (void)sl_page_pool_unref(&kv->pool, page);\n    if (false) {"),
    ("a page of a prefix is shared without counting", KV,
     "    sl_page_pool_ref(&kv->pool, page);\n}\n\nstatic void kv_give_back", "    (void)0;\n}\n\nstatic void kv_give_back"),
    ("a page is published before it is full", KV,
     "s->n_chained < n_done / SL_PAGE_TOKENS)", "s->n_chained < (n_done + 1) / SL_PAGE_TOKENS)"),
    ("the last known token is taken over", KV,
     "* SL_PAGE_TOKENS < text->n_known; i++)", "* SL_PAGE_TOKENS <= text->n_known; i++)"),
    ("a window's pages are not asked for", KV,
     "all = all && from[g] <= sl_kv_groups_first(&kv->groups, g, (i + 1) * SL_PAGE_TOKENS);",
     "all = all && from[g] <= i + 1;"),
    ("a window gives back a page too early", KV,
     "kv_slide(kv, seq, g, sl_kv_groups_first(&kv->groups, g, n_done));",
     "kv_slide(kv, seq, g, sl_kv_groups_first(&kv->groups, g, n_tokens));"),
    ("hashes look at the parent only", INDEX,
     "if (node->hash == hash && node->parent == parent &&", "if (node->parent == parent ||"),
    ("keys do not enter", INDEX, "memcpy(ids, &key->salt, sizeof(key->salt));", "(void)key->salt;"),
    ("rope tables do not enter", LIFE,
     ".variant = ctx_switch != 0 && sched_n_known(q) > ctx_switch};", ".variant = ctx_switch == 1};"),
    ("a request that shares nothing is shared", LIFE,
     "    if (q->request.shares) {\n        sl_kv_seq_share", "    if (true) {\n        sl_kv_seq_share"),
    ("an evicted page is still named", INDEX, "*named = *named == page ? -1 : *named;", "(void)named;"),
    ("a parked page is evicted while it is used", KV,
     "        sl_prefix_unpark(&kv->prefixes, page);\n    }\n    sl_page_pool_ref", "    }\n    sl_page_pool_ref"),
    ("a step is longer than rows_max", PLAN,
     "uint32_t most = s->options.rows_max - decodes->n_rows;", "uint32_t most = s->options.rows_max;"),
    ("a chunk beside decodes is as long as a step", PLAN,
     "return sched_min(most, s->options.chunk_rows);", "return most;"),
    ("the first gives way", PLAN,
     "const uint32_t last = s->lists[SCHED_RUNNING].tail;\n        if", "const uint32_t last = s->lists[SCHED_RUNNING].head;\n        if"),
    ("nobody gives way", PLAN, "        sched_hold(s, last);\n", "        return 0;\n"),
    ("who was on hold is overtaken", ORDER,
     "return held != SCHED_NONE && sched_before(&s->seqs[held], &s->seqs[waiting]) ? held : waiting;", "return waiting;"),
    ("who was on hold does not know what is left", PLAN,
     "    sched_skip_to(q, n_done);\n", "    sched_skip_to(q, q->story.n_holds == 0 ? n_done : 0);\n"),
    ("lists are not kept in order", ORDER,
     "while (prev != SCHED_NONE && sched_before(q, &s->seqs[prev])) {", "while (false) {"),
    ("a request that ends keeps its pages", LIFE, "        sl_kv_seq_close(s->kv, q->kv_seq);\n    }\n    sched_learn", "    }\n    sched_learn"),
    ("the queue has no bound", LIFE, "if (n_waiting >= s->options.queue_max ||", "if ("),
    ("waiting makes nobody more urgent", ORDER,
     "q->rank = (int64_t)r->arrival_ns + r->priority", "q->rank = (int64_t)(r->arrival_ns / 1000) + r->priority"),
    ("priorities are the wrong way round", ORDER, "+ r->priority * (int64_t)", "- r->priority * (int64_t)"),
    ("nobody gives way to the urgent", ORDER, "return is_urgent ? last : SCHED_NONE;", "return SCHED_NONE;"),
    ("the short do not come first", ORDER, "sched_tokens_max(r) * SHORTEST_TOKEN_NS", "1000 * SHORTEST_TOKEN_NS"),
    ("weights do not count", ORDER, "work * SL_SCHED_WEIGHT_MAX / t->weight", "work * SL_SCHED_WEIGHT_MAX"),
    ("prompts are free", ORDER, "decode ? SL_SCHED_DECODE_COST + q->n_draft : run->n_rows", "decode ? SL_SCHED_DECODE_COST : 0"),
    ("a tenant is owed what it did not ask for", ORDER, "        t->work = s->work_now; ", "        t->work += 0; "),
    ("a batch is joined while it runs", PLAN, "(batch_runs && q->state == SCHED_WAITING) ||", ""),
    ("a batch has no bound", PLAN, "s->lists[SCHED_RUNNING].n >= s->options.batch_max)", "false)"),
    ("a window ends at once", ORDER, "request.arrival_ns + s->options.window_ns;", "request.arrival_ns;"),
    ("a failed step counts", PLAN,
     "        s->seqs[s->runs[i].owner].n_planned = s->seqs[s->runs[i].owner].n_draft = 0;\n",
     "        s->seqs[s->runs[i].owner].n_computed += s->seqs[s->runs[i].owner].n_planned;\n        s->seqs[s->runs[i].owner].n_planned = s->seqs[s->runs[i].owner].n_draft = 0;\n"),
    ("drafts count as computed", PLAN, "q->n_computed += q->n_planned - q->n_draft;", "q->n_computed += q->n_planned;"),
    ("a draft that was right is computed again", LIFE, "    q->n_out++;\n    q->n_computed++;\n", "    q->n_out++;\n"),
    ("drafts go beyond the rope tables", LIFE, "        n = sched_min(n, ctx_switch - n_known);\n", "        (void)n_known;\n"),
    ("drafts go beyond the last token", LIFE, "q->request.max_tokens - q->n_out - 1;", "q->request.max_tokens - q->n_out + 1;"),
    ("drafts take rows that are not there", PLAN, "sched_min(s->options.rows_max - n_rows, s->options.runs_max - n_runs)", "s->options.runs_max"),
    ("what outgrew its rope tables goes on with the old", LIFE,
     "        q->n_computed = 0;\n        sl_kv_seq_restart(s->kv, q->kv_seq);\n        sl_sched_share(s, q);\n", ""),
]


def build(cc, folder, changed, test):
    """A simulation with one file changed; the compiler's result, and the program."""
    sources = [ROOT / "tests/sim" / f"{test}.c",
               *sorted((ROOT / "src/kv").glob("*.c")), *sorted((ROOT / "src/sched").glob("*.c")),
               *(ROOT / f"src/base/{name}.c" for name in ("alloc", "error", "utf8")), ROOT / "src/plan/cost.c"]
    sources = [changed.get(str(one.relative_to(ROOT)), one) for one in sources]
    program = folder / test
    made = subprocess.run([cc, "-std=c17", "-D_DEFAULT_SOURCE", "-O1", "-I", ROOT / "src", "-I", ROOT / "include", "-o", program,
                           *sources, "-lcmocka", "-lpthread", "-lm"], capture_output=True, text=True, check=False)
    return made, program


def run(program):
    """True if the simulation passes. One that hangs or crashes does not."""
    try:
        done = subprocess.run([program], capture_output=True, check=False, timeout=120,
                              env={**os.environ, "SLUICE_SIM_SEEDS": SEEDS})
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def try_mutant(cc, base, mutant):
    """What is wrong with the simulation, or None: it noticed."""
    name, path, old, new = mutant
    text = (ROOT / path).read_text()
    if text.count(old) != 1:
        return f"{name}: {path} has what it changes {text.count(old)} times"
    folder = base / "".join(c if c.isalnum() else "-" for c in name)
    folder.mkdir()
    changed = folder / pathlib.Path(path).name
    changed.write_text(text.replace(old, new))
    for test in TESTS:
        made, program = build(cc, folder, {path: changed}, test)
        if made.returncode != 0:
            return f"{name}: does not compile\n{made.stderr}"
        if not run(program):
            return None
    return f"{name}: not noticed"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    base = pathlib.Path(tempfile.mkdtemp(prefix="sluice-mutants-"))
    try:
        for test in TESTS:
            made, program = build(arguments.cc, base, {}, test)
            if made.returncode != 0 or not run(program):
                sys.exit(f"{test} fails without a change\n{made.stderr}")
        chosen = [one for one in MUTANTS if not arguments.names or any(n in one[0] for n in arguments.names)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            failures = [one for one in pool.map(lambda m: try_mutant(arguments.cc, base, m), chosen) if one]
        print(*failures, f"{len(chosen) - len(failures)} of {len(chosen)} mutants were noticed", sep="\n")
        sys.exit(1 if failures else 0)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
