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
KV, INDEX, SCHED = "src/kv/kv.c", "src/kv/prefix_index.c", "src/sched/sched.c"

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
    ("rope tables do not enter", SCHED,
     ".variant = ctx_switch != 0 && sched_n_known(q) > ctx_switch};", ".variant = ctx_switch == 1};"),
    ("a request that shares nothing is shared", SCHED,
     "    if (q->request.shares) {\n        sl_kv_seq_share", "    if (true) {\n        sl_kv_seq_share"),
    ("an evicted page is still named", INDEX, "*named = *named == page ? -1 : *named;", "(void)named;"),
    ("a parked page is evicted while it is used", KV,
     "        sl_prefix_unpark(&kv->prefixes, page);\n    }\n    sl_page_pool_ref", "    }\n    sl_page_pool_ref"),
    ("a step is longer than rows_max", SCHED,
     "uint32_t n_prefill = s->options.rows_max - n_decodes;", "uint32_t n_prefill = s->options.rows_max;"),
    ("a chunk beside decodes is as long as a step", SCHED,
     "n_prefill = sched_min(n_prefill, s->options.chunk_rows);", "(void)0;"),
    ("the oldest gives way", SCHED,
     "const uint32_t youngest = s->lists[SCHED_RUNNING].tail;", "const uint32_t youngest = s->lists[SCHED_RUNNING].head;"),
    ("nobody gives way", SCHED, "        sched_hold(s, youngest);\n", "        return 0;\n"),
    ("who was on hold is overtaken", SCHED,
     "const uint32_t slot = s->lists[SCHED_ON_HOLD].n > 0 ?", "const uint32_t slot = s->lists[SCHED_WAITING].n == 0 ?"),
    ("who was on hold does not know what is left", SCHED,
     "    q->n_computed = n_done;\n", "    q->n_computed = q->story.n_holds == 0 ? n_done : 0;\n"),
    ("those on hold are in the wrong order", SCHED,
     "sched_link(s->seqs, list, slot, SCHED_NONE, list->head);", "sched_link(s->seqs, list, slot, list->tail, SCHED_NONE);"),
    ("a request that ends keeps its pages", SCHED, "        sl_kv_seq_close(s->kv, q->kv_seq);\n    }\n    sched_learn", "    }\n    sched_learn"),
    ("the queue has no bound", SCHED, "if (n_waiting >= s->options.queue_max ||", "if ("),
    ("a failed step counts", SCHED,
     "        s->seqs[s->runs[i].owner].n_planned = 0;\n", "        s->seqs[s->runs[i].owner].n_computed += s->seqs[s->runs[i].owner].n_planned;\n        s->seqs[s->runs[i].owner].n_planned = 0;\n"),
    ("what outgrew its rope tables goes on with the old", SCHED,
     "        q->n_computed = 0;\n        sl_kv_seq_restart(s->kv, q->kv_seq);\n        sched_share(s, q);\n", ""),
]


def build(cc, folder, changed):
    """The simulation with one file changed; the compiler's exit code, and the program."""
    sources = [ROOT / "tests/sim/test_sim_sched.c",
               *sorted((ROOT / "src/kv").glob("*.c")), *sorted((ROOT / "src/sched").glob("*.c")),
               *(ROOT / f"src/base/{name}.c" for name in ("alloc", "error", "utf8"))]
    sources = [changed.get(str(one.relative_to(ROOT)), one) for one in sources]
    program = folder / "sim"
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
    made, program = build(cc, folder, {path: changed})
    if made.returncode != 0:
        return f"{name}: does not compile\n{made.stderr}"
    return f"{name}: not noticed" if run(program) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    base = pathlib.Path(tempfile.mkdtemp(prefix="sluice-mutants-"))
    try:
        made, program = build(arguments.cc, base, {})
        if made.returncode != 0 or not run(program):
            sys.exit(f"the simulation fails without a change\n{made.stderr}")
        chosen = [one for one in MUTANTS if not arguments.names or any(n in one[0] for n in arguments.names)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            failures = [one for one in pool.map(lambda m: try_mutant(arguments.cc, base, m), chosen) if one]
        print(*failures, f"{len(chosen) - len(failures)} of {len(chosen)} mutants were noticed", sep="\n")
        sys.exit(1 if failures else 0)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
