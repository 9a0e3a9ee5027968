// SPDX-License-Identifier: Apache-2.0
//
// The reference's search that turns the non-negative scales (or minima) of a super-block's
// sub-blocks into integer codes, weighted by the importance of the sub-blocks.
#pragma once

#include "qdial/kernels/search_symmetric.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// x ~ scale * code with codes 0 .. Levels. x holds G groups of `Count` values, w one group of
/// weights for all of them; value j of group g at [(g * Count + j) * width]. Codes come out in
/// that layout, as the unsigned bytes that the reference stores.
template <int Levels, std::size_t Count, class Arch, std::size_t G>
class positive_search {
    using F = floats<Arch, G>;
    using I = ints<Arch, G>;
    static constexpr std::size_t width = F::width;
    static constexpr std::size_t stride = Count * width;

public:
    positive_search(const float* x, const float* w, std::int32_t* codes) noexcept
        : x_(x), w_(w), codes_(codes) {}

    /// Returns the scale, 0 for a negligible group.
    F run() noexcept {
        F largest(0.0f);
        for (std::size_t j = 0; j < Count; ++j) largest = max(x(j), largest);
        const auto zero = largest < F(negligible);
        largest = select(zero, F(1.0f), largest);
        start(choose_inverse(largest));
        for (int sweep = 0; sweep < 5; ++sweep)
            if (!any(improve() & !zero)) break;
        for (std::size_t j = 0; j < Count; ++j)
            select(zero, I(0), code(j)).store(codes_ + j * width, stride);
        return select(zero | !(l2_ > F(0.0f)), F(0.0f), xl_ / l2_);
    }

private:
    QDIAL_INLINE F x(std::size_t j) const noexcept { return F::load(x_ + j * width, stride); }
    QDIAL_INLINE F w(std::size_t j) const noexcept { return F::load(w_ + j * width, 0); }
    QDIAL_INLINE I code(std::size_t j) const noexcept {
        return I::load(codes_ + j * width, stride);
    }

    F choose_inverse(F largest) const noexcept {
        F inverse = F(static_cast<float>(Levels)) / largest;
        const F scale = F(1.0f) / inverse;
        F error(0.0f);
        for (std::size_t j = 0; j < Count; ++j) {
            const F l = to_float(nearest_int(inverse * x(j)) & I(0xFF));
            const F difference = x(j) - scale * l;
            error = error + (w(j) * difference) * difference;
        }
        for (int k = -4; k <= 4; ++k) {
            if (k == 0) continue;
            const float numerator =
                simd::unfused(0.1f * static_cast<float>(k)) + static_cast<float>(Levels);
            const F trial = F(numerator) / largest;
            const F trial_scale = F(1.0f) / trial;
            F trial_error(0.0f);
            for (std::size_t j = 0; j < Count; ++j) {
                const F l = to_float(min(I(Levels), nearest_int(trial * x(j))));
                const F difference = x(j) - trial_scale * l;
                trial_error = trial_error + (w(j) * difference) * difference;
            }
            const auto better = trial_error < error;
            error = select(better, trial_error, error);
            inverse = select(better, trial, inverse);
        }
        return inverse;
    }

    void start(F inverse) noexcept {
        xl_ = l2_ = F(0.0f);
        for (std::size_t j = 0; j < Count; ++j) {
            const I code = min(I(Levels), nearest_int(inverse * x(j)));
            (code & I(0xFF)).store(codes_ + j * width, stride);
            const F l = to_float(code);
            xl_ = xl_ + (w(j) * x(j)) * l;
            l2_ = l2_ + (w(j) * l) * l;
        }
    }

    simd::mask<Arch, G> improve() noexcept {
        auto changed = F(0.0f) > F(0.0f);
        for (std::size_t j = 0; j < Count; ++j) {
            const F l = to_float(code(j)), wx = w(j) * x(j);
            const F xl_without = xl_ - wx * l;
            const F l2_without = l2_ - (w(j) * l) * l;
            const I next_code = min(I(Levels), nearest_int((x(j) * l2_without) / xl_without));
            const F next = to_float(next_code);
            const F xl_next = xl_without + wx * next;
            const F l2_next = l2_without + (w(j) * next) * next;
            const auto better = (xl_without > F(0.0f)) & (l2_without > F(0.0f)) &
                                !(next_code == code(j)) &
                                ((xl_next * xl_next) * l2_ > (xl_ * xl_) * l2_next);
            select(better, next_code & I(0xFF), code(j)).store(codes_ + j * width, stride);
            xl_ = select(better, xl_next, xl_);
            l2_ = select(better, l2_next, l2_);
            changed = changed | better;
        }
        return changed;
    }

    const float* x_;
    const float* w_;
    std::int32_t* codes_;
    F xl_, l2_;
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
