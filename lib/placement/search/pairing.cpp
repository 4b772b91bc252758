#include "lib/placement/search/pairing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "lib/base/random.h"
#include "lib/placement/search/distinct_packing.h"

namespace eplb {
namespace {

// of the logarithm of the sum of powers
constexpr double kFirstPairTemperature = 1;
constexpr double kLastPairTemperature = 1e-3;
constexpr int kPairStepsPerTemperature = 64;
constexpr int kPowerDoublings = 8;  // 256th powers
constexpr int kMostDraws = 20;      // to find an expert that has a replica to spare

// Replicas from the heaviest to the lightest, so that the i-th is paired with the i-th last.
class Pairing {
  public:
    Pairing(const PlacementProblem& problem, std::vector<int> replica_count)
        : problem_(&problem), replica_count_(std::move(replica_count)) {
        for (int expert = 0; expert < problem.num_experts; ++expert)
            replicas_.insert(replicas_.end(), replica_count_[expert],
                             {share(expert, replica_count_[expert]), expert});
        std::stable_sort(replicas_.begin(), replicas_.end(),
                         [](const Replica& a, const Replica& b) { return a.load > b.load; });
        unit_ = fullest();
        penalty_ = penalty_of(replicas_);
    }

    const std::vector<int>& replica_count() const { return replica_count_; }
    double fullest() const {
        double fullest = 0;
        for (int i = 0; i < num_pairs(); ++i)
            fullest = std::max(fullest, load_of_pair(i));
        return fullest;
    }
    double penalty() const { return penalty_; }
    int expert(int i) const { return replicas_[i].expert; }
    double load_of_pair(int i) const { return sum_of_pair(replicas_, i); }
    int num_pairs() const { return static_cast<int>(replicas_.size() / 2); }

    // What the penalty would be with a replica less of one expert and one more of another.
    double try_move(int loser, int gainer) {
        std::array<Run, 2> runs = {{run(loser, -1), run(gainer, 1)}};
        if (runs[0].load < runs[1].load)
            std::swap(runs[0], runs[1]);
        tried_.clear();
        std::size_t next = 0;
        const auto add_heavier_than = [&](double load) {
            for (; next < runs.size() && runs[next].load > load; ++next)
                tried_.insert(tried_.end(), runs[next].count, {runs[next].load, runs[next].expert});
        };
        for (const Replica& replica : replicas_) {
            if (replica.expert == loser || replica.expert == gainer)
                continue;
            add_heavier_than(replica.load);
            tried_.push_back(replica);
        }
        add_heavier_than(-1);
        tried_move_ = {loser, gainer};
        return tried_penalty_ = penalty_of(tried_);
    }

    void take_tried() {
        --replica_count_[tried_move_.first];
        ++replica_count_[tried_move_.second];
        replicas_.swap(tried_);
        penalty_ = tried_penalty_;
    }

  private:
    struct Replica {
        double load;
        int expert;
    };
    struct Run {
        double load;
        int expert;
        int count;
    };

    double share(int expert, int count) const { return problem_->load[expert] / count; }

    Run run(int expert, int more) const {
        const int count = replica_count_[expert] + more;
        return {share(expert, count), expert, count};
    }

    static double sum_of_pair(const std::vector<Replica>& replicas, int i) {
        return replicas[i].load + replicas[replicas.size() - 1 - i].load;
    }

    // The sum of high powers of the ranks' loads, in units of the fullest one's at first: the
    // fullest counts, others do a little.
    double penalty_of(const std::vector<Replica>& replicas) const {
        double sum = 0;
        const int count = static_cast<int>(replicas.size() / 2);
        for (int i = 0; i < count; ++i) {
            double power = sum_of_pair(replicas, i) / unit_;
            for (int doubling = 0; doubling < kPowerDoublings; ++doubling)
                power *= power;
            sum += power;
        }
        return sum;
    }

    const PlacementProblem* problem_;
    std::vector<int> replica_count_;
    std::vector<Replica> replicas_;
    double unit_ = 1;
    double penalty_ = 0;
    std::vector<Replica> tried_;
    std::pair<int, int> tried_move_;
    double tried_penalty_ = 0;
};

// Of two pairs at random, the heavier replica of the fuller one.
int hot_expert(const Pairing& pairing, RandomSequence& random) {
    const int pair = random.below(pairing.num_pairs());
    const int other = random.below(pairing.num_pairs());
    return pairing.expert(pairing.load_of_pair(pair) > pairing.load_of_pair(other) ? pair : other);
}

// The expert of a slot at random, of those with a replica to spare; -1 where none was drawn.
int spare_expert(const Pairing& pairing, int min_replicas, RandomSequence& random) {
    for (int draw = 0; draw < kMostDraws; ++draw) {
        const int expert = pairing.expert(random.below(2 * pairing.num_pairs()));
        if (pairing.replica_count()[expert] > min_replicas)
            return expert;
    }
    return -1;
}

}  // namespace

SlotTable place_pairs(const PlacementProblem& problem, int num_steps, std::uint64_t seed) {
    Pairing pairing(problem, replicate(problem, problem.load, 0));
    std::vector<int> best = pairing.replica_count();
    double least = pairing.fullest();
    const int most = problem.max_replicas();
    const double cooling = std::pow(kLastPairTemperature / kFirstPairTemperature,
                                    static_cast<double>(kPairStepsPerTemperature) / num_steps);
    double temperature = kFirstPairTemperature;
    RandomSequence random(seed);
    for (int step = 0; step < num_steps; ++step) {
        if (step % kPairStepsPerTemperature == 0 && step > 0)
            temperature *= cooling;
        const int loser = spare_expert(pairing, problem.min_replicas, random);
        const int gainer = hot_expert(pairing, random);
        const double chance = random.uniform();
        if (loser < 0 || loser == gainer || pairing.replica_count()[gainer] == most)
            continue;
        const double limit = pairing.penalty() * std::pow(chance, -temperature);
        if (pairing.try_move(loser, gainer) > limit)
            continue;
        pairing.take_tried();
        if (pairing.fullest() < least) {
            least = pairing.fullest();
            best = pairing.replica_count();
        }
    }
    return pack_distinct(problem, problem.load, best);
}

}  // namespace eplb
