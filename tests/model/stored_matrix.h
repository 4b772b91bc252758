#ifndef EPLB_TESTS_MODEL_STORED_MATRIX_H
#define EPLB_TESTS_MODEL_STORED_MATRIX_H

#include <cstddef>
#include <vector>

#include "lib/model/weight_matrix.h"

namespace eplb::test {

inline constexpr WeightType kWeightTypes[] = {WeightType::f32, WeightType::f16, WeightType::bf16,
                                              WeightType::f8_e4m3, WeightType::mxfp4};

// Random weights as a checkpoint may store them, at an odd address, and what they stand for by the
// format's definition. Magnitudes are about 1 / sqrt(num_columns).
struct StoredMatrix {
    StoredMatrix(WeightType type, int num_rows, int num_columns, unsigned seed);

    // All rows. It moves with the matrix's vectors, which are not to be changed.
    WeightMatrix view() const;
    double value(int row, int column) const {
        return values[static_cast<std::size_t>(row) * static_cast<std::size_t>(num_columns) +
                      static_cast<std::size_t>(column)];
    }

    WeightType type;
    int num_rows;
    int num_columns;
    std::vector<std::byte> data;    // from the second byte on
    std::vector<std::byte> scales;  // likewise; empty without scales
    std::vector<double> values;     // [num_rows][num_columns]
};

}  // namespace eplb::test

#endif
