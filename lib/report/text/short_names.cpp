#include "lib/report/text/short_names.h"

#include <algorithm>
#include <cstddef>
#include <set>

namespace eplb {
namespace {

// The last `count` components; a slash at the end begins none.
std::string last_components(const std::string& path, std::size_t count) {
    std::size_t start = path.find_last_not_of('/');
    if (start == std::string::npos)
        return path;
    const std::size_t stop = start + 1;
    for (std::size_t i = 0; i < count && start != std::string::npos; ++i)
        start = start == 0 ? std::string::npos : path.rfind('/', start - 1);
    return start == std::string::npos ? path : path.substr(start + 1, stop - start - 1);
}

std::string shortened(const std::string& name, std::size_t count) {
    const std::string between = " under ";  // a config
    const std::size_t at = name.find(between);
    if (at == std::string::npos)
        return last_components(name, count);
    return last_components(name.substr(0, at), count) + between +
           last_components(name.substr(at + between.size()), count);
}

}  // namespace

std::vector<std::string> short_names(const std::vector<std::string>& names) {
    std::ptrdiff_t most = 1;
    for (const std::string& name : names)
        most = std::max(most, 1 + std::count(name.begin(), name.end(), '/'));
    const std::size_t num_different = std::set<std::string>(names.begin(), names.end()).size();
    for (std::size_t count = 1; count <= static_cast<std::size_t>(most); ++count) {
        std::vector<std::string> result;
        for (const std::string& name : names)
            result.push_back(shortened(name, count));
        if (std::set<std::string>(result.begin(), result.end()).size() == num_different)
            return result;
    }
    return names;
}

}  // namespace eplb
