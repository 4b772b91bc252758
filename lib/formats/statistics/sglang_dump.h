#ifndef EPLB_FORMATS_STATISTICS_SGLANG_DUMP_H
#define EPLB_FORMATS_STATISTICS_SGLANG_DUMP_H

#include <string>
#include <vector>

#include "lib/formats/statistics/count_readers.h"
#include "lib/formats/statistics/count_table.h"
#include "lib/formats/torch/torch_file.h"

// What SGLang's expert distribution recorder dumps, once it is in memory. Source of the format:
// sglang/srt/eplb/expert_distribution.py and sglang/srt/eplb/eplb_simulator/reader.py.
namespace eplb {

SglangDump recognize_sglang_dump(const TorchFile& file);

// As read_sglang_stat() and read_sglang_passes(); `name` is the folder or the file, for messages
// about all files together. At least one file is needed.
CountTable parse_sglang_stat(const TorchFile& file);
CountTable parse_sglang_passes(const std::vector<TorchFile>& files,
                               const std::string& name,
                               bool sum_sources);

}  // namespace eplb

#endif
