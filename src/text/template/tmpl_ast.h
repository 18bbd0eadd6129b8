/* The syntax tree of a template. Nodes live in the template's arena and are read-only after
 * parsing.
 *
 * Chains (a + b - c, a or b, x.y[z](w)|f is t) are lists of siblings, not nested nodes, so that the
 * tree is only as deep as the brackets and blocks of its source, which the parser bounds.
 */
#ifndef SL_TEXT_TMPL_AST_H
#define SL_TEXT_TMPL_AST_H

#include "text/template/tmpl_value.h"

typedef enum tmpl_node_kind {
    /* expressions */
    NODE_CONST, /* val */
    NODE_NAME,  /* name */
    NODE_LIST,  /* a: items */
    NODE_TUPLE, /* a: items */
    NODE_DICT,  /* a: key, value, key, value ... */
    NODE_OR,    /* a: two or more operands */
    NODE_AND,
    NODE_CONCAT,  /* a: operands of ~ */
    NODE_ARITH,   /* a: operands; each but the first has `op` */
    NODE_COMPARE, /* a: operands; each but the first has `op` */
    NODE_NOT,     /* a */
    NODE_NEG,     /* a */
    NODE_POS,     /* a */
    NODE_COND,    /* a: condition, b: then, c: else or NULL */
    NODE_CHAIN,   /* a: base (NULL: the text of a block), b: links */
    /* links of a chain */
    LINK_ATTR,   /* val: name */
    LINK_ITEM,   /* a: key */
    LINK_SLICE,  /* a, b, c: start, stop, step, or NULL */
    LINK_CALL,   /* a: arguments */
    LINK_FILTER, /* index, val: name, a: arguments */
    LINK_TEST,   /* index, val: name, a: arguments, flag: negated */
    /* an argument: `a` is its expression */
    ARG_POS,
    ARG_NAMED, /* val: name */
    ARG_LIST,  /* *a */
    ARG_MAP,   /* **a */
    /* targets of assignments besides NODE_NAME and NODE_TUPLE */
    TARGET_ATTR, /* name: the namespace, val: attribute */
    /* statements */
    STMT_TEXT,   /* val */
    STMT_PRINT,  /* a */
    STMT_IF,     /* a: list of STMT_BRANCH */
    STMT_BRANCH, /* a: condition or NULL (else), b: body */
    /* a: target, b: iterable, c: body, d: else body, e: filter or NULL, flag: recursive */
    STMT_FOR,
    STMT_SET,       /* a: target, b: expression */
    STMT_SET_BLOCK, /* a: target, b: NODE_CHAIN or NULL, c: body */
    STMT_MACRO,     /* name, macro */
    STMT_CALL,      /* macro: the caller, a: the call */
    STMT_FILTER,    /* b: NODE_CHAIN, c: body */
    STMT_WITH,      /* a: list of STMT_SET, c: body */
    STMT_SCOPE,     /* c: body */
    STMT_BLOCK,     /* c: body, flag: sees the variables around it */
    STMT_BREAK,
    STMT_CONTINUE,
    STMT_UNAVAILABLE /* val: what it is; fails when reached */
} tmpl_node_kind;

typedef enum tmpl_op {
    OP_NONE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
} tmpl_op;

typedef struct tmpl_node tmpl_node;

typedef struct tmpl_param {
    uint32_t name;
    const tmpl_str *text;
    const tmpl_node *def; /* NULL: none */
} tmpl_param;

/* A macro, or the body of a call block as one. */
typedef struct tmpl_macro_def {
    const tmpl_str *name; /* NULL: a caller */
    tmpl_param *params;
    uint32_t n_params;
    bool uses_caller, uses_kwargs, uses_varargs, explicit_caller;
    const tmpl_node *body;
} tmpl_macro_def;

struct tmpl_node {
    uint8_t kind; /* tmpl_node_kind */
    uint8_t op;   /* tmpl_op: how it is joined to the sibling before it */
    bool flag;
    uint16_t index; /* of a filter or test in its table; TMPL_UNKNOWN */
    uint32_t line;
    uint32_t name; /* interned: see tmpl_names */
    tmpl_node *next;
    union {
        struct {
            tmpl_node *a, *b, *c, *d, *e;
        };
        struct {
            tmpl_node *arg; /* the same as a: expressions beside a name */
            sl_value val;
            tmpl_macro_def *macro;
        };
    };
};

#define TMPL_UNKNOWN 0xFFFFu

/* Names that the interpreter itself binds. */
enum { NAME_LOOP, NAME_CALLER, NAME_KWARGS, NAME_VARARGS, NAME_KNOWN_COUNT };

struct sl_template {
    sl_arena arena; /* everything below lives in it */
    const char *name;
    const tmpl_node *body;
    const tmpl_str **names; /* text of each interned name */
    uint32_t n_names;
};

/* Parses normalised source (newlines are \n) into t: body and names. */
SL_NODISCARD sl_status sl_tmpl_parse(sl_template *t, sl_slice source, sl_error *err);

#endif
