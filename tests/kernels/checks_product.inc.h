/* Checks of the products: int8 forms and the generic float form, every level bit for bit against
 * the reference. Part of test_kernels.c. */

static bool has_product(sl_type type) {
    return sl_group_info_of(type)->form != SL_GROUP_NONE;
}

/* One product with weights of its own. */
typedef struct product_case {
    sl_type type;
    uint32_t n_in, n_out; /* n_out need not be a multiple of 16 */
    uint32_t n_rows;
    uint32_t row_begin, row_end, panel_begin, panel_end;
    bool add;
    const uint8_t *weights; /* [n_out] rows of the file's layout */
    size_t row_bytes;
    const sl_act8 *act;
    size_t out_stride;
} product_case;

/* Packs and multiplies at one level into out (n_rows * out_stride floats, contents kept where
 * nothing is due). */
static bool product_run(const sl_kernels *k, const product_case *c, float *out) {
    const sl_product *product = &k->product[c->type];
    const uint32_t n_panels = (c->n_out + SL_PANEL_ROWS - 1) / SL_PANEL_ROWS;
    const size_t panel_bytes = product->panel_bytes(c->type, c->n_in);
    guarded panels;
    uint8_t *p = guarded_alloc(&panels, n_panels * panel_bytes);
    for (uint32_t i = 0; i < n_panels; i++) {
        const uint32_t left = c->n_out - i * SL_PANEL_ROWS;
        product->pack(c->type, c->weights + (size_t)i * SL_PANEL_ROWS * c->row_bytes, c->row_bytes,
                      left < SL_PANEL_ROWS ? left : SL_PANEL_ROWS, c->n_in, p + i * panel_bytes);
    }
    product->mul(p, c->n_in, c->panel_begin, c->panel_end, c->act, c->row_begin, c->row_end, out,
                 c->out_stride, c->add);
    return guarded_free(&panels) && panel_bytes % 64 == 0;
}

/* Runs a case at every level and compares all of `out` with the reference's, the untouched parts
 * too. */
static void product_check(const product_case *c) {
    const size_t n = (size_t)c->n_rows * c->out_stride;
    guarded g_want, g_got;
    float *want = guarded_alloc(&g_want, n * 4);
    float *got = guarded_alloc(&g_got, n * 4);
    for (size_t i = 0; i < n; i++) {
        want[i] = (float)(i % 31) - 15.0f;
    }
    float *start = sl_alloc_aligned(n * 4, 64);
    memcpy(start, want, n * 4);
    CHECK(product_run(&state.ref, c, want), "%s: reference writes outside its panel",
          type_name(c->type));
    for (size_t l = 0; l < state.n_levels; l++) {
        memcpy(got, start, n * 4);
        const bool clean = product_run(&state.level[l], c, got);
        CHECK(clean && same_bits(got, want, n),
              "mul %s at %s: n_in %u n_out %u rows %u..%u of %u panels %u..%u add %d",
              type_name(c->type), sl_isa_name(state.level[l].isa), c->n_in, c->n_out, c->row_begin,
              c->row_end, c->n_rows, c->panel_begin, c->panel_end, c->add);
    }
    sl_free_aligned(start);
    CHECK(guarded_free(&g_want) && guarded_free(&g_got), "mul %s writes outside",
          type_name(c->type));
}

/* Where in a block the scale is, of one or two bytes. */
static uint32_t scale_offset(sl_type type) {
    switch (type) {
    case SL_TYPE_Q2_K:
        return 80 + 2 * rng_below(&state.rng, 2);
    case SL_TYPE_Q3_K:
        return 108;
    case SL_TYPE_Q6_K:
        return 208;
    case SL_TYPE_TQ1_0:
        return 52;
    case SL_TYPE_TQ2_0:
        return 64;
    case SL_TYPE_IQ1_M:
        return 48 + 2 * rng_below(&state.rng, 4);
    default:
        return 0;
    }
}

/* Odd values that a file or a model may bring: scales that are zero, subnormal, huge, infinite or
 * NaN. */
static void spoil_weights(rng *r, sl_type type, uint8_t *rows, size_t row_bytes, uint32_t n_out) {
    static const uint16_t halves[] = {0x0000, 0x8000, 0x0001, 0x7bff,
                                      0x7c00, 0xfc00, 0x7e00, 0x83ff};
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    for (uint32_t i = 0; i < n_out; i++) {
        const size_t block = rng_below(r, (uint32_t)(row_bytes / info->block_bytes));
        const uint16_t h = halves[rng_below(r, 8)];
        uint8_t *at = rows + i * row_bytes + block * info->block_bytes + scale_offset(type);
        memcpy(at, &h, 2);
        if (type == SL_TYPE_MXFP4) {
            at[0] = (uint8_t)(rng_below(&state.rng, 2) ? 255 - i % 3 : i % 3);
        }
    }
}

static void product_case_run(sl_type type, uint32_t n_in, uint32_t n_out, uint32_t n_rows,
                             bool spoiled) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    const size_t row_bytes = n_in / info->block_elems * info->block_bytes;
    uint8_t *weights = sl_alloc_zero(n_out, row_bytes);
    for (uint32_t i = 0; i < n_out; i++) {
        random_row(&state.rng, type, weights + i * row_bytes, n_in);
    }
    act_buf act;
    act_alloc(&act, n_rows, n_in);
    float *x = sl_alloc_zero(n_in, sizeof(float));
    for (uint32_t i = 0; i < n_rows; i++) {
        rng_fill(&state.rng, x, n_in);
        if (spoiled && i % 3 == 0) {
            x[rng_below(&state.rng, n_in)] = i % 2 ? INFINITY : NAN;
        } else if (spoiled && i % 3 == 1) {
            memset(x, 0, n_in * sizeof(float) / 2);
        }
        state.ref.quantize_row(x, n_in, &act.act, i);
    }
    if (spoiled) {
        spoil_weights(&state.rng, type, weights, row_bytes, n_out);
    } else { /* the largest sums that the formats can make */
        memset(act.act.q, rng_below(&state.rng, 2) ? 127 : -127, n_in);
        for (uint32_t g = 0; g < n_in / 32; g++) {
            act.act.minus_sum[2 * g] = -32 * act.act.q[0];
            act.act.minus_sum[2 * g + 1] = -16 * act.act.q[0];
        }
    }
    const uint32_t n_panels = (n_out + 15) / 16;
    product_case c = {type,
                      n_in,
                      n_out,
                      n_rows,
                      0,
                      n_rows,
                      0,
                      n_panels,
                      false,
                      weights,
                      row_bytes,
                      &act.act,
                      (size_t)n_panels * 16 + rng_below(&state.rng, 9)};
    product_check(&c);
    c.add = true;
    c.row_begin = rng_below(&state.rng, n_rows);
    c.panel_begin = rng_below(&state.rng, n_panels);
    c.panel_end = c.panel_begin + 1 + rng_below(&state.rng, n_panels - c.panel_begin);
    product_check(&c);
    CHECK(act_free(&act), "mul %s writes into its activations' guards", type_name(type));
    sl_free(x);
    sl_free(weights);
}

static void check_products(void) {
    static const uint32_t groups[] = {1, 2, 3, 5, 6, 7, 18, 48};
    for (sl_type type = 0; type < SL_TYPE_COUNT; type++) {
        if (!has_product(type)) {
            continue;
        }
        const uint32_t block = sl_type_info_of((uint32_t)type)->block_elems;
        for (uint32_t n_rows = 1; n_rows <= 33; n_rows++) { /* all tile heights */
            product_case_run(type, block * (1 + n_rows % 3), 1 + rng_below(&state.rng, 40), n_rows,
                             n_rows % 4 == 0);
        }
        for (uint32_t i = 0; i < 8; i++) { /* all widths */
            const uint32_t n_in = block == 32 ? groups[i] * 32 : (1 + i % 6) * 256;
            product_case_run(type, n_in, 1 + rng_below(&state.rng, 24),
                             1 + rng_below(&state.rng, 14), i % 2);
        }
        /* sums of more rows and columns than a kernel may keep at a time */
        product_case_run(type, block == 32 ? 49 * 32 : 7 * 256, 33 + rng_below(&state.rng, 40),
                         97 + rng_below(&state.rng, 8), type % 2);
    }
}

/* The reference's int8 product is that of the decoded weights with q * d, but for rounding. */
static void check_product_means(void) {
    enum { N_IN = 512 };
    for (sl_type type = 0; type < SL_TYPE_COUNT; type++) {
        if (!has_product(type)) {
            continue;
        }
        const sl_product *product = &state.ref.product[type];
        uint8_t row[N_IN * 2];
        float x[N_IN], w[N_IN], out[SL_PANEL_ROWS];
        uint8_t *panel = sl_alloc_aligned(product->panel_bytes(type, N_IN), 64);
        act_buf act;
        act_alloc(&act, 1, N_IN);
        random_row(&state.rng, type, row, N_IN);
        sl_type_decode_row(type, row, w, N_IN);
        rng_fill(&state.rng, x, N_IN);
        state.ref.quantize_row(x, N_IN, &act.act, 0);
        product->pack(type, row, sizeof(row), 1, N_IN, panel);
        product->mul(panel, N_IN, 0, 1, &act.act, 0, 1, out, SL_PANEL_ROWS, false);
        double want = 0.0, size = 0.0;
        for (uint32_t i = 0; i < N_IN; i++) {
            const double term = (double)w[i] * act.act.q[i] * (double)act.act.d[i / SL_ACT_GROUP];
            want += term;
            size += fabs(term);
        }
        CHECK(fabs((double)out[0] - want) <= 1e-5 * size, "mul %s: %.9g, should be %.9g",
              type_name(type), (double)out[0], want);
        CHECK(act_free(&act), "quantize_row writes outside");
        sl_free_aligned(panel);
    }
}

/* A row alone gives what it gives among 512, at every level. */
static void check_product_rows_independent(void) {
    enum { ROWS = 512, OUT = 32 };
    for (sl_type type = 0; type < SL_TYPE_COUNT; type++) {
        if (!has_product(type)) {
            continue;
        }
        const uint32_t n_in = sl_type_info_of((uint32_t)type)->block_elems == 32 ? 576 : 512;
        const sl_type_info *info = sl_type_info_of((uint32_t)type);
        const size_t row_bytes = n_in / info->block_elems * info->block_bytes;
        uint8_t *weights = sl_alloc_zero(OUT, row_bytes);
        for (uint32_t i = 0; i < OUT; i++) {
            random_row(&state.rng, type, weights + i * row_bytes, n_in);
        }
        act_buf act;
        act_alloc(&act, ROWS, n_in);
        float *x = sl_alloc_zero(n_in, sizeof(float));
        for (uint32_t i = 0; i < ROWS; i++) {
            rng_fill(&state.rng, x, n_in);
            state.ref.quantize_row(x, n_in, &act.act, i);
        }
        float *all = sl_alloc_aligned(ROWS * OUT * 4, 64);
        float *alone = sl_alloc_aligned(ROWS * OUT * 4, 64);
        for (size_t l = 0; l < state.n_levels; l++) {
            const sl_product *product = &state.level[l].product[type];
            const size_t panel_bytes = product->panel_bytes(type, n_in);
            uint8_t *panels = sl_alloc_aligned(2 * panel_bytes, 64);
            product->pack(type, weights, row_bytes, 16, n_in, panels);
            product->pack(type, weights + 16 * row_bytes, row_bytes, 16, n_in,
                          panels + panel_bytes);
            product->mul(panels, n_in, 0, 2, &act.act, 0, ROWS, all, OUT, false);
            for (uint32_t i = 0; i < ROWS; i++) {
                product->mul(panels, n_in, 0, 2, &act.act, i, i + 1, alone, OUT, false);
            }
            CHECK(memcmp(all, alone, ROWS * OUT * 4) == 0,
                  "mul %s at %s: a row depends on the others", type_name(type),
                  sl_isa_name(state.level[l].isa));
            sl_free_aligned(panels);
        }
        sl_free_aligned(all);
        sl_free_aligned(alone);
        act_free(&act);
        sl_free(x);
        sl_free(weights);
    }
}

/* --- plain products, against the reference's mul_f32
 * ------------------------------------------------------------------ */
static void plain_case(sl_type type, uint32_t n_in, uint32_t n_out, uint32_t n_rows, bool add) {
    const size_t elem = sl_type_info_of((uint32_t)type)->block_bytes;
    const size_t row_bytes = n_in * elem + 2 * rng_below(&state.rng, 3);
    const uint32_t n_panels = (n_out + SL_PANEL_ROWS - 1) / SL_PANEL_ROWS, first = n_panels / 3;
    const uint32_t begin = first * SL_PANEL_ROWS, row = n_rows / 3;
    const size_t x_stride = n_in + rng_below(&state.rng, 5);
    const size_t out_stride = n_panels * SL_PANEL_ROWS + rng_below(&state.rng, 5);
    const size_t n = n_rows * out_stride;
    guarded g[5];
    uint8_t *weights = guarded_alloc(&g[0], n_out * row_bytes);
    float *x = guarded_alloc(&g[1], n_rows * x_stride * 4);
    float *want = guarded_alloc(&g[2], n * 4), *got = guarded_alloc(&g[3], n * 4);
    float *scratch = guarded_alloc(&g[4], sl_mul_f32_scratch_floats(n_in) * 4);
    for (uint32_t i = 0; i < n_out; i++) {
        random_row(&state.rng, type, weights + i * row_bytes, n_in);
    }
    rng_fill(&state.rng, x, n_rows * x_stride);
    if (n_rows > 2) {
        x[x_stride + rng_below(&state.rng, n_in)] = NAN;
        x[2 * x_stride + rng_below(&state.rng, n_in)] = 3e38f;
    }
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_product_plain *product = &state.level[l].plain;
        const size_t panel_bytes = product->panel_bytes(type, n_in);
        guarded panels;
        uint8_t *p = guarded_alloc(&panels, n_panels * panel_bytes);
        for (uint32_t i = 0; i < n_panels; i++) {
            const uint32_t left = n_out - i * SL_PANEL_ROWS;
            product->pack(type, weights + (size_t)i * SL_PANEL_ROWS * row_bytes, row_bytes,
                          left < SL_PANEL_ROWS ? left : SL_PANEL_ROWS, n_in, p + i * panel_bytes);
        }
        for (size_t i = 0; i < n; i++) {
            want[i] = got[i] = (float)(i % 13);
        }
        product->mul(type, p, n_in, first, n_panels, x, x_stride, row, n_rows, got, out_stride,
                     add);
        state.ref.mul_f32(type, weights, row_bytes, n_in, begin, n_out, x + row * x_stride,
                          x_stride, n_rows - row, want + row * out_stride, out_stride, add,
                          scratch);
        bool same = true;
        for (uint32_t r = 0; r < n_rows; r++) { /* lanes behind n_out may be anything */
            same = same && same_bits(got + r * out_stride, want + r * out_stride, n_out) &&
                   same_bits(got + r * out_stride + n_panels * SL_PANEL_ROWS,
                             want + r * out_stride + n_panels * SL_PANEL_ROWS,
                             out_stride - n_panels * SL_PANEL_ROWS);
        }
        CHECK(same && panel_bytes % 64 == 0 && guarded_free(&panels),
              "mul plain %s at %s: n_in %u n_out %u rows %u add %d", type_name(type),
              sl_isa_name(state.level[l].isa), n_in, n_out, n_rows, add);
    }
    CHECK(guarded_free_all(g, 5), "mul plain %s writes outside", type_name(type));
}

static void check_plain(void) {
    static const sl_type types[] = {SL_TYPE_F32, SL_TYPE_F16, SL_TYPE_BF16};
    static const uint32_t widths[] = {1, 2, 15, 33, 255, 256, 257, 700};
    for (int t = 0; t < 3; t++) {
        for (uint32_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
            plain_case(types[t], widths[i], 1 + rng_below(&state.rng, 50),
                       1 + rng_below(&state.rng, 20), i % 2);
        }
        for (uint32_t n_rows = 1; n_rows <= 27; n_rows++) { /* all tile heights */
            plain_case(types[t], 20, 20, n_rows, n_rows % 2);
        }
        plain_case(types[t], 300, 40, 230, true); /* several blocks of rows and parts of columns */
    }
}

/* --- the bf16 product
 * ------------------------------------------------------------------ */
typedef struct bf16_case {
    uint32_t n_in, n_out, n_rows;
    bool add;
    const uint8_t *weights; /* [n_out] rows of the file's layout */
    size_t row_bytes;
    const float *x; /* [n_rows][n_in] */
    size_t x_stride, out_stride;
} bf16_case;

/* Rounds, packs and multiplies; out and the rounded rows, filled with old contents, are the
 * caller's. */
static bool bf16_run(const sl_product_bf16 *product, const bf16_case *c, uint16_t *rounded,
                     float *out) {
    const uint32_t n_panels = (c->n_out + SL_PANEL_ROWS - 1) / SL_PANEL_ROWS;
    const uint32_t first = n_panels / 3, row = c->n_rows / 3;
    const size_t panel_bytes = product->panel_bytes(c->n_in);
    guarded panels;
    uint8_t *p = guarded_alloc(&panels, n_panels * panel_bytes);
    for (uint32_t i = 0; i < n_panels; i++) {
        const uint32_t left = c->n_out - i * SL_PANEL_ROWS;
        product->pack(c->weights + (size_t)i * SL_PANEL_ROWS * c->row_bytes, c->row_bytes,
                      left < SL_PANEL_ROWS ? left : SL_PANEL_ROWS, c->n_in, p + i * panel_bytes);
    }
    for (uint32_t r = 0; r < c->n_rows; r++) {
        product->round_row(c->x + (size_t)r * c->n_in, c->n_in, rounded + r * c->x_stride);
    }
    product->mul(p, c->n_in, first, n_panels, rounded, c->x_stride, row, c->n_rows, out,
                 c->out_stride, c->add);
    return guarded_free(&panels) && panel_bytes % 64 == 0;
}

/* The twin against the float product: rounding changes each term by at most 2^-8 of it. */
static void bf16_check_error(const bf16_case *c, const float *got) {
    for (uint32_t r = c->n_rows / 3; r < c->n_rows; r++) {
        for (uint32_t o = (c->n_out + 15) / 16 / 3 * 16; o < c->n_out; o++) {
            double sum = 0.0, size = 0.0;
            for (uint32_t k = 0; k < c->n_in; k++) {
                const uint8_t *w = c->weights + o * c->row_bytes + 2 * (size_t)k;
                const double term = (double)sl_bfloat_to_float(sl_load_u16(w)) *
                                    (double)c->x[(size_t)r * c->n_in + k];
                sum += term;
                size += fabs(term);
            }
            const double error = fabs((double)got[r * c->out_stride + o] - sum);
            CHECK(error <= size * (0x1p-8 + c->n_in * 0x1p-23),
                  "mul bf16: n_in %u row %u output %u is off by %g", c->n_in, r, o, error);
        }
    }
}

/* Values of any bits: infinities, NaN, subnormals, sums that overflow and vanish. */
static void bf16_spoil(uint8_t *weights, size_t n_weights, float *x, size_t n_x) {
    for (size_t i = 0; i < n_weights; i++) {
        weights[2 * i + 1] = (uint8_t)rng_next(&state.rng);
    }
    for (size_t i = 0; i < n_x; i++) {
        const uint32_t bits = (uint32_t)rng_next(&state.rng);
        if (rng_below(&state.rng, 4) == 0) {
            memcpy(&x[i], &bits, 4);
        }
    }
}

static void bf16_case_run(uint32_t n_in, uint32_t n_out, uint32_t n_rows, bool add, bool spoiled) {
    sl_product_bf16 ref;
    sl_product_bf16_ref(&ref);
    bf16_case c = {.n_in = n_in, .n_out = n_out, .n_rows = n_rows, .add = add};
    c.row_bytes = 2 * (size_t)n_in + 2 * rng_below(&state.rng, 3);
    c.x_stride = (n_in + 31) / 32 * 32 + 2 * rng_below(&state.rng, 20);
    c.out_stride = (n_out + 15) / 16 * 16 + rng_below(&state.rng, 9);
    const size_t n_x = n_rows * c.x_stride, n = n_rows * c.out_stride;
    guarded g[6];
    uint8_t *weights = guarded_alloc(&g[0], n_out * c.row_bytes);
    float *x = guarded_alloc(&g[1], (size_t)n_rows * n_in * 4);
    uint16_t *x_want = guarded_alloc(&g[2], n_x * 2), *x_got = guarded_alloc(&g[3], n_x * 2);
    float *want = guarded_alloc(&g[4], n * 4), *got = guarded_alloc(&g[5], n * 4);
    for (uint32_t i = 0; i < n_out; i++) {
        random_row(&state.rng, SL_TYPE_BF16, weights + i * c.row_bytes, n_in);
    }
    rng_fill(&state.rng, x, (size_t)n_rows * n_in);
    if (spoiled) {
        bf16_spoil(weights, n_out * c.row_bytes / 2, x, (size_t)n_rows * n_in);
    }
    c.weights = weights;
    c.x = x;
    for (size_t i = 0; i < n; i++) {
        want[i] = (float)(i % 31) - 15.0f;
    }
    memcpy(got, want, n * 4);
    CHECK(bf16_run(&ref, &c, x_want, want), "mul bf16: reference writes outside its panel");
    if (!spoiled && !add) {
        bf16_check_error(&c, want);
    }
    float *start = sl_alloc_aligned(n * 4, 64);
    memcpy(start, got, n * 4);
    for (size_t l = 0; l < state.n_levels; l++) {
        if (state.level[l].bf16.mul != NULL) {
            memcpy(got, start, n * 4);
            const bool clean = bf16_run(&state.level[l].bf16, &c, x_got, got);
            CHECK(clean && same_bits(got, want, n) && memcmp(x_got, x_want, n_x * 2) == 0,
                  "mul bf16 at %s: n_in %u n_out %u rows %u add %d spoiled %d",
                  sl_isa_name(state.level[l].isa), n_in, n_out, n_rows, add, spoiled);
        }
    }
    sl_free_aligned(start);
    CHECK(guarded_free_all(g, 6), "mul bf16 writes outside: n_in %u n_out %u", n_in, n_out);
}

static void check_bf16(void) {
    static const uint32_t widths[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 100, 511, 512, 514, 1100};
    for (uint32_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        bf16_case_run(widths[i], 1 + rng_below(&state.rng, 40), 1 + rng_below(&state.rng, 20),
                      i % 3 == 0, i % 4 == 3);
        bf16_case_run(widths[i], 17, 5, false, true);
    }
    for (uint32_t n_rows = 1; n_rows <= 27; n_rows++) { /* all tile heights */
        bf16_case_run(34, 20, n_rows, n_rows % 2, false);
    }
    bf16_case_run(520, 40, 230, true, false); /* several blocks of rows and parts of columns */
}

/* --- the generic float product
 * ------------------------------------------------------------------ */
static void mul_f32_case(sl_type type, uint32_t n_in, uint32_t n_out, uint32_t n_rows, bool add) {
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    const size_t row_bytes = n_in / info->block_elems * info->block_bytes +
                             rng_below(&state.rng, 2) * 2;
    const uint32_t w_begin = n_out > 16 ? 16 * rng_below(&state.rng, n_out / 16) : 0;
    const size_t x_stride = n_in + rng_below(&state.rng, 5),
                 out_stride = n_out + rng_below(&state.rng, 5);
    guarded g[5];
    uint8_t *weights = guarded_alloc(&g[0], n_out * row_bytes);
    float *x = guarded_alloc(&g[1], n_rows * x_stride * 4);
    float *out = guarded_alloc(&g[2], n_rows * out_stride * 4);
    float *want = guarded_alloc(&g[3], n_rows * out_stride * 4);
    float *scratch = guarded_alloc(&g[4], sl_mul_f32_scratch_floats(n_in) * 4);
    for (uint32_t i = 0; i < n_out; i++) {
        random_row(&state.rng, type, weights + i * row_bytes, n_in);
    }
    rng_fill(&state.rng, x, n_rows * x_stride);
    if (n_rows > 2) {
        x[x_stride + rng_below(&state.rng, n_in)] = NAN;
        x[2 * x_stride + rng_below(&state.rng, n_in)] = 3e38f;
    }
    for (size_t i = 0; i < n_rows * out_stride; i++) {
        want[i] = (float)(i % 13);
    }
    float *start = sl_alloc_aligned(n_rows * out_stride * 4, 64);
    memcpy(start, want, n_rows * out_stride * 4);
    state.ref.mul_f32(type, weights, row_bytes, n_in, w_begin, n_out, x, x_stride, n_rows, want,
                      out_stride, add, scratch);
    for (size_t l = 0; l < state.n_levels; l++) {
        memcpy(out, start, n_rows * out_stride * 4);
        state.level[l].mul_f32(type, weights, row_bytes, n_in, w_begin, n_out, x, x_stride, n_rows,
                               out, out_stride, add, scratch);
        CHECK(same_bits(out, want, n_rows * out_stride),
              "mul_f32 %s at %s: n_in %u outputs %u..%u rows %u", type_name(type),
              sl_isa_name(state.level[l].isa), n_in, w_begin, n_out, n_rows);
    }
    sl_free_aligned(start);
    CHECK(guarded_free_all(g, 5), "mul_f32 %s writes outside", type_name(type));
}

static void check_mul_f32(void) {
    static const uint32_t plain[] = {1, 7, 8, 15, 16, 17, 33, 64, 100, 576};
    for (uint32_t type = 0; type < SL_TYPE_COUNT; type++) {
        const sl_type_info *info = sl_type_info_of(type);
        if (info->name == NULL || !info->decodes) {
            continue;
        }
        if (info->block_elems == 1) {
            for (int i = 0; i < 10; i++) {
                mul_f32_case((sl_type)type, plain[i], 1 + rng_below(&state.rng, 50),
                             1 + rng_below(&state.rng, 26), i % 2);
            }
        } else {
            mul_f32_case((sl_type)type, info->block_elems, 17, 1, false);
            mul_f32_case((sl_type)type, info->block_elems * (info->block_elems < 256 ? 19 : 2), 33,
                         13, true);
        }
    }
    for (uint32_t n_rows = 1; n_rows <= 27; n_rows++) {
        mul_f32_case(SL_TYPE_F16, 40, 20, n_rows, n_rows % 2);
    }
    mul_f32_case(SL_TYPE_BF16, 300, 40, 530, true); /* several blocks of rows and of columns */
}
