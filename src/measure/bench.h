/* How fast a model runs: prompt and generation rates of a batch at a depth, without tokenizer,
 * scheduler or network. */
#ifndef SL_MEASURE_BENCH_H
#define SL_MEASURE_BENCH_H

#include "engine/engine.h"

typedef struct sl_bench_case {
    uint32_t n_batch;  /* sequences at once */
    uint32_t n_depth;  /* tokens each holds before the clock starts */
    uint32_t n_prompt; /* tokens each is fed, timed */
    uint32_t n_gen;    /* tokens each generates after that, timed */
    uint32_t n_reps;
} sl_bench_case;

typedef struct sl_bench_result {
    /* Tokens of the whole batch per second, median over the repetitions; 0 if n_prompt is 0. */
    double prompt_tps;
    double gen_tps;
} sl_bench_result;

/* Tokens that each sequence will hold at most. */
uint32_t sl_bench_tokens(const sl_bench_case *c);
SL_NODISCARD sl_status sl_bench_run(sl_engine *e, const sl_bench_case *c, sl_bench_result *out,
                                    sl_error *err);

#endif
