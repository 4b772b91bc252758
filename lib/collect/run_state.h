#ifndef EPLB_COLLECT_RUN_STATE_H
#define EPLB_COLLECT_RUN_STATE_H

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace eplb {

// What a run through a checkpoint, layer after layer, has come to at a layer's end.
struct RunState {
    std::string fingerprint;  // of everything that the results depend on
    int next_layer = 0;       // a model layer id
    std::int64_t num_near_ties = 0;
    std::int64_t num_moved_slots = 0;
    std::vector<float> hidden;                        // [rows][hidden_size], of a loaded state
    std::vector<std::int64_t> counts;                 // of the statistics, those of later layers 0
    std::vector<std::vector<std::int32_t>> slot_ids;  // [MoE layers done], where they are kept
};

// A file of its own format (safetensors) that is replaced at every layer's end, whole or not at
// all.
class RunStateFile {
  public:
    explicit RunStateFile(std::filesystem::path path) : path_(std::move(path)) {}

    const std::filesystem::path& path() const { return path_; }
    bool exists() const;
    // Error where something stands there that is no state, or where nothing can be written.
    void check_place() const;
    // hidden: the state's, wherever it is
    void save(const RunState& state, std::span<const float> hidden) const;
    // Error where the file is damaged, or holds the state of another run.
    RunState load(const std::string& fingerprint) const;
    void remove() const;  // if it is there

  private:
    std::filesystem::path path_;
};

}  // namespace eplb

#endif
