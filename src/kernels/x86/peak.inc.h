/* Template of the peak rates of a level: the multiply-adds that its products are made of, from
 * registers alone. Included by peak_<isa>.c after its vector words (vec_*.h) and
 *   LEVEL(name)  name with the level's suffix
 *   PEAK_VNNI    1: dpbusd; 0: maddubs with sums of 16 bits (a product must widen them, too) */

/* Independent sums: enough for the latency of two units, and with their operands they fit the 16
 * registers of AVX2. */
enum { PEAK_CHAINS = 12 };

/* Makes the compiler believe that x is changed and read here. */
#define PEAK_OPAQUE(x) __asm__ volatile("" : "+v"(x))

static double LEVEL(peak_int8)(uint32_t n_rounds) {
    vi sum[PEAK_CHAINS], u = vi_set1(0x01010101), s = vi_set1(0x01020102);
    UNROLL(16)
    for (uint32_t c = 0; c < PEAK_CHAINS; c++) {
        sum[c] = vi_zero();
    }
    for (uint32_t round = 0; round < n_rounds; round++) {
        UNROLL(16)
        for (uint32_t c = 0; c < PEAK_CHAINS; c++) {
            PEAK_OPAQUE(u); /* or the product would be computed once for all chains */
#if PEAK_VNNI
            sum[c] = vi_dpbusd(sum[c], u, s);
#else
            sum[c] = vi_add16(sum[c], vi_maddubs(u, s));
#endif
        }
    }
    UNROLL(16)
    for (uint32_t c = 0; c < PEAK_CHAINS; c++) {
        PEAK_OPAQUE(sum[c]);
    }
    return 2.0 * 4 * VL * PEAK_CHAINS * n_rounds;
}

/* With what formats with scales need beside: the sums of 32 columns become floats, times the scales
 * of weights and activations. */
enum { PEAK_SCALED_CHAINS = VL == 16 ? 12 : 5, PEAK_STEPS = 8 };

static double LEVEL(peak_scaled)(uint32_t n_rounds) {
    vi u = vi_set1(0x01010101), s = vi_set1(0x01020102);
    vf acc[PEAK_SCALED_CHAINS], scale = vf_set1(0.5f), d = vf_set1(0.25f);
    UNROLL(16)
    for (uint32_t c = 0; c < PEAK_SCALED_CHAINS; c++) {
        acc[c] = vf_zero();
    }
    for (uint32_t round = 0; round < n_rounds; round++) {
        vi dot[PEAK_SCALED_CHAINS];
        UNROLL(16)
        for (uint32_t c = 0; c < PEAK_SCALED_CHAINS; c++) {
            dot[c] = vi_zero();
        }
        UNROLL(8)
        for (uint32_t v = 0; v < PEAK_STEPS; v++) {
            UNROLL(16)
            for (uint32_t c = 0; c < PEAK_SCALED_CHAINS; c++) {
                PEAK_OPAQUE(u);
#if PEAK_VNNI
                dot[c] = vi_dpbusd(dot[c], u, s);
#else
                dot[c] = vi_add16(dot[c], vi_maddubs(u, s));
#endif
            }
        }
        UNROLL(16)
        for (uint32_t c = 0; c < PEAK_SCALED_CHAINS; c++) {
            PEAK_OPAQUE(d);
#if !PEAK_VNNI
            dot[c] = vi_madd(dot[c], vi_set1_16(1));
#endif
            acc[c] = vf_fma(vf_mul(scale, d), vf_of_int(dot[c]), acc[c]);
        }
    }
    UNROLL(16)
    for (uint32_t c = 0; c < PEAK_SCALED_CHAINS; c++) {
        PEAK_OPAQUE(acc[c]);
    }
    return 2.0 * 4 * VL * PEAK_STEPS * PEAK_SCALED_CHAINS * n_rounds;
}

static double LEVEL(peak_f32)(uint32_t n_rounds) {
    vf sum[PEAK_CHAINS], x = vf_set1(0.5f), y = vf_set1(0.25f);
    UNROLL(16)
    for (uint32_t c = 0; c < PEAK_CHAINS; c++) {
        sum[c] = vf_zero();
    }
    for (uint32_t round = 0; round < n_rounds; round++) {
        UNROLL(16)
        for (uint32_t c = 0; c < PEAK_CHAINS; c++) {
            PEAK_OPAQUE(x);
            sum[c] = vf_fma(x, y, sum[c]);
        }
    }
    UNROLL(16)
    for (uint32_t c = 0; c < PEAK_CHAINS; c++) {
        PEAK_OPAQUE(sum[c]);
    }
    return 2.0 * VL * PEAK_CHAINS * n_rounds;
}

void LEVEL(sl_peak_fill)(sl_kernels *k) {
    k->peak_int8 = LEVEL(peak_int8);
    k->peak_scaled = LEVEL(peak_scaled);
    k->peak_f32 = LEVEL(peak_f32);
}
