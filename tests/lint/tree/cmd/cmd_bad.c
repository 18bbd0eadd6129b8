/* cmd may print and free, but not copy without a bound. */
#include "cmd_local.h"
#include "serve/none.h"

int main(void)
{
    printf("allowed here");
    strcpy(0, 0);
    return 0;
}
