/* The state of one rendering, and what the files of the interpreter offer each other.
 *
 * Everything belongs to the thread that renders. Values live in the rendering's arena until it
 * ends. Every function that evaluates or makes something returns a status; the first failure ends
 * the rendering.
 */
#ifndef SL_TEXT_TMPL_EXEC_H
#define SL_TEXT_TMPL_EXEC_H

#include "base/error.h"
#include "text/template/tmpl_ast.h"

/* --- state
 * -------------------------------------------------------------------------------------- */

typedef struct tmpl_binding {
    uint32_t name;
    sl_value val;
} tmpl_binding;

/* Variables of one block. The outermost scope is an array over all interned names. */
typedef struct tmpl_scope {
    struct tmpl_scope *outer;
    tmpl_binding *bindings; /* [n]; NULL in the outermost */
    sl_value *by_name;      /* outermost only: [n_names] */
    uint32_t n, cap;
} tmpl_scope;

/* A string under construction: appends to the end of a store. */
typedef struct tmpl_builder {
    tmpl_store *store;
    size_t begin;
} tmpl_builder;

typedef struct tmpl_run {
    const sl_template *t;
    sl_arena arena;
    sl_template_limits limits;
    int64_t now_unix_s;
    uint64_t fuel;     /* left */
    uint32_t n_calls;  /* macros, callers and recursive loops being executed */
    uint32_t n_nested; /* nested evaluations: bounds the C stack */
    uint32_t line;     /* of the node being executed, for messages */
    enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } flow;
    tmpl_builder *capture; /* where output goes; NULL: out */
    sl_buf *out;
    size_t out_begin; /* bytes that were in out before */
    sl_spans spans;   /* untrusted parts of what was appended to out */
    size_t cap_spans;
    bool keep_spans;
    sl_error *err;
} tmpl_run;

/* Evaluations nest at most this often per call allowed: with a limit of 100 calls some 400 KB of C
 * stack. */
#define TMPL_NESTED_PER_CALL 12u

SL_NODISCARD sl_status sl_tmpl_fail_at(tmpl_run *r, sl_status code, const char *file, int line,
                                       const char *format, ...) SL_PRINTF(5, 6);
#define TMPL_FAIL(r, ...) sl_tmpl_fail_at((r), SL_ERR_FORMAT, __FILE__, __LINE__, __VA_ARGS__)
#if defined(__clang_analyzer__) /* as SL_FAIL: a failure never looks like SL_OK */
#define TMPL_FULL(r) ((void)sl_tmpl_full((r), __FILE__, __LINE__), SL_ERR_MEMORY)
#else
#define TMPL_FULL(r) sl_tmpl_full((r), __FILE__, __LINE__)
#endif
SL_NODISCARD sl_status sl_tmpl_full(tmpl_run *r, const char *file, int line);
SL_NODISCARD sl_status sl_tmpl_out_of_fuel(tmpl_run *r);

/* One unit per node, and one per 8 bytes moved or looked at. */
SL_NODISCARD static inline sl_status tmpl_burn(tmpl_run *r, size_t n_bytes) {
    uint64_t cost = 1 + n_bytes / 8;
    if (r->fuel < cost) {
        return sl_tmpl_out_of_fuel(r);
    }
    r->fuel -= cost;
    return SL_OK;
}
SL_NODISCARD sl_status sl_tmpl_enter(tmpl_run *r);
static inline void tmpl_leave(tmpl_run *r) {
    r->n_nested--;
}

/* --- values of the run time only
 * ---------------------------------------------------------------- */

typedef struct tmpl_undef {
    const tmpl_str *name;  /* NULL: see hint */
    const char *hint;      /* a whole sentence, or NULL */
    const char *type_name; /* of what the name was sought in, or NULL: a variable */
} tmpl_undef;

typedef struct tmpl_range {
    int64_t start, stop, step;
    uint64_t n;
} tmpl_range;

typedef struct tmpl_macro {
    const tmpl_macro_def *def;
    tmpl_scope *scope; /* where it was defined */
} tmpl_macro;

typedef struct tmpl_cycler {
    tmpl_list *items;
    size_t pos;
} tmpl_cycler;

typedef struct tmpl_joiner {
    sl_value sep;
    bool used;
} tmpl_joiner;

typedef struct tmpl_iter {
    sl_value src;
    size_t pos; /* bytes for strings, entries otherwise */
} tmpl_iter;

typedef struct tmpl_loop {
    const tmpl_node *node; /* the for statement */
    tmpl_scope *scope;     /* around the statement */
    sl_value src;
    tmpl_iter it;
    int64_t index0;
    uint32_t depth0;
    int64_t length;            /* -1: not known yet */
    sl_value cur, prev, after; /* TMPL_MISSING: none */
    sl_value changed;
    bool filtered; /* what `it` gives has passed the loop's filter already */
} tmpl_loop;

typedef struct tmpl_kwarg {
    const tmpl_str *name;
    sl_value val;
} tmpl_kwarg;

typedef struct tmpl_args {
    const sl_value *pos;
    const tmpl_kwarg *kw;
    uint32_t n_pos, n_kw;
} tmpl_args;

typedef sl_status (*tmpl_method_fn)(tmpl_run *r, sl_value self, const tmpl_args *args,
                                    sl_value *out);
typedef struct tmpl_method_def {
    const char *name;
    tmpl_method_fn fn;
} tmpl_method_def;
typedef struct tmpl_method {
    sl_value self;
    const tmpl_method_def *def;
} tmpl_method;
typedef struct tmpl_global {
    const char *name;
    sl_status (*fn)(tmpl_run *r, const tmpl_args *args, sl_value *out);
} tmpl_global;

const char *sl_tmpl_type_name(sl_value v); /* as the reference calls it: "str", "dict", ... */
SL_NODISCARD sl_status sl_tmpl_undefined(tmpl_run *r, const tmpl_str *name, const char *type_name,
                                         sl_value *out);
SL_NODISCARD sl_status sl_tmpl_undefined_hint(tmpl_run *r, const char *hint, sl_value *out);
/* The error that using an undefined value is. */
SL_NODISCARD sl_status sl_tmpl_fail_undefined(tmpl_run *r, sl_value v);

/* --- strings (tmpl_str.c)
 * ----------------------------------------------------------------------- */

/* End of the part of s from byte pos that is all trusted or all untrusted. */
size_t sl_tmpl_str_part(const tmpl_str *s, size_t pos, bool *trusted);
SL_NODISCARD sl_status sl_tmpl_str_sub(tmpl_run *r, const tmpl_str *s, size_t from, size_t len,
                                       sl_value *out);
SL_NODISCARD sl_status sl_tmpl_str_copy(tmpl_run *r, const char *text, size_t len, bool trusted,
                                        sl_value *out);
/* trusted */
SL_NODISCARD sl_status sl_tmpl_str_static(tmpl_run *r, const char *text, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_str_concat(tmpl_run *r, const tmpl_str *a, const tmpl_str *b,
                                          sl_value *out);
/* Byte offset of character i (0..n_chars). */
size_t sl_tmpl_str_offset(const tmpl_str *s, size_t i_char);
/* Offset of needle in s[from, end), or SIZE_MAX. */
size_t sl_tmpl_str_find(const tmpl_str *s, size_t from, size_t end, const tmpl_str *needle);

SL_NODISCARD sl_status sl_tmpl_build_begin(tmpl_run *r, tmpl_builder *b);
SL_NODISCARD sl_status sl_tmpl_build_bytes(tmpl_run *r, tmpl_builder *b, const char *text,
                                           size_t len, bool trusted);
/* trusted */
SL_NODISCARD sl_status sl_tmpl_build_text(tmpl_run *r, tmpl_builder *b, const char *text);
SL_NODISCARD sl_status sl_tmpl_build_part(tmpl_run *r, tmpl_builder *b, const tmpl_str *s,
                                          size_t from, size_t len);
SL_NODISCARD sl_status sl_tmpl_build_str(tmpl_run *r, tmpl_builder *b, const tmpl_str *s);
SL_NODISCARD sl_status sl_tmpl_build_char(tmpl_run *r, tmpl_builder *b, uint32_t code,
                                          bool trusted);
SL_NODISCARD sl_status sl_tmpl_build_end(tmpl_run *r, tmpl_builder *b, sl_value *out);

/* Sends text to the present output. */
SL_NODISCARD sl_status sl_tmpl_emit(tmpl_run *r, const tmpl_str *s);

/* --- printing (tmpl_print.c, tmpl_json.c)
 * ------------------------------------------------------- */

#define TMPL_NUMBER_MAX 40
/* shortest text that reads back */
size_t sl_tmpl_format_float(double v, char buf[TMPL_NUMBER_MAX]);
SL_NODISCARD sl_status sl_tmpl_to_str(tmpl_run *r, sl_value v, const tmpl_str **out);
SL_NODISCARD sl_status sl_tmpl_repr(tmpl_run *r, tmpl_builder *b, sl_value v, unsigned depth);
SL_NODISCARD sl_status sl_tmpl_escape_html(tmpl_run *r, sl_value v, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_filter_tojson(tmpl_run *r, sl_value v, const tmpl_args *args,
                                             sl_value *out);

/* --- operations (tmpl_ops.c)
 * -------------------------------------------------------------------- */

bool sl_tmpl_truth(sl_value v);
bool sl_tmpl_as_double(sl_value v, double *out); /* booleans, integers, floats */
bool sl_tmpl_as_int(sl_value v, int64_t *out);   /* booleans, integers */
SL_NODISCARD sl_status sl_tmpl_arith(tmpl_run *r, tmpl_op op, sl_value a, sl_value b,
                                     sl_value *out);
SL_NODISCARD sl_status sl_tmpl_negate(tmpl_run *r, bool minus, sl_value a, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_equal(tmpl_run *r, sl_value a, sl_value b, unsigned depth,
                                     bool *out);
SL_NODISCARD sl_status sl_tmpl_order(tmpl_run *r, tmpl_op op, sl_value a, sl_value b,
                                     unsigned depth, bool *out);
SL_NODISCARD sl_status sl_tmpl_compare(tmpl_run *r, tmpl_op op, sl_value a, sl_value b, bool *out);
SL_NODISCARD sl_status sl_tmpl_contains(tmpl_run *r, sl_value seq, sl_value item, bool *out);

/* --- access and iteration (tmpl_access.c)
 * ------------------------------------------------------- */

SL_NODISCARD sl_status sl_tmpl_get_attr(tmpl_run *r, sl_value v, const tmpl_str *name,
                                        sl_value *out);
SL_NODISCARD sl_status sl_tmpl_get_item(tmpl_run *r, sl_value v, sl_value key, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_get_slice(tmpl_run *r, sl_value v, sl_value start, sl_value stop,
                                         sl_value step, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_length(tmpl_run *r, sl_value v, int64_t *out);
bool sl_tmpl_has_length(sl_value v);
bool sl_tmpl_iterable(sl_value v);
SL_NODISCARD sl_status sl_tmpl_iter_begin(tmpl_run *r, sl_value v, tmpl_iter *out);
SL_NODISCARD sl_status sl_tmpl_iter_next(tmpl_run *r, tmpl_iter *it, sl_value *out, bool *more);
SL_NODISCARD sl_status sl_tmpl_collect(tmpl_run *r, sl_value v, tmpl_list **out);
SL_NODISCARD sl_status sl_tmpl_list_make(tmpl_run *r, size_t cap, tmpl_list **out);
SL_NODISCARD sl_status sl_tmpl_list_push(tmpl_run *r, tmpl_list *l, sl_value v);
/* a tuple */
SL_NODISCARD sl_status sl_tmpl_pair(tmpl_run *r, sl_value a, sl_value b, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_map_make(tmpl_run *r, tmpl_map **out);
SL_NODISCARD sl_status sl_tmpl_map_add(tmpl_run *r, tmpl_map *m, sl_value key, sl_value val);
/* Sets a namespace's attribute; names that begin with an underscore are refused. */
SL_NODISCARD sl_status sl_tmpl_namespace_put(tmpl_run *r, tmpl_map *m, sl_value name, sl_value val);
const tmpl_method_def *sl_tmpl_find_method(const tmpl_method_def *defs, sl_slice name);

extern const tmpl_method_def sl_tmpl_str_methods[], sl_tmpl_dict_methods[], sl_tmpl_list_methods[],
    sl_tmpl_range_methods[], sl_tmpl_float_methods[];

/* --- calls (tmpl_call.c)
 * ------------------------------------------------------------------------ */

SL_NODISCARD sl_status sl_tmpl_eval_args(tmpl_run *r, tmpl_scope *s, const tmpl_node *first,
                                         tmpl_args *out);
SL_NODISCARD sl_status sl_tmpl_call(tmpl_run *r, sl_value fn, const tmpl_args *args, sl_value *out);
/* Sorts arguments into the parameters names[0..n): spare ones are an error, absent ones
 * TMPL_MISSING; the first n_required must be there. `what` is for messages. */
SL_NODISCARD sl_status sl_tmpl_bind(tmpl_run *r, const char *what, const tmpl_args *args,
                                    const char *const *names, uint32_t n, uint32_t n_required,
                                    sl_value *out);
/* An argument as text, integer or boolean; the variable keeps its value when the argument is
 * missing. */
SL_NODISCARD sl_status sl_tmpl_arg_int(tmpl_run *r, const char *what, sl_value v, int64_t *out);
SL_NODISCARD sl_status sl_tmpl_arg_str(tmpl_run *r, const char *what, sl_value v,
                                       const tmpl_str **out);
void sl_tmpl_arg_bool(sl_value v, bool *out);

/* --- tables (tmpl_filters.c, tmpl_tests.c, tmpl_globals.c)
 * -------------------------------------- */

typedef sl_status (*tmpl_filter_fn)(tmpl_run *r, sl_value v, const tmpl_args *args, sl_value *out);
typedef struct tmpl_filter_def {
    const char *name;
    tmpl_filter_fn fn;
} tmpl_filter_def;
/* Each file's filters, sorted by name, ended by a NULL name. */
extern const tmpl_filter_def sl_tmpl_text_filters[], sl_tmpl_seq_filters[], sl_tmpl_misc_filters[],
    sl_tmpl_layout_filters[];

uint16_t sl_tmpl_filter_index(sl_slice name); /* TMPL_UNKNOWN if there is none */
uint16_t sl_tmpl_test_index(sl_slice name);
SL_NODISCARD sl_status sl_tmpl_filter(tmpl_run *r, uint16_t index, const tmpl_str *name, sl_value v,
                                      const tmpl_args *args, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_test(tmpl_run *r, uint16_t index, const tmpl_str *name, sl_value v,
                                    const tmpl_args *args, bool *out);
const tmpl_global *sl_tmpl_find_global(sl_slice name);
/* printf-like (s % args) and str.format formatting (tmpl_format.c). */
SL_NODISCARD sl_status sl_tmpl_percent(tmpl_run *r, const tmpl_str *format, sl_value args,
                                       sl_value *out);
SL_NODISCARD sl_status sl_tmpl_format(tmpl_run *r, const tmpl_str *format, const tmpl_args *args,
                                      sl_value *out);
SL_NODISCARD sl_status sl_tmpl_strftime(tmpl_run *r, const tmpl_str *format, sl_value *out);
/* Stable; keys[i] belongs to items[i]. */
SL_NODISCARD sl_status sl_tmpl_sort(tmpl_run *r, sl_value *items, sl_value *keys, size_t n,
                                    bool reverse);
/* One value by a path such as "function.name" or 0 (as map(attribute=...) takes it). */
SL_NODISCARD sl_status sl_tmpl_get_path(tmpl_run *r, sl_value v, sl_value path, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_ignore_case(tmpl_run *r, sl_value v, sl_value *out);

/* --- execution (tmpl_eval.c, tmpl_stmt.c, tmpl_loop.c)
 * ------------------------------------------ */

SL_NODISCARD sl_status sl_tmpl_eval(tmpl_run *r, tmpl_scope *s, const tmpl_node *n, sl_value *out);
/* Links of a chain, applied to a value. */
SL_NODISCARD sl_status sl_tmpl_eval_links(tmpl_run *r, tmpl_scope *s, const tmpl_node *link,
                                          sl_value v, sl_value *out);
SL_NODISCARD sl_status sl_tmpl_exec(tmpl_run *r, tmpl_scope *s, const tmpl_node *first);
SL_NODISCARD sl_status sl_tmpl_scope_new(tmpl_run *r, tmpl_scope *outer, tmpl_scope **out);
SL_NODISCARD sl_status sl_tmpl_scope_set(tmpl_run *r, tmpl_scope *s, uint32_t name, sl_value v);
SL_NODISCARD sl_status sl_tmpl_assign(tmpl_run *r, tmpl_scope *s, const tmpl_node *target,
                                      sl_value v);
SL_NODISCARD sl_status sl_tmpl_exec_captured(tmpl_run *r, tmpl_scope *s, const tmpl_node *body,
                                             sl_value *out);
SL_NODISCARD sl_status sl_tmpl_exec_for(tmpl_run *r, tmpl_scope *s, const tmpl_node *n);
/* loop(iterable) inside a recursive for. */
SL_NODISCARD sl_status sl_tmpl_loop_call(tmpl_run *r, tmpl_loop *loop, const tmpl_args *args,
                                         sl_value *out);
SL_NODISCARD sl_status sl_tmpl_loop_attr(tmpl_run *r, tmpl_loop *loop, const tmpl_str *name,
                                         sl_value *out);
SL_NODISCARD sl_status sl_tmpl_loop_length(tmpl_run *r, tmpl_loop *loop, int64_t *out);

#endif
