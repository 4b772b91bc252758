#ifndef EPLB_FORMATS_STATISTICS_EXPERT_IDS_H
#define EPLB_FORMATS_STATISTICS_EXPERT_IDS_H

#include <cstdint>
#include <string>
#include <vector>

// Expert ids of formats that do not say how many experts there are.
namespace eplb {

class ExpertIds {
  public:
    // num_experts: of the model; 0 takes the highest id + 1
    explicit ExpertIds(int num_experts) : given_(num_experts) {}

    // Whether the id can be one; notes it if so. Ids that no model has would size tables by damage.
    bool accept(std::int64_t id);
    // what is wrong with an id that was not accepted
    std::string fault(std::int64_t id) const;

    int num_experts() const { return given_ > 0 ? given_ : highest_ + 1; }
    // Says so where the number was taken from the ids.
    void warn(std::vector<std::string>& warnings) const;

  private:
    int given_;
    int highest_ = -1;
};

// Counts one more of an id, in a row that grows to the highest one.
void count_expert(std::vector<std::int64_t>& row, std::int64_t expert_id);

}  // namespace eplb

#endif
