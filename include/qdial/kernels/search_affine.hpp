// SPDX-License-Identifier: Apache-2.0
//
// The reference's search for a scale and a minimum (codes 0..Levels), with one unit of work per
// lane: each lane performs the scalar algorithm's operations in its order.
#pragma once

#include "qdial/kernels/rounding.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// The grid of inverse scales that the search tries: (first + delta * k + Levels) / range for
/// k = 0 .. last.
struct affine_grid {
    float first;
    float delta;
    int last;
};

/// State and steps of the search on G units per lane, `Length` elements each. Element e of
/// group g stands at [(g * Length + e) * width]. `Exact` rounds any value as the reference does;
/// without it `run` gives up where a value leaves the range of the cheaper rounding.
template <int Levels, std::size_t Length, bool Absolute, bool Exact, class Arch, std::size_t G>
class affine_search {
    using F = floats<Arch, G>;
    using M = simd::mask<Arch, G>;
    static constexpr std::size_t width = F::width;
    static constexpr std::size_t stride = Length * width;

public:
    QDIAL_INLINE affine_search(const float* x, const float* w) noexcept : x_(x), w_(w) {}

    /// Runs the search and writes the codes of the best step as floats in the layout of x, and
    /// per unit the fit x ~ scale * code - minimum. Returns false, with nothing of use written,
    /// where `Exact` is needed.
    QDIAL_INLINE bool run(affine_grid grid, float* codes, float* scales, float* minima) noexcept {
        scan();
        const M constant = high_ <= low_;  // nothing to fit: all codes 0, minimum -low
        const F start_low = low_;
        best_inverse_ = F(static_cast<float>(Levels)) / select(constant, F(1.0f), high_ - low_);
        best_low_ = low_;
        if (!in_range(best_inverse_)) return false;
        scale_ = F(1.0f) / best_inverse_;
        error_ = error_of_start();
        for (int k = 0; k <= grid.last; ++k) {
            const float numerator =
                (grid.first + simd::unfused(grid.delta * static_cast<float>(k))) +
                static_cast<float>(Levels);
            const F inverse = F(numerator) / select(constant, F(1.0f), high_ - low_);
            if (!in_range(inverse)) return false;
            step(inverse);
        }
        select(constant, F(0.0f), scale_).store(scales);
        (F(-0.0f) - select(constant, start_low, low_)).store(minima);
        for (std::size_t e = 0; e < Length; ++e)
            select(constant, F(0.0f), codes_of(best_inverse_ * (x(e) - best_low_)))
                .store(codes + e * width, stride);
        return true;
    }

private:
    QDIAL_INLINE F x(std::size_t e) const noexcept { return F::load(x_ + e * width, stride); }
    QDIAL_INLINE F w(std::size_t e) const noexcept { return F::load(w_ + e * width, stride); }

    QDIAL_INLINE void scan() noexcept {
        smallest_ = high_ = x(0);
        sum_w_ = w(0);
        sum_wx_ = w(0) * x(0);
        for (std::size_t e = 1; e < Length; ++e) {
            const F v = x(e), u = w(e);
            smallest_ = min(v, smallest_);
            high_ = max(v, high_);
            sum_w_ = sum_w_ + u;
            sum_wx_ = sum_wx_ + u * v;
        }
        low_ = min(F(0.0f), smallest_);
    }

    /// Whether every inverse * (x - low) lies where clamped_codes_in_range is exact: the extremes
    /// are at the ends because rounding is monotonic.
    QDIAL_INLINE bool in_range(F inverse) const noexcept {
        if constexpr (Exact) return true;
        const F limit(nearest_int_limit);
        return all((abs(inverse * (high_ - low_)) <= limit) &
                   (abs(inverse * (smallest_ - low_)) <= limit));
    }

    QDIAL_INLINE static F codes_of(F v) noexcept {
        if constexpr (Exact)
            return clamped_codes<0, Levels>(v);
        else
            return clamped_codes_in_range<0, Levels>(v);
    }

    QDIAL_INLINE static F weighted(F u, F difference) noexcept {
        return u * (Absolute ? abs(difference) : difference * difference);
    }

    QDIAL_INLINE F error_of_start() const noexcept {
        F error(0.0f);
        for (std::size_t e = 0; e < Length; ++e) {
            const F l = codes_of(best_inverse_ * (x(e) - low_));
            error = error + weighted(w(e), (scale_ * l + low_) - x(e));
        }
        return error;
    }

    /// One step: codes for this inverse scale, the least-squares fit to them, its error. The
    /// next step starts from the new minimum where the fit was accepted, as the reference does.
    QDIAL_INLINE void step(F inverse) noexcept {
        alignas(64) float trial[G * stride];
        F sum_l(0.0f), sum_l2(0.0f), sum_xl(0.0f);
        for (std::size_t e = 0; e < Length; ++e) {
            const F v = x(e);
            const F l = codes_of(inverse * (v - low_));
            l.store(trial + e * width, stride);
            const F wl = w(e) * l;
            sum_l = sum_l + wl;
            sum_l2 = sum_l2 + wl * l;
            sum_xl = sum_xl + wl * v;
        }
        const F determinant = sum_w_ * sum_l2 - sum_l * sum_l;
        F scale = (sum_w_ * sum_xl - sum_wx_ * sum_l) / determinant;
        F low = (sum_l2 * sum_wx_ - sum_l * sum_xl) / determinant;
        const M above = low > F(0.0f);
        low = select(above, F(0.0f), low);
        scale = select(above, sum_xl / sum_l2, scale);
        F error(0.0f);
        for (std::size_t e = 0; e < Length; ++e) {
            const F l = F::load(trial + e * width, stride);
            error = error + weighted(w(e), (scale * l + low) - x(e));
        }
        const M better = (determinant > F(0.0f)) & (error < error_);
        best_inverse_ = select(better, inverse, best_inverse_);
        best_low_ = select(better, low_, best_low_);
        error_ = select(better, error, error_);
        scale_ = select(better, scale, scale_);
        low_ = select(better, low, low_);
    }

    const float* x_;
    const float* w_;
    F smallest_, high_, low_, sum_w_, sum_wx_;
    F best_inverse_, best_low_, scale_, error_;
};

/// Searches G units per lane (see affine_search for the layout). Ordinary data never needs the
/// exact rounding; where some lane does, the units are done again with it, one group at a time.
template <int Levels, std::size_t Length, bool Absolute, class Arch, std::size_t G>
void search_affine(const float* x, const float* w, affine_grid grid, float* codes, float* scales,
                   float* minima) noexcept {
    if (affine_search<Levels, Length, Absolute, false, Arch, G>(x, w).run(grid, codes, scales,
                                                                          minima))
        return;
    constexpr std::size_t width = floats<Arch>::width;
    for (std::size_t g = 0; g < G; ++g) {
        const std::size_t at = g * Length * width;
        affine_search<Levels, Length, Absolute, true, Arch, 1>(x + at, w + at)
            .run(grid, codes + at, scales + g * width, minima + g * width);
    }
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
