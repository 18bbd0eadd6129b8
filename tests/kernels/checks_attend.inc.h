/* Checks of attention and of page writing. Part of test_kernels.c. */

enum { ATTEND_GROUP_MAX = 128, ATTEND_D_MAX = 576 };

/* What a call is asked for. */
typedef struct attend_shape {
    sl_kv_type type;
    uint32_t n_rows, n_group, d_k, d_v, pos0;
    uint32_t window, n_keys;
    float softcap;
    float slope; /* of the first head, halved from head to head; 0: no slopes */
    int sinks;   /* 0 none, 1 as large as scores, 2 far above, 3 far below */
} attend_shape;

/* A sequence in a store of its own: random pages, unseen slots hold NaN, and pages that no row sees
 * do not exist: who follows their table entries falls far outside the store. */
typedef struct attend_case {
    sl_attend a;
    guarded g[3]; /* store, q, scratch */
    int32_t table[256];
    float slopes[ATTEND_GROUP_MAX], sinks[ATTEND_GROUP_MAX];
} attend_case;

/* Tokens [begin, end) are seen by some row. */
static uint32_t attend_begin(const attend_shape *s) {
    return s->window && !s->n_keys && s->pos0 + 1 > s->window ? s->pos0 + 1 - s->window : 0;
}
static uint32_t attend_end(const attend_shape *s) {
    return s->n_keys ? s->n_keys : s->pos0 + s->n_rows;
}

static void attend_fill_store(attend_case *c, const attend_shape *s) {
    const uint32_t begin = attend_begin(s), end = attend_end(s);
    const uint32_t first = begin / SL_PAGE_TOKENS;
    const uint32_t n_pages = (end + SL_PAGE_TOKENS - 1) / SL_PAGE_TOKENS - first;
    uint8_t *store = guarded_alloc(&c->g[0], n_pages * c->a.page_bytes);
    memset(store, 0xff, n_pages * c->a.page_bytes); /* NaN in all formats */
    c->a.store = store;
    for (uint32_t i = 0; i < sizeof(c->table) / sizeof(c->table[0]); i++) {
        c->table[i] = INT32_MIN;
    }
    for (uint32_t i = 0; i < n_pages; i++) { /* a random order of pages */
        const uint32_t j = rng_below(&state.rng, i + 1);
        c->table[first + i] = c->table[first + j];
        c->table[first + j] = (int32_t)i;
    }
    float *key = sl_alloc_zero(s->d_k, sizeof(float));
    float *value = sl_alloc_zero(s->d_v, sizeof(float));
    for (uint32_t t = begin; t < end; t++) {
        uint8_t *page = store + (size_t)c->table[t / SL_PAGE_TOKENS] * c->a.page_bytes;
        rng_fill(&state.rng, key, s->d_k);
        rng_fill(&state.rng, value, s->d_v);
        state.ref.kv_store[s->type](key, s->d_k, value, s->d_v, page + c->a.k_offset,
                                    page + c->a.v_offset, t % SL_PAGE_TOKENS);
    }
    sl_free(key);
    sl_free(value);
}

static void attend_make(attend_case *c, const attend_shape *s) {
    static const float sinks[] = {0.0f, 0.0f, 500.0f, -500.0f};
    memset(c, 0, sizeof(*c));
    const size_t k_bytes = sl_kv_key_bytes(s->type, s->d_k);
    const size_t v_bytes = sl_kv_value_bytes(s->type, s->d_v);
    c->a = (sl_attend){.q_stride = (size_t)s->n_group * s->d_k + 3,
                       .n_rows = s->n_rows,
                       .n_group = s->n_group,
                       .d_k = s->d_k,
                       .d_v = s->d_v,
                       .pos0 = s->pos0,
                       .table = c->table,
                       .page_bytes = 64 + k_bytes + v_bytes,
                       .k_offset = 64,
                       .v_offset = 64 + k_bytes,
                       .scale = 1.0f / sqrtf((float)s->d_k),
                       .window = s->window,
                       .n_keys = s->n_keys,
                       .softcap = s->softcap,
                       .slopes = s->slope != 0.0f ? c->slopes : NULL,
                       .sinks = s->sinks ? c->sinks : NULL,
                       .out_stride = (size_t)s->n_group * s->d_v + 5};
    for (uint32_t h = 0; h < s->n_group; h++) {
        c->slopes[h] = ldexpf(s->slope, -(int)(h % 8));
        c->sinks[h] = sinks[s->sinks] + rng_normal(&state.rng);
    }
    attend_fill_store(c, s);
    float *q = guarded_alloc(&c->g[1], s->n_rows * c->a.q_stride * 4);
    rng_fill(&state.rng, q, s->n_rows * c->a.q_stride);
    c->a.q = q;
    c->a.scratch = guarded_alloc(
        &c->g[2], sl_attend_scratch_floats(s->n_rows, s->n_group, s->d_k, s->d_v) * 4);
}
static bool attend_drop(attend_case *c) {
    return guarded_free_all(c->g, 3);
}

static const char *attend_text(const attend_shape *s) {
    static char text[200];
    snprintf(text, sizeof(text),
             "%s rows %u group %u d %u/%u pos %u window %u keys %u cap %g slope %g sinks %d",
             sl_kv_type_name(s->type), s->n_rows, s->n_group, s->d_k, s->d_v, s->pos0, s->window,
             s->n_keys, (double)s->softcap, (double)s->slope, s->sinks);
    return text;
}

/* The rows in calls of n each, the last ones first. */
static void attend_in_parts(const sl_kernels *k, sl_kv_type type, const sl_attend *all, uint32_t n,
                            float *out) {
    const uint32_t n_parts = (all->n_rows + n - 1) / n;
    for (uint32_t i = n_parts; i-- > 0;) {
        const uint32_t row = i * n;
        sl_attend part = *all;
        part.n_rows = all->n_rows - row < n ? all->n_rows - row : n;
        part.pos0 = all->pos0 + row;
        part.q = all->q + row * all->q_stride;
        part.out = out + row * all->out_stride;
        k->attend[type](&part);
    }
}

/* Blocks in calls of a few, the last ones first, then merged. */
static void attend_in_blocks(const sl_kernels *k, sl_kv_type type, const sl_attend *all,
                             float *out) {
    const sl_attend_blocks seen = sl_attend_blocks_seen(all->pos0, all->n_rows, all->window,
                                                        all->n_keys);
    const size_t n = sl_attend_part_floats(all->n_rows, all->n_group, all->d_v);
    guarded g;
    sl_attend part = *all;
    part.out = out;
    part.parts = guarded_alloc(&g, (seen.end - seen.begin) * n * sizeof(float));
    memset(part.parts, 0xff, (seen.end - seen.begin) * n * sizeof(float));
    for (uint32_t end = seen.end; end > seen.begin; end = part.block_begin) {
        const uint32_t more = rng_below(&state.rng, 3);
        part.block_end = end;
        part.block_begin = end - seen.begin <= more ? seen.begin : end - 1 - more;
        k->attend[type](&part);
    }
    k->attend_merge(&part);
    CHECK(guarded_free(&g), "attend writes outside its parts");
}

static double bfloat_at(const uint8_t *p) {
    return (double)sl_bfloat_to_float(sl_load_u16(p));
}

/* Elements of a 4-bit row: group g has 16 bytes, a word of 4 every `step` bytes, and its scales. */
static void int4_row(const uint8_t *codes, size_t step, const uint8_t *scales, size_t scales_step,
                     uint32_t d, double *out) {
    for (uint32_t i = 0; i < d; i++) {
        const uint32_t g = i / 32, b = i % 16;
        const uint8_t two = codes[(g * 4 + b / 4) * step + b % 4];
        const uint8_t *scale = scales + g * scales_step;
        out[i] = bfloat_at(scale + 2) + bfloat_at(scale) * (i % 32 < 16 ? two & 15 : two >> 4);
    }
}

/* The key in a slot, as the definition in kv_type.h has it: of codes, the rotated key. */
static void key_row(sl_kv_type type, const uint8_t *k, uint32_t d, uint32_t slot, double *out) {
    const uint8_t *scales = k + sl_kv_key_codes_bytes(type, d);
    if (type == SL_KV_INT4) {
        int4_row(k + 4 * (size_t)slot, 128, scales + 4 * (size_t)slot, 128, d, out);
        return;
    }
    for (uint32_t i = 0; i < d; i++) {
        const size_t at = (size_t)i * 32 + slot;
        out[i] = type == SL_KV_F16    ? (double)sl_half_load(k + 2 * at)
                 : type == SL_KV_BF16 ? bfloat_at(k + 2 * at)
                 : type == SL_KV_F32  ? (double)sl_float_of_bits(sl_load_u32(k + 4 * at))
                                      : (k[i / 4 * 128 + slot * 4 + i % 4] - 128) *
                                           (double)sl_float_of_bits(sl_load_u32(scales + 4 * slot));
    }
}

static void value_row(sl_kv_type type, const uint8_t *v, uint32_t d, uint32_t slot, double *out) {
    const uint8_t *scales = v + sl_kv_value_codes_bytes(type, d);
    if (type == SL_KV_INT4) {
        const size_t groups = (d + 31) / 32;
        int4_row(v + slot * groups * 16, 4, scales + slot * groups * 4, 4, d, out);
        return;
    }
    for (uint32_t i = 0; i < d; i++) {
        const size_t at = type == SL_KV_INT8 ? ((size_t)slot / 2 * d + i) * 2 + slot % 2
                                             : (size_t)slot * d + i;
        out[i] = type == SL_KV_F16    ? (double)sl_half_load(v + 2 * at)
                 : type == SL_KV_BF16 ? bfloat_at(v + 2 * at)
                 : type == SL_KV_F32
                     ? (double)sl_float_of_bits(sl_load_u32(v + 4 * at))
                     : (int8_t)v[at] * (double)sl_float_of_bits(sl_load_u32(scales + 4 * slot));
    }
}

/* A query row as its keys are: rotated (over the order of the rotation) where they are codes. */
static void query_row(sl_kv_type type, const float *q, uint32_t d, double *out) {
    const uint32_t n = type == SL_KV_INT8 || type == SL_KV_INT4 ? sl_kv_rotation(d) : 1;
    for (uint32_t i = 0; i < d; i++) {
        out[i] = 0.0;
        for (uint32_t j = 0; j < n; j++) {
            const double x = (double)q[i / n * n + j] / n;
            out[i] += __builtin_popcount(i % n & j) % 2 ? -x : x;
        }
    }
}

/* Head h of row r by the definition in kernels.h, in double, all keys at once. q: the query, whose
 * products with keys are multiplied by `scale`; `as`: what becomes of an element of a key or value.
 * Returns the largest magnitude of a value seen. */
static double attend_by_definition(const attend_case *c, const attend_shape *s, uint32_t r,
                                   uint32_t h, const double *q, double scale, double (*as)(double),
                                   double *o) {
    const sl_attend *a = &c->a;
    const uint32_t p = s->pos0 + r, end = s->n_keys ? s->n_keys : p + 1;
    double sum = a->sinks ? exp((double)a->sinks[h]) : 0.0, largest = 0.0;
    double row[ATTEND_D_MAX];
    memset(o, 0, s->d_v * sizeof(*o));
    for (uint32_t t = 0; t < end; t++) {
        if (s->window && !s->n_keys && t + s->window <= p) {
            continue;
        }
        const uint8_t *page = a->store + (size_t)a->table[t / 32] * a->page_bytes;
        double score = 0.0;
        key_row(s->type, page + a->k_offset, s->d_k, t % 32, row);
        for (uint32_t i = 0; i < s->d_k; i++) {
            score += q[i] * as(row[i]);
        }
        score *= scale;
        score = s->softcap != 0.0f ? (double)s->softcap * tanh(score / (double)s->softcap) : score;
        score += a->slopes ? (double)a->slopes[h] * ((double)t - (double)p) : 0.0;
        sum += exp(score);
        value_row(s->type, page + a->v_offset, s->d_v, t % 32, row);
        for (uint32_t j = 0; j < s->d_v; j++) {
            const double value = as(row[j]);
            o[j] += exp(score) * value;
            largest = fabs(value) > largest ? fabs(value) : largest;
        }
    }
    for (uint32_t j = 0; j < s->d_v; j++) {
        o[j] /= sum;
    }
    return largest;
}

static double as_it_is(double x) {
    return x;
}

/* Queries are not rounded. */
static void attend_exact(const attend_case *c, const attend_shape *s, uint32_t r, uint32_t h,
                         float *out) {
    double q[ATTEND_D_MAX], o[ATTEND_D_MAX];
    query_row(s->type, c->a.q + r * c->a.q_stride + (size_t)h * s->d_k, s->d_k, q);
    (void)attend_by_definition(c, s, r, h, q, (double)c->a.scale, as_it_is, o);
    for (uint32_t j = 0; j < s->d_v; j++) {
        out[j] = (float)o[j];
    }
}

static void attend_check(const attend_shape *s) {
    static const uint32_t parts[] = {1, 7};
    attend_case c;
    attend_make(&c, s);
    const size_t n = s->n_rows * c.a.out_stride;
    guarded g_want, g_got;
    float *want = guarded_alloc(&g_want, n * 4);
    float *got = guarded_alloc(&g_got, n * 4);
    float *rows = sl_alloc_aligned(n * 4, 64);
    for (size_t i = 0; i < n; i++) {
        want[i] = 1.5f;
    }
    c.a.out = want;
    state.ref.attend[s->type](&c.a);
    for (size_t i = 0; i < n; i++) {
        rows[i] = 1.5f;
    }
    attend_in_blocks(&state.ref, s->type, &c.a, rows);
    CHECK(memcmp(want, rows, n * 4) == 0, "attend at ref: blocks apart differ: %s", attend_text(s));
    for (uint32_t i = 0; i < 3; i++) { /* the reference itself, at a few places */
        float exact[576];
        const bool codes = s->type == SL_KV_INT8 || s->type == SL_KV_INT4; /* rounded queries */
        const uint32_t r = rng_below(&state.rng, s->n_rows), h = rng_below(&state.rng, s->n_group);
        attend_exact(&c, s, r, h, exact);
        CHECK(near(want + r * c.a.out_stride + (size_t)h * s->d_v, exact, s->d_v,
                   codes ? 0.0f : 1e-5f, codes ? 0.05f : 4e-6f),
              "attend at ref: row %u head %u: %s", r, h, attend_text(s));
    }
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_kernels *k = &state.level[l];
        for (size_t i = 0; i < n; i++) {
            got[i] = 1.5f;
            rows[i] = 1.5f;
        }
        c.a.out = got;
        k->attend[s->type](&c.a);
        /* INT8: weights of 15 bits, a step of which may be between the two exponentials */
        CHECK(near(got, want, n, 1e-5f, s->type == SL_KV_INT8 ? 2e-4f : 4e-6f), "attend at %s: %s",
              sl_isa_name(k->isa), attend_text(s));
        for (int i = 0; i < 2; i++) { /* each row alone, and a few: the same bits */
            attend_in_parts(k, s->type, &c.a, parts[i], rows);
            CHECK(memcmp(got, rows, n * 4) == 0, "attend at %s: parts of %u differ: %s",
                  sl_isa_name(k->isa), parts[i], attend_text(s));
        }
        attend_in_blocks(k, s->type, &c.a, rows);
        CHECK(memcmp(got, rows, n * 4) == 0, "attend at %s: blocks apart differ: %s",
              sl_isa_name(k->isa), attend_text(s));
    }
    sl_free_aligned(rows);
    const bool case_whole = attend_drop(&c);
    const bool want_whole = guarded_free(&g_want);
    CHECK(guarded_free(&g_got) && want_whole && case_whole, "attend writes outside: %s",
          attend_text(s));
}

static void attend_check_plain(sl_kv_type type, uint32_t n_rows, uint32_t n_group, uint32_t d_k,
                               uint32_t d_v, uint32_t pos0) {
    const attend_shape s = {
        .type = type, .n_rows = n_rows, .n_group = n_group, .d_k = d_k, .d_v = d_v, .pos0 = pos0};
    attend_check(&s);
}

static void check_attend(void) {
    static const uint32_t dims[][2] = {{64, 64}, {32, 32}, {16, 16}, {80, 80}, {128, 128},
                                       {96, 64}, {20, 12}, {8, 40},  {5, 7},   {192, 128}};
    static const uint32_t groups[] = {1, 2, 3, 4, 5, 7, 8, 16, 71};
    for (int i = 0; i < SL_KV_TYPE_COUNT; i++) {
        const sl_kv_type type = (sl_kv_type)i;
        for (int d = 0; d < 10; d++) {
            attend_check_plain(type, 1 + rng_below(&state.rng, 6), 3, dims[d][0], dims[d][1],
                               rng_below(&state.rng, 90));
        }
        for (int g = 0; g < 9; g++) {
            attend_check_plain(type, groups[g] > 16 ? 2 : 1 + rng_below(&state.rng, 9), groups[g],
                               32, 32, rng_below(&state.rng, 70));
        }
        attend_check_plain(type, 1, 3, 64, 64, 0);
        attend_check_plain(type, 17, 3, 64, 64, 0);
        attend_check_plain(type, 40, 3, 64, 64, 240); /* over the border of two blocks */
        attend_check_plain(type, 1, 1, 64, 64, 255);
        attend_check_plain(type, 1, 4, 32, 32, 256);
        attend_check_plain(type, 3, 2, 32, 48, 1021); /* several blocks */
        attend_check_plain(type, 70, 1, 16, 16, 0);   /* more than one chunk of rows */
    }
}

static void check_attend_window(void) {
    /* rows, group, pos, window */
    static const uint32_t cases[][4] = {
        {1, 1, 0, 1},       {9, 1, 0, 1},      {9, 3, 30, 1},      {12, 2, 0, 4},
        {1, 3, 31, 31},     {1, 3, 31, 32},    {1, 3, 32, 32},     {3, 3, 62, 33},
        {40, 3, 0, 7},      {40, 3, 240, 9},   {40, 1, 240, 33},   {40, 1, 500, 255},
        {40, 2, 500, 256},  {40, 3, 500, 257}, {70, 1, 250, 20},   {1, 4, 5000, 128},
        {5, 4, 5000, 1024}, {40, 3, 5000, 40}, {33, 1, 5100, 512}, {3, 71, 300, 100},
        {6, 2, 510, 2},     {6, 2, 509, 3},    {9, 5, 100, 1000},  {20, 3, 240, 300},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
            const attend_shape s = {.type = (sl_kv_type)type,
                                    .n_rows = cases[i][0],
                                    .n_group = cases[i][1],
                                    .d_k = i % 2 ? 32 : 20,
                                    .d_v = i % 3 ? 16 : 28,
                                    .pos0 = cases[i][2],
                                    .window = cases[i][3],
                                    .sinks = i % 4 == 0};
            attend_check(&s);
        }
    }
    for (int i = 0; i < 60; i++) { /* any shape */
        const attend_shape s = {.type = (sl_kv_type)(i % SL_KV_TYPE_COUNT),
                                .n_rows = 1 + rng_below(&state.rng, 50),
                                .n_group = 1 + rng_below(&state.rng, 7),
                                .d_k = 1 + rng_below(&state.rng, 24),
                                .d_v = 1 + rng_below(&state.rng, 24),
                                .pos0 = rng_below(&state.rng, i % 3 ? 600 : 40),
                                .window = 1 + rng_below(&state.rng, i % 4 ? 40 : 400)};
        attend_check(&s);
    }
}

/* Every key seen by every row; then the options of scores, alone and together. */
static void check_attend_options(void) {
    static const attend_shape shapes[] = {
        {.n_rows = 1, .n_group = 2, .n_keys = 1},
        {.n_rows = 33, .n_group = 3, .n_keys = 33},
        {.n_rows = 10, .n_group = 1, .n_keys = 300, .pos0 = 290},
        {.n_rows = 40, .n_group = 2, .n_keys = 40, .window = 5}, /* which then counts nothing */
        {.n_rows = 3, .n_group = 2, .n_keys = 257, .pos0 = 600, .slope = 0.01f},
        {.n_rows = 2, .n_group = 3, .pos0 = 2000, .sinks = 1}, /* many blocks */
        {.n_rows = 22, .n_group = 5, .pos0 = 2040, .window = 1300},
        {.n_rows = 5, .n_group = 3, .pos0 = 40, .softcap = 50.0f},
        {.n_rows = 5, .n_group = 3, .pos0 = 400, .softcap = 0.05f},
        {.n_rows = 5, .n_group = 3, .pos0 = 400, .softcap = 1e6f},
        {.n_rows = 9, .n_group = 12, .pos0 = 250, .slope = 0.5f},
        {.n_rows = 2, .n_group = 8, .pos0 = 5000, .slope = 1.0f},
        {.n_rows = 40, .n_group = 3, .sinks = 1},
        {.n_rows = 4, .n_group = 3, .pos0 = 600, .sinks = 1},
        {.n_rows = 4, .n_group = 3, .pos0 = 600, .sinks = 2},
        {.n_rows = 4, .n_group = 3, .pos0 = 600, .sinks = 3},
        {.n_rows = 40, .n_group = 4, .pos0 = 250, .window = 128, .softcap = 20.0f, .sinks = 1},
        {.n_rows = 40, .n_group = 4, .pos0 = 250, .window = 9, .softcap = 2.0f, .slope = 0.25f},
        {.n_rows = 7, .n_group = 5, .pos0 = 5001, .window = 64, .slope = 0.5f, .sinks = 1},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
            attend_shape s = shapes[i];
            s.type = (sl_kv_type)type;
            s.d_k = type ? 36 : 32;
            s.d_v = type ? 32 : 20;
            attend_check(&s);
        }
    }
    for (int type = 0; type < SL_KV_TYPE_COUNT; type++) { /* one compressed head of keys for all */
        attend_shape s = {.type = (sl_kv_type)type,
                          .n_rows = 1,
                          .n_group = ATTEND_GROUP_MAX,
                          .d_k = 576,
                          .d_v = 512,
                          .pos0 = 40};
        attend_check(&s);
        s.n_rows = 9;
        s.n_group = 16;
        s.pos0 = 250;
        attend_check(&s);
    }
}

/* A sink far above all scores: nothing is left of the values, and nothing overflows. A sink beside
 * n equal scores: one share of n + 1. */
static void check_attend_sinks(void) {
    for (size_t l = 0; l < state.n_levels; l++) {
        const sl_kernels *k = &state.level[l];
        const attend_shape s = {SL_KV_F32, .n_rows = 3, .n_group = 2, .d_k = 8,
                                .d_v = 8,  .pos0 = 300, .sinks = 1};
        attend_case c;
        attend_make(&c, &s);
        float *out = sl_alloc_aligned(3 * c.a.out_stride * 4, 64);
        c.a.out = out;
        c.sinks[0] = 1e30f;
        c.sinks[1] = -INFINITY;
        k->attend[SL_KV_F32](&c.a);
        bool right = true;
        for (uint32_t r = 0; r < 3; r++) {
            for (uint32_t j = 0; j < 8; j++) {
                right = right && out[r * c.a.out_stride + j] == 0.0f &&
                        isfinite(out[r * c.a.out_stride + 8 + j]);
            }
        }
        CHECK(right, "attend at %s: extreme sinks", sl_isa_name(k->isa));
        c.a.scale = 0.0f;
        c.sinks[0] = 0.0f;
        k->attend[SL_KV_F32](&c.a);
        for (uint32_t r = 0; r < 3; r++) { /* head 1 has no sink: the mean of 301 + r values */
            const double n = 301.0 + r;
            for (uint32_t j = 0; j < 8; j++) {
                const double mean = (double)(out[r * c.a.out_stride + 8 + j]);
                const double with_sink = (double)out[r * c.a.out_stride + j];
                right = right && fabs(with_sink - mean * n / (n + 1)) < 1e-6;
            }
        }
        CHECK(right, "attend at %s: the share of a sink", sl_isa_name(k->isa));
        sl_free_aligned(out);
        attend_drop(&c);
    }
}

/* Not-a-number in a key or value reaches every output that saw it, and no other; in a value whose
 * elements share a scale, all of these. */
static void attend_nan_check(const sl_kernels *k, sl_kv_type type, uint32_t window) {
    enum { ROWS = 6, POS = 60, D = 32 };
    const attend_shape s = {type,     .n_rows = ROWS, .n_group = 2,    .d_k = D,
                            .d_v = D, .pos0 = POS,    .window = window};
    const bool codes = type == SL_KV_INT8 || type == SL_KV_INT4;
    attend_case c;
    attend_make(&c, &s);
    float *out = sl_alloc_aligned(ROWS * c.a.out_stride * 4, 64);
    uint8_t *was = sl_alloc_aligned(c.a.page_bytes, 64);
    float *scratch = sl_alloc_aligned(sl_attend_amx_scratch_floats(ROWS, 2, D, D) * 4, 64);
    if (k->attend[type] == k->attend_amx.attend[type]) { /* on tiles */
        c.a.scratch = scratch;
    }
    c.a.out = out;
    for (uint32_t bad = 58; bad < POS + ROWS; bad++) {
        if (bad < attend_begin(&s)) {
            continue;
        }
        uint8_t *page = c.g[0].base + GUARD_BYTES + (size_t)c.table[bad / 32] * c.a.page_bytes;
        memcpy(was, page, c.a.page_bytes);
        bool right[2] = {true, true};
        for (int in_key = 0; in_key < 2; in_key++) {
            float key[D] = {0.5f}, value[D] = {1.0f};
            (in_key ? key : value)[5] = NAN;
            k->kv_store[type](key, D, value, D, page + c.a.k_offset, page + c.a.v_offset, bad % 32);
            k->attend[type](&c.a);
            memcpy(page, was, c.a.page_bytes);
            for (uint32_t r = 0; r < ROWS; r++) {
                const uint32_t p = POS + r;
                const bool sees = bad <= p && (window == 0 || bad + window > p);
                for (uint32_t j = 0; j < 2 * D; j++) {
                    const bool nan = sees && (in_key || codes || j % D == 5);
                    right[in_key] = right[in_key] &&
                                    (bool)isnan(out[r * c.a.out_stride + j]) == nan;
                }
            }
        }
        CHECK(right[0], "attend %s at %s: NaN in value %u is hidden or spreads, window %u",
              sl_kv_type_name(type), sl_isa_name(k->isa), bad, window);
        CHECK(right[1], "attend %s at %s: NaN in key %u is hidden or spreads, window %u",
              sl_kv_type_name(type), sl_isa_name(k->isa), bad, window);
    }
    sl_free_aligned(scratch);
    sl_free_aligned(was);
    sl_free_aligned(out);
    attend_drop(&c);
}

static void check_attend_nan(void) {
    for (size_t l = 0; l < state.n_levels; l++) {
        for (int type = 0; type < SL_KV_TYPE_COUNT; type++) {
            attend_nan_check(&state.level[l], (sl_kv_type)type, 0);
            attend_nan_check(&state.level[l], (sl_kv_type)type, 1);
            attend_nan_check(&state.level[l], (sl_kv_type)type, 3);
            attend_nan_check(&state.level[l], (sl_kv_type)type, 40);
        }
    }
}

/* How far attention over each type is from attention over float32, as a share of its size: keys
 * with an element that stands out in every token, which is what the rotation is for. */
static void check_attend_rounding(void) {
    static const double bound[SL_KV_TYPE_COUNT] = {
        [SL_KV_F16] = 1e-3, [SL_KV_BF16] = 8e-3, [SL_KV_INT8] = 3e-2, [SL_KV_INT4] = 0.35};
    enum { D = 64, TOKENS = 300 };
    float key[D], value[D], q[D], want[D], got[D];
    int32_t table[(TOKENS + 31) / 32];
    const size_t page_bytes = sl_kv_key_bytes(SL_KV_F32, D) + sl_kv_value_bytes(SL_KV_F32, D);
    uint8_t *store = sl_alloc_aligned(page_bytes * ((TOKENS + 31) / 32), 64);
    float *scratch = sl_alloc_aligned(sl_attend_scratch_floats(1, 1, D, D) * 4, 64);
    const uint64_t seed = state.rng.state;
    for (int i = 0; i < SL_KV_TYPE_COUNT; i++) {
        const sl_kv_type type = (sl_kv_type)(i == 0 ? SL_KV_F32 : i == SL_KV_F32 ? SL_KV_F16 : i);
        sl_attend a = {.q = q,
                       .n_rows = 1,
                       .n_group = 1,
                       .d_k = D,
                       .d_v = D,
                       .pos0 = TOKENS - 1,
                       .table = table,
                       .store = store,
                       .page_bytes = page_bytes,
                       .v_offset = sl_kv_key_bytes(type, D),
                       .scale = 0.125f,
                       .scratch = scratch,
                       .out = type == SL_KV_F32 ? want : got};
        state.rng.state = seed; /* the same numbers for all types */
        for (int32_t t = 0; t < TOKENS; t++) {
            uint8_t *page = store + (size_t)(table[t / 32] = t / 32) * page_bytes;
            rng_fill(&state.rng, key, D);
            rng_fill(&state.rng, value, D);
            key[17] += 40.0f;
            state.ref.kv_store[type](key, D, value, D, page, page + a.v_offset, (uint32_t)t % 32);
        }
        rng_fill(&state.rng, q, D);
        q[17] *= 0.1f;
        state.ref.attend[type](&a);
        double size = 0.0, distance = 0.0;
        for (uint32_t j = 0; j < D && type != SL_KV_F32; j++) {
            size += (double)want[j] * (double)want[j];
            distance += ((double)got[j] - (double)want[j]) * ((double)got[j] - (double)want[j]);
        }
        CHECK(distance <= bound[type] * bound[type] * size, "attend %s: off by %g of its size",
              sl_kv_type_name(type), sqrt(distance / size));
    }
    sl_free_aligned(scratch);
    sl_free_aligned(store);
}

static void check_kv_store(void) {
    static const uint32_t dims[] = {1, 5, 8, 16, 20, 33, 64, 96, 128, 256, 300, 576};
    enum { N_DIMS = sizeof(dims) / sizeof(dims[0]), D_MAX = 576 };
    for (int i = 0; i < SL_KV_TYPE_COUNT * N_DIMS * 6; i++) {
        const sl_kv_type type = (sl_kv_type)(i % SL_KV_TYPE_COUNT);
        const uint32_t d_k = dims[i / SL_KV_TYPE_COUNT % N_DIMS];
        const uint32_t d_v = dims[rng_below(&state.rng, N_DIMS)], slot = rng_below(&state.rng, 32);
        const size_t k_bytes = sl_kv_key_bytes(type, d_k), v_bytes = sl_kv_value_bytes(type, d_v);
        float key[D_MAX], value[D_MAX];
        row_fill(key, d_k, i / SL_KV_TYPE_COUNT / N_DIMS);
        row_fill(value, d_v, (int)rng_below(&state.rng, 6));
        value[0] = i % 2 ? 65519.9f : 3e-8f;
        guarded g[4];
        void *want_k = guarded_alloc(&g[0], k_bytes), *want_v = guarded_alloc(&g[1], v_bytes);
        state.ref.kv_store[type](key, d_k, value, d_v, want_k, want_v, slot);
        for (size_t l = 0; l < state.n_levels; l++) {
            void *k = guarded_alloc(&g[2], k_bytes), *v = guarded_alloc(&g[3], v_bytes);
            state.level[l].kv_store[type](key, d_k, value, d_v, k, v, slot);
            CHECK(memcmp(k, want_k, k_bytes) == 0 && memcmp(v, want_v, v_bytes) == 0,
                  "kv_store %s at %s: d %u/%u", sl_kv_type_name(type),
                  sl_isa_name(state.level[l].isa), d_k, d_v);
            CHECK(guarded_free_all(g + 2, 2), "kv_store writes outside");
        }
        CHECK(guarded_free_all(g, 2), "kv_store at ref writes outside");
    }
}

/* Several tokens at once: what each alone leaves, and nothing else. */
static void check_kv_store_rows(void) {
    static const uint32_t dims[] = {1, 5, 16, 20, 64, 80, 128};
    enum { N_DIMS = sizeof(dims) / sizeof(dims[0]), TOKENS = SL_PAGE_TOKENS, D_MAX = 128 };
    static float keys[TOKENS * (D_MAX + 7)], values[TOKENS * (D_MAX + 3)];
    for (int i = 0; i < 200; i++) {
        const sl_kv_type type = i % 2 ? SL_KV_F16 : SL_KV_BF16;
        sl_kv_rows rows = {
            .key = keys, .value = values, .d_k = dims[rng_below(&state.rng, N_DIMS)]};
        rows.d_v = dims[rng_below(&state.rng, N_DIMS)];
        rows.key_stride = rows.d_k + rng_below(&state.rng, 8);
        rows.value_stride = rows.d_v + rng_below(&state.rng, 4);
        rows.slot = rng_below(&state.rng, TOKENS);
        rows.n = 1 + rng_below(&state.rng, TOKENS - rows.slot);
        rng_fill(&state.rng, keys, TOKENS * rows.key_stride);
        rng_fill(&state.rng, values, TOKENS * rows.value_stride);
        const size_t k_bytes = sl_kv_key_bytes(type, rows.d_k),
                     v_bytes = sl_kv_value_bytes(type, rows.d_v);
        guarded g[4];
        void *want_k = guarded_alloc(&g[0], k_bytes), *want_v = guarded_alloc(&g[1], v_bytes);
        for (uint32_t t = 0; t < rows.n; t++) {
            state.ref.kv_store[type](keys + t * rows.key_stride, rows.d_k,
                                     values + t * rows.value_stride, rows.d_v, want_k, want_v,
                                     rows.slot + t);
        }
        for (size_t l = 0; l < state.n_levels; l++) {
            if (state.level[l].kv_store_rows[type] == NULL) {
                continue;
            }
            rows.k_block = guarded_alloc(&g[2], k_bytes);
            rows.v_block = guarded_alloc(&g[3], v_bytes);
            state.level[l].kv_store_rows[type](&rows);
            CHECK(memcmp(rows.k_block, want_k, k_bytes) == 0 &&
                      memcmp(rows.v_block, want_v, v_bytes) == 0,
                  "kv_store_rows %s at %s: d %u/%u slot %u tokens %u", sl_kv_type_name(type),
                  sl_isa_name(state.level[l].isa), rows.d_k, rows.d_v, rows.slot, rows.n);
            CHECK(guarded_free_all(g + 2, 2), "kv_store_rows writes outside");
        }
        CHECK(guarded_free_all(g, 2), "kv_store at ref writes outside");
    }
}
