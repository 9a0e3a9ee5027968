// SPDX-License-Identifier: Apache-2.0
//
// How close a candidate's predictions are to a reference's on a text, as llama-perplexity scores
// it: the text's tokens are cut into windows of `context` tokens, each is predicted from its own
// start, and the second half of each counts.
//
//     for each window: compare_logits(reference row, candidate row, next token) for its positions
//     text_quality quality;  quality.add(the window's comparisons);
//     quality.mean_kl().range  …
//
// Tokens of a text depend on each other, so intervals come from blocks of text (windows, or runs
// of them), by the jackknife; reference and candidate are compared on the same tokens. Memory does
// not depend on the length of the text.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "qdial/config.hpp"
#include "qdial/model/statistics.hpp"
#include "qdial/simd/exp.hpp"

namespace qdial::model {

/// The windows of a text and the positions that count in each.
struct text_windows {
    std::size_t tokens;   ///< of the text
    std::size_t context;  ///< tokens of a window, at least 4

    /// Whole windows; what is left over at the end does not count.
    [[nodiscard]] constexpr std::size_t count() const noexcept { return tokens / context; }
    /// The first position of a window whose prediction counts.
    [[nodiscard]] constexpr std::size_t first() const noexcept { return context / 2; }
    /// Predictions that count in a window: from first() on, each of the next token, as long as
    /// that lies in the window too.
    [[nodiscard]] constexpr std::size_t scored() const noexcept { return context - 1 - first(); }
};

/// One prediction of both models. Logarithms are natural.
struct token_comparison {
    double kl;             ///< Kullback-Leibler divergence of the candidate from the reference
    double nll_reference;  ///< -ln p of the token that follows, by the reference
    double nll;            ///< the same by the candidate
    bool same_top;         ///< both have the same most likely token
};

namespace detail {

/// Sums over a row of logits, relative to its largest one.
struct logit_sums {
    double reference = 0;  ///< sum of e^(x - max x)
    double candidate = 0;  ///< sum of e^(y - max y)
    double weighted = 0;   ///< sum of e^(x - max x) ((x - max x) - (y - max y))
};

/// Lane k of sixteen takes elements k mod 16; floats of 1024 elements are added up in double.
template <class Arch>
[[nodiscard]] logit_sums sum_logits(const float* x, const float* y, std::size_t n, float largest_x,
                                    float largest_y) noexcept {
    constexpr std::size_t lanes = 16, flush = 64;
    using F = simd::floats<Arch, lanes / simd::ops<Arch>::width>;
    double totals[3][lanes] = {};
    for (std::size_t begin = 0; begin < n; begin += lanes * flush) {
        F sums[3] = {F(0.0f), F(0.0f), F(0.0f)};
        const std::size_t end = std::min(n, begin + lanes * flush);
        for (std::size_t i = begin; i < end; i += lanes) {
            float rest[2][lanes];
            const bool whole = i + lanes <= n;
            if (!whole) {  // elements of no weight
                for (std::size_t k = 0; k < lanes; ++k) {
                    rest[0][k] = i + k < n ? x[i + k] : largest_x - 200;
                    rest[1][k] = i + k < n ? y[i + k] : largest_y - 200;
                }
            }
            const F a = F::load(whole ? x + i : rest[0]) - F(largest_x);
            const F b = F::load(whole ? y + i : rest[1]) - F(largest_y);
            const F p = simd::exp(a);
            sums[0] = sums[0] + p;
            sums[1] = sums[1] + simd::exp(b);
            sums[2] = sums[2] + p * (a - b);
        }
        for (std::size_t s = 0; s < 3; ++s) {
            float lane[lanes];
            sums[s].store(lane);
            for (std::size_t k = 0; k < lanes; ++k) totals[s][k] += lane[k];
        }
    }
    logit_sums result;
    for (std::size_t k = 0; k < lanes; ++k) {
        result.reference += totals[0][k];
        result.candidate += totals[1][k];
        result.weighted += totals[2][k];
    }
    return result;
}

/// The first largest of a row.
template <class Arch>
[[nodiscard]] std::size_t first_largest(std::span<const float> row) noexcept {
    constexpr std::size_t lanes = 16;
    using F = simd::floats<Arch, lanes / simd::ops<Arch>::width>;
    float lane[lanes];
    F most(row[0]);
    std::size_t i = 0;
    for (; i + lanes <= row.size(); i += lanes) most = max(F::load(row.data() + i), most);
    most.store(lane);
    float largest = *std::max_element(lane, lane + lanes);
    for (; i < row.size(); ++i) largest = std::max(largest, row[i]);
    const auto found = std::find(row.begin(), row.end(), largest);
    return found == row.end() ? 0 : static_cast<std::size_t>(found - row.begin());
}

}  // namespace detail

/// Compares the predictions in two rows of logits, of the same vocabulary, for a position that
/// `next` follows. The same numbers on every backend. Logits that are not finite give NaN.
template <class Arch = default_arch>
[[nodiscard]] token_comparison compare_logits(std::span<const float> reference,
                                              std::span<const float> candidate, std::size_t next) {
    QDIAL_ASSERT(reference.size() == candidate.size() && next < reference.size(),
                 "compare_logits: two rows of the same vocabulary and a token in it");
    const std::size_t top_x = detail::first_largest<Arch>(reference);
    const std::size_t top_y = detail::first_largest<Arch>(candidate);
    const float largest_x = reference[top_x], largest_y = candidate[top_y];
    const detail::logit_sums sums = detail::sum_logits<Arch>(
        reference.data(), candidate.data(), reference.size(), largest_x, largest_y);
    const double log_x = std::log(sums.reference), log_y = std::log(sums.candidate);
    const double kl = sums.weighted / sums.reference - (log_x - log_y);
    return {kl < 0 ? 0.0 : kl,  // less than nothing is rounding
            log_x - (double{reference[next]} - double{largest_x}),
            log_y - (double{candidate[next]} - double{largest_y}), top_x == top_y};
}

/// Counts of divergences by their size, in steps of 1.2%, from which percentiles are read.
class kl_histogram {
public:
    void add(double kl) noexcept { ++counts_[bin_of(kl)]; }
    void add(const kl_histogram& other) noexcept {
        for (std::size_t i = 0; i < bins; ++i) counts_[i] += other.counts_[i];
    }
    void remove(const kl_histogram& other) noexcept {
        for (std::size_t i = 0; i < bins; ++i) counts_[i] -= other.counts_[i];
    }

    /// The divergence that a share `q` of all lie below, within half a step.
    [[nodiscard]] double percentile(double q) const noexcept {
        double total = 0;
        for (const std::uint64_t count : counts_) total += static_cast<double>(count);
        double below = 0;
        for (std::size_t i = 0; i < bins; ++i) {
            const auto here = static_cast<double>(counts_[i]);
            if (here > 0 && below + here >= q * total)
                return i == 0 ? 0 : edge(static_cast<double>(i - 1) + (q * total - below) / here);
            below += here;
        }
        return 0;
    }

private:
    static constexpr double least = 1e-9, per_decade = 200;
    static constexpr std::size_t bins = 2402;  // nothing, twelve decades, more

    [[nodiscard]] static double edge(double step) noexcept {
        return least * std::pow(10.0, step / per_decade);
    }
    [[nodiscard]] static std::size_t bin_of(double kl) noexcept {
        if (!(kl >= least)) return 0;
        const double step = std::floor(per_decade * std::log10(kl / least));
        return std::min(static_cast<std::size_t>(step) + 1, bins - 1);
    }

    std::array<std::uint64_t, bins> counts_{};
};

/// Everything about a candidate on a text.
class text_quality {
public:
    /// The comparisons of a window's scored positions, in the order of the text.
    void add(std::span<const token_comparison> window) {
        if (blocks_.empty() || blocks_.back().windows == windows_per_block_) make_room();
        block& last = blocks_.back();
        ++last.windows;
        for (const token_comparison& t : window) last.add(t);
    }

    [[nodiscard]] std::size_t windows() const noexcept {
        std::size_t n = 0;
        for (const block& b : blocks_) n += b.windows;
        return n;
    }
    [[nodiscard]] std::uint64_t tokens() const noexcept { return total().tokens; }
    /// Blocks of text that intervals come from, and the windows in each.
    [[nodiscard]] std::size_t blocks() const noexcept { return blocks_.size(); }
    [[nodiscard]] std::size_t windows_per_block() const noexcept { return windows_per_block_; }

    /// Mean Kullback-Leibler divergence from the reference, in nats per token.
    [[nodiscard]] measurement mean_kl(double confidence = usual_confidence) const {
        measurement m = over_blocks(confidence, [](const sums& s) { return s.kl / s.count(); });
        m.range.low = std::max(m.range.low, 0.0);
        return m;
    }
    [[nodiscard]] double max_kl() const noexcept {
        double largest = 0;
        for (const block& b : blocks_) largest = std::max(largest, b.max_kl);
        return largest;
    }
    /// exp(mean of -ln p).
    [[nodiscard]] measurement perplexity(double confidence = usual_confidence) const {
        return exp(over_blocks(confidence, [](const sums& s) { return s.nll / s.count(); }));
    }
    [[nodiscard]] measurement reference_perplexity(double confidence = usual_confidence) const {
        return exp(
            over_blocks(confidence, [](const sums& s) { return s.nll_reference / s.count(); }));
    }
    /// The candidate's perplexity over the reference's, from the differences on the same tokens.
    [[nodiscard]] measurement perplexity_ratio(double confidence = usual_confidence) const {
        return exp(over_blocks(
            confidence, [](const sums& s) { return (s.nll - s.nll_reference) / s.count(); }));
    }
    /// The share of positions where both have the same most likely token. The interval is at
    /// least Wilson's, as blocks that all agree would otherwise claim certainty.
    [[nodiscard]] measurement same_top(double confidence = usual_confidence) const {
        measurement m = over_blocks(
            confidence, [](const sums& s) { return static_cast<double>(s.same_top) / s.count(); });
        const sums all = total();
        const interval floor =
            wilson(static_cast<double>(all.same_top), all.count(), confidence).range;
        m.range.low = std::max(std::min(m.range.low, floor.low), 0.0);
        m.range.high = std::min(std::max(m.range.high, floor.high), 1.0);
        return m;
    }
    /// The divergence that a share `q` of all positions lie below.
    [[nodiscard]] measurement kl_percentile(double q, double confidence = usual_confidence) const;

private:
    struct sums {
        std::uint64_t tokens = 0, same_top = 0;
        double kl = 0, nll_reference = 0, nll = 0;

        [[nodiscard]] double count() const noexcept { return static_cast<double>(tokens); }
        void add(const sums& other) noexcept {
            tokens += other.tokens;
            same_top += other.same_top;
            kl += other.kl;
            nll_reference += other.nll_reference;
            nll += other.nll;
        }
    };
    struct block : sums {
        std::size_t windows = 0;
        double max_kl = 0;
        kl_histogram histogram;

        void add(const token_comparison& t) noexcept {
            ++tokens;
            same_top += t.same_top ? 1 : 0;
            kl += t.kl;
            nll_reference += t.nll_reference;
            nll += t.nll;
            max_kl = std::max(max_kl, t.kl);
            histogram.add(t.kl);
        }
        void add(const block& other) noexcept {
            sums::add(other);
            windows += other.windows;
            max_kl = std::max(max_kl, other.max_kl);
            histogram.add(other.histogram);
        }
    };

    static constexpr std::size_t most_blocks = 64;

    /// A block for the next window. When there are too many, neighbours become one, which also
    /// takes out what dependence there is between them.
    void make_room() {
        if (blocks_.size() == most_blocks) {
            for (std::size_t i = 0; i < most_blocks / 2; ++i) {
                if (i != 0) blocks_[i] = std::move(blocks_[2 * i]);
                blocks_[i].add(blocks_[2 * i + 1]);
            }
            blocks_.resize(most_blocks / 2);
            windows_per_block_ *= 2;
        }
        blocks_.emplace_back();
    }

    [[nodiscard]] sums total() const noexcept {
        sums all;
        for (const block& b : blocks_) all.add(b);
        return all;
    }

    template <class Fn>
    [[nodiscard]] measurement over_blocks(double confidence, Fn&& figure) const {
        std::vector<double> without;
        if (blocks_.size() > 1) {
            for (std::size_t skipped = 0; skipped < blocks_.size(); ++skipped) {
                sums rest;
                for (std::size_t i = 0; i < blocks_.size(); ++i)
                    if (i != skipped) rest.add(blocks_[i]);
                without.push_back(figure(rest));
            }
        }
        return jackknife(figure(total()), without, confidence);
    }

    [[nodiscard]] static measurement exp(const measurement& m) noexcept {
        return {std::exp(m.value), {std::exp(m.range.low), std::exp(m.range.high)}};
    }

    std::vector<block> blocks_;
    std::size_t windows_per_block_ = 1;
};

inline measurement text_quality::kl_percentile(double q, double confidence) const {
    kl_histogram all;
    for (const block& b : blocks_) all.add(b.histogram);
    const double value = all.percentile(q);
    // On a scale of ratios, as percentiles are far from symmetric; nothing has no logarithm.
    constexpr double nothing = 1e-9;
    const auto log = [=](double x) { return std::log(std::max(x, nothing)); };
    std::vector<double> without;
    if (blocks_.size() > 1) {
        for (const block& b : blocks_) {
            kl_histogram rest = all;
            rest.remove(b.histogram);
            without.push_back(log(rest.percentile(q)));
        }
    }
    const measurement m = exp(jackknife(log(value), without, confidence));
    const auto from_log = [=](double x) { return x < nothing * 1.0001 ? 0.0 : x; };
    return {value, {from_log(m.range.low), from_log(m.range.high)}};
}

}  // namespace qdial::model
