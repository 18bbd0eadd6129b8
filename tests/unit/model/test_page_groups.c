/* The cutting of a model's layers into groups of pages: how many groups there are, what their pages
 * give away, and that every layer has a place of its own. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/builder_internal.h"

#define WINDOW 512
#define KINDS_MAX 3

typedef struct layers_kind {
    uint32_t n_layers, n_kv_head, window;
} layers_kind;

typedef struct groups_case {
    layers_kind kinds[KINDS_MAX];
    uint32_t n_groups;   /* wanted */
    uint32_t waste_part; /* at most 1/waste_part of what is needed is given away; 0: nothing */
} groups_case;

/* Attention layers of all kinds, taking turns as long as each has some. */
static void describe(sl_builder *b, const groups_case *c, uint32_t *kind_of_op) {
    uint32_t left[KINDS_MAX], n = 0;
    for (uint32_t k = 0; k < KINDS_MAX; k++) {
        left[k] = c->kinds[k].n_layers;
    }
    for (bool more = true; more;) {
        more = false;
        for (uint32_t k = 0; k < KINDS_MAX; k++) {
            if (left[k] > 0) {
                const sl_build_attention how = {.n_head = 8,
                                                .n_kv_head = c->kinds[k].n_kv_head,
                                                .d_k = 64,
                                                .d_v = 64,
                                                .window = c->kinds[k].window};
                b->layer = (int32_t)n;
                (void)sl_build_attend(b, 0, 0, 0, &how, "y");
                kind_of_op[n++] = k;
                more = --left[k] > 0 || more;
            }
        }
        for (uint32_t k = 0; k < KINDS_MAX; k++) {
            more = more || left[k] > 0;
        }
    }
}

static void check_places(const sl_builder *b, const groups_case *c, const uint32_t *kind_of_op) {
    bool taken[SL_PLAN_GROUPS_MAX][256] = {{0}};
    for (uint32_t i = 0; i < b->plan->n_ops; i++) {
        const uint32_t g = b->ops[i].u.attend.group, slot = b->ops[i].u.attend.slot;
        assert_true(g < b->plan->n_groups);
        const sl_plan_group *group = &b->plan->groups[g];
        assert_true(slot < group->n_layers && slot < 256);
        assert_false(taken[g][slot]);
        taken[g][slot] = true;
        assert_int_equal(group->window, c->kinds[kind_of_op[i]].window);
        assert_int_equal(group->n_kv_head, c->kinds[kind_of_op[i]].n_kv_head);
    }
}

static void check_case(const groups_case *c) {
    sl_plan plan = {0};
    sl_arena_init(&plan.arena, 16u << 20);
    const sl_hparams hp = {.arch = "test", .n_embd = 64};
    sl_error err = {0};
    sl_builder b = {.hp = &hp, .plan = &plan, .err = &err};
    uint32_t kind_of_op[512];
    describe(&b, c, kind_of_op);
    sl_builder_cut_groups(&b);
    assert_int_equal(b.status, SL_OK);
    check_places(&b, c, kind_of_op);

    uint64_t page = 0, need = 0;
    uint32_t n_layers = 0;
    for (uint32_t g = 0; g < plan.n_groups; g++) {
        const uint64_t units = (uint64_t)plan.groups[g].n_layers * plan.groups[g].n_kv_head;
        assert_true(units > 0);
        page = units > page ? units : page;
        need += units;
        n_layers += plan.groups[g].n_layers;
    }
    assert_int_equal(n_layers, plan.n_ops);
    const uint64_t waste = page * plan.n_groups - need;
    if (plan.n_groups != c->n_groups || waste > (c->waste_part == 0 ? 0 : need / c->waste_part)) {
        fail_msg("%" PRIu32 " + %" PRIu32 " + %" PRIu32 " layers: %" PRIu32 " groups, %" PRIu64
                 " of %" PRIu64 " given away",
                 c->kinds[0].n_layers, c->kinds[1].n_layers, c->kinds[2].n_layers, plan.n_groups,
                 waste, need);
    }
    sl_arena_deinit(&plan.arena);
}

static void test_groups(void **state) {
    (void)state;
    static const groups_case cases[] = {
        {{{1, 4, 0}}, 1, 0},
        {{{126, 8, 0}}, 1, 0},
        {{{1, 4, 0}, {1, 4, WINDOW}}, 2, 0},
        {{{13, 4, 0}, {13, 4, WINDOW}}, 2, 0},
        {{{3, 4, 0}, {15, 4, WINDOW}}, 6, 0},     /* Gemma 3: 18 layers */
        {{{4, 1, 0}, {22, 1, WINDOW}}, 7, 12},    /* 1B */
        {{{5, 4, 0}, {29, 4, WINDOW}}, 6, 16},    /* 4B */
        {{{8, 8, 0}, {40, 8, WINDOW}}, 5, 16},    /* 12B */
        {{{10, 16, 0}, {52, 16, WINDOW}}, 5, 16}, /* 27B */
        {{{1, 4, 0}, {31, 4, WINDOW}}, 9, 8},     /* more than 16 groups would waste less */
        {{{7, 4, 0}, {11, 2, WINDOW}}, 13, 12},
        {{{7, 4, 0}, {11, 2, WINDOW}, {5, 1, 64}}, 15, 11},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_case(&cases[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
