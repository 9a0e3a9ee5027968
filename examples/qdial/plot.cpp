// SPDX-License-Identifier: Apache-2.0
#include "plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace tool {
namespace {

constexpr double left = 70, right = 730, top = 60, bottom = 400, width = 800, height = 460;

/// A linear axis from 0 to a round number, with four to ten steps.
struct axis {
    double end, step;

    explicit axis(double largest) {
        const double rough = std::max(largest, 1e-9) / 5;
        const double power = std::pow(10.0, std::floor(std::log10(rough)));
        const double digit = rough / power;
        step = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
        end = step * std::ceil(largest / step * 1.0001);
    }
    [[nodiscard]] double part(double value) const { return value / end; }
};

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (static_cast<unsigned char>(c) >= 0x20)
            out += c;
    }
    return out;
}

std::string text(double x, double y, std::string_view anchor, std::string_view colour,
                 std::string_view content, std::string_view more = "") {
    return fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\"{}>{}</text>\n", x, y,
        anchor, colour, more, escaped(content));
}

std::string line(double x1, double y1, double x2, double y2) {
    return fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" "
        "stroke=\"#ddd\"/>\n",
        x1, y1, x2, y2);
}

double x_of(const axis& sizes, double mebibytes) {
    return left + (right - left) * sizes.part(mebibytes);
}
double y_of(const axis& values, double value) {
    return bottom - (bottom - top) * values.part(value);
}

std::string curve(const std::vector<plot_point>& points, const axis& sizes, const axis& values,
                  double plot_point::* value, std::string_view colour) {
    std::string path, marks;
    for (const plot_point& point : points) {
        const double x = x_of(sizes, point.mebibytes), y = y_of(values, point.*value);
        path += fmt::format("{:.1f},{:.1f} ", x, y);
        marks += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/>\n", x, y,
                             colour);
    }
    return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                       path, colour) +
           marks;
}

constexpr std::string_view red = "#c0392b", blue = "#2471a3", grey = "#555";

/// The start of a document with its title.
std::string canvas(const std::string& title) {
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" "
               "font-family=\"sans-serif\" "
               "font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
               width, height) +
           text(width / 2, 22, "middle", "#000", title, " font-size=\"16\"") +
           text(width / 2, height - 14, "middle", grey, "file size in MiB");
}

std::string size_axis(const axis& sizes) {
    std::string out;
    for (double v = 0; v <= sizes.end * 1.0001; v += sizes.step) {
        const double x = x_of(sizes, v);
        out +=
            line(x, top, x, bottom) + text(x, bottom + 18, "middle", grey, fmt::format("{:g}", v));
    }
    return out;
}

/// Above the point, slanted: settings can be close to each other.
std::string slanted(double x, double y, std::string_view name) {
    return text(x, y, "start", "#000", name,
                fmt::format(" transform=\"rotate(-40 {:.1f} {:.1f})\"", x, y));
}

}  // namespace

std::string plot_svg(const std::string& title, std::vector<plot_point> points) {
    std::ranges::sort(points, {}, &plot_point::mebibytes);
    double size = 0, error = 0, speed = 0;
    for (const plot_point& point : points) {
        size = std::max(size, point.mebibytes);
        error = std::max(error, point.error_percent);
        speed = std::max(speed, point.speed);
    }
    const axis sizes(size), errors(error), speeds(speed);
    std::string out = canvas(title);
    out += text(left, top - 14, "middle", red, "weight error in %");
    out += text(right, top - 14, "middle", blue, "speed, times FP16");
    out += size_axis(sizes);
    for (double v = 0; v <= errors.end * 1.0001; v += errors.step)
        out += line(left, y_of(errors, v), right, y_of(errors, v)) +
               text(left - 8, y_of(errors, v) + 4, "end", red, fmt::format("{:g}", v));
    for (double v = 0; v <= speeds.end * 1.0001; v += speeds.step)
        out += text(right + 8, y_of(speeds, v) + 4, "start", blue, fmt::format("{:g}", v));
    out += curve(points, sizes, errors, &plot_point::error_percent, red);
    out += curve(points, sizes, speeds, &plot_point::speed, blue);
    for (const plot_point& point : points)
        out += slanted(x_of(sizes, point.mebibytes), y_of(errors, point.error_percent) - 8,
                       point.name);
    return out + "</svg>\n";
}

std::string quality_plot_svg(const std::string& title, const std::string& axis_title,
                             std::vector<quality_point> points, std::optional<double> limit) {
    std::ranges::sort(points, {}, &quality_point::mebibytes);
    double size = 0, most = limit.value_or(0);
    for (const quality_point& point : points) {
        size = std::max(size, point.mebibytes);
        most = std::max(most, point.high);
    }
    const axis sizes(size), values(most);
    std::string out = canvas(title) + text(left, top - 14, "start", red, axis_title);
    out += size_axis(sizes);
    for (double v = 0; v <= values.end * 1.0001; v += values.step)
        out += line(left, y_of(values, v), right, y_of(values, v)) +
               text(left - 8, y_of(values, v) + 4, "end", red, fmt::format("{:g}", v));
    if (limit)
        out += fmt::format(
            "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
            "stroke-dasharray=\"6 4\"/>\n",
            left, y_of(values, *limit), right, y_of(values, *limit), blue);
    std::string path, marks;
    for (const quality_point& point : points) {
        const double x = x_of(sizes, point.mebibytes), y = y_of(values, point.value);
        // Gains, below the axis, are cut off at it.
        const double low = y_of(values, std::max(point.low, 0.0)), high = y_of(values, point.high);
        path += fmt::format("{:.1f},{:.1f} ", x, std::min(y, bottom));
        marks += fmt::format(
            "<path d=\"M{0:.1f} {2:.1f}H{1:.1f}M{3:.1f} {2:.1f}V{4:.1f}M{0:.1f} {4:.1f}H{1:.1f}\" "
            "stroke=\"{5}\" stroke-width=\"1.5\" fill=\"none\"/>\n",
            x - 5, x + 5, low, x, high, red);
        marks += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/>\n", x,
                             std::min(y, bottom), red);
        marks += slanted(x, high - 8, point.name);
    }
    out += fmt::format(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1\"/>\n", path, red);
    return out + marks + "</svg>\n";
}

}  // namespace tool
