#ifndef EPLB_MODEL_ROUTER_H
#define EPLB_MODEL_ROUTER_H

namespace eplb {

enum class ScoreFunction { softmax, sigmoid, sqrtsoftplus, none };

// What a group of experts is judged by, where selection is limited to some groups.
enum class GroupScore { maximum, top2_sum };

// What selects the experts of a token, as data: a new model family is a table row, not a class.
// Source of the rows: the model families' configurations and reference gates.
//
// s = score_function(logits); c = s + bias. Groups are contiguous and equal in size; of num_groups
// the top_groups with the best group score of c stay, then the top_k best c are chosen (always:
// lowest id first on a tie). Weights are s, without the bias, at the chosen ids, divided by their
// sum if `normalize`, times `scale`. softmax goes without bias and with GroupScore::maximum only.
struct RouterSpec {
    ScoreFunction score_function = ScoreFunction::softmax;
    int num_experts = 0;
    int top_k = 0;
    bool has_bias = false;  // e_score_correction_bias
    int num_groups = 1;
    int top_groups = 1;
    GroupScore group_score = GroupScore::top2_sum;
    bool normalize = true;
    float scale = 1.0F;
};

}  // namespace eplb

#endif
