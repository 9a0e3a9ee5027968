// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace tool {

/// A setting of the dial in the plot.
struct plot_point {
    std::string name;
    double mebibytes;
    double error_percent;
    double speed;  ///< times FP16
};

/// Weight error (left axis) and speed (right axis) against file size, as an SVG document.
[[nodiscard]] std::string plot_svg(const std::string& title, std::vector<plot_point> points);

}  // namespace tool
