#include "lib/placement/search/bound.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace eplb {
namespace {

constexpr double kPrecision = 1e-9;

// Tests compare with T times 1 + kSlack: rounding changes sums of loads up to T by far less, so
// that a T which is refused would be refused in exact arithmetic too.
constexpr double kSlack = 1e-11;

struct Bracket {
    double refused;  // no placement keeps all ranks below it
    double allowed;  // some may
};

template <typename Refuses>
Bracket bisect(Bracket bracket, const Refuses& refuses) {
    while (bracket.allowed - bracket.refused > kPrecision * bracket.allowed) {
        const double middle = bracket.refused + (bracket.allowed - bracket.refused) / 2;
        (refuses(middle) ? bracket.refused : bracket.allowed) = middle;
    }
    return bracket;
}

// Gives an expert so many more slots, which lowers the lack of light partners by the gain.
struct Offer {
    double slots;
    double gain;

    double rate() const { return gain / slots; }
    bool operator<(const Offer& other) const { return rate() < other.rate(); }
};

// Whether offers for `slots` slots together can gain `wanted`. Takes the best rates first, the last
// offer in part: no choice of whole offers gains more. Reorders the offers.
bool affordable(std::vector<Offer>& offers, double slots, double wanted) {
    constexpr double kRounding = 1e-6;  // wanted is whole
    std::make_heap(offers.begin(), offers.end());
    for (auto end = offers.end(); wanted > kRounding && slots > 0 && end != offers.begin(); --end) {
        std::pop_heap(offers.begin(), end);
        const Offer& best = end[-1];
        wanted -= best.rate() * std::min(slots, best.slots);
        slots -= best.slots;
    }
    return wanted <= kRounding;
}

// Tests two conditions that hold wherever a placement keeps every rank at load / speed <= T:
// set(T), which also finds how many replicas each expert needs at least, and then allows_heavy(),
// which starts from these.
//
// Both give ranks of different speeds the best case: an expert's r replicas are on the r fastest
// ranks, and two that share a rank are on the fastest.
class RankLoadLimit {
  public:
    explicit RankLoadLimit(const PlacementProblem& problem);

    // Partner bound: a replica shares its rank with slots_per_rank - 1 others, none lighter than if
    // its expert got all spare slots. That raises needs, which takes spare slots, which makes the
    // others heavier, and so on to the fixpoint. False: the needs exceed the slots.
    bool set(double limit);

    // Hall bound: replicas of at least `heavy`, when two of them exceed a rank, each need
    // slots_per_rank - 1 partners of their own that fit beside it. Spare slots can split heavy ones
    // and make light ones. (That heavy ones cannot outnumber the ranks follows.)
    bool allows_heavy(double heavy);

    // The loads of replicas at which allows_heavy can change its answer.
    std::vector<double> heavy_loads() const;

    // From this limit on two replicas of `heavy` may share a rank.
    double limit_of_two(double heavy) const {
        return (2 * heavy + lightest_but_two_) / speed_.front();
    }

  private:
    bool raise_needs();
    void weigh_partners();
    double partners_of(std::size_t expert) const {
        return lightest_ + std::max(next_lightest_ - share_[expert], 0.0);
    }
    int most_extra(std::size_t expert) const {
        return std::min(max_replicas_ - needs_[expert], spare_);
    }
    // The least count whose shares are <= share, or one more than any expert may have.
    int count_for(std::size_t expert, double share) const;
    void offer_for(std::size_t expert, double heavy, double light);

    const std::vector<double>& load_;
    int ep_size_;
    int slots_per_rank_;
    int min_replicas_;
    int max_replicas_;
    std::vector<double> speed_;  // [ep_size], descending

    std::vector<double> capacity_;  // [ep_size]: load that T gives the ranks of speed_
    std::vector<int> needs_;        // [num_experts], replicas
    int spare_ = 0;                 // slots beyond the needs

    std::vector<double> share_;  // [num_experts], of a replica if its expert gets all spare slots
    std::vector<double> sorted_;
    double lightest_ = 0;          // sum of the slots_per_rank - 1 smallest shares
    double next_lightest_ = 0;     // the one after these
    double lightest_but_two_ = 0;  // sum of the slots_per_rank - 2 smallest
    std::vector<Offer> offers_;
    double single_slots_ = 0;  // that bring one light replica each
};

RankLoadLimit::RankLoadLimit(const PlacementProblem& problem)
    : load_(problem.load),
      ep_size_(problem.ep_size),
      slots_per_rank_(problem.slots_per_rank),
      min_replicas_(std::max(problem.min_replicas, 1)),
      max_replicas_(problem.max_replicas()),
      speed_(problem.rank_speed),
      capacity_(problem.ep_size),
      needs_(problem.load.size()),
      share_(problem.load.size()) {
    speed_.resize(ep_size_, 1.0);
    std::sort(speed_.begin(), speed_.end(), std::greater<>());
}

bool RankLoadLimit::set(double limit) {
    std::transform(speed_.begin(), speed_.end(), capacity_.begin(),
                   [&](double speed) { return limit * (1 + kSlack) * speed; });
    std::fill(needs_.begin(), needs_.end(), min_replicas_);
    spare_ = ep_size_ * slots_per_rank_ - min_replicas_ * static_cast<int>(load_.size());
    lightest_ = 0;
    next_lightest_ = 0;
    if (!raise_needs())
        return false;
    int before = 0;
    do {
        before = spare_;
        weigh_partners();
        if (!raise_needs())
            return false;
    } while (spare_ != before);
    return true;
}

bool RankLoadLimit::raise_needs() {
    for (std::size_t expert = 0; expert < load_.size(); ++expert) {
        const double partners = partners_of(expert);
        int& count = needs_[expert];
        // the last of its ranks is the slowest
        while (load_[expert] > (capacity_[count - 1] - partners) * count) {
            if (count == max_replicas_ || spare_ == 0)
                return false;
            ++count;
            --spare_;
        }
    }
    return true;
}

void RankLoadLimit::weigh_partners() {
    for (std::size_t expert = 0; expert < load_.size(); ++expert)
        share_[expert] = load_[expert] / std::min(max_replicas_, needs_[expert] + spare_);
    sorted_ = share_;
    const auto end = sorted_.begin() + (slots_per_rank_ - 1);
    std::nth_element(sorted_.begin(), end, sorted_.end());
    lightest_ = std::accumulate(sorted_.begin(), end, 0.0);
    next_lightest_ = *end;
    lightest_but_two_ = 0;
    if (slots_per_rank_ >= 2)
        lightest_but_two_ = lightest_ - *std::max_element(sorted_.begin(), end);
}

int RankLoadLimit::count_for(std::size_t expert, double share) const {
    if (load_[expert] <= share * min_replicas_)
        return min_replicas_;
    if (load_[expert] > share * max_replicas_)
        return max_replicas_ + 1;
    return static_cast<int>(std::ceil(load_[expert] / share));
}

// What extra replicas of an expert bring is 0 at first, then leaps when they stop being heavy and
// when they become light, and from there grows by one with each. A few corners span its concave
// hull.
void RankLoadLimit::offer_for(std::size_t expert, double heavy, double light) {
    const int count = needs_[expert];
    const int most = most_extra(expert);
    const int until_light = std::max(count_for(expert, light) - count, 0);
    if (until_light <= most)
        single_slots_ += most - until_light;
    if (until_light == 0)
        return;

    const bool is_heavy = load_[expert] >= heavy * count;
    const double relief = is_heavy ? (slots_per_rank_ - 1.0) * count : 0.0;
    // at the count where shares fall below `heavy`
    const int until_medium = std::max(static_cast<int>(load_[expert] / heavy) + 1 - count, 1);
    const Offer to_light = {until_light * 1.0, relief + count + until_light};
    const Offer to_medium = {until_medium * 1.0, relief};
    const bool light_possible = until_light <= most;
    if (is_heavy && until_medium <= most && until_medium < until_light &&
        (!light_possible || to_medium.rate() > to_light.rate())) {
        offers_.push_back(to_medium);
        if (light_possible)
            offers_.push_back({to_light.slots - to_medium.slots, to_light.gain - to_medium.gain});
    } else if (light_possible) {
        offers_.push_back(to_light);
    }
}

bool RankLoadLimit::allows_heavy(double heavy) {
    const double beside = capacity_.front() - heavy - lightest_but_two_;
    if (beside >= heavy)
        return true;
    heavy *= 1 - kSlack / 100;  // a replica that has this very load counts, however it was rounded
    int lacking = 0;
    for (std::size_t expert = 0; expert < load_.size(); ++expert) {
        const int count = needs_[expert];
        lacking += load_[expert] >= heavy * count ? (slots_per_rank_ - 1) * count : 0;
        lacking -= load_[expert] <= beside * count ? count : 0;
    }
    if (lacking <= 0)
        return true;
    offers_.clear();
    single_slots_ = 0;
    for (std::size_t expert = 0; expert < load_.size(); ++expert)
        offer_for(expert, heavy, beside);
    if (single_slots_ > 0)
        offers_.push_back({single_slots_, single_slots_});
    return affordable(offers_, spare_, lacking);
}

std::vector<double> RankLoadLimit::heavy_loads() const {
    std::vector<double> loads;
    if (slots_per_rank_ < 2)
        return loads;
    for (std::size_t expert = 0; expert < load_.size(); ++expert) {
        const int most = needs_[expert] + most_extra(expert);
        for (int count = needs_[expert]; count <= most; ++count) {
            const double share = load_[expert] / count;
            if (2 * share + lightest_but_two_ <= capacity_.front())
                break;
            loads.push_back(share);
        }
    }
    return loads;
}

double mean_rank_load(const PlacementProblem& problem) {
    long double load = 0;  // the mean is a bound, so it should be exact
    for (const double x : problem.load)
        load += x;
    long double speed = 0;
    for (int rank = 0; rank < problem.ep_size; ++rank)
        speed += problem.speed(rank);
    return static_cast<double>(load / speed);
}

// Whether there is a placement without duplicates, and more than one.
bool has_choice(const PlacementProblem& problem) {
    return problem.slots_per_rank < problem.num_experts &&
           problem.min_replicas <= problem.max_replicas();
}

// By partner bound; the mean may turn out to be allowed.
Bracket bracket_limit(RankLoadLimit& limit, double mean) {
    const auto refuses = [&](double t) { return !limit.set(t); };
    if (!refuses(mean))
        return {mean, mean};
    Bracket bracket = {mean, 2 * mean};
    while (refuses(bracket.allowed))
        bracket = {bracket.allowed, 2 * bracket.allowed};
    return bisect(bracket, refuses);
}

// About 0.618 n and without a common divisor: i * stride mod n visits all in a scattered order.
std::size_t scattering_stride(std::size_t n) {
    std::size_t stride = n * 618 / 1000 + 1;
    while (std::gcd(stride, n) != 1)
        ++stride;
    return stride;
}

// Each heavy load refuses limits up to its own; the highest is wanted. In scattered order few of
// them raise it, and the others cost one test each.
Bracket raise_by_heavy_loads(RankLoadLimit& limit, Bracket bracket) {
    limit.set(bracket.allowed);
    const std::vector<double> heavy_loads = limit.heavy_loads();
    const std::size_t stride = scattering_stride(heavy_loads.size());
    for (std::size_t i = 0; i < heavy_loads.size(); ++i) {
        const double heavy = heavy_loads[i * stride % heavy_loads.size()];
        if (limit.allows_heavy(heavy))
            continue;
        bracket = bisect({bracket.allowed, std::max(bracket.allowed, limit.limit_of_two(heavy))},
                         [&](double t) { return !limit.set(t) || !limit.allows_heavy(heavy); });
        limit.set(bracket.allowed);
    }
    return bracket;
}

// [n + 1]
std::vector<double> running_sums(const std::vector<double>& values) {
    std::vector<double> sums(values.size() + 1);
    std::partial_sum(values.begin(), values.end(), sums.begin() + 1);
    return sums;
}

// Without a slot to spare the replicas are known. The k heaviest lie on m ranks, 1 <= m <= k, which
// hold slots_per_rank m - k others: at the lightest, the lightest of all. One of these ranks
// carries the mean of theirs, at the best on the fastest ranks; m is whatever makes that least.
double bound_without_spare(const PlacementProblem& problem) {
    std::vector<double> heaviest;
    for (const double load : problem.load)
        heaviest.insert(heaviest.end(), problem.min_replicas, load / problem.min_replicas);
    std::sort(heaviest.begin(), heaviest.end(), std::greater<>());
    const std::vector<double> heavy = running_sums(heaviest);
    const std::vector<double> light = running_sums({heaviest.rbegin(), heaviest.rend()});
    std::vector<double> speeds(problem.ep_size, 1.0);
    if (!problem.rank_speed.empty())
        speeds = problem.rank_speed;
    std::sort(speeds.begin(), speeds.end(), std::greater<>());
    const std::vector<double> fastest = running_sums(speeds);

    const int slots_per_rank = problem.slots_per_rank;
    double bound = 0;
    for (int k = 1; k <= problem.ep_size; ++k) {
        double least = std::numeric_limits<double>::infinity();
        for (int m = (k + slots_per_rank - 1) / slots_per_rank; m <= k; ++m)
            least = std::min(least, (heavy[k] + light[slots_per_rank * m - k]) / fastest[m]);
        bound = std::max(bound, least);
    }
    // the sums are rounded
    return bound * (1 - 1e-12);
}

}  // namespace

double aggregated_bound(const PlacementProblem& problem) {
    const double mean = mean_rank_load(problem);
    if (mean <= 0 || !has_choice(problem))
        return mean;
    RankLoadLimit limit(problem);
    const double bound = raise_by_heavy_loads(limit, bracket_limit(limit, mean)).refused;
    const bool has_spare = problem.num_slots() > problem.num_experts * problem.min_replicas;
    return has_spare ? bound : std::max(bound, bound_without_spare(problem));
}

int fewest_slots(const PlacementProblem& problem, double imbalance) {
    PlacementProblem trial;
    trial.num_experts = problem.num_experts;
    trial.ep_size = problem.ep_size;
    trial.min_replicas = problem.min_replicas;
    trial.rank_speed = problem.rank_speed;
    trial.load = problem.load;
    const double enough = mean_rank_load(problem) * (1 + imbalance);
    const int num_needed = std::max(problem.min_replicas, 1) * problem.num_experts;
    trial.slots_per_rank = (num_needed + problem.ep_size - 1) / problem.ep_size;
    while (trial.slots_per_rank < problem.num_experts && aggregated_bound(trial) > enough)
        ++trial.slots_per_rank;
    return trial.num_slots();
}

}  // namespace eplb
