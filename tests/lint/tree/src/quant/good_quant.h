#ifndef WRONG_GUARD_H
#define WRONG_GUARD_H
#include "base/good.h"
#endif
