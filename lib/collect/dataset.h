#ifndef EPLB_COLLECT_DATASET_H
#define EPLB_COLLECT_DATASET_H

#include <cstdint>
#include <string>
#include <vector>

namespace eplb {

// A prompt and, where it was recorded, the answer to it.
struct Request {
    std::vector<std::int32_t> input_ids;
    std::vector<std::int32_t> output_ids;
};

// The requests of a dataset as TensorRT-LLM's prepare_dataset.py --stdout writes it:
// one JSON object per line, ids in "input_ids" (or "logits", its older name), those of a recorded
// answer in "output_ids"; other members are ignored. Blank lines are skipped. Errors name the line:
// no JSON, text without ids, ids outside [0, vocab_size), no request at all.
std::vector<Request> read_dataset(const std::string& path, int vocab_size);

}  // namespace eplb

#endif
