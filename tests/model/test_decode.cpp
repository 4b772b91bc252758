#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lib/model/decode.h"
#include "tests/catch.h"
#include "tests/model/number_formats.h"
#include "tests/model/stored_matrix.h"

namespace eplb::test_decode {

namespace {

using namespace eplb::test;

// equal, zeros' signs too; or both NaN
bool same(float value, double expected) {
    return std::isnan(expected)
               ? std::isnan(value)
               : value == expected && std::signbit(value) == std::signbit(expected);
}

// all rows, decoded whole, are the definition's values rounded to fp32 once
void check_rows(const WeightMatrix& matrix, const StoredMatrix& stored, int first, int step) {
    std::vector<float> row(matrix.num_columns);
    for (int r = 0; r < matrix.num_rows; ++r) {
        decode_row(matrix, r, 0, matrix.num_columns, row.data());
        for (int c = 0; c < matrix.num_columns; ++c)
            REQUIRE(same(row[c], static_cast<float>(stored.value(first + r * step, c))));
    }
}

}  // namespace

TEST_CASE("every code of every format decodes to what the format defines") {
    for (int code = 0; code < 65536; ++code) {
        REQUIRE(same(decode_f16(static_cast<std::uint16_t>(code)), f16_value(code)));
        const float bf16 = decode_bf16(static_cast<std::uint16_t>(code));
        REQUIRE(std::bit_cast<std::uint32_t>(bf16) == static_cast<std::uint32_t>(code) << 16);
    }
    for (int code = 0; code < 256; ++code) {
        REQUIRE(same(decode_f8_e4m3(static_cast<std::uint8_t>(code)), e4m3_value(code)));
        REQUIRE(same(decode_e8m0(static_cast<std::uint8_t>(code)), e8m0_value(code)));
    }
    const double e2m1[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
    for (int code = 0; code < 8; ++code) {
        CHECK(e2m1_value(code) == e2m1[code]);
        CHECK(same(decode_f4_e2m1(static_cast<std::uint32_t>(code)), e2m1[code]));
        CHECK(same(decode_f4_e2m1(static_cast<std::uint32_t>(code + 8)), -e2m1[code]));
        // what stands in the higher bits is the next weight
        CHECK(same(decode_f4_e2m1(static_cast<std::uint32_t>(code + 0xf0)), e2m1[code]));
    }
    CHECK(decode_f8_e4m3(0x7e) == 448.0F);
    CHECK(decode_f16(0x7bff) == 65504.0F);
}

TEST_CASE("decode_row gives the stored weights, at odd addresses and with ragged blocks") {
    for (const WeightType type : kWeightTypes)
        for (const int num_columns : {32, 96, 256, 288}) {
            const StoredMatrix stored(type, 5, num_columns, 1);
            check_rows(stored.view(), stored, 0, 1);
        }
    for (const WeightType type :
         {WeightType::f32, WeightType::f16, WeightType::bf16, WeightType::f8_e4m3})
        for (const int num_columns : {1, 7, 127, 128, 129, 257}) {
            const StoredMatrix stored(type, 130, num_columns, 2);
            check_rows(stored.view(), stored, 0, 1);
        }
}

TEST_CASE("decode_row of all codes in a row is what the codes decode to") {
    // through the vectorized loops: a row of every code under one factor
    std::vector<std::byte> codes(65536 * 2);
    for (std::size_t i = 0; i < 65536; ++i) {
        codes[2 * i] = static_cast<std::byte>(i & 0xff);
        codes[2 * i + 1] = static_cast<std::byte>(i >> 8);
    }
    std::vector<float> row(65536);
    decode_row({.type = WeightType::f16, .num_rows = 1, .num_columns = 65536, .data = codes.data()},
               0, 0, 65536, row.data());
    for (int code = 0; code < 65536; ++code)
        REQUIRE(same(row[code], f16_value(code)));

    for (std::size_t i = 0; i < 256; ++i)
        codes[i] = static_cast<std::byte>(i);
    const std::vector<float> factors = {1.0F, 0.37F};
    decode_row({.type = WeightType::f8_e4m3,
                .num_rows = 1,
                .num_columns = 256,
                .data = codes.data(),
                .scales = reinterpret_cast<const std::byte*>(factors.data())},
               0, 0, 256, row.data());
    for (int code = 0; code < 256; ++code)
        REQUIRE(same(row[code], static_cast<float>(e4m3_value(code) * factors[code / 128])));

    // every scale of mxfp4, each with all codes of both halves of a byte
    std::vector<std::byte> scales(256);
    std::vector<std::byte> pairs(256 * 16);
    for (std::size_t i = 0; i < scales.size(); ++i)
        scales[i] = static_cast<std::byte>(i);
    for (std::size_t i = 0; i < pairs.size(); ++i)
        pairs[i] = static_cast<std::byte>((i % 16) | (15 - i % 16) << 4);
    decode_row({.type = WeightType::mxfp4,
                .num_rows = 1,
                .num_columns = 256 * 32,
                .data = pairs.data(),
                .scales = scales.data()},
               0, 0, 256 * 32, row.data());
    for (int i = 0; i < 256 * 32; ++i) {
        const int code = i % 2 == 0 ? i / 2 % 16 : 15 - i / 2 % 16;
        REQUIRE(same(row[i], static_cast<float>(e2m1_value(code) * e8m0_value(i / 32))));
    }
}

TEST_CASE("first_row and row_step choose rows of what is stored") {
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix stored(type, 262, 160, 3);
        WeightMatrix matrix = stored.view();
        matrix.num_rows = 131;
        matrix.row_step = 2;
        check_rows(matrix, stored, 0, 2);
        matrix.first_row = 1;
        check_rows(matrix, stored, 1, 2);
        matrix.row_step = 1;
        matrix.first_row = 131;
        check_rows(matrix, stored, 131, 1);
    }
}

TEST_CASE("part of a row decodes to that part of the row") {
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix stored(type, 3, 416, 4);
        const WeightMatrix matrix = stored.view();
        std::vector<float> part(416);
        for (const int first : {0, 2, 30, 32, 126, 128, 254, 400})
            for (const int count : {0, 2, 14, 16}) {
                decode_row(matrix, 2, first, count, part.data());
                for (int i = 0; i < count; ++i)
                    REQUIRE(same(part[i], static_cast<float>(stored.value(2, first + i))));
            }
    }
}

}  // namespace eplb::test_decode
