#ifndef SLUICE_MODEL_H
#define SLUICE_MODEL_H
#include "base/good.h"
#endif
