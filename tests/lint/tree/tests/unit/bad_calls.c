/* Taken as well; calls are free here. */
int x(void);
int x(void)
{
    exit(1);
}
