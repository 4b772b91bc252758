#ifndef EPLB_KERNELS_HELD_WEIGHTS_H
#define EPLB_KERNELS_HELD_WEIGHTS_H

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "lib/base/error.h"

namespace eplb {

// Weights in host memory that a backend holds for as long as this lives: it must go before they do.
class HeldWeights {
  public:
    using Parts = std::vector<std::span<const std::byte>>;

    HeldWeights(Backend& backend, Parts parts) : backend_(&backend), parts_(std::move(parts)) {
        backend.hold_weights(parts_);
    }
    ~HeldWeights() { drop(); }
    HeldWeights(HeldWeights&& other) noexcept
        : backend_(std::exchange(other.backend_, nullptr)), parts_(std::move(other.parts_)) {}
    HeldWeights& operator=(HeldWeights&& other) noexcept {
        drop();
        backend_ = std::exchange(other.backend_, nullptr);
        parts_ = std::move(other.parts_);
        return *this;
    }

  private:
    void drop() noexcept {
        if (backend_ == nullptr)
            return;
        try {
            backend_->drop_weights(parts_);
        } catch (const Error&) {
            // the device has failed and uses nothing any more
        }
    }

    Backend* backend_;
    Parts parts_;
};

}  // namespace eplb

#endif
