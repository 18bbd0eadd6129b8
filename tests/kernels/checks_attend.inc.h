/* Checks of attention and of page writing. Part of test_kernels.c. */

/* A sequence in a store of its own: random pages, unseen slots hold NaN. */
typedef struct attend_case {
    sl_attend a;
    sl_kv_type type;
    uint32_t n_keys;
    guarded g[3]; /* store, q, scratch */
    int32_t table[128];
} attend_case;

static void attend_make(attend_case *c, sl_kv_type type, uint32_t n_rows, uint32_t n_group,
                        uint32_t d_k, uint32_t d_v, uint32_t pos0) {
    memset(c, 0, sizeof(*c));
    const size_t elem = type == SL_KV_F16 ? 2 : 4;
    const size_t k_bytes = (d_k * SL_PAGE_TOKENS * elem + 63) / 64 * 64;
    const size_t v_bytes = (d_v * SL_PAGE_TOKENS * elem + 63) / 64 * 64;
    c->type = type;
    c->n_keys = pos0 + n_rows;
    const uint32_t n_pages = (c->n_keys + SL_PAGE_TOKENS - 1) / SL_PAGE_TOKENS;
    c->a = (sl_attend){.q_stride = (size_t)n_group * d_k + 3,
                       .n_rows = n_rows,
                       .n_group = n_group,
                       .d_k = d_k,
                       .d_v = d_v,
                       .pos0 = pos0,
                       .table = c->table,
                       .page_bytes = 64 + k_bytes + v_bytes,
                       .k_offset = 64,
                       .v_offset = 64 + k_bytes,
                       .scale = 1.0f / sqrtf((float)d_k),
                       .out_stride = (size_t)n_group * d_v + 5};
    uint8_t *store = guarded_alloc(&c->g[0], n_pages * c->a.page_bytes);
    memset(store, 0xff, n_pages * c->a.page_bytes); /* NaN in both formats */
    c->a.store = store;
    for (uint32_t i = 0; i < n_pages; i++) { /* a random order of pages */
        const uint32_t j = rng_below(&state.rng, i + 1);
        c->table[i] = c->table[j];
        c->table[j] = (int32_t)i;
    }
    float *key = sl_alloc_zero(d_k, sizeof(float));
    float *value = sl_alloc_zero(d_v, sizeof(float));
    for (uint32_t t = 0; t < c->n_keys; t++) {
        uint8_t *page = store + (size_t)c->table[t / SL_PAGE_TOKENS] * c->a.page_bytes;
        rng_fill(&state.rng, key, d_k);
        rng_fill(&state.rng, value, d_v);
        state.ref.kv_store[type](key, d_k, value, d_v, page + c->a.k_offset, page + c->a.v_offset,
                                 t % SL_PAGE_TOKENS);
    }
    sl_free(key);
    sl_free(value);
    float *q = guarded_alloc(&c->g[1], n_rows * c->a.q_stride * 4);
    rng_fill(&state.rng, q, n_rows * c->a.q_stride);
    c->a.q = q;
    c->a.scratch = guarded_alloc(&c->g[2], sl_attend_scratch_floats(n_rows, n_group, d_k, d_v) * 4);
}
static bool attend_drop(attend_case *c) {
    return guarded_free_all(c->g, 3);
}

static void attend_check(sl_kv_type type, uint32_t n_rows, uint32_t n_group, uint32_t d_k,
                         uint32_t d_v, uint32_t pos0) {
    attend_case c;
    attend_make(&c, type, n_rows, n_group, d_k, d_v, pos0);
    const size_t n = n_rows * c.a.out_stride;
    guarded g_want, g_got;
    float *want = guarded_alloc(&g_want, n * 4);
    float *got = guarded_alloc(&g_got, n * 4);
    float *rows = sl_alloc_aligned(n * 4, 64);
    for (size_t i = 0; i < n; i++) {
        want[i] = 1.5f;
    }
    c.a.out = want;
    state.ref.attend[type](&c.a);
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_kernels *k = &state.level[l];
        for (size_t i = 0; i < n; i++) {
            got[i] = 1.5f;
            rows[i] = 1.5f;
        }
        c.a.out = got;
        k->attend[type](&c.a);
        CHECK(near(got, want, n, 1e-5f, 4e-6f), "attend %s at %s: rows %u group %u d %u/%u pos %u",
              type == SL_KV_F16 ? "f16" : "f32", sl_isa_name(k->isa), n_rows, n_group, d_k, d_v,
              pos0);
        sl_attend one = c.a; /* each row alone, in any order of calls: the same bits */
        one.n_rows = 1;
        for (uint32_t r = n_rows; r-- > 0;) {
            one.pos0 = pos0 + r;
            one.q = c.a.q + r * c.a.q_stride;
            one.out = rows + r * c.a.out_stride;
            k->attend[type](&one);
        }
        CHECK(memcmp(got, rows, n * 4) == 0,
              "attend %s at %s: a row depends on the others: rows %u group %u",
              type == SL_KV_F16 ? "f16" : "f32", sl_isa_name(k->isa), n_rows, n_group);
    }
    sl_free_aligned(rows);
    const bool case_whole = attend_drop(&c);
    const bool want_whole = guarded_free(&g_want);
    CHECK(guarded_free(&g_got) && want_whole && case_whole, "attend writes outside");
}

static void check_attend(void) {
    static const uint32_t dims[][2] = {{64, 64}, {32, 32}, {16, 16}, {80, 80}, {128, 128},
                                       {96, 64}, {20, 12}, {8, 40},  {5, 7},   {192, 128}};
    static const uint32_t groups[] = {1, 2, 3, 4, 5, 7, 8, 16, 71};
    for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
        for (int i = 0; i < 10; i++) {
            attend_check((sl_kv_type)type, 1 + rng_below(&state.rng, 6), 3, dims[i][0], dims[i][1],
                         rng_below(&state.rng, 90));
        }
        for (int i = 0; i < 9; i++) {
            attend_check((sl_kv_type)type, groups[i] > 16 ? 2 : 1 + rng_below(&state.rng, 9),
                         groups[i], 32, 32, rng_below(&state.rng, 70));
        }
        attend_check((sl_kv_type)type, 1, 3, 64, 64, 0);
        attend_check((sl_kv_type)type, 17, 3, 64, 64, 0);
        attend_check((sl_kv_type)type, 40, 3, 64, 64, 240); /* over the border of two blocks */
        attend_check((sl_kv_type)type, 1, 1, 64, 64, 255);
        attend_check((sl_kv_type)type, 1, 4, 32, 32, 256);
        attend_check((sl_kv_type)type, 3, 2, 32, 48, 1021); /* several blocks */
        attend_check((sl_kv_type)type, 70, 1, 16, 16, 0);   /* more than one chunk of rows */
    }
}

/* Not-a-number in a query, key or value reaches every output that saw it, and no other. */
static void check_attend_nan(void) {
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_kernels *k = &state.level[l];
        attend_case c;
        attend_make(&c, SL_KV_F32, 6, 2, 32, 32, 60);
        float *out = sl_alloc_aligned(6 * c.a.out_stride * 4, 64);
        c.a.out = out;
        const uint32_t bad = 63; /* seen by rows 3, 4, 5 */
        uint8_t *page = c.g[0].base + GUARD_BYTES + (size_t)c.table[bad / 32] * c.a.page_bytes;
        float *value = (float *)(void *)(page + c.a.v_offset) + (size_t)(bad % 32) * 32;
        value[5] = NAN;
        k->attend[SL_KV_F32](&c.a);
        bool right = true;
        for (uint32_t r = 0; r < 6; r++) {
            for (uint32_t j = 0; j < 64; j++) {
                right = right && isnan(out[r * c.a.out_stride + j]) == (r >= 3 && j % 32 == 5);
            }
        }
        CHECK(right, "attend at %s: NaN in a value is hidden or spreads", sl_isa_name(k->isa));
        value[5] = 0.0f;
        ((float *)(void *)(page + c.a.k_offset))[bad % 32] = NAN;
        k->attend[SL_KV_F32](&c.a);
        right = true;
        for (uint32_t r = 0; r < 6; r++) {
            right = right && (bool)isnan(out[r * c.a.out_stride]) == (r >= 3);
        }
        CHECK(right, "attend at %s: NaN in a key is hidden or spreads", sl_isa_name(k->isa));
        sl_free_aligned(out);
        attend_drop(&c);
    }
}

static void check_kv_store(void) {
    static const uint32_t dims[] = {1, 5, 8, 16, 20, 33, 64, 128};
    for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
        for (int i = 0; i < 8; i++) {
            const uint32_t d_k = dims[i], d_v = dims[7 - i], slot = rng_below(&state.rng, 32);
            const size_t elem = type == SL_KV_F16 ? 2 : 4;
            float key[128], value[128];
            row_fill(key, d_k, i % 6);
            row_fill(value, d_v, 0);
            value[0] = i % 2 ? 65519.9f : 3e-8f;
            guarded g[4];
            void *want_k = guarded_alloc(&g[0], d_k * 32 * elem),
                 *want_v = guarded_alloc(&g[1], d_v * 32 * elem);
            state.ref.kv_store[type](key, d_k, value, d_v, want_k, want_v, slot);
            for (size_t l = 0; l < state.n_levels; l++) {
                void *k = guarded_alloc(&g[2], d_k * 32 * elem),
                     *v = guarded_alloc(&g[3], d_v * 32 * elem);
                state.level[l].kv_store[type](key, d_k, value, d_v, k, v, slot);
                CHECK(memcmp(k, want_k, d_k * 32 * elem) == 0 &&
                          memcmp(v, want_v, d_v * 32 * elem) == 0,
                      "kv_store at %s: d %u/%u", sl_isa_name(state.level[l].isa), d_k, d_v);
                CHECK(guarded_free_all(g + 2, 2), "kv_store writes outside");
            }
            guarded_free(&g[0]);
            guarded_free(&g[1]);
        }
    }
}
