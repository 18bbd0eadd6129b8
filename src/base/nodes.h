/* How things are divided among the NUMA nodes of a machine: consecutive stretches, in proportion to
 * the weights of the nodes (cores, then workers). Plain arithmetic; of one node, all is its own.
 */
#ifndef SL_BASE_NODES_H
#define SL_BASE_NODES_H

#include <stdint.h>

#define SL_NODES_MAX 64

typedef struct sl_nodes {
    uint32_t n;                        /* 1 .. SL_NODES_MAX; 0, all zero, means one too */
    uint32_t before[SL_NODES_MAX + 1]; /* sum of the weights of the nodes before each */
} sl_nodes;

/* Of n_things, the first that is the node's; those up to the first of node + 1 are. A node without
 * weight has none; what does not divide evenly goes to the lower nodes. */
static inline uint32_t sl_nodes_first(const sl_nodes *nodes, uint32_t n_things, uint32_t node) {
    if (node == 0 || node >= nodes->n) {
        return node == 0 ? 0 : n_things;
    }
    const uint64_t all = nodes->before[nodes->n];
    return (uint32_t)(((uint64_t)n_things * nodes->before[node] + all - 1) / all);
}

/* The node whose thing i of n_things is. */
static inline uint32_t sl_nodes_find(const sl_nodes *nodes, uint32_t n_things, uint32_t i) {
    uint32_t node = 0;
    while (node + 1 < nodes->n && i >= sl_nodes_first(nodes, n_things, node + 1)) {
        node++;
    }
    return node;
}

#endif
