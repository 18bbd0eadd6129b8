/* Every kernel at every level of this machine against the reference, and the same kernels timed.
 *
 *   test_kernels [--seed N] [--isa NAME] [--op TEXT]           checks; exit status 1 after a
 *   failure
 *   test_kernels --bench [--isa NAME] [--op TEXT] [--threads N] figures per entry and shape
 *
 * --isa takes one level only; --op only what has TEXT in its name. The seed is printed: a failure
 * repeats with it. */
#include <stdarg.h>
#include <stdlib.h>

#include "amx_table.h"
#include "kernels/kernel_check.h"
#include "kernels/levels.h"

#define N_LEVELS_MAX SL_ISA_COUNT

static struct {
    sl_kernels ref;
    sl_kernels level[N_LEVELS_MAX]; /* all levels of the machine but the reference */
    size_t n_levels;
    rng rng;
    uint64_t n_checks, n_failed;
} state;

static const char *type_name(sl_type type) {
    return sl_type_info_of((uint32_t)type)->name;
}

/* One fact that must hold; the first failures are printed. */
static void check_report(bool holds, const char *format, ...) SL_PRINTF(2, 3);
static void check_report(bool holds, const char *format, ...) {
    state.n_checks++;
    if (holds) {
        return;
    }
    if (state.n_failed++ < 20) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "FAILED: ");
        vfprintf(stderr, format, args);
        fprintf(stderr, "\n");
        va_end(args);
    }
}
#define CHECK check_report

#include "kernels/checks_product.inc.h"
#include "kernels/checks_amx.inc.h"
#include "kernels/checks_rows.inc.h"

#include "kernels/checks_attend.inc.h"
#include "kernels/checks_attend_amx.inc.h"
#include "kernels/bench.inc.h"

/* The table names every entry with a level that the machine has. */
static void describe_entry(void *user, const char *entry, sl_isa isa) {
    (void)entry;
    uint32_t *seen = user;
    seen[isa]++;
}

static void check_describe(void) {
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_kernels *k = &state.level[l];
        uint32_t seen[SL_ISA_COUNT] = {0};
        sl_kernels_describe(k, describe_entry, seen);
        CHECK(seen[k->isa] > 0, "describe: nothing comes from %s", sl_isa_name(k->isa));
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} checks[] = {
    {"describe", check_describe},
    {"quantize_row", check_quantize_row},
    {"elementwise", check_elementwise},
    {"norms", check_norms},
    {"act", check_act},
    {"act_limits", check_act_limits},
    {"softcap", check_softcap},
    {"rope", check_rope},
    {"reductions", check_reductions},
    {"kv_store", check_kv_store},
    {"kv_store_rows", check_kv_store_rows},
    {"attend", check_attend},
    {"attend_window", check_attend_window},
    {"attend_options", check_attend_options},
    {"attend_sinks", check_attend_sinks},
    {"attend_nan", check_attend_nan},
    {"attend_rounding", check_attend_rounding},
    {"mul", check_products},
    {"mul_means", check_product_means},
    {"mul_rows", check_product_rows_independent},
    {"mul_plain", check_plain},
    {"mul_bf16", check_bf16},
    {"mul_amx", check_amx},
    {"attend_amx", check_attend_amx},
    {"attend_amx_nan", check_attend_amx_nan},
    {"mul_f32", check_mul_f32},
};

int main(int argc, char **argv) {
    uint64_t seed = 20240607;
    const char *op = "", *isa = "";
    bool bench = false;
    uint32_t threads = 1;
    for (int i = 1; i < argc; i++) {
        const bool value = i + 1 < argc;
        if (strcmp(argv[i], "--bench") == 0) {
            bench = true;
        } else if (strcmp(argv[i], "--seed") == 0 && value) {
            seed = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--op") == 0 && value) {
            op = argv[++i];
        } else if (strcmp(argv[i], "--isa") == 0 && value) {
            isa = argv[++i];
        } else if (strcmp(argv[i], "--threads") == 0 && value) {
            threads = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: test_kernels [--bench] [--seed N] [--isa NAME] [--op TEXT] "
                            "[--threads N]\n");
            return 2;
        }
    }
    sl_kernels_init(&state.ref, SL_ISA_REF);
    state.rng.state = seed;
    for (int level = SL_ISA_REF + 1; level < SL_ISA_COUNT; level++) {
        if (sl_cpu_has((sl_isa)level) &&
            (*isa == '\0' || strcmp(isa, sl_isa_name((sl_isa)level)) == 0)) {
            sl_kernels_init(&state.level[state.n_levels++], (sl_isa)level);
        }
    }
    if (bench) {
        return bench_all(op, threads);
    }
    printf("test_kernels: seed %llu, %zu levels on %s\n", (unsigned long long)seed, state.n_levels,
           sl_cpu_model());
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (strstr(checks[i].name, op)) {
            const uint64_t before = state.n_failed;
            checks[i].run();
            printf("  %-14s %s\n", checks[i].name, state.n_failed == before ? "ok" : "FAILED");
        }
    }
    printf("%llu checks, %llu failed\n", (unsigned long long)state.n_checks,
           (unsigned long long)state.n_failed);
    return state.n_failed ? 1 : 0;
}
