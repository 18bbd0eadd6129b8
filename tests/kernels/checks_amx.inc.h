/* Checks of the products on tiles, bit for bit against the reference: where the machine has them,
 * and everywhere in the ways of amx_table.h. Part of test_kernels.c. */

/* A table with products on tiles; name is what it is called in reports. */
typedef struct amx_table {
    const sl_kernels *k;
    const char *name;
} amx_table;

static sl_kernels amx_without[AMX_WAYS]; /* a processor that has them */

static size_t amx_tables(amx_table out[SL_ISA_COUNT + AMX_WAYS]) {
    size_t n = 0;
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_kernels *k = &state.level[l];
        if (k->amx.mul != NULL) {
            out[n++] = (amx_table){k, sl_isa_name(k->isa)};
        }
    }
    for (uint32_t i = 0; i < AMX_WAYS; i++) {
        if (amx_way(i) != NULL) {
            sl_kernels_init(&amx_without[i], sl_cpu_isa_hardware());
            amx_way(i)(&amx_without[i]);
            out[n++] = (amx_table){&amx_without[i], amx_way_name(i)};
        }
    }
    return n;
}

static bool amx_has(const sl_kernels *k, sl_type type) {
    return has_product(type) || type == SL_TYPE_F16 ||
           (type == SL_TYPE_BF16 && k->bf16.pack != NULL);
}

static size_t amx_panel_bytes(const sl_kernels *k, sl_type type, uint32_t n_in) {
    return type == SL_TYPE_BF16  ? k->bf16.panel_bytes(n_in)
           : type == SL_TYPE_F16 ? k->plain.panel_bytes(type, n_in)
                                 : k->product[type].panel_bytes(type, n_in);
}

static void amx_pack(const sl_kernels *k, sl_type type, const uint8_t *rows, size_t row_bytes,
                     uint32_t n_rows, uint32_t n_in, uint8_t *panel) {
    if (type == SL_TYPE_BF16) {
        k->bf16.pack(rows, row_bytes, n_rows, n_in, panel);
    } else {
        (type == SL_TYPE_F16 ? k->plain.pack : k->product[type].pack)(type, rows, row_bytes, n_rows,
                                                                      n_in, panel);
    }
}

typedef struct amx_case {
    sl_type type;
    uint32_t n_in, n_out, n_rows;
    bool add;
    const uint8_t *weights; /* [n_out] rows of the file's layout */
    size_t row_bytes;
    const uint16_t *x; /* [n_rows][x_stride] */
    size_t x_stride, out_stride;
} amx_case;

/* Rows from a third on times panels from a third on, at one table. */
static bool amx_run(const sl_kernels *k, const amx_case *c, float *out) {
    const uint32_t n_panels = (c->n_out + SL_PANEL_ROWS - 1) / SL_PANEL_ROWS;
    const size_t panel_bytes = amx_panel_bytes(k, c->type, c->n_in);
    guarded g[2];
    uint8_t *panels = guarded_alloc(&g[0], n_panels * panel_bytes);
    void *scratch = guarded_alloc(&g[1], sl_product_amx_scratch_bytes(c->n_in));
    for (uint32_t i = 0; i < n_panels; i++) {
        const uint32_t left = c->n_out - i * SL_PANEL_ROWS;
        amx_pack(k, c->type, c->weights + (size_t)i * SL_PANEL_ROWS * c->row_bytes, c->row_bytes,
                 left < SL_PANEL_ROWS ? left : SL_PANEL_ROWS, c->n_in, panels + i * panel_bytes);
    }
    k->amx.mul(c->type, panels, panel_bytes, c->n_in, n_panels / 3, n_panels, c->x, c->x_stride,
               c->n_rows / 3, c->n_rows, out, c->out_stride, c->add, scratch);
    return guarded_free_all(g, 2);
}

/* The twin against the float product: rounding a weight and an activation changes their product by
 * little more than 2^-7 of it. */
static void amx_check_error(const amx_case *c, const float *x, const float *got) {
    float *w = sl_alloc_zero(c->n_in, sizeof(float));
    const uint32_t first = (c->n_out + 15) / 16 / 3 * 16;
    for (uint32_t o = first; o < c->n_out; o++) {
        sl_type_decode_row(c->type, c->weights + o * c->row_bytes, w, c->n_in);
        for (uint32_t r = c->n_rows / 3; r < c->n_rows; r++) {
            double sum = 0.0, size = 0.0;
            for (uint32_t i = 0; i < c->n_in; i++) {
                const double term = (double)w[i] * (double)x[(size_t)r * c->n_in + i];
                sum += term;
                size += fabs(term);
            }
            const double error = fabs((double)got[r * c->out_stride + o] - sum);
            CHECK(error <= size * (0x1p-7 + 0x1p-16 + c->n_in * 0x1p-23),
                  "mul amx %s: n_in %u row %u output %u is off by %g", type_name(c->type), c->n_in,
                  r, o, error);
        }
    }
    sl_free(w);
}

/* All that must be as the twin has it, and what must be left alone; lanes behind n_out may be
 * anything. */
static bool amx_same(const amx_case *c, const float *got, const float *want, const float *start) {
    const uint32_t n_panels = (c->n_out + SL_PANEL_ROWS - 1) / SL_PANEL_ROWS;
    const uint32_t first = n_panels / 3 * SL_PANEL_ROWS, end = n_panels * SL_PANEL_ROWS;
    bool same = true;
    for (uint32_t r = 0; r < c->n_rows; r++) {
        const size_t at = r * c->out_stride;
        if (r < c->n_rows / 3) {
            same = same && same_bits(got + at, start + at, c->out_stride);
        } else {
            same = same && same_bits(got + at, start + at, first) &&
                   same_bits(got + at + first, want + at + first, c->n_out - first) &&
                   same_bits(got + at + end, start + at + end, c->out_stride - end);
        }
    }
    return same;
}

static void amx_case_run(sl_type type, uint32_t n_in, uint32_t n_out, uint32_t n_rows, bool add,
                         bool spoiled) {
    amx_table tables[SL_ISA_COUNT + AMX_WAYS];
    const size_t n_tables = amx_tables(tables);
    const sl_type_info *info = sl_type_info_of((uint32_t)type);
    amx_case c = {.type = type, .n_in = n_in, .n_out = n_out, .n_rows = n_rows, .add = add};
    c.row_bytes = n_in / info->block_elems * info->block_bytes;
    c.x_stride = (n_in + 31) / 32 * 32 + 2 * rng_below(&state.rng, 20);
    c.out_stride = (n_out + 15) / 16 * 16 + rng_below(&state.rng, 9);
    const size_t n = n_rows * c.out_stride, from = n_rows / 3;
    guarded g[6];
    uint8_t *weights = guarded_alloc(&g[0], n_out * c.row_bytes);
    float *x = guarded_alloc(&g[1], (size_t)n_rows * n_in * 4);
    uint16_t *rounded = guarded_alloc(&g[2], n_rows * c.x_stride * 2);
    float *start = guarded_alloc(&g[3], n * 4);
    float *want = guarded_alloc(&g[4], n * 4), *got = guarded_alloc(&g[5], n * 4);
    for (uint32_t i = 0; i < n_out; i++) {
        random_row(&state.rng, type, weights + i * c.row_bytes, n_in);
    }
    rng_fill(&state.rng, x, (size_t)n_rows * n_in);
    if (spoiled && info->block_elems == 1) {
        bf16_spoil(weights, (size_t)n_out * n_in, x, (size_t)n_rows * n_in);
    } else if (spoiled) {
        bf16_spoil(NULL, 0, x, (size_t)n_rows * n_in);
        spoil_weights(&state.rng, type, weights, c.row_bytes, n_out);
    }
    sl_product_bf16 ref;
    sl_product_bf16_ref(&ref);
    for (uint32_t r = 0; r < n_rows; r++) {
        ref.round_row(x + (size_t)r * n_in, n_in, rounded + r * c.x_stride);
    }
    for (size_t i = 0; i < n; i++) {
        start[i] = (float)(i % 31) - 15.0f;
    }
    c.weights = weights;
    c.x = rounded;
    memcpy(want, start, n * 4);
    sl_mul_amx_ref(type, weights, c.row_bytes, n_in, n_out, rounded + from * c.x_stride, c.x_stride,
                   n_rows - (uint32_t)from, want + from * c.out_stride, c.out_stride, add);
    if (!spoiled && !add) {
        amx_check_error(&c, x, want);
    }
    for (size_t t = 0; t < n_tables; t++) {
        if (amx_has(tables[t].k, type)) {
            memcpy(got, start, n * 4);
            const bool clean = amx_run(tables[t].k, &c, got);
            CHECK(clean && amx_same(&c, got, want, start),
                  "mul amx %s at %s: n_in %u n_out %u rows %u add %d spoiled %d", type_name(type),
                  tables[t].name, n_in, n_out, n_rows, add, spoiled);
        }
    }
    CHECK(guarded_free_all(g, 6), "mul amx %s writes outside", type_name(type));
}

static void check_amx(void) {
    static const uint32_t groups[] = {1, 2, 3, 5, 7, 18, 4, 9};
    static const uint32_t plain[] = {1, 2, 31, 32, 33, 63, 100, 257};
    for (sl_type type = 0; type < SL_TYPE_COUNT; type++) {
        const bool is_plain = type == SL_TYPE_F16 || type == SL_TYPE_BF16;
        if (!has_product(type) && !is_plain) {
            continue;
        }
        const uint32_t block = sl_type_info_of((uint32_t)type)->block_elems;
        for (uint32_t i = 0; i < 8; i++) { /* all widths */
            const uint32_t n_in = is_plain ? plain[i]
                                           : block * (block > 32 ? 1 + i % 3 : groups[i]);
            amx_case_run(type, n_in, 1 + rng_below(&state.rng, 70), 1 + rng_below(&state.rng, 40),
                         i % 3 == 0, i % 4 == 3);
        }
    }
    for (uint32_t n_rows = 1; n_rows <= 102; n_rows += 1 + n_rows / 50) { /* all blocks of rows */
        amx_case_run(SL_TYPE_Q4_1, 64, 40, n_rows, n_rows % 2, false);
    }
    for (uint32_t add = 0; add < 2; add++) { /* several parts of columns */
        amx_case_run(SL_TYPE_Q8_0, SL_PRODUCT_AMX_COLUMNS + 96, 33, 50, add, false);
        amx_case_run(SL_TYPE_BF16, SL_PRODUCT_AMX_COLUMNS + 33, 17, 25, add, false);
    }
}
