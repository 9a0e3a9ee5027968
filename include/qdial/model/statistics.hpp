// SPDX-License-Identifier: Apache-2.0
//
// Intervals and tests for measurements of a model: how far a figure can be trusted, and how much
// more evidence a decision needs. Probabilities are two-sided unless a function says otherwise.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "qdial/config.hpp"

namespace qdial::model {

/// Where a true value lies with some confidence.
struct interval {
    double low;
    double high;
};

/// A value and where the true one lies.
struct measurement {
    double value;
    interval range;
};

/// The confidence of all intervals here unless another is asked for.
inline constexpr double usual_confidence = 0.95;

namespace detail {

/// The continued fraction of the incomplete beta function (Lentz's method).
[[nodiscard]] inline double beta_fraction(double x, double a, double b) noexcept {
    constexpr double tiny = 1e-300;
    const auto safe = [](double v) { return std::abs(v) < tiny ? tiny : v; };
    double c = 1, d = 1 / safe(1 - (a + b) * x / (a + 1));
    double result = d;
    for (int m = 1; m < 500; ++m) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step = 1;
        for (const double term : {even, odd}) {
            d = 1 / safe(1 + term * d);
            c = safe(1 + term / c);
            step = c * d;
            result *= step;
        }
        if (std::abs(step - 1) < 1e-15) break;
    }
    return result;
}

/// The regularized incomplete beta function I_x(a, b).
[[nodiscard]] inline double incomplete_beta(double x, double a, double b) noexcept {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    const double front = std::exp(a * std::log(x) + b * std::log1p(-x) + std::lgamma(a + b) -
                                  std::lgamma(a) - std::lgamma(b));
    // The fraction converges fast on this side of the mean.
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(x, a, b) / a;
    return 1 - front * beta_fraction(1 - x, b, a) / b;
}

/// The point in [low, high] where the increasing `fn` reaches `target`.
template <class Fn>
[[nodiscard]] double bisect(double low, double high, double target, Fn&& fn) {
    for (int i = 0; i < 200 && low < high; ++i) {
        const double middle = low + (high - low) / 2;
        if (middle == low || middle == high) break;
        (fn(middle) < target ? low : high) = middle;
    }
    return low + (high - low) / 2;
}

}  // namespace detail

/// The x below which a normal variable lies with probability p, 0 < p < 1.
[[nodiscard]] inline double normal_quantile(double p) {
    return detail::bisect(-40, 40, p, [](double x) { return std::erfc(-x / std::sqrt(2)) / 2; });
}

/// The probability that a t variable with `degrees` degrees of freedom lies below x.
[[nodiscard]] inline double student_t_below(double x, double degrees) noexcept {
    const double tail =
        detail::incomplete_beta(degrees / (degrees + x * x), degrees / 2, 0.5) / 2;
    return x > 0 ? 1 - tail : tail;
}

/// The x below which a t variable lies with probability p, 0 < p < 1; `degrees` >= 1.
[[nodiscard]] inline double student_t_quantile(double p, double degrees) {
    if (p < 0.5) return -student_t_quantile(1 - p, degrees);
    double high = 2;
    while (student_t_below(high, degrees) < p && high < 1e12) high *= 2;
    return detail::bisect(0, high, p, [=](double x) { return student_t_below(x, degrees); });
}

/// How far an interval reaches from its centre, in standard errors of `blocks` >= 2 blocks.
[[nodiscard]] inline double standard_errors(std::size_t blocks, double confidence) {
    return student_t_quantile((1 + confidence) / 2, static_cast<double>(blocks) - 1);
}

/// The standard error of a figure by the delete-one-block jackknife (Efron and Stein 1981):
/// `without[i]` is the figure computed from all blocks but i. Infinite below two blocks.
/// For a mean over equal blocks it is their standard deviation over the root of their number.
[[nodiscard]] inline double jackknife_error(std::span<const double> without) {
    if (without.size() < 2) return std::numeric_limits<double>::infinity();
    const auto n = static_cast<double>(without.size());
    const double mean = std::accumulate(without.begin(), without.end(), 0.0) / n;
    double squares = 0;
    for (const double x : without) squares += (x - mean) * (x - mean);
    return std::sqrt(squares * (n - 1) / n);
}

/// `value` and the interval that the jackknife gives it, with Student's t for the few blocks.
[[nodiscard]] inline measurement jackknife(double value, std::span<const double> without,
                                           double confidence = usual_confidence) {
    if (without.size() < 2) {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        return {value, {-infinity, infinity}};
    }
    const double reach =
        standard_errors(without.size(), confidence) * jackknife_error(without);
    return {value, {value - reach, value + reach}};
}

/// The share of `n` > 0 independent trials that passed, and Wilson's score interval (1927).
/// Counts may be fractions, for planning.
[[nodiscard]] inline measurement wilson(double passed, double n,
                                        double confidence = usual_confidence) {
    const double z = normal_quantile((1 + confidence) / 2), p = passed / n;
    const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double reach =
        z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    return {p, {std::clamp(middle - reach, 0.0, p), std::clamp(middle + reach, p, 1.0)}};
}

/// The same cases under a reference and a candidate. Counts may be fractions, for planning.
struct paired_counts {
    double both = 0;            ///< passed under both
    double only_reference = 0;  ///< lost by the candidate
    double only_candidate = 0;  ///< won by it
    double neither = 0;

    [[nodiscard]] double total() const noexcept {
        return both + only_reference + only_candidate + neither;
    }
    [[nodiscard]] paired_counts scaled(double factor) const noexcept {
        return {both * factor, only_reference * factor, only_candidate * factor,
                neither * factor};
    }
};

namespace detail {

/// How many standard errors the observed loss lies above a true loss of `loss`, with the variance
/// that is most likely under it (Tango 1998).
[[nodiscard]] inline double tango_score(const paired_counts& counts, double loss) {
    const double n = counts.total(), lost = counts.only_reference, won = counts.only_candidate;
    // The most likely probability that a case is won, given the loss: a quadratic's larger root.
    const double a = 2 * n;
    const double b = (2 * n - lost + won) * loss - lost - won;
    const double c = -won * loss * (1 - loss);
    const double won_share = (std::sqrt(std::max(b * b - 4 * a * c, 0.0)) - b) / (2 * a);
    const double variance = n * (2 * won_share + loss * (1 - loss));
    const double distance = lost - won - n * loss;
    if (variance <= 0) return distance == 0 ? 0 : std::copysign(1e300, distance);
    return distance / std::sqrt(variance);
}

}  // namespace detail

/// The share of passes that the candidate loses against the reference on the same cases (negative:
/// wins), and Tango's score interval for it (1998), which keeps its level for few cases and for
/// none that differ.
[[nodiscard]] inline measurement paired_loss(const paired_counts& counts,
                                             double confidence = usual_confidence) {
    const double z = normal_quantile((1 + confidence) / 2);
    const double loss = (counts.only_reference - counts.only_candidate) / counts.total();
    // The score falls as the assumed loss rises.
    const auto score = [&](double assumed) { return -detail::tango_score(counts, assumed); };
    return {loss,
            {detail::bisect(-1, loss, -z, score), detail::bisect(loss, 1, z, score)}};
}

/// McNemar's exact test: the probability of a split of the cases that differ at least as uneven
/// as this one if reference and candidate were equally good.
[[nodiscard]] inline double mcnemar_exact(std::uint64_t only_reference,
                                          std::uint64_t only_candidate) {
    const std::uint64_t n = only_reference + only_candidate;
    const std::uint64_t fewer = std::min(only_reference, only_candidate);
    if (n == 0) return 1;
    const auto size = static_cast<double>(n);
    double tail = 0;
    for (std::uint64_t k = 0; k <= fewer; ++k) {
        const auto at = static_cast<double>(k);
        tail += std::exp(std::lgamma(size + 1) - std::lgamma(at + 1) -
                         std::lgamma(size - at + 1) - size * std::log(2.0));
    }
    return std::min(2 * tail, 1.0);
}

/// What an interval says about "at most `limit`".
enum class verdict {
    pass,       ///< the whole interval is within the limit
    undecided,  ///< the limit lies in the interval
    fail,       ///< the whole interval is beyond the limit
};

[[nodiscard]] constexpr verdict judge_at_most(const interval& range, double limit) noexcept {
    return range.high <= limit ? verdict::pass
           : range.low > limit ? verdict::fail
                               : verdict::undecided;
}

[[nodiscard]] constexpr verdict judge_at_least(const interval& range, double limit) noexcept {
    return range.low >= limit   ? verdict::pass
           : range.high < limit ? verdict::fail
                                : verdict::undecided;
}

/// How many blocks an interval of `found` needs until it excludes `limit`, if everything else
/// stays as it was measured on `blocks` >= 2 blocks. Nothing if the value is the limit.
[[nodiscard]] inline std::optional<double> blocks_needed(const measurement& found,
                                                         std::size_t blocks, double limit) {
    const double reach = std::max(found.range.high - found.value, found.value - found.range.low);
    const double distance = std::abs(found.value - limit);
    if (blocks < 2 || distance == 0 || !std::isfinite(reach)) return std::nullopt;
    const double ratio = reach / distance;
    return std::max(static_cast<double>(blocks), std::ceil(ratio * ratio *
                                                           static_cast<double>(blocks)));
}

/// The least number of cases of the same kind, as multiples of those at hand, for which
/// `decided(factor)` holds; nothing if 10,000 times as many would not do.
template <class Fn>
[[nodiscard]] std::optional<double> factor_needed(Fn&& decided) {
    constexpr double most = 10000;
    if (!decided(most)) return std::nullopt;
    return detail::bisect(1, most, 1, [&](double factor) { return decided(factor) ? 1.0 : 0.0; });
}

}  // namespace qdial::model
