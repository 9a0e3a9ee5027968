// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
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

/// A setting's measured quality in the plot.
struct quality_point {
    std::string name;
    double mebibytes;
    double value, low, high;  ///< the interval is [low, high]
};

/// Quality against file size with intervals, and a dashed line at the limit, as an SVG document.
/// `axis_title` says what the values are; less is better.
[[nodiscard]] std::string quality_plot_svg(const std::string& title, const std::string& axis_title,
                                           std::vector<quality_point> points,
                                           std::optional<double> limit);

}  // namespace tool
