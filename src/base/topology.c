/* NUMA nodes by hwloc. See topology.h. Any thread; no state.
 *
 * Reference: hwloc 2, https://www.open-mpi.org/projects/hwloc/doc/ (object hierarchy, memory
 * children); mbind(2).
 */
#define _GNU_SOURCE
#include "base/topology.h"

#include <hwloc.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

#define NODE_NUMBER_MAX 1024 /* as large as Linux can be configured for */

/* The node nearest to a CPU: of those at the lowest level above it that have memory, the first.
 * High-bandwidth or far memory beside a socket's own has higher numbers and no CPUs of its own to
 * the system. NULL if there is none. */
static hwloc_obj_t topology_near(hwloc_topology_t t, hwloc_obj_t at) {
    hwloc_obj_t best = NULL;
    for (; at != NULL && best == NULL; at = at->parent) {
        for (hwloc_obj_t node = NULL;
             (node = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, node)) != NULL;) {
            if (node->attr->numanode.local_memory > 0 &&
                hwloc_bitmap_isset(at->nodeset, node->os_index) &&
                (best == NULL || node->os_index < best->os_index)) {
                best = node;
            }
        }
    }
    return best;
}

/* Its place in the list, where it is added if it is new; beyond the most that there may be, the
 * last. */
static uint32_t topology_add_node(sl_topology *out, hwloc_obj_t node) {
    const uint32_t number = node == NULL ? 0 : node->os_index;
    for (uint32_t i = 0; i < out->n_nodes; i++) {
        if (out->nodes[i].number == number) {
            return i;
        }
    }
    if (out->n_nodes < SL_NODES_MAX) {
        out->nodes[out->n_nodes++] = (sl_topology_node){
            .number = number, .memory_bytes = node == NULL ? 0 : node->attr->numanode.local_memory};
    }
    return out->n_nodes - 1;
}

/* True for the first CPU of its core that is asked for. */
static bool topology_core_is_new(hwloc_topology_t t, hwloc_obj_t pu, hwloc_bitmap_t seen) {
    hwloc_obj_t core = pu == NULL ? NULL : hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_CORE, pu);
    if (core == NULL) {
        return true;
    }
    const bool is_new = !hwloc_bitmap_isset(seen, core->logical_index);
    return hwloc_bitmap_set(seen, core->logical_index) == 0 && is_new;
}

/* Puts the CPUs, in their order, to their nodes. */
static void topology_fill(hwloc_topology_t t, const uint32_t *cpus, uint32_t n_cpus,
                          hwloc_bitmap_t seen, sl_topology *out) {
    uint8_t node_of[SL_CPUS_MAX];
    for (uint32_t i = 0; i < n_cpus; i++) {
        hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(t, cpus[i]);
        hwloc_obj_t near = topology_near(t, pu != NULL ? pu : hwloc_get_root_obj(t));
        node_of[i] = (uint8_t)topology_add_node(out, near);
        sl_topology_node *node = &out->nodes[node_of[i]];
        node->cpu_end++; /* a count, until all are known */
        node->n_cores += topology_core_is_new(t, pu, seen);
    }
    uint32_t begin = 0;
    for (uint32_t n = 0; n < out->n_nodes; n++) {
        sl_topology_node *node = &out->nodes[n];
        begin += node->cpu_end;
        node->cpu_begin = node->cpu_end = begin - node->cpu_end;
    }
    for (uint32_t i = 0; i < n_cpus; i++) {
        out->cpus[out->nodes[node_of[i]].cpu_end++] = (uint16_t)cpus[i];
    }
}

static uint32_t topology_all_cpus(hwloc_topology_t t, uint32_t *cpus) {
    uint32_t n = 0;
    for (hwloc_obj_t pu = NULL;
         n < SL_CPUS_MAX && (pu = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_PU, pu)) != NULL;) {
        cpus[n++] = pu->os_index;
    }
    return n;
}

/* Only what is asked for: on a large machine the rest takes most of the time. The component that is
 * left out would visit every CPU, and learn no more of nodes than the system says. */
static bool topology_configure(hwloc_topology_t t, const char *description) {
    static const hwloc_obj_type_t kept[] = {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_CORE};
    bool ok = hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE) == 0;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        ok = ok && hwloc_topology_set_type_filter(t, kept[i], HWLOC_TYPE_FILTER_KEEP_ALL) == 0;
    }
    /* What a node hangs from, if it is no package. */
    ok = ok &&
         hwloc_topology_set_type_filter(t, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE) == 0;
    (void)hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
    return ok && (description == NULL || hwloc_topology_set_synthetic(t, description) == 0);
}

/* False if hwloc cannot tell: nothing is written then. */
static bool topology_load(const char *description, sl_topology *out) {
    hwloc_topology_t t = NULL;
    hwloc_bitmap_t seen = hwloc_bitmap_alloc();
    if (seen == NULL || hwloc_topology_init(&t) != 0) {
        hwloc_bitmap_free(seen);
        return false;
    }
    bool ok = topology_configure(t, description) && hwloc_topology_load(t) == 0;
    if (ok) {
        uint32_t cpus[SL_CPUS_MAX];
        *out = (sl_topology){.simulated = hwloc_topology_is_thissystem(t) == 0};
        const uint32_t n_cpus = out->simulated ? topology_all_cpus(t, cpus)
                                               : sl_cpu_list(cpus, SL_CPUS_MAX);
        topology_fill(t, cpus, n_cpus, seen, out);
        ok = out->n_nodes > 0;
    }
    hwloc_topology_destroy(t);
    hwloc_bitmap_free(seen);
    return ok;
}

void sl_topology_read(sl_topology *out) {
    if (topology_load(NULL, out)) {
        return;
    }
    uint32_t cpus[SL_CPUS_MAX];
    const uint32_t n_cpus = sl_cpu_list(cpus, SL_CPUS_MAX);
    *out = (sl_topology){.n_nodes = 1};
    out->nodes[0] = (sl_topology_node){.n_cores = sl_cpu_count_physical(), .cpu_end = n_cpus};
    for (uint32_t i = 0; i < n_cpus; i++) {
        out->cpus[i] = (uint16_t)cpus[i];
    }
}

sl_status sl_topology_simulate(const char *description, sl_topology *out, sl_error *err) {
    if (!topology_load(description, out)) {
        return SL_FAIL(err, SL_ERR_ARGUMENT, "'%.128s' describes no machine that hwloc could make",
                       description);
    }
    return SL_OK;
}

sl_nodes sl_topology_workers(const sl_topology *t, uint32_t n_workers) {
    sl_nodes cores = {.n = t->n_nodes}, workers = {.n = t->n_nodes};
    for (uint32_t n = 0; n < t->n_nodes; n++) {
        cores.before[n + 1] = cores.before[n] + t->nodes[n].n_cores;
    }
    for (uint32_t n = 0; n <= t->n_nodes; n++) {
        workers.before[n] = sl_nodes_first(&cores, n_workers, n);
    }
    return workers;
}

void sl_topology_prefer(const sl_topology *t, uint32_t node, void *p, size_t size_bytes) {
    enum { BITS = 8 * sizeof(unsigned long) };
    const uint32_t number = t->nodes[node].number;
    if (t->simulated || t->n_nodes == 1 || size_bytes == 0 || number >= NODE_NUMBER_MAX) {
        return;
    }
    unsigned long mask[NODE_NUMBER_MAX / BITS] = {0};
    mask[number / BITS] = 1ul << number % BITS;
    /* Whole pages; one that two nodes share is the later one's. */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = (uintptr_t)p & ~(page - 1);
    const uintptr_t end = ((uintptr_t)p + size_bytes + page - 1) & ~(page - 1);
    (void)syscall(SYS_mbind, begin, end - begin, MPOL_PREFERRED, mask, NODE_NUMBER_MAX + 1, 0);
}
