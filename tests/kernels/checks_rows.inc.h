/* Checks of the row kernels. Rounding to int8, add and argmax bit for bit, the others within stated
 * bounds. Part of test_kernels.c. */

static const uint32_t row_sizes[] = {1,  2,  7,  8,  9,  15,  16,  17,   31,
                                     32, 33, 63, 64, 65, 100, 576, 1536, 2049};
enum { N_ROW_SIZES = sizeof(row_sizes) / sizeof(row_sizes[0]) };

/* A row of random numbers; kind 1 to 5 brings extremes. */
static void row_fill(float *x, uint32_t n, int kind) {
    rng_fill(&state.rng, x, n);
    const uint32_t at = rng_below(&state.rng, n);
    switch (kind) {
    case 1:
        memset(x, 0, n * sizeof(float));
        break;
    case 2:
        x[at] = NAN;
        break;
    case 3:
        x[at] = at % 2 ? INFINITY : -INFINITY;
        break;
    case 4:
        for (uint32_t i = 0; i < n; i++) {
            x[i] *= 1e-39f;
        }
        break;
    case 5:
        x[at] = 1e30f;
        break;
    default:
        break;
    }
}

static void check_quantize_row(void) {
    for (uint32_t i = 0; i < 60; i++) {
        const uint32_t n = 32 * (1 + rng_below(&state.rng, 50));
        float *x = sl_alloc_zero(n, sizeof(float));
        row_fill(x, n, (int)(i % 6));
        if (i % 6 == 0) { /* halves and borders of rounding */
            for (uint32_t j = 0; j < n; j++) {
                x[j] = (float)(int32_t)(rng_below(&state.rng, 255) - 127) * 0.5f;
            }
            x[0] = 127.0f;
        }
        act_buf want, got;
        act_alloc(&want, 3, n);
        state.ref.quantize_row(x, n, &want.act, 1);
        for (size_t l = 0; l < state.n_levels; l++) {
            act_alloc(&got, 3, n);
            state.level[l].quantize_row(x, n, &got.act, 1);
            const bool same = memcmp(got.act.q, want.act.q, 3 * got.act.q_stride) == 0 &&
                              memcmp(got.act.sum16, want.act.sum16, 12 * got.act.g_stride) == 0 &&
                              same_bits(got.act.d + got.act.g_stride, want.act.d + got.act.g_stride,
                                        n / 32) &&
                              same_bits(got.act.s + got.act.g_stride, want.act.s + got.act.g_stride,
                                        n / 32);
            CHECK(same, "quantize_row at %s: n %u kind %u", sl_isa_name(state.level[l].isa), n,
                  i % 6);
            CHECK(act_free(&got), "quantize_row at %s writes outside",
                  sl_isa_name(state.level[l].isa));
        }
        act_free(&want);
        sl_free(x);
    }
}

typedef struct row_buffers {
    guarded g[4];
    float *x, *y, *want, *got;
} row_buffers;

static void row_alloc(row_buffers *b, uint32_t n) {
    b->x = guarded_alloc(&b->g[0], n * 4);
    b->y = guarded_alloc(&b->g[1], n * 4);
    b->want = guarded_alloc(&b->g[2], n * 4);
    b->got = guarded_alloc(&b->g[3], n * 4);
}
static bool row_free(row_buffers *b) {
    return guarded_free_all(b->g, 4);
}

static void check_elementwise(void) {
    for (int s = 0; s < N_ROW_SIZES; s++) {
        for (int kind = 0; kind < 6; kind++) {
            const uint32_t n = row_sizes[s];
            row_buffers b;
            row_alloc(&b, n);
            row_fill(b.x, n, kind);
            rng_fill(&state.rng, b.y, n);
            for (size_t l = 0; l < state.n_levels; l++) {
                const sl_kernels *k = &state.level[l];
                state.ref.add(b.x, b.y, n, b.want);
                memcpy(b.got, b.x, n * 4);
                k->add(b.got, b.y, n, b.got);
                CHECK(same_bits(b.got, b.want, n), "add at %s: n %u", sl_isa_name(k->isa), n);

                state.ref.rms_norm(b.x, b.y, n, 1e-5f, b.want);
                memcpy(b.got, b.x, n * 4);
                k->rms_norm(b.got, b.y, n, 1e-5f, b.got);
                CHECK(near(b.got, b.want, n, 4e-7f, 0.0f), "rms_norm at %s: n %u kind %d",
                      sl_isa_name(k->isa), n, kind);

                for (uint32_t i = 0; i < n; i++) {
                    b.got[i] = b.x[i] * (kind == 0 ? 20.0f : 1.0f);
                }
                state.ref.silu_mul(b.got, b.y, n, b.want);
                k->silu_mul(b.got, b.y, n, b.got);
                CHECK(near(b.got, b.want, n, 1e-6f, 1e-36f), "silu_mul at %s: n %u kind %d",
                      sl_isa_name(k->isa), n, kind);
            }
            CHECK(row_free(&b), "a row kernel writes outside: n %u", n);
        }
    }
}

static void check_rope(void) {
    static const uint32_t shapes[][2] = {{2, 2},   {16, 16},   {64, 64},  {80, 32}, {80, 80},
                                         {96, 96}, {128, 128}, {100, 50}, {24, 24}, {36, 18}};
    for (int s = 0; s < 10; s++) {
        const uint32_t d = shapes[s][0], n_rot = shapes[s][1],
                       n_head = 1 + rng_below(&state.rng, 9);
        const uint32_t n = d * n_head;
        guarded g_cs;
        float *cs = guarded_alloc(&g_cs, n_rot * 4);
        for (uint32_t j = 0; j < n_rot / 2; j++) {
            const float angle = rng_float(&state.rng) * 3.0f;
            cs[2 * j] = cosf(angle);
            cs[2 * j + 1] = sinf(angle);
        }
        row_buffers b;
        row_alloc(&b, n);
        rng_fill(&state.rng, b.x, n);
        for (size_t l = 0; l < state.n_levels; l++) {
            const sl_kernels *k = &state.level[l];
            memcpy(b.want, b.x, n * 4);
            memcpy(b.got, b.x, n * 4);
            state.ref.rope_norm(b.want, n_head, d, n_rot, cs);
            k->rope_norm(b.got, n_head, d, n_rot, cs);
            CHECK(near(b.got, b.want, n, 2e-7f, 4e-7f), "rope_norm at %s: d %u n_rot %u",
                  sl_isa_name(k->isa), d, n_rot);
            memcpy(b.want, b.x, n * 4);
            memcpy(b.got, b.x, n * 4);
            state.ref.rope_neox(b.want, n_head, d, n_rot, cs);
            k->rope_neox(b.got, n_head, d, n_rot, cs);
            CHECK(near(b.got, b.want, n, 2e-7f, 4e-7f), "rope_neox at %s: d %u n_rot %u",
                  sl_isa_name(k->isa), d, n_rot);
        }
        const bool rows_whole = row_free(&b);
        CHECK(guarded_free(&g_cs) && rows_whole, "rope writes outside: d %u", d);
    }
}

static void check_reductions(void) {
    for (int s = 0; s < N_ROW_SIZES; s++) {
        for (int kind = 0; kind < 4; kind++) {
            const uint32_t n = row_sizes[s];
            row_buffers b;
            row_alloc(&b, n);
            row_fill(b.x, n, kind);
            if (kind == 0 && n > 3) { /* a tie: the lower index counts */
                b.x[n / 3] = 9.0f;
                b.x[n - 1] = 9.0f;
            }
            for (size_t l = 0; l < state.n_levels; l++) {
                const sl_kernels *k = &state.level[l];
                const uint32_t want = state.ref.argmax(b.x, n);
                CHECK(k->argmax(b.x, n) == want, "argmax at %s: n %u kind %d", sl_isa_name(k->isa),
                      n, kind);
                if (want != UINT32_MAX && isfinite(b.x[want])) {
                    const double a = state.ref.sum_exp(b.x, n, b.x[want], 1.7f);
                    const double e = k->sum_exp(b.x, n, b.x[want], 1.7f);
                    CHECK(fabs(a - e) <= 1e-6 * a, "sum_exp at %s: n %u: %.9g for %.9g",
                          sl_isa_name(k->isa), n, e, a);
                }
            }
            CHECK(row_free(&b), "a reduction writes: n %u", n);
        }
    }
    for (size_t l = 0; l < state.n_levels; l++) { /* all the same, and all -infinity */
        float x[40];
        for (int i = 0; i < 40; i++) {
            x[i] = -INFINITY;
        }
        CHECK(state.level[l].argmax(x, 40) == 0, "argmax of -infinities at %s",
              sl_isa_name(state.level[l].isa));
        CHECK(state.level[l].sum_exp(x, 40, 0.0f, 1.0f) == 0.0, "sum_exp of -infinities at %s",
              sl_isa_name(state.level[l].isa));
    }
}
