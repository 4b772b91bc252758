#include <cstdint>
#include <cstdlib>
#include <span>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const eplb::SafetensorsHeader header =
            eplb::parse_safetensors(std::as_bytes(std::span(data, size)), "input");
        // whatever is accepted has all its data in the file, one tensor after the other
        std::size_t next = 0;
        for (const eplb::Tensor& tensor : header.tensors) {
            if (tensor.begin != next || tensor.end < tensor.begin)
                std::abort();
            next = tensor.end;
            if (header.find(tensor.name) != &tensor)
                std::abort();
        }
        if (header.data_begin + next != size)
            std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
    return 0;
}
