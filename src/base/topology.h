/* The NUMA nodes of the machine, as data: which CPUs of this process are near which memory. From
 * hwloc, which also knows cpusets of control groups, offline nodes, and sockets that are parted
 * into several nodes. Whoever sets HWLOC_SYNTHETIC="node:2 core:1 pu:1" (or HWLOC_XMLFILE) gets a
 * simulated machine: work and memory are divided as on a real one, but nothing is bound.
 */
#ifndef SL_BASE_TOPOLOGY_H
#define SL_BASE_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/cpu.h"
#include "base/nodes.h"

/* A node that has both memory and CPUs that this process may use. */
typedef struct sl_topology_node {
    uint32_t number; /* the system's */
    uint32_t n_cores;
    uint32_t cpu_begin, cpu_end; /* in cpus */
    uint64_t memory_bytes;
} sl_topology_node;

typedef struct sl_topology {
    bool simulated;   /* of another machine: its numbers mean nothing to the system */
    uint32_t n_nodes; /* 1 .. SL_NODES_MAX */
    sl_topology_node nodes[SL_NODES_MAX];
    uint16_t cpus[SL_CPUS_MAX]; /* by node; one of each core first, as in sl_cpu_list */
} sl_topology;

/* This machine's. CPUs of a node without memory count to the nearest that has some. One node with
 * all CPUs if the system does not tell. */
void sl_topology_read(sl_topology *out);
/* One that hwloc's synthetic description gives. For tests. */
SL_NODISCARD sl_status sl_topology_simulate(const char *description, sl_topology *out,
                                            sl_error *err);

/* n_workers divided among the nodes by their cores: worker i is node n's if before[n] <= i <
 * before[n + 1]. */
sl_nodes sl_topology_workers(const sl_topology *t, uint32_t n_workers);
/* Pages of this stretch that are not there yet come from the node if it has any left, whoever
 * touches them first. A wish: where the system refuses it, the first touch decides. Nothing to do
 * on one node, or a simulated machine. */
void sl_topology_prefer(const sl_topology *t, uint32_t node, void *p, size_t size_bytes);

#endif
