/* Banned calls, a wrong layer, a missing file. */
#include "quant/good_quant.h"
#include "base/none.h"
#include <sluice/model.h>

int sl_bad_calls(char *p)
{
    free(p);
    return atoi(p) + (int)time(0);
}

int no_prefix(void)
{
    return 1;
}
