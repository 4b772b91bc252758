#include "lib/report/views/heatmap.h"

#include <algorithm>
#include <array>
#include <vector>

#include "lib/report/text/picture_text.h"
#include "lib/report/views/heat.h"

namespace eplb {
namespace {

constexpr int kLeastWidth = 40;
constexpr int kTickDistance = 10;  // characters between two numbers above the cells
constexpr const char* kRatioHeader = "imbalance-ratio";
constexpr const char* kResetColour = "\x1b[0m";

// from cold (blue) over grey to hot (orange, red): apart for the colour-blind, and each visible on
// black and on white
constexpr std::array<int, 8> kColours = {25, 31, 67, 102, 137, 172, 166, 160};

const std::vector<std::string>& ramp_of(const HeatmapStyle& style) {
    static const std::vector<std::string> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const std::vector<std::string> kAscii = {" ", ".", ":", "-", "=",
                                                    "+", "*", "#", "%", "@"};
    return style.unicode ? kBlocks : kAscii;
}

class Heatmap {
  public:
    Heatmap(const MeasuredSubject& subject, const HeatmapStyle& style)
        : subject_(subject), style_(style), ramp_(ramp_of(style)) {
        label_width_ = std::string("average").size();
        for (const MeasuredLayer& layer : subject.layers)
            label_width_ = std::max(label_width_, std::to_string(layer.layer).size());
        const int taken = static_cast<int>(label_width_ + std::string(kRatioHeader).size()) + 4;
        const int room = std::max(std::max(style.width, kLeastWidth) - taken, 1);
        bins_per_cell_ = (num_bins() + room - 1) / room;
        num_cells_ = (num_bins() + bins_per_cell_ - 1) / bins_per_cell_;
    }

    std::string draw() const {
        std::string text = one_line(subject_.subject->name) + ", iterations " +
                           range_text(subject_.subject->iterations()) + ":\n";
        text += pad_right("layer", label_width_) + "  " + pad_right(ticks(), cells_width()) + "  " +
                kRatioHeader + "\n";
        for (const MeasuredLayer& layer : subject_.layers)
            text += line(std::to_string(layer.layer), cells_of(layer),
                         ratio_text(subject_, layer.summary));
        if (subject_.num_layers() > 1)
            text += line("average", "", ratio_text(subject_, subject_.average));
        return text + legend();
    }

  private:
    int num_bins() const { return subject_.num_bins(); }

    std::size_t cells_width() const {
        return std::max(static_cast<std::size_t>(num_cells_), ticks().size());
    }

    std::string what_a_cell_is() const {
        const std::string bin = subject_.bin_name();
        const std::string whose = bins_per_cell_ > 1
                                      ? "the most loaded of " + std::to_string(bins_per_cell_) +
                                            " neighbouring " + bin + "s"
                                      : "one " + bin;
        return "cell: tokens of " + whose + " / mean of the layer, over all iterations";
    }

    // the ids of the bins, above the first cell that holds them
    std::string ticks() const {
        std::string text = num_bins() > 1 ? "" : "0";
        for (int cell = 0; cell < num_cells_ && num_bins() > 1; cell += kTickDistance) {
            const std::string id = std::to_string(cell * bins_per_cell_);
            text.resize(cell, ' ');
            text += id;
        }
        return text;
    }

    double hottest(const MeasuredLayer& layer, int cell) const {
        double result = 0;
        const int first = cell * bins_per_cell_;
        for (int bin = first; bin < std::min(first + bins_per_cell_, num_bins()); ++bin)
            result = std::max(result, layer.relative(bin));
        return result;
    }

    std::string colour_of(int level) const {
        const auto index = static_cast<std::size_t>(level) * kColours.size() / ramp_.size();
        return "\x1b[38;5;" + std::to_string(kColours[index]) + "m";
    }

    // Colours are set where they change, and taken back at the end.
    std::string painted(const std::vector<int>& levels) const {
        std::string text;
        std::string colour;
        for (const int level : levels) {
            if (style_.colour && colour_of(level) != colour) {
                colour = colour_of(level);
                text += colour;
            }
            text += ramp_[level];
        }
        return style_.colour ? text + kResetColour : text;
    }

    std::string cells_of(const MeasuredLayer& layer) const {
        if (!layer.has_tokens())
            return "";
        std::vector<int> levels(num_cells_);
        for (int cell = 0; cell < num_cells_; ++cell)
            levels[cell] = heat_level(hottest(layer, cell), static_cast<int>(ramp_.size()));
        const std::string spare(cells_width() - static_cast<std::size_t>(num_cells_), ' ');
        return painted(levels) + spare;
    }

    std::string line(const std::string& label,
                     const std::string& cells,
                     const std::string& ratio) const {
        return pad_left(label, label_width_) + "  " +
               (cells.empty() ? std::string(cells_width(), ' ') : cells) + "  " +
               pad_left(ratio, std::string(kRatioHeader).size()) + "\n";
    }

    std::string legend() const {
        const int num_levels = static_cast<int>(ramp_.size());
        std::string text = what_a_cell_is() + "\nfrom";
        for (int level = 0; level < num_levels; ++level) {
            const std::string mark = ramp_[level];
            text += "  " + (mark == " " ? "' '" : painted({level})) + " " +
                    trimmed(kHottest * level / num_levels, 2);
        }
        return text + "\n";
    }

    const MeasuredSubject& subject_;
    HeatmapStyle style_;
    const std::vector<std::string>& ramp_;
    std::size_t label_width_ = 0;
    int bins_per_cell_ = 1;
    int num_cells_ = 0;
};

}  // namespace

std::string draw_heatmap(const MeasuredSubject& subject, const HeatmapStyle& style) {
    return Heatmap(subject, style).draw();
}

}  // namespace eplb
