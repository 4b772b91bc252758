#include "kernels/cuda/matrix_products.h"

#include <algorithm>

#include "kernels/cuda/launch.h"

namespace eplb {
namespace {

constexpr std::size_t kLanes = 4;
// what cuBLAS asks for on the GPUs of 2022 and later
constexpr std::size_t kBlasBytes = std::size_t{32} << 20;
constexpr std::uintptr_t kAlignment = 16;  // of operands, for cuBLAS's best products

std::size_t size_of(std::int64_t rows, std::int64_t columns) {
    return rows * columns;
}

}  // namespace

MatrixProducts::MatrixProducts(CudaDevice& device, const BackendOptions& options)
    : device_(device),
      options_(options),
      main_lane_(device),
      begun_(device, CudaEvent::Kind::ordering),
      input_(device),
      gate_(device),
      up_(device),
      activation_(device) {
    main_lane_.stream = device_.stream();
    for (std::size_t i = 0; i < kLanes; ++i) {
        lane_streams_.push_back(std::make_unique<CudaStream>(device_));
        lanes_.push_back(std::make_unique<Lane>(device_));
        lanes_.back()->stream = lane_streams_.back()->get();
    }
    device_.check(cublasCreate(&blas_), "cublasCreate");
}

MatrixProducts::~MatrixProducts() {
    static_cast<void>(cublasDestroy(blas_));
}

cudaDataType_t MatrixProducts::product_type() const {
    return options_.precision == ProductPrecision::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

std::size_t MatrixProducts::value_bytes() const {
    return options_.precision == ProductPrecision::bf16 ? 2 : 4;
}

// Whether products can take a weight from where it is.
bool MatrixProducts::is_direct(const WeightMatrix& weight) const {
    const WeightType type =
        options_.precision == ProductPrecision::bf16 ? WeightType::bf16 : WeightType::f32;
    const std::size_t offset = size_of(weight.first_row, weight.num_columns) * value_bytes();
    return weight.type == type && weight.row_step == 1 &&
           (reinterpret_cast<std::uintptr_t>(weight.data) + offset) % kAlignment == 0;
}

// Rows of a weight that are decoded and multiplied at once.
int MatrixProducts::panel_rows(const WeightMatrix& weight) const {
    const std::size_t row_bytes = weight.num_columns * value_bytes();
    const std::size_t rows = options_.workspace_bytes / 4 / kLanes / row_bytes;
    return static_cast<int>(std::clamp<std::size_t>(rows, 1, weight.num_rows));
}

// Rows as products need them: where they are, or gathered and converted.
const void* MatrixProducts::rows_for_product(const std::int32_t* source_rows,
                                             std::int64_t num_rows,
                                             int size,
                                             const float* input,
                                             CudaWorkspace& converted) {
    const std::size_t num_values = size_of(num_rows, size);
    if (options_.precision == ProductPrecision::bf16) {
        auto* const rows = converted.grow<std::uint16_t>(num_values);
        cuda::convert_to_bf16(source_rows, num_rows, size, size, input, rows, device_.stream());
        return rows;
    }
    if (source_rows == nullptr)
        return input;
    auto* const rows = converted.grow<float>(num_values);
    cuda::gather_rows(source_rows, num_rows, size * sizeof(float), input, rows, device_.stream());
    return rows;
}

void MatrixProducts::select_lane(Lane& lane) {
    device_.make_current();
    device_.check(cublasSetStream(blas_, lane.stream), "cublasSetStream");
    // setting the stream takes the memory away
    device_.check(cublasSetWorkspace(blas_, lane.blas_memory.grow(kBlasBytes), kBlasBytes),
                  "cublasSetWorkspace");
}

// Of a row-major product y = x w^T. cuBLAS sees matrices column by column: w is then its transpose,
// [num_inputs][num_outputs] without gaps, and so are x and y.
void MatrixProducts::multiply_panel(cudaDataType_t type,
                                    const void* weight,
                                    int num_outputs,
                                    int num_inputs,
                                    int num_rows,
                                    const void* input,
                                    float* output,
                                    int output_stride,
                                    bool add) {
    const float one = 1;
    const float old = add ? 1 : 0;
    // of fp32 values this is fp32 throughout: TF32 would have to be asked for
    device_.check(
        cublasGemmEx(blas_, CUBLAS_OP_T, CUBLAS_OP_N, num_outputs, num_rows, num_inputs, &one,
                     weight, type, num_inputs, input, type, num_inputs, &old, output, CUDA_R_32F,
                     output_stride, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
        "cublasGemmEx");
}

// The lane must be selected, and its panel large enough.
void MatrixProducts::multiply(Lane& lane,
                              const WeightMatrix& weight,
                              int num_rows,
                              const void* input,
                              float* output,
                              bool add) {
    if (is_direct(weight)) {
        const std::byte* const first =
            weight.data + size_of(weight.first_row, weight.num_columns) * value_bytes();
        multiply_panel(product_type(), first, weight.num_rows, weight.num_columns, num_rows, input,
                       output, weight.num_rows, add);
        return;
    }
    const int panel = panel_rows(weight);
    void* const decoded = lane.panel.grow(size_of(panel, weight.num_columns) * value_bytes());
    for (int first = 0; first < weight.num_rows; first += panel) {
        const int count = std::min(panel, weight.num_rows - first);
        if (options_.precision == ProductPrecision::bf16)
            cuda::decode(weight, first, count, static_cast<std::uint16_t*>(decoded), lane.stream);
        else
            cuda::decode(weight, first, count, static_cast<float*>(decoded), lane.stream);
        multiply_panel(product_type(), decoded, count, weight.num_columns, num_rows, input,
                       output + first, weight.num_rows, add);
    }
}

void MatrixProducts::linear(const WeightMatrix& weight,
                            const float* bias,
                            int num_tokens,
                            const float* input,
                            float* output,
                            bool add) {
    if (num_tokens == 0)
        return;
    const void* const x = rows_for_product(nullptr, num_tokens, weight.num_columns, input, input_);
    select_lane(main_lane_);
    multiply(main_lane_, weight, num_tokens, x, output, add);
    cuda::add_bias(bias, num_tokens, weight.num_rows, weight.num_rows, output, main_lane_.stream);
}

void MatrixProducts::router_logits(const float* weight,
                                   int num_experts,
                                   int hidden_size,
                                   int num_tokens,
                                   const float* input,
                                   float* logits) {
    if (num_tokens == 0)
        return;
    select_lane(main_lane_);
    multiply_panel(CUDA_R_32F, weight, num_experts, hidden_size, num_tokens, input, logits,
                   num_experts, false);
}

void MatrixProducts::grouped_mlp(std::span<const MlpWeights> experts,
                                 std::span<const std::int32_t> row_begin,
                                 const std::int32_t* source_rows,
                                 const float* input,
                                 float* output) {
    if (experts.empty() || row_begin.front() == row_begin.back())
        return;
    // as many rows at once as the workspace has room for
    const WeightMatrix& gate = experts.front().gate;
    const std::size_t row_bytes =
        gate.num_columns * value_bytes() + gate.num_rows * (2 * sizeof(float) + value_bytes());
    constexpr std::size_t kFewestRows = 64;
    const auto most_rows =
        static_cast<std::int64_t>(std::max(options_.workspace_bytes / 2 / row_bytes, kFewestRows));

    std::vector<Piece> pieces;
    std::int64_t num_rows = 0;
    const auto run = [&] {
        run_pieces(pieces, source_rows, input, output);
        pieces.clear();
        num_rows = 0;
    };
    for (std::size_t e = 0; e < experts.size(); ++e)
        for (std::int64_t row = row_begin[e]; row < row_begin[e + 1];) {
            const std::int64_t count = std::min(row_begin[e + 1] - row, most_rows - num_rows);
            pieces.push_back({&experts[e], row, static_cast<int>(count)});
            row += count;
            num_rows += count;
            if (num_rows == most_rows)
                run();
        }
    if (num_rows > 0)
        run();
}

// Pieces follow each other without gaps.
void MatrixProducts::run_pieces(std::span<const Piece> pieces,
                                const std::int32_t* source_rows,
                                const float* input,
                                float* output) {
    const MlpWeights& mlp = *pieces.front().mlp;
    const std::int64_t first_row = pieces.front().begin;
    const std::int64_t num_rows = pieces.back().begin + pieces.back().num_rows - first_row;
    const std::size_t width_values = size_of(num_rows, mlp.gate.num_rows);
    gate_.grow<float>(width_values);
    up_.grow<float>(width_values);
    activation_.grow(width_values * value_bytes());
    const bool gathers = source_rows != nullptr;
    const void* const x = rows_for_product(
        gathers ? source_rows + first_row : nullptr, num_rows, mlp.gate.num_columns,
        gathers ? input : input + first_row * mlp.gate.num_columns, input_);

    // workspaces grow in the order of the device's stream: before the lanes begin
    const std::size_t num_lanes = std::min(lanes_.size(), pieces.size());
    std::size_t panel_bytes = 0;
    for (const Piece& piece : pieces)
        for (const WeightMatrix* weight : {&piece.mlp->gate, &piece.mlp->up, &piece.mlp->down})
            if (!is_direct(*weight))
                panel_bytes = std::max(
                    panel_bytes, size_of(panel_rows(*weight), weight->num_columns) * value_bytes());
    for (std::size_t i = 0; i < num_lanes; ++i) {
        lanes_[i]->panel.grow(panel_bytes);
        lanes_[i]->blas_memory.grow(kBlasBytes);
    }
    device_.check(cudaEventRecord(begun_.get(), device_.stream()), "cudaEventRecord");
    for (std::size_t i = 0; i < num_lanes; ++i)
        device_.check(cudaStreamWaitEvent(lanes_[i]->stream, begun_.get(), 0),
                      "cudaStreamWaitEvent");
    for (std::size_t i = 0; i < pieces.size(); ++i)
        run_piece(*lanes_[i % num_lanes], pieces[i], first_row, x, output);
    for (std::size_t i = 0; i < num_lanes; ++i) {
        device_.check(cudaEventRecord(lanes_[i]->done.get(), lanes_[i]->stream), "cudaEventRecord");
        device_.check(cudaStreamWaitEvent(device_.stream(), lanes_[i]->done.get(), 0),
                      "cudaStreamWaitEvent");
    }
}

// x and the workspaces begin at first_row, output at row 0.
void MatrixProducts::run_piece(
    Lane& lane, const Piece& piece, std::int64_t first_row, const void* x, float* output) {
    const MlpWeights& mlp = *piece.mlp;
    const int width = mlp.gate.num_rows;
    const int hidden_size = mlp.gate.num_columns;
    const std::int64_t row = piece.begin - first_row;
    const auto at_row = [&](const void* values, int size) {
        return static_cast<const std::byte*>(values) + size_of(row, size) * value_bytes();
    };
    float* const gate = static_cast<float*>(gate_.data()) + row * width;
    float* const up = static_cast<float*>(up_.data()) + row * width;
    void* const activation = const_cast<std::byte*>(at_row(activation_.data(), width));
    const void* const piece_input = at_row(x, hidden_size);

    select_lane(lane);
    multiply(lane, mlp.gate, piece.num_rows, piece_input, gate, false);
    multiply(lane, mlp.up, piece.num_rows, piece_input, up, false);
    const cuda::ActivationArguments arguments = {.activation = mlp.activation,
                                                 .limit = mlp.limit,
                                                 .width = width,
                                                 .input_stride = width,
                                                 .gate_bias = mlp.gate_bias,
                                                 .up_bias = mlp.up_bias};
    if (options_.precision == ProductPrecision::bf16)
        cuda::activate(arguments, piece.num_rows, gate, up, static_cast<std::uint16_t*>(activation),
                       lane.stream);
    else
        cuda::activate(arguments, piece.num_rows, gate, up, static_cast<float*>(activation),
                       lane.stream);
    float* const to = output + piece.begin * hidden_size;
    multiply(lane, mlp.down, piece.num_rows, activation, to, false);
    cuda::add_bias(mlp.down_bias, piece.num_rows, hidden_size, hidden_size, to, lane.stream);
}

}  // namespace eplb
