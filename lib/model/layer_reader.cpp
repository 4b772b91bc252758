#include "lib/model/layer_reader.h"

#include "lib/base/file.h"
#include "lib/model/tensor_sources.h"

namespace eplb {

LayerReader::LayerReader(const DecoderConfig& config,
                         const Checkpoint& checkpoint,
                         int num_layers,
                         bool last_routes_only,
                         const std::vector<ExpertIds>& experts)
    : config_(config), checkpoint_(checkpoint) {
    std::size_t num_moe_layers = 0;
    for (int layer = 0; layer < num_layers; ++layer) {
        const bool routes_only = last_routes_only && layer == num_layers - 1;
        if (routes_only)
            experts_.emplace_back(std::nullopt);
        else
            experts_.emplace_back(config.is_moe_layer(layer) ? experts[num_moe_layers++]
                                                             : ExpertIds());
        parts_.emplace_back();
        check(layer);
    }
    CheckpointTensors tensors(checkpoint);
    embedding_ = load_embedding(config, tensors);
    embedding_parts_ = tensors.parts();
}

void LayerReader::check(int layer) {
    CheckpointTensors tensors(checkpoint_);
    tensors.set_reads_values(false);
    load_layer(config_, layer, experts_[layer], tensors);
    parts_[layer] = tensors.parts();
}

void LayerReader::set_experts(int layer, const ExpertIds& experts) {
    experts_[layer] = experts;
    check(layer);
}

LayerReader::~LayerReader() {
    is_closing_ = true;
    finish_reading();
}

LayerWeights LayerReader::load(int layer) {
    finish_reading();
    CheckpointTensors tensors(checkpoint_);
    return load_layer(config_, layer, experts_[layer], tensors);
}

void LayerReader::start_reading(int layer, std::function<bool()> is_stopped) {
    finish_reading();
    thread_ = std::thread([this, is_stopped = std::move(is_stopped), &parts = parts_[layer]] {
        constexpr std::size_t kPage = 4096;
        for (const std::span<const std::byte> part : parts) {
            if (is_closing_ || (is_stopped && is_stopped()))
                return;
            for (std::size_t at = 0; at < part.size() && !is_closing_; at += kPage)
                static_cast<void>(*static_cast<const volatile std::byte*>(part.data() + at));
        }
    });
}

void LayerReader::finish_reading() {
    if (thread_.joinable())
        thread_.join();
}

void LayerReader::drop(int layer) {
    for (const std::span<const std::byte> part : parts_[layer])
        MappedFile::drop(part);
}

void LayerReader::drop_embedding() {
    for (const std::span<const std::byte> part : embedding_parts_)
        MappedFile::drop(part);
}

double LayerReader::layer_bytes(int layer) const {
    double sum = 0;
    for (const std::span<const std::byte> part : parts_[layer])
        sum += static_cast<double>(part.size());
    return sum;
}

}  // namespace eplb
