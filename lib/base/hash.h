#ifndef EPLB_BASE_HASH_H
#define EPLB_BASE_HASH_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace eplb {

// FNV-1a, 64 bits: tells inputs apart, not attackers.
class Hash {
  public:
    void add(std::string_view bytes) {
        for (const char byte : bytes)
            value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
    }
    void add(std::int64_t value) {
        for (int i = 0; i < 8; ++i)
            value_ = (value_ ^ static_cast<std::uint8_t>(value >> (8 * i))) * 0x100000001b3U;
    }
    template <typename T>
    void add(const std::vector<T>& values) {
        add(static_cast<std::int64_t>(values.size()));
        for (const T value : values)
            add(static_cast<std::int64_t>(value));
    }
    std::string text() const { return std::to_string(value_); }

  private:
    std::uint64_t value_ = 0xcbf29ce484222325U;
};

}  // namespace eplb

#endif
