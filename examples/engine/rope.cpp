// SPDX-License-Identifier: Apache-2.0
#include "rope.hpp"

#include <cmath>

#include "vector_math.hpp"

namespace engine {

namespace {

/// (a, b) = (a cos - b sin, a sin + b cos)
template <class Arch = qdial::default_arch>
void rotate_pairs(float* a, float* b, const float* cosines, const float* sines, std::size_t n) {
    using F = floats16<Arch>;
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const F x = F::load(a + i), y = F::load(b + i);
        const F c = F::load(cosines + i), s = F::load(sines + i);
        (x * c - y * s).store(a + i);
        (x * s + y * c).store(b + i);
    }
    using qdial::simd::unfused;
    for (; i < n; ++i) {
        const float x = a[i], y = b[i];
        a[i] = unfused(x * cosines[i]) - unfused(y * sines[i]);
        b[i] = unfused(x * sines[i]) + unfused(y * cosines[i]);
    }
}

}  // namespace

void sine_cosine(double x, double& sine, double& cosine) noexcept {
    // std::fma throughout: exact, and nothing is left for a compiler to contract.
    constexpr double two_over_pi = 0x1.45f306dc9c883p-1;
    constexpr double half_pi = 0x1.921fb54442d18p+0, half_pi_rest = 0x1.1a62633145c07p-54;
    const double n = std::floor(std::fma(x, two_over_pi, 0.5));
    const double r = std::fma(-n, half_pi_rest, std::fma(-n, half_pi, x));
    const double r2 = r * r;
    // Taylor series; the first term left out is below 2^-54 for |r| <= pi / 4.
    double s = -1.0 / 1307674368000;
    for (const double c : {1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880, -1.0 / 5040, 1.0 / 120,
                           -1.0 / 6})
        s = std::fma(s, r2, c);
    s = std::fma(s * r2, r, r);
    double c = 1.0 / 20922789888000;
    for (const double k : {-1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320,
                           -1.0 / 720, 1.0 / 24, -0.5, 1.0})
        c = std::fma(c, r2, k);
    const auto quarter = static_cast<long long>(n) & 3;
    sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
    cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
}

void rope_row::set(std::size_t position, std::size_t length, const rope_parameters& p,
                   std::span<const float> factors) {
    cosines_.resize(length / 2);
    sines_.resize(length / 2);
    // The angles as a product of float32 steps, as the models' usual implementations have them:
    // at a position of a thousand the rounding of these steps is more than that of all sums.
    const auto step =
        static_cast<float>(std::pow(static_cast<double>(p.base), -2.0 / static_cast<double>(length)));
    auto angle = static_cast<float>(position);
    for (std::size_t i = 0; i < length / 2; ++i) {
        const float scaled = qdial::simd::unfused(
            (factors.empty() ? angle : angle / factors[i]) * p.scale);
        double sine = 0, cosine = 0;
        sine_cosine(static_cast<double>(scaled), sine, cosine);
        sines_[i] = static_cast<float>(sine);
        cosines_[i] = static_cast<float>(cosine);
        angle = qdial::simd::unfused(angle * step);
    }
}

void rope_row::rotate(float* head, rope_pairs pairs, float* scratch) const noexcept {
    const std::size_t half = cosines_.size();
    if (pairs == rope_pairs::halves) {
        rotate_pairs<>(head, head + half, cosines_.data(), sines_.data(), half);
        return;
    }
    for (std::size_t i = 0; i < half; ++i) {
        scratch[i] = head[2 * i];
        scratch[half + i] = head[2 * i + 1];
    }
    rotate_pairs<>(scratch, scratch + half, cosines_.data(), sines_.data(), half);
    for (std::size_t i = 0; i < half; ++i) {
        head[2 * i] = scratch[i];
        head[2 * i + 1] = scratch[half + i];
    }
}

}  // namespace engine
