/* Checks of attention on tiles: where the machine has them, and everywhere in the ways of
 * amx_table.h. Part of test_kernels.c, after checks_attend.inc.h and checks_amx.inc.h. */

static double bfloat_rounded(double x) {
    sl_product_bf16 ref;
    uint16_t rounded[SL_BF16_GROUP];
    const float f = (float)x;
    sl_product_bf16_ref(&ref);
    ref.round_row(&f, 1, rounded);
    return (double)sl_bfloat_to_float(rounded[0]);
}

/* Head h of row r as the definition has it, in double, of rounded queries, keys and values; the
 * weights are not rounded. Returns the largest magnitude of a value seen. */
static double attend_amx_exact(const attend_case *c, const attend_shape *s, uint32_t r, uint32_t h,
                               double *o) {
    const double log2_e = 1.4426950408889634;
    double q[ATTEND_D_MAX];
    for (uint32_t i = 0; i < s->d_k; i++) {
        const float scaled = c->a.q[r * c->a.q_stride + (size_t)h * s->d_k + i] *
                             (c->a.scale * (float)log2_e);
        q[i] = bfloat_rounded((double)scaled);
    }
    return attend_by_definition(c, s, r, h, q, 1.0 / log2_e, bfloat_rounded, o);
}

/* A table whose plain entries are those on tiles, for what checks any of them. */
static sl_kernels attend_amx_only(const sl_kernels *k) {
    sl_kernels only = *k;
    for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
        only.attend[type] = k->attend_amx.attend[type];
    }
    return only;
}

static void attend_amx_check(const attend_shape *s) {
    static const uint32_t parts[] = {1, 7};
    amx_table tables[SL_ISA_COUNT + AMX_WAYS];
    const size_t n_tables = amx_tables(tables);
    attend_case c;
    attend_make(&c, s);
    const size_t n = s->n_rows * c.a.out_stride;
    guarded g[2];
    float *got = guarded_alloc(&g[0], n * 4), *rows = sl_alloc_aligned(n * 4, 64);
    c.a.scratch = guarded_alloc(
        &g[1], sl_attend_amx_scratch_floats(s->n_rows, s->n_group, s->d_k, s->d_v) * 4);
    for (size_t t = 0; t < n_tables; t++) {
        const sl_kernels k = attend_amx_only(tables[t].k);
        for (size_t i = 0; i < n; i++) {
            got[i] = rows[i] = 1.5f;
        }
        c.a.out = got;
        k.attend[s->type](&c.a);
        for (uint32_t i = 0; i < 4; i++) { /* the definition, at a few places */
            const uint32_t r = i == 0 ? s->n_rows - 1 : rng_below(&state.rng, s->n_rows),
                           h = rng_below(&state.rng, s->n_group);
            double want[576];
            const double largest = attend_amx_exact(&c, s, r, h, want);
            for (uint32_t j = 0; j < s->d_v; j++) {
                const double off = (double)got[r * c.a.out_stride + (size_t)h * s->d_v + j] -
                                   want[j];
                /* weights are rounded by half a unit of 8 bits */
                CHECK(fabs(off) <= largest * 0x1.1p-9 + 1e-6,
                      "attend amx at %s: row %u head %u element %u is off by %g: %s",
                      tables[t].name, r, h, j, off, attend_text(s));
            }
        }
        for (uint32_t r = 0; r < s->n_rows; r++) {
            for (size_t j = (size_t)s->n_group * s->d_v; j < c.a.out_stride; j++) {
                CHECK(got[r * c.a.out_stride + j] == 1.5f, "attend amx at %s writes beside: %s",
                      tables[t].name, attend_text(s));
            }
        }
        for (int i = 0; i < 2; i++) { /* each row alone, and a few: the same bits */
            attend_in_parts(&k, s->type, &c.a, parts[i], rows);
            CHECK(memcmp(got, rows, n * 4) == 0, "attend amx at %s: parts of %u differ: %s",
                  tables[t].name, parts[i], attend_text(s));
        }
        attend_in_blocks(&k, s->type, &c.a, rows);
        CHECK(memcmp(got, rows, n * 4) == 0, "attend amx at %s: blocks apart differ: %s",
              tables[t].name, attend_text(s));
    }
    sl_free_aligned(rows);
    const bool case_whole = attend_drop(&c);
    CHECK(guarded_free_all(g, 2) && case_whole, "attend amx writes outside: %s", attend_text(s));
}

static void check_attend_amx(void) {
    static const attend_shape shapes[] = {
        {.n_rows = 64, .n_group = 3, .d_k = 64, .d_v = 64},
        {.n_rows = 40, .n_group = 3, .d_k = 64, .d_v = 64, .pos0 = 240}, /* two blocks */
        {.n_rows = 1, .n_group = 1, .d_k = 64, .d_v = 64, .pos0 = 255},
        {.n_rows = 33, .n_group = 1, .d_k = 128, .d_v = 128, .pos0 = 700},
        {.n_rows = 90, .n_group = 7, .d_k = 32, .d_v = 16, .pos0 = 5}, /* chunks of rows */
        {.n_rows = 5, .n_group = 71, .d_k = 20, .d_v = 12, .pos0 = 300},
        {.n_rows = 17, .n_group = 2, .d_k = 5, .d_v = 7, .pos0 = 31},
        {.n_rows = 30, .n_group = 1, .d_k = 96, .d_v = 40, .n_keys = 30},
        {.n_rows = 10, .n_group = 2, .d_k = 36, .d_v = 28, .n_keys = 300, .pos0 = 290},
        {.n_rows = 40, .n_group = 3, .d_k = 64, .d_v = 64, .pos0 = 240, .window = 9},
        {.n_rows = 40, .n_group = 2, .d_k = 32, .d_v = 48, .pos0 = 500, .window = 256},
        {.n_rows = 70, .n_group = 1, .d_k = 64, .d_v = 64, .pos0 = 5000, .window = 40},
        {.n_rows = 40,
         .n_group = 4,
         .d_k = 32,
         .d_v = 20,
         .pos0 = 250,
         .softcap = 2.0f,
         .slope = 0.25f,
         .window = 70},
        {.n_rows = 24, .n_group = 3, .d_k = 64, .d_v = 64, .pos0 = 600, .sinks = 1},
        {.n_rows = 24, .n_group = 3, .d_k = 64, .d_v = 64, .pos0 = 600, .sinks = 2},
        {.n_rows = 24, .n_group = 3, .d_k = 64, .d_v = 64, .pos0 = 600, .sinks = 3},
        {.n_rows = 9, .n_group = 16, .d_k = 576, .d_v = 512, .pos0 = 250},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            attend_shape s = shapes[i];
            s.type = bf16 ? SL_KV_BF16 : SL_KV_F16;
            attend_amx_check(&s);
        }
    }
    for (int i = 0; i < 40; i++) { /* any shape */
        const attend_shape s = {.type = i % 2 ? SL_KV_BF16 : SL_KV_F16,
                                .n_rows = 1 + rng_below(&state.rng, 50),
                                .n_group = 1 + rng_below(&state.rng, 7),
                                .d_k = 1 + rng_below(&state.rng, 70),
                                .d_v = 1 + rng_below(&state.rng, 70),
                                .pos0 = rng_below(&state.rng, i % 3 ? 600 : 40),
                                .window = i % 4 ? 0 : 1 + rng_below(&state.rng, 300)};
        attend_amx_check(&s);
    }
}

/* Not-a-number reaches every output that saw it, and no other, on tiles too. */
static void check_attend_amx_nan(void) {
    amx_table tables[SL_ISA_COUNT + AMX_WAYS];
    const size_t n_tables = amx_tables(tables);
    for (size_t t = 0; t < n_tables; t++) {
        const sl_kernels k = attend_amx_only(tables[t].k);
        for (uint32_t window = 0; window < 4; window++) {
            attend_nan_check(&k, SL_KV_F16, window * window * 4);
            attend_nan_check(&k, SL_KV_BF16, window);
        }
    }
}
