#ifndef EPLB_MODEL_STORED_TYPES_H
#define EPLB_MODEL_STORED_TYPES_H

#include <optional>

#include "lib/base/config_fields.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

// What config.json says of the type of weights that are not quantised: torch_dtype, or dtype.
// Error: a type that is not known.
std::optional<WeightType> plain_weight_type(const ConfigFields& fields);

// The fields of quantization_config, where weights are quantised.
std::optional<ConfigFields> quantization_fields(const ConfigFields& fields);

}  // namespace eplb

#endif
