// SPDX-License-Identifier: Apache-2.0
//
// How far one set of weights is from another.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "qdial/simd/arch.hpp"

namespace qdial::model {

/// Sums over pairs of a reference weight r and its counterpart y; they add up over tensors.
struct weight_error {
    std::uint64_t elements = 0;
    double squared_error = 0;      ///< sum of (y - r)^2
    double squared_reference = 0;  ///< sum of r^2
    double squared_other = 0;      ///< sum of y^2
    double product = 0;            ///< sum of r y
    double largest = 0;            ///< largest |y - r|; NaN if any is

    /// Root of the mean squared error over root mean square of the reference. 0 if the weights
    /// are equal, infinite if only the reference is zero.
    [[nodiscard]] double relative_rmse() const noexcept {
        return squared_error == 0 ? 0 : std::sqrt(squared_error / squared_reference);
    }

    /// Cosine of the angle between the two as vectors; 1 if both are zero.
    [[nodiscard]] double cosine() const noexcept {
        if (squared_reference == 0 && squared_other == 0) return 1;
        return product / (std::sqrt(squared_reference) * std::sqrt(squared_other));
    }

    weight_error& operator+=(const weight_error& more) noexcept {
        elements += more.elements;
        squared_error += more.squared_error;
        squared_reference += more.squared_reference;
        squared_other += more.squared_other;
        product += more.product;
        // A NaN must not get lost in a comparison.
        if (!(more.largest <= largest) && !std::isnan(largest)) largest = more.largest;
        return *this;
    }
};

/// Compares floats pairwise; both spans have the same size. The order of the sums is fixed, so
/// that results do not depend on the machine's vectors. Arch only keeps apart what object files
/// with different -m flags make of it.
template <class Arch = default_arch>
[[nodiscard]] weight_error compare_floats(std::span<const float> reference,
                                          std::span<const float> other) {
    constexpr std::size_t lanes = 8;  // several sums at once, which compilers turn into vectors
    std::array<double, lanes> error{}, squared_r{}, squared_y{}, product{}, largest{};
    const auto add = [&](std::size_t lane, std::size_t i) {
        const double r = reference[i], y = other[i], difference = y - r;
        error[lane] += difference * difference;
        squared_r[lane] += r * r;
        squared_y[lane] += y * y;
        product[lane] += r * y;
        largest[lane] = std::max(largest[lane], std::abs(difference));
    };
    const std::size_t whole = reference.size() / lanes * lanes;
    for (std::size_t i = 0; i < whole; i += lanes)
        for (std::size_t lane = 0; lane < lanes; ++lane) add(lane, i + lane);
    for (std::size_t i = whole; i < reference.size(); ++i) add(i - whole, i);

    weight_error sum;
    sum.elements = reference.size();
    for (std::size_t lane = 0; lane < lanes; ++lane)
        sum += {0, error[lane], squared_r[lane], squared_y[lane], product[lane], largest[lane]};
    if (!std::isfinite(sum.squared_error)) sum.largest = sum.squared_error;
    return sum;
}

}  // namespace qdial::model
