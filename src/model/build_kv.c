/* Attention, and the cutting of layers into groups.
 *
 * A page holds 32 tokens of one group, and the pages of all groups come from one pool, so they must
 * take about the same memory. Layers are counted by kind (window and KV shape); then the number of
 * layers in a page is chosen for each kind so that the pages of all kinds are about equally full
 * with as few groups as possible: Gemma 3's 3 full and 15 windowed layers become 1 + 5 groups of 3
 * layers, 10 and 52 become 1 + 4 groups of 10 and 13. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "model/builder_internal.h"

#define WASTE_MAX 12 /* at most 1/12 of the pages' memory is given away for fewer groups */

/* Slopes of ALiBi (arXiv 2108.12409): with n heads, a power of two, slope h is 2^(-max (h + 1) /
 * n); further heads take every other slope of twice as many. */
static const float *attend_slopes(sl_builder *b, uint32_t n_head, float max) {
    float *slopes = sl_builder_alloc(b, n_head, sizeof(*slopes));
    uint32_t whole = 1;
    while (whole * 2 <= n_head) {
        whole *= 2;
    }
    for (uint32_t h = 0; slopes != NULL && h < n_head; h++) {
        slopes[h] = h < whole ? exp2f(-max * (float)(h + 1) / (float)whole)
                              : exp2f(-max * (float)(2 * (h - whole) + 1) / (float)(2 * whole));
    }
    return slopes;
}

/* Counts the layer with its kind; returns the kind's number. */
static uint32_t attend_kind(sl_builder *b, const sl_build_attention *a) {
    sl_plan_group shape = {
        .n_kv_head = a->n_kv_head, .d_k = a->d_k, .d_v = a->d_v, .window = a->window};
    for (uint32_t i = 0; i < b->n_kinds; i++) {
        sl_plan_group *k = &b->kinds[i];
        if (k->n_kv_head == shape.n_kv_head && k->d_k == shape.d_k && k->d_v == shape.d_v &&
            k->window == shape.window) {
            k->n_layers++;
            return i;
        }
    }
    if (b->n_kinds == SL_BUILD_KINDS_MAX) {
        sl_build_fail(b, SL_ERR_UNSUPPORTED, "more than %d kinds of attention in one model",
                      SL_BUILD_KINDS_MAX);
        return 0;
    }
    shape.n_layers = 1;
    b->kinds[b->n_kinds] = shape;
    return b->n_kinds++;
}

sl_value_id sl_build_attend(sl_builder *b, sl_value_id q, sl_value_id k, sl_value_id v,
                            const sl_build_attention *a, const char *out) {
    sl_value_id y = sl_builder_value(b, out, a->n_head * a->d_v, 0);
    if (b->status != SL_OK) {
        return y;
    }
    uint32_t kind = attend_kind(b, a);
    sl_plan_op op = {.kind = SL_OP_ATTEND, .in = {q, k, v}, .out = y, .weight = -1, .bias = -1};
    op.u.attend.group = kind; /* for now: sl_builder_cut_groups */
    op.u.attend.slot = b->kinds[kind].n_layers - 1;
    op.u.attend.n_head = a->n_head;
    op.u.attend.scale = a->scale;
    op.u.attend.softcap = a->softcap;
    op.u.attend.sinks = -1;
    if (a->sinks != NULL) {
        op.u.attend.sinks = sl_builder_bind_vector(
            b, a->sinks, (sl_build_shape){.n_all = a->n_head, .n_out = a->n_head, .n_mats = 1});
    }
    if (a->max_alibi > 0.0f) {
        op.u.attend.slopes = attend_slopes(b, a->n_head, a->max_alibi);
    }
    sl_builder_op(b, op);
    return y;
}

static uint64_t kind_unit(const sl_plan_group *k) {
    return (uint64_t)k->n_kv_head * (k->d_k + k->d_v);
}

/* Groups of a kind whose pages have `page` units; 0 if not even one layer fits. */
static uint32_t kind_groups(const sl_plan_group *k, uint64_t page) {
    const uint64_t unit = kind_unit(k);
    const uint64_t fit = unit == 0 ? 0 : page / unit; /* layers in a page */
    return fit == 0 ? 0 : (uint32_t)((k->n_layers + fit - 1) / fit);
}

/* How many groups a page of `page` units gives, and what all their pages take; 0 groups if a layer
 * of some kind does not fit. */
static uint32_t groups_of_page(const sl_builder *b, uint64_t page, uint64_t *units_out) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_kinds; i++) {
        uint32_t n_kind = kind_groups(&b->kinds[i], page);
        if (n_kind == 0) {
            return 0;
        }
        n += n_kind;
    }
    *units_out = n * page;
    return n;
}

/* The page size: fewest groups among those that waste little, else the least waste. */
static uint64_t groups_choose_page(const sl_builder *b) {
    uint64_t need = 0, best_page = 0, best_units = UINT64_MAX;
    uint32_t best_n = UINT32_MAX;
    for (uint32_t i = 0; i < b->n_kinds; i++) {
        need += kind_unit(&b->kinds[i]) * b->kinds[i].n_layers;
    }
    for (uint32_t i = 0; i < b->n_kinds; i++) {
        for (uint32_t m = 1; m <= b->kinds[i].n_layers; m++) {
            uint64_t page = m * kind_unit(&b->kinds[i]), units = 0;
            uint32_t n = groups_of_page(b, page, &units);
            if (n == 0 || n > SL_PLAN_GROUPS_MAX) {
                continue;
            }
            bool lean = units <= need + need / WASTE_MAX;
            bool best_lean = best_units <= need + need / WASTE_MAX;
            bool fewer = n < best_n, less = units < best_units;
            bool better = lean && best_lean ? fewer || (n == best_n && less)
                                            : less || (units == best_units && fewer);
            if (better) {
                best_page = page;
                best_units = units;
                best_n = n;
            }
        }
    }
    return best_page;
}

/* A kind's layers are dealt out to its groups in turn blocks of equal length. */
void sl_builder_cut_groups(sl_builder *b) {
    uint64_t page = b->n_kinds == 0 ? 0 : groups_choose_page(b);
    uint32_t first[SL_BUILD_KINDS_MAX] = {0}, layers[SL_BUILD_KINDS_MAX] = {0};
    for (uint32_t i = 0; i < b->n_kinds; i++) {
        const sl_plan_group *k = &b->kinds[i];
        uint32_t n = kind_groups(k, page);
        if (n == 0 || b->plan->n_groups + n > SL_PLAN_GROUPS_MAX) {
            sl_build_fail(b, SL_ERR_UNSUPPORTED,
                          "the layers of this model do not fit into %d groups of pages",
                          SL_PLAN_GROUPS_MAX);
            return;
        }
        first[i] = b->plan->n_groups;
        layers[i] = sl_div_up(k->n_layers, n);
        for (uint32_t done = 0; done < k->n_layers; done += layers[i]) {
            sl_plan_group *g = &b->plan->groups[b->plan->n_groups++];
            *g = *k;
            g->n_layers = k->n_layers - done < layers[i] ? k->n_layers - done : layers[i];
        }
    }
    for (uint32_t i = 0; i < b->plan->n_ops; i++) {
        sl_plan_op *op = &b->ops[i];
        if (op->kind == SL_OP_ATTEND) {
            uint32_t kind = op->u.attend.group, slot = op->u.attend.slot;
            op->u.attend.group = first[kind] + slot / layers[kind];
            op->u.attend.slot = slot % layers[kind];
        }
    }
}
