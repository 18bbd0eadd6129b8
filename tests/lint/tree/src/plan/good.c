/* The name is taken; long line long line long line long line long line long line long line long line long line */
	int sl_tab;
int sl_space; 
/* see /root/x */
/* TODO: nothing */
