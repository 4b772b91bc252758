#ifndef EPLB_TOOLS_STATISTICS_OPTIONS_H
#define EPLB_TOOLS_STATISTICS_OPTIONS_H

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/formats/configs/config_file.h"
#include "lib/formats/statistics/statistics_source.h"
#include "lib/model/model_shape.h"
#include "tools/given_options.h"

namespace CLI {
class Option;
}

// Statistics and configs as eplb-report and eplb-gen are given them on the command line.
namespace eplb::cli {

// A model's config.json: read when it is first asked for, once for all copies of the options.
class ModelOption {
  public:
    std::string path;  // empty: not given

    bool is_given() const { return !path.empty(); }
    const ModelJson& json() const {
        if (!*json_)
            json_->emplace(ModelJson::read(path));
        return **json_;
    }
    ModelShape shape() const { return model_shape(json()); }

  private:
    std::shared_ptr<std::optional<ModelJson>> json_ = std::make_shared<std::optional<ModelJson>>();
};

// Which part of the statistics counts, and how they are read.
struct StatisticsOptions {
    std::optional<std::int64_t> iter_start;
    std::optional<std::int64_t> iter_stop;
    std::string load_balancer;  // the config in force while slot ids were recorded
    std::optional<InputFormat> input_format;
    LayerOptions layers;
    int num_experts = 0;                        // of formats that list ids alone; 0: not given
    ModelOption model_config;                   // says the three above
    std::optional<ConfigFormat> config_format;  // of configs that are read
    std::string model_key;                      // in hygon's maps
    // of several recordings, those that hold experts are left as they are by load_balancer
    bool may_hold_experts = false;
    int num_threads = 0;
};
void add_statistics_options(CLI::App& app, StatisticsOptions& options);
// Of these, the two that tell how a config is read.
void add_config_options(CLI::App& app, StatisticsOptions& options);

// UsageError for options that do not go together.
void check_statistics_options(const StatisticsOptions& options);

// The files that they name, for check_output().
std::vector<std::string> files_of(const StatisticsOptions& options);

// Where they come from: --expert_statistic_path, or arguments without a flag. `purpose` says what
// becomes of several: "compare them".
CLI::Option* add_statistics_paths(CLI::App& app,
                                  std::vector<std::string>& paths,
                                  const std::string& purpose);

// The names of --output_format and --config_format.
std::vector<std::pair<std::string, ConfigFormat>> config_format_choices();

}  // namespace eplb::cli

#endif
