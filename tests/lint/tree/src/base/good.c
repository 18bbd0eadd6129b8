/* Breaks no rule. */
#include "base/good.h"

#if defined(SOMETHING)
static int good_helper(int x) {
#else
static int good_helper(int x)
{
#endif
    return x;
}

static const char *const good_text[] = {"exit(1)", "\"malloc(2)", "printf("};

__attribute__((noinline)) int sl_good_call(const sl_good *g)
{
    /* Not a call of the C library: a member. */
    return g->free(0) + good_helper('"') + good_text[0][0];
}
