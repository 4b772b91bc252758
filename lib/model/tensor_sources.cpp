#include "lib/model/tensor_sources.h"

#include <cmath>

#include "lib/base/error.h"
#include "lib/model/decode.h"

namespace eplb {
namespace {

constexpr int kScaleBlock = WeightMatrix::kScaleBlock;
constexpr int kMxBlock = WeightMatrix::kMxBlock;

std::int64_t num_blocks(int size) {
    return (size + kScaleBlock - 1) / kScaleBlock;
}

std::string in_words(const std::vector<std::int64_t>& shape) {
    std::string text = "[";
    for (const std::int64_t size : shape)
        text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + "]";
}

WeightType plain_type(const Checkpoint::TensorView& view, const std::string& also) {
    const std::string& dtype = view.tensor->dtype;
    if (dtype == "F32")
        return WeightType::f32;
    if (dtype == "F16")
        return WeightType::f16;
    if (dtype == "BF16")
        return WeightType::bf16;
    throw Error(view.where + "is " + dtype + "; F32, F16 and BF16 can be read" + also);
}

void require_dtype(const Checkpoint::TensorView& view, const std::string& dtype) {
    if (view.tensor->dtype != dtype)
        throw Error(view.where + "is " + view.tensor->dtype + "; it must be " + dtype);
}

}  // namespace

Checkpoint::TensorView CheckpointTensors::find(const std::string& name,
                                               const std::vector<std::int64_t>& shape) const {
    Checkpoint::TensorView view = checkpoint_.find(name);
    if (view.tensor->shape != shape)
        throw Error(view.where + "has shape " + in_words(view.tensor->shape) +
                    " where config.json says " + in_words(shape));
    return view;
}

Checkpoint::TensorView CheckpointTensors::use(const std::string& name,
                                              const std::vector<std::int64_t>& shape) {
    Checkpoint::TensorView view = find(name, shape);
    parts_.push_back(view.bytes);
    return view;
}

std::vector<float> CheckpointTensors::values(const std::string& name, std::vector<int> shape) {
    const Checkpoint::TensorView view = use(name, {shape.begin(), shape.end()});
    const WeightType type = plain_type(view, "");
    if (!reads_values_)
        return {};
    const int num_rows = shape.size() == 1 ? 1 : shape.front();
    const int num_columns = shape.back();
    const WeightMatrix matrix = {
        .type = type, .num_rows = num_rows, .num_columns = num_columns, .data = view.bytes.data()};
    const auto size = static_cast<std::size_t>(num_columns);
    std::vector<float> values(static_cast<std::size_t>(num_rows) * size);
    for (int row = 0; row < num_rows; ++row)
        decode_row(matrix, row, 0, num_columns,
                   values.data() + static_cast<std::size_t>(row) * size);
    for (const float value : values)
        if (!std::isfinite(value))
            throw Error(view.where + "holds a value that is no finite number");
    return values;
}

WeightMatrix CheckpointTensors::linear(const std::string& name, int num_rows, int num_columns) {
    const Checkpoint::TensorView view = use(name, {num_rows, num_columns});
    WeightMatrix matrix = {
        .num_rows = num_rows, .num_columns = num_columns, .data = view.bytes.data()};
    if (view.tensor->dtype != "F8_E4M3") {
        matrix.type = plain_type(view, " here, and F8_E4M3 with scales");
        return matrix;
    }
    const Checkpoint::TensorView scales =
        use(name + "_scale_inv", {num_blocks(num_rows), num_blocks(num_columns)});
    if (scales.tensor->dtype != "BF16")
        require_dtype(scales, "F32");
    else
        matrix.scale_type = WeightType::bf16;
    matrix.type = WeightType::f8_e4m3;
    matrix.scales = scales.bytes.data();
    return matrix;
}

std::vector<WeightMatrix> CheckpointTensors::mxfp4_experts(const std::string& name,
                                                           int num_experts,
                                                           const ExpertIds& experts,
                                                           int num_rows,
                                                           int num_columns) {
    const Checkpoint::TensorView blocks =
        find(name + "_blocks", {num_experts, num_rows, num_columns / kMxBlock, kMxBlock / 2});
    const Checkpoint::TensorView scales =
        find(name + "_scales", {num_experts, num_rows, num_columns / kMxBlock});
    require_dtype(blocks, "U8");
    require_dtype(scales, "U8");
    const std::size_t size =
        static_cast<std::size_t>(num_rows) * static_cast<std::size_t>(num_columns);
    // experts that lie side by side are one part
    const auto add_parts = [&](const Checkpoint::TensorView& view, std::size_t expert_size) {
        for (std::size_t i = 0; i < experts.size(); ++i) {
            const auto bytes =
                view.bytes.subspan(static_cast<std::size_t>(experts[i]) * expert_size, expert_size);
            if (i > 0 && experts[i] == experts[i - 1] + 1)
                parts_.back() = {parts_.back().data(), parts_.back().size() + expert_size};
            else
                parts_.push_back(bytes);
        }
    };
    add_parts(blocks, size / 2);
    add_parts(scales, size / kMxBlock);
    std::vector<WeightMatrix> matrices;
    for (const int expert : experts) {
        const auto e = static_cast<std::size_t>(expert);
        matrices.push_back({.type = WeightType::mxfp4,
                            .num_rows = num_rows,
                            .num_columns = num_columns,
                            .data = blocks.bytes.data() + e * (size / 2),
                            .scales = scales.bytes.data() + e * (size / kMxBlock)});
    }
    return matrices;
}

WeightMatrix CheckpointTensors::embedding(const std::string& name, int num_rows, int num_columns) {
    const Checkpoint::TensorView view = use(name, {num_rows, num_columns});
    return {.type = plain_type(view, ""),
            .num_rows = num_rows,
            .num_columns = num_columns,
            .data = view.bytes.data()};
}

void PlannedTensors::add(double num_weights, WeightType type) {
    num_weights_ += num_weights;
    num_bytes_ += num_weights * (type == WeightType::f32       ? 4
                                 : type == WeightType::f8_e4m3 ? 1
                                 : type == WeightType::mxfp4   ? 0.5 + 1.0 / kMxBlock
                                                               : 2);
}

std::vector<float> PlannedTensors::values(const std::string&, std::vector<int> shape) {
    double size = 1;
    for (const int extent : shape)
        size *= extent;
    add(size, config_.plain_type);
    return {};
}

WeightMatrix PlannedTensors::linear(const std::string&, int num_rows, int num_columns) {
    add(static_cast<double>(num_rows) * num_columns, config_.linear_type);
    if (config_.linear_type == WeightType::f8_e4m3)
        num_bytes_ += 4 * static_cast<double>(num_blocks(num_rows) * num_blocks(num_columns));
    return {.num_rows = num_rows, .num_columns = num_columns};
}

std::vector<WeightMatrix> PlannedTensors::mxfp4_experts(
    const std::string&, int, const ExpertIds& experts, int num_rows, int num_columns) {
    add(static_cast<double>(experts.size()) * num_rows * num_columns, WeightType::mxfp4);
    return {};
}

WeightMatrix PlannedTensors::embedding(const std::string&, int num_rows, int num_columns) {
    add(static_cast<double>(num_rows) * num_columns, config_.plain_type);
    return {.num_rows = num_rows, .num_columns = num_columns};
}

}  // namespace eplb
