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
            const bool same =
                memcmp(got.act.q, want.act.q, 3 * got.act.q_stride) == 0 &&
                memcmp(got.act.minus_sum, want.act.minus_sum, 24 * got.act.g_stride) == 0 &&
                same_bits(got.act.d + got.act.g_stride, want.act.d + got.act.g_stride, n / 32) &&
                same_bits(got.act.s + got.act.g_stride, want.act.s + got.act.g_stride, n / 32);
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

                state.ref.add_scaled(b.x, b.y, 0.3f, n, b.want);
                memcpy(b.got, b.x, n * 4);
                k->add_scaled(b.got, b.y, 0.3f, n, b.got);
                CHECK(same_bits(b.got, b.want, n), "add_scaled at %s: n %u", sl_isa_name(k->isa),
                      n);

                state.ref.scale(b.x, -1.7f, n, b.want);
                memcpy(b.got, b.x, n * 4);
                k->scale(b.got, -1.7f, n, b.got);
                CHECK(same_bits(b.got, b.want, n), "scale at %s: n %u", sl_isa_name(k->isa), n);
            }
            CHECK(row_free(&b), "a row kernel writes outside: n %u", n);
        }
    }
}

/* With and without weights and bias; rows far from zero too, which only a mean with its low bits
 * gets right. */
static void check_norms(void) {
    for (int i = 0; i < N_ROW_SIZES * 7; i++) {
        const uint32_t n = row_sizes[i / 7];
        const int kind = i % 7;
        row_buffers b;
        row_alloc(&b, n);
        row_fill(b.x, n, kind);
        for (uint32_t j = 0; j < n && kind == 6; j++) {
            b.x[j] += 3e4f;
        }
        float *bias = sl_alloc_zero(n, sizeof(float));
        rng_fill(&state.rng, b.y, n);
        rng_fill(&state.rng, bias, n);
        for (size_t l = 0; l < state.n_levels; l++) {
            const sl_kernels *k = &state.level[l];
            for (int with = 0; with < 4; with++) {
                const float *w = with & 1 ? b.y : NULL, *add = with & 2 ? bias : NULL;
                state.ref.layer_norm(b.x, w, add, n, 1e-5f, b.want);
                memcpy(b.got, b.x, n * 4);
                k->layer_norm(b.got, w, add, n, 1e-5f, b.got);
                CHECK(near(b.got, b.want, n, 1e-6f, 1e-6f),
                      "layer_norm at %s: n %u kind %d with %d", sl_isa_name(k->isa), n, kind, with);
                if (add) {
                    continue;
                }
                state.ref.rms_norm(b.x, w, n, 1e-5f, b.want);
                memcpy(b.got, b.x, n * 4);
                k->rms_norm(b.got, w, n, 1e-5f, b.got);
                CHECK(near(b.got, b.want, n, 4e-7f, 0.0f), "rms_norm at %s: n %u kind %d with %d",
                      sl_isa_name(k->isa), n, kind, with);
            }
        }
        sl_free(bias);
        CHECK(row_free(&b), "a norm writes outside: n %u", n);
    }
}

/* Bounds: relative, and absolute where the reference itself loses digits (1 + erf, 1 + tanh). */
static const struct {
    const char *name;
    float bound_rel, bound_abs;
} act_kinds[SL_ACT_KIND_COUNT] = {
    [SL_ACT_SILU] = {"silu", 1e-6f, 1e-36f},
    [SL_ACT_GELU] = {"gelu", 6e-7f, 4e-7f},
    [SL_ACT_GELU_TANH] = {"gelu_tanh", 6e-7f, 4e-7f},
    [SL_ACT_RELU_SQUARED] = {"relu_squared", 0.0f, 0.0f},
    [SL_ACT_SIGMOID] = {"sigmoid", 1e-6f, 1e-36f},
    [SL_ACT_SWIGLU_CLAMPED] = {"swiglu_clamped", 1e-6f, 1e-36f},
};

static void act_check(sl_act_kind kind, uint32_t n, int fill) {
    row_buffers b;
    row_alloc(&b, n);
    row_fill(b.x, n, fill);
    rng_fill(&state.rng, b.y, n);
    for (uint32_t i = 0; i < n && fill == 0; i++) {
        b.x[i] *= i % 2 ? 4.0f : 20.0f;
        b.y[i] *= i % 3 ? 1.0f : 20.0f;
    }
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_kernels *k = &state.level[l];
        for (int gated = kind == SL_ACT_SWIGLU_CLAMPED; gated < 2; gated++) {
            const float *up = gated ? b.y : NULL;
            state.ref.act(kind, b.x, up, n, b.want);
            memcpy(b.got, b.x, n * 4);
            k->act(kind, b.got, up, n, b.got);
            /* the absolute part is of act(x): times |up| */
            const float abs = act_kinds[kind].bound_abs * (gated && fill == 0 ? 60.0f : 1.0f);
            CHECK(near(b.got, b.want, n, act_kinds[kind].bound_rel, abs),
                  "act %s at %s: n %u fill %d gated %d", act_kinds[kind].name, sl_isa_name(k->isa),
                  n, fill, gated);
        }
    }
    CHECK(row_free(&b), "act %s writes outside: n %u", act_kinds[kind].name, n);
}

static void check_act(void) {
    for (int kind = 0; kind < SL_ACT_KIND_COUNT; kind++) {
        for (int s = 0; s < N_ROW_SIZES; s++) {
            for (int fill = 0; fill < 6; fill++) {
                act_check((sl_act_kind)kind, row_sizes[s], fill);
            }
        }
    }
}

/* The functions themselves, in double. */
static double act_exact(sl_act_kind kind, double x) {
    switch (kind) {
    case SL_ACT_SILU:
        return x / (1.0 + exp(-x));
    case SL_ACT_GELU:
        return x / 2.0 * erfc(-x / sqrt(2.0));
    case SL_ACT_GELU_TANH:
        return x / (1.0 + exp(-2.0 * sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case SL_ACT_SIGMOID:
        return 1.0 / (1.0 + exp(-x));
    default:
        return x > 0.0 ? x * x : 0.0;
    }
}

/* A fine grid against double, and what lies beyond it: limits, not overflows; NaN stays NaN. */
static void check_act_limits(void) {
    enum { N = 40001, E = 8 };
    static const float extreme[E] = {-INFINITY, INFINITY, -3.4e38f, 3.4e38f,
                                     -1000.0f,  1000.0f,  NAN,      0.0f};
    float *x = sl_alloc_zero(N, sizeof(float)), *y = sl_alloc_zero(N, sizeof(float));
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) * (20.0f / (N / 2));
    }
    for (size_t l = 0; l <= state.n_levels; l++) { /* the last one is the reference */
        const sl_kernels *k = l < state.n_levels ? &state.level[l] : &state.ref;
        for (int kind = 0; kind < SL_ACT_SWIGLU_CLAMPED; kind++) {
            k->act((sl_act_kind)kind, x, NULL, N, y);
            double worst = 0.0;
            for (int i = 0; i < N; i++) {
                const double want = act_exact((sl_act_kind)kind, (double)x[i]);
                const double scale = fmax(1.0, fabs(want));
                worst = fmax(worst, fabs((double)y[i] - want) / scale);
            }
            CHECK(worst < 4e-7, "act %s at %s: error %g", act_kinds[kind].name, sl_isa_name(k->isa),
                  worst);
            float got[E];
            k->act((sl_act_kind)kind, extreme, NULL, E, got);
            const bool bounded = kind == SL_ACT_SIGMOID;
            bool right = isnan(got[6]) && got[7] == (bounded ? 0.5f : 0.0f);
            for (int i = 0; i < 6; i += 2) {
                const float top = bounded                       ? 1.0f
                                  : kind == SL_ACT_RELU_SQUARED ? extreme[i + 1] * extreme[i + 1]
                                                                : extreme[i + 1];
                right = right && got[i] == 0.0f && got[i + 1] == top;
            }
            CHECK(right, "act %s at %s: limits", act_kinds[kind].name, sl_isa_name(k->isa));
        }
        /* gate and up clamped: 7 sigmoid(1.702 * 7) * (7 + 1) at most */
        float got[E], up[E] = {1.0f, 1e30f, -1e30f, INFINITY, 2.0f, -INFINITY, 1.0f, NAN};
        k->act(SL_ACT_SWIGLU_CLAMPED, extreme, up, E, got);
        const float top = 7.0f / (1.0f + expf(-1.702f * 7.0f));
        const float want[E] = {0.0f, top * 8.0f, 0.0f, top * 8.0f, 0.0f, top * -6.0f, NAN, NAN};
        CHECK(near(got, want, E, 1e-6f, 0.0f), "act swiglu_clamped at %s: limits",
              sl_isa_name(k->isa));
    }
    sl_free(x);
    sl_free(y);
}

/* Against double on a wide range of magnitudes: relative, since small inputs must pass as they
 * are. */
static void check_softcap(void) {
    static const float caps[] = {0.5f, 15.0f, 30.0f, 50.0f, 1e4f};
    for (int s = 0; s < N_ROW_SIZES; s++) {
        for (int c = 0; c < 5; c++) {
            const uint32_t n = row_sizes[s];
            row_buffers b;
            row_alloc(&b, n);
            row_fill(b.x, n, (c + s) % 6 == 4 ? 0 : (c + s) % 6);
            for (uint32_t i = 0; i < n; i++) {
                b.x[i] *= ldexpf(1.0f, (int)rng_below(&state.rng, 40) - 25);
                const double x = (double)b.x[i], cap = (double)caps[c];
                b.y[i] = (float)(cap * tanh(x / cap));
            }
            state.ref.softcap(b.x, caps[c], n, b.want);
            CHECK(near(b.want, b.y, n, 4e-7f, 1e-40f), "softcap at ref: n %u cap %g", n,
                  (double)caps[c]);
            for (size_t l = 0; l < state.n_levels; l++) {
                const sl_kernels *k = &state.level[l];
                memcpy(b.got, b.x, n * 4);
                k->softcap(b.got, caps[c], n, b.got);
                CHECK(near(b.got, b.y, n, 5e-7f, 1e-40f), "softcap at %s: n %u cap %g",
                      sl_isa_name(k->isa), n, (double)caps[c]);
            }
            CHECK(row_free(&b), "softcap writes outside: n %u", n);
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
                for (uint32_t at = 0; at < n; at += 1 + n / 9) {
                    const float least = b.x[(at * 7 + 3) % n];
                    const uint32_t first = state.ref.not_below(b.x + at, n - at, least);
                    CHECK(k->not_below(b.x + at, n - at, least) == first,
                          "not_below at %s: n %u kind %d", sl_isa_name(k->isa), n - at, kind);
                }
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
        CHECK(state.level[l].not_below(x, 40, -1e30f) == 40 &&
                  state.level[l].not_below(x, 40, -INFINITY) == 0 &&
                  state.level[l].not_below(x, 0, -INFINITY) == 0,
              "not_below of -infinities at %s", sl_isa_name(state.level[l].isa));
        CHECK(state.level[l].sum_exp(x, 40, 0.0f, 1.0f) == 0.0, "sum_exp of -infinities at %s",
              sl_isa_name(state.level[l].isa));
    }
}
