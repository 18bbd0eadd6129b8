/* How things are divided among nodes, and what becomes of machines that hwloc simulates, of those
 * with nodes that lack memory or CPUs, and of this one. */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <hwloc.h>

#include "base/alloc.h"
#include "base/topology.h"

static sl_nodes nodes_of(uint32_t n, const uint32_t *weights) {
    sl_nodes nodes = {.n = n};
    for (uint32_t i = 0; i < n; i++) {
        nodes.before[i + 1] = nodes.before[i] + weights[i];
    }
    return nodes;
}

static void test_shares(void **state) {
    (void)state;
    static const uint32_t weights[][4] = {{1, 1, 1, 1}, {3, 1, 4, 1}, {0, 2, 0, 5}, {64, 1, 0, 0}};
    for (size_t w = 0; w < 4; w++) {
        for (uint32_t n = 1; n <= 4; n++) {
            const sl_nodes nodes = nodes_of(n, weights[w]);
            const uint32_t all = nodes.before[n];
            for (uint32_t n_things = 0; all > 0 && n_things < 300; n_things++) {
                assert_int_equal(sl_nodes_first(&nodes, n_things, 0), 0);
                assert_int_equal(sl_nodes_first(&nodes, n_things, n), n_things);
                for (uint32_t i = 0; i < n; i++) {
                    const uint32_t first = sl_nodes_first(&nodes, n_things, i);
                    const uint32_t end = sl_nodes_first(&nodes, n_things, i + 1);
                    const double fair = (double)n_things * weights[w][i] / all;
                    assert_true(first <= end && end - first < fair + 1 && end - first > fair - 1);
                    assert_true(weights[w][i] > 0 || first == end);
                    for (uint32_t k = first; k < end; k++) {
                        assert_int_equal(sl_nodes_find(&nodes, n_things, k), i);
                    }
                }
            }
        }
    }
    const sl_nodes none = {0}, large = nodes_of(2, (uint32_t[]){512, 512});
    assert_int_equal(sl_nodes_first(&none, 7, 0), 0);
    assert_int_equal(sl_nodes_first(&none, 7, 1), 7);
    assert_int_equal(sl_nodes_find(&none, 7, 6), 0);
    assert_int_equal(sl_nodes_first(&large, UINT32_MAX, 1), 1u << 31);
}

static void test_workers(void **state) {
    (void)state;
    sl_topology t = {.n_nodes = 2, .nodes = {{.n_cores = 6}, {.n_cores = 2}}};
    static const uint32_t want[][3] = {{8, 6, 8}, {4, 3, 4}, {2, 2, 2}, {1, 1, 1}, {16, 12, 16}};
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        const sl_nodes w = sl_topology_workers(&t, want[i][0]);
        assert_int_equal(w.n, 2);
        assert_int_equal(w.before[0], 0);
        assert_int_equal(w.before[1], want[i][1]);
        assert_int_equal(w.before[2], want[i][2]);
    }
}

/* Every CPU once, in nodes that follow each other. */
static void check_topology(const sl_topology *t, uint32_t n_nodes, uint32_t n_cores,
                           uint32_t n_cpus) {
    uint8_t seen[SL_CPUS_MAX] = {0};
    uint32_t cores = 0, next = 0;
    assert_int_equal(t->n_nodes, n_nodes);
    for (uint32_t n = 0; n < n_nodes; n++) {
        const sl_topology_node *node = &t->nodes[n];
        assert_int_equal(node->cpu_begin, next);
        assert_true(node->n_cores > 0 && node->cpu_end - node->cpu_begin >= node->n_cores);
        for (; next < node->cpu_end; next++) {
            assert_int_equal(seen[t->cpus[next]]++, 0);
        }
        cores += node->n_cores;
    }
    assert_int_equal(cores, n_cores);
    assert_int_equal(next, n_cpus);
}

static void simulate(const char *description, sl_topology *t) {
    sl_error err;
    if (sl_topology_simulate(description, t, &err) != SL_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(t->simulated);
}

static void test_simulated(void **state) {
    (void)state;
    sl_topology t;
    sl_error err;
    simulate("node:2 core:1 pu:1", &t);
    check_topology(&t, 2, 2, 2);
    assert_true(t.nodes[0].number == 0 && t.nodes[1].number == 1);
    assert_true(t.nodes[1].memory_bytes > 0);
    simulate("node:1 core:4 pu:2", &t);
    check_topology(&t, 1, 4, 8);
    /* Sockets of two nodes each, as with sub-NUMA clustering. */
    simulate("pack:2 node:2 core:3 pu:2", &t);
    check_topology(&t, 4, 12, 24);
    assert_int_equal(t.nodes[1].cpu_begin, 6);
    /* A second kind of memory at each socket, or far from all CPUs: no CPU counts to it. */
    simulate("pack:2 [numa(memory=1GB)] [numa(memory=1GB)] core:2 pu:1", &t);
    check_topology(&t, 2, 4, 4);
    simulate("[numa(memory=1GB)] pack:2 [numa(memory=1GB)] core:2 pu:1", &t);
    check_topology(&t, 2, 4, 4);
    /* More than there is room for: the last takes the rest. */
    simulate("node:70 core:1 pu:1", &t);
    check_topology(&t, SL_NODES_MAX, 70, 70);
    assert_int_equal(t.nodes[SL_NODES_MAX - 1].n_cores, 7);
    assert_int_equal(sl_topology_simulate("node:2 nonsense:3", &t, &err), SL_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "nonsense"));
}

/* Replaces what stands between `before` and the next quote. */
static char *xml_replace(char *xml, const char *after, const char *before, const char *value) {
    char *at = strstr(xml, after);
    at = at == NULL ? NULL : strstr(at, before);
    assert_non_null(at);
    at += strlen(before);
    char *out = NULL;
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - xml), xml, value, strchr(at, '"')) > 0);
    free(xml);
    return out;
}

/* The description as hwloc would write it for a real machine, read back after a change. */
static void read_changed(const char *description, const char *after, const char *before,
                         const char *value, sl_topology *t) {
    hwloc_topology_t from;
    char *xml = NULL;
    int n_bytes = 0;
    assert_int_equal(hwloc_topology_init(&from), 0);
    assert_int_equal(hwloc_topology_set_synthetic(from, description), 0);
    assert_int_equal(hwloc_topology_load(from), 0);
    assert_int_equal(hwloc_topology_export_xmlbuffer(from, &xml, &n_bytes, 0), 0);
    char *changed = xml_replace(strdup(xml), after, before, value);
    hwloc_free_xmlbuffer(from, xml);
    hwloc_topology_destroy(from);
    char path[] = "/tmp/sluice-topology-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, changed, strlen(changed)), strlen(changed));
    assert_int_equal(setenv("HWLOC_XMLFILE", path, 1), 0);
    sl_topology_read(t);
    assert_int_equal(unsetenv("HWLOC_XMLFILE"), 0);
    (void)close(fd);
    (void)unlink(path);
    free(changed);
    assert_true(t->simulated);
}

static void test_nodes_that_lack_something(void **state) {
    (void)state;
    sl_topology t;
    /* Node 1 without memory: its CPUs count to one that has some. */
    read_changed("pack:3 [numa(memory=1GB)] core:2 pu:1", "\"NUMANode\" os_index=\"1\"",
                 "local_memory=\"", "0", &t);
    check_topology(&t, 2, 6, 6);
    assert_true(t.nodes[0].number == 0 && t.nodes[1].number == 2);
    assert_int_equal(t.nodes[0].n_cores, 4);
    /* A cpuset that leaves node 0 alone, and half of node 1. */
    read_changed("pack:2 [numa(memory=1GB)] core:2 pu:1", "\"Machine\"", "allowed_cpuset=\"",
                 "0x00000007", &t);
    check_topology(&t, 2, 3, 3);
    assert_int_equal(t.nodes[1].n_cores, 1);
    /* ... and one without any CPU of node 1; its memory alone makes no node. */
    read_changed("pack:2 [numa(memory=1GB)] core:2 pu:1", "\"Machine\"", "allowed_cpuset=\"",
                 "0x00000003", &t);
    check_topology(&t, 1, 2, 2);
    /* Memory of node 1 alone: all CPUs are its. */
    read_changed("pack:2 [numa(memory=1GB)] core:2 pu:1", "\"Machine\"", "allowed_nodeset=\"",
                 "0x00000002", &t);
    check_topology(&t, 1, 4, 4);
    assert_int_equal(t.nodes[0].number, 1);
}

static void test_environment(void **state) {
    (void)state;
    sl_topology t;
    assert_int_equal(setenv("HWLOC_SYNTHETIC", "node:2 core:2 pu:1", 1), 0);
    sl_topology_read(&t);
    assert_int_equal(unsetenv("HWLOC_SYNTHETIC"), 0);
    assert_true(t.simulated);
    check_topology(&t, 2, 4, 4);
}

static void test_this_machine(void **state) {
    (void)state;
    sl_topology t;
    uint32_t cpus[SL_CPUS_MAX];
    const uint32_t n_cpus = sl_cpu_list(cpus, SL_CPUS_MAX);
    sl_topology_read(&t);
    assert_false(t.simulated);
    uint32_t n_cores = 0;
    for (uint32_t n = 0; n < t.n_nodes; n++) {
        n_cores += t.nodes[n].n_cores;
    }
    check_topology(&t, t.n_nodes, n_cores, n_cpus);
    assert_in_range(n_cores, sl_cpu_count_physical(), n_cpus); /* a quota may leave fewer */
    for (uint32_t i = 0; t.n_nodes == 1 && i < n_cpus; i++) {
        assert_int_equal(t.cpus[i], cpus[i]); /* in the same order */
    }
    /* Bound to one CPU, the process has one node of one CPU. */
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_ZERO(&one);
    CPU_SET(cpus[n_cpus - 1], &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    sl_topology_read(&t);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    check_topology(&t, 1, 1, 1);
    assert_int_equal(t.cpus[0], cpus[n_cpus - 1]);
}

/* What the system would do for the page at p; -1 if it does not say. */
static int policy_at(void *p) {
    int mode = -1;
    return syscall(SYS_get_mempolicy, &mode, NULL, 0, p, MPOL_F_ADDR) == 0 ? mode : -1;
}

static void test_prefer(void **state) {
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *p = sl_pages_map(4 * page, false);
    assert_non_null(p);
    sl_topology t = {.simulated = true, .n_nodes = 2, .nodes = {{.number = 0}, {.number = 0}}};
    sl_topology_prefer(&t, 1, p, 4 * page);
    const int before = policy_at(p);
    if (before < 0) {
        sl_pages_unmap(p, 4 * page);
        skip(); /* not allowed here */
    }
    assert_int_equal(before, MPOL_DEFAULT);
    t.simulated = false;
    sl_topology_prefer(&t, 1, p + 2 * page + 64, page); /* begins and ends inside a page */
    const int after = policy_at(p + 2 * page);
    assert_true(after == MPOL_PREFERRED || after == MPOL_DEFAULT); /* if it is allowed */
    assert_int_equal(policy_at(p + 3 * page), after);
    assert_int_equal(policy_at(p + page), MPOL_DEFAULT);
    memset(p, 1, 4 * page);
    sl_pages_unmap(p, 4 * page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),      cmocka_unit_test(test_workers),
        cmocka_unit_test(test_simulated),   cmocka_unit_test(test_nodes_that_lack_something),
        cmocka_unit_test(test_environment), cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_prefer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
