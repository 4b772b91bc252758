#ifndef EPLB_TESTS_CATCH_H
#define EPLB_TESTS_CATCH_H

// Catch2 v2 (Debian 12) and v3: tests use what both have
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#else
#include <catch2/catch.hpp>
#endif

#if __has_include(<catch2/catch_approx.hpp>)
using Catch::Approx;
#endif

#endif
