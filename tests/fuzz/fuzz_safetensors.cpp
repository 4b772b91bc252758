#include <cstdlib>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target safetensors_target("safetensors", [](std::string_view input) {
    try {
        const eplb::SafetensorsHeader header =
            eplb::parse_safetensors(eplb::fuzz::bytes_of(input), "input");
        // whatever is accepted has all its data in the file, one tensor after the other
        std::size_t next = 0;
        for (const eplb::Tensor& tensor : header.tensors) {
            if (tensor.begin != next || tensor.end < tensor.begin)
                std::abort();
            next = tensor.end;
            if (header.find(tensor.name) != &tensor)
                std::abort();
        }
        if (header.data_begin + next != input.size())
            std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
