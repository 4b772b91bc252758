#ifndef EPLB_FORMATS_CONFIGS_YAML_DOCUMENT_H
#define EPLB_FORMATS_CONFIGS_YAML_DOCUMENT_H

#include <yaml-cpp/yaml.h>

#include <string>

namespace eplb {

// Where a node stands, for messages: "FILE: line 3: ".
std::string yaml_place(const std::string& name, const YAML::Mark& mark);

// The one document of a text. Error: no valid yaml, no document, more than one.
YAML::Node parse_yaml_document(const std::string& text, const std::string& name);

}  // namespace eplb

#endif
