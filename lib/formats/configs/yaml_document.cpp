#include "lib/formats/configs/yaml_document.h"

#include <yaml-cpp/eventhandler.h>

#include <sstream>
#include <vector>

#include "lib/base/error.h"

namespace eplb {
namespace {

// Where the documents of a text begin: the places of their first nodes.
class DocumentPlaces final : public YAML::EventHandler {
  public:
    void OnDocumentStart(const YAML::Mark&) override { is_before_node_ = true; }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { note(mark); }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { note(mark); }
    void OnScalar(const YAML::Mark& mark,
                  const std::string&,
                  YAML::anchor_t,
                  const std::string&) override {
        note(mark);
    }
    void OnSequenceStart(const YAML::Mark& mark,
                         const std::string&,
                         YAML::anchor_t,
                         YAML::EmitterStyle::value) override {
        note(mark);
    }
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark& mark,
                    const std::string&,
                    YAML::anchor_t,
                    YAML::EmitterStyle::value) override {
        note(mark);
    }
    void OnMapEnd() override {}

    const std::vector<YAML::Mark>& places() const { return places_; }

  private:
    void note(const YAML::Mark& mark) {
        if (is_before_node_)
            places_.push_back(mark);
        is_before_node_ = false;
    }

    std::vector<YAML::Mark> places_;
    bool is_before_node_ = false;
};

// No more than two are looked for: yaml-cpp takes a token that belongs to no document, as in ",u",
// for the begin of one and never gets past it, so that LoadAll() goes on for ever.
std::vector<YAML::Mark> first_two_documents(const std::string& text) {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    DocumentPlaces documents;
    if (parser.HandleNextDocument(documents))
        parser.HandleNextDocument(documents);
    return documents.places();
}

}  // namespace

std::string yaml_place(const std::string& name, const YAML::Mark& mark) {
    if (mark.is_null())
        return name + ": ";
    return name + ": line " + std::to_string(mark.line + 1) + ": ";
}

YAML::Node parse_yaml_document(const std::string& text, const std::string& name) {
    try {
        const std::vector<YAML::Mark> documents = first_two_documents(text);
        if (documents.empty())
            throw Error(name + ": line 1: the file is empty");
        if (documents.size() > 1)
            throw Error(yaml_place(name, documents[1]) + "a second document; one file holds one");
        return YAML::Load(text);
    } catch (const YAML::Exception& error) {
        throw Error(yaml_place(name, error.mark) + "no valid yaml: " + error.msg);
    }
}

}  // namespace eplb
