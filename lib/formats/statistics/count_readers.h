#ifndef EPLB_FORMATS_STATISTICS_COUNT_READERS_H
#define EPLB_FORMATS_STATISTICS_COUNT_READERS_H

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lib/formats/statistics/count_table.h"

// What the engines dump besides TensorRT-LLM's folders and our stream. parse_… read text or bytes
// from memory, `name` is what messages call it; read_… read files. Each checks all that can be
// checked; errors name the file, and what to do where there is something to do. Sources of the
// formats: docs/formats.md.
namespace eplb {

// sglang_json.cpp
// {"logical_count": [[…]]}, [layers][experts] or [steps][layers][experts], integers or floats of
// integer value; further keys are ignored, as SGLang does. Rows are decoder layers.
CountTable parse_sglang_json(std::string_view text, const std::string& name);

// counts_json.cpp
// {"counts": [[…]], "num_layers": L, "num_experts": E, "src": "…"}; only counts is required, the
// rest must agree with it. Rows are unstated.
CountTable parse_counts_json(std::string_view text, const std::string& name);

// vllm_history.cpp
// {"load_history": [{"logical_expert_load": [[…]]}, …]}, an iteration each. Rows are MoE layers.
CountTable parse_vllm_history(std::string_view text, const std::string& name);

// esft_text.cpp
// One file per layer, its number the last number in the file's name; a line per sample: n_tokens *
// top_k expert ids, an empty field, as many gate weights, separated by tabs. A sample is an
// iteration. path: one such file or a folder of them. num_experts: 0 takes the highest id + 1 over
// all layers, and says so in a warning.
CountTable read_esft_text(const std::filesystem::path& path, int num_experts);
struct EsftLayer {
    int layer = 0;
    std::string name;  // of its file
    std::string text;
};
// The same from memory: at least one layer, none twice.
CountTable parse_esft_text(const std::vector<EsftLayer>& layers, int num_experts);

// routing_trace.cpp
// JSON lines: {"type":"meta",…,"layers_logged":[…],"top_k":n}, then {"type":"route","req_id",
// "token_idx","layer","topk_ids":[…],…}. A request is an iteration, in the order of first
// appearance. num_experts as above. path may be "-".
CountTable read_routing_trace(const std::string& path, int num_experts);
CountTable parse_routing_trace(std::string_view text, const std::string& name, int num_experts);

// sglang_dump.cpp
// The dict of a `stat` or `stat_approx` dump: logical_count [steps][layers][experts]. Steps without
// tokens are unused places of the recorder's buffer and left out. Rows are decoder layers. path:
// the file, or a folder with no other .pt file.
CountTable read_sglang_stat(const std::filesystem::path& path);
// A folder of `per_pass` or `per_token` dumps, a file per rank, or one such file. Passes are
// iterations, ranks sources; physical counts become logical ones with last_physical_to_logical_map.
CountTable read_sglang_passes(const std::filesystem::path& path, bool sum_sources);
// Whether a .pt file is a stat dump or one of passes; an Error where it is neither. A folder's only
// .pt file counts for the folder, which holds dumps of passes where there are several. Checksums
// are left to the reader.
enum class SglangDump { stat, passes };
SglangDump recognize_sglang_dump(const std::filesystem::path& path);

}  // namespace eplb

#endif
