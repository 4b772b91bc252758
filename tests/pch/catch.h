// compiled once for each test program: Catch2 is half of what its tests take to build
#include "tests/catch.h"
