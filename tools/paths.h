#ifndef EPLB_TOOLS_PATHS_H
#define EPLB_TOOLS_PATHS_H

#include <string>
#include <vector>

// Files as the command line names them.
namespace eplb::cli {

// Refuses an output that would replace one of the inputs, or a file of the statistics folder.
void check_output(const std::string& output_path, const std::vector<std::string>& inputs);

// False too where nothing can be told of the path.
bool is_folder(const std::string& path);

// Whether two paths lead to one file or folder, which need not be there.
bool is_same_file(const std::string& a, const std::string& b);

// The content of an input file, of standard input for "-", and what messages call it.
std::string read_input(const std::string& path);
std::string name_of_input(const std::string& path);

}  // namespace eplb::cli

#endif
