// SPDX-License-Identifier: Apache-2.0
//
// The reference's searches for a scale alone (codes -N .. N-1), one unit of work per lane.
#pragma once

#include "qdial/kernels/rounding.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

/// Below this magnitude the reference treats a unit as zero.
inline constexpr float negligible = 1e-15f;

/// The signed value of the first element with the largest magnitude, and that magnitude.
template <std::size_t Length, class Arch, std::size_t G>
QDIAL_INLINE void find_extreme(const float* x, floats<Arch, G>& extreme,
                               floats<Arch, G>& magnitude) noexcept {
    using F = floats<Arch, G>;
    F low(0.0f), high(0.0f);
    for (std::size_t e = 0; e < Length; ++e) {
        const F v = F::load(x + e * F::width, Length * F::width);
        low = min(v, low);
        high = max(v, high);
    }
    const F opposite = abs(low);
    magnitude = max(high, opposite);
    extreme = select(high > opposite, high, low);
    if (!any(high == opposite)) [[likely]]
        return;
    // Both signs reach the magnitude in some lane, or a lane is all zero: who came first counts.
    extreme = magnitude = F(0.0f);
    for (std::size_t e = 0; e < Length; ++e) {
        const F v = F::load(x + e * F::width, Length * F::width);
        const auto larger = abs(v) > magnitude;
        magnitude = select(larger, abs(v), magnitude);
        extreme = select(larger, v, extreme);
    }
}

/// Sums of w x l and w l^2 over the codes l of one inverse scale.
template <class Arch, std::size_t G>
struct correlation {
    floats<Arch, G> xl, l2;
};

template <int N, std::size_t Length, bool ClampBelow, class Arch, std::size_t G>
QDIAL_INLINE correlation<Arch, G> correlate(const float* x, const float* w, const float* wx,
                                            floats<Arch, G> inverse) noexcept {
    using F = floats<Arch, G>;
    constexpr std::size_t width = F::width, stride = Length * width;
    const F magic(rounding_magic);
    F xl(0.0f), l2(0.0f);
    for (std::size_t e = 0; e < Length; ++e) {
        F v = inverse * F::load(x + e * width, stride);
        if constexpr (ClampBelow) v = max(v, F(-static_cast<float>(N)));
        const F l = (min(v, F(static_cast<float>(N - 1))) + magic) - magic;
        xl = xl + F::load(wx + e * width, stride) * l;
        l2 = l2 + (F::load(w + e * width, stride) * l) * l;
    }
    return {xl, l2};
}

/// Tries nineteen inverse scales around -N / extreme and keeps the one with the largest
/// (sum w x l)^2 / (sum w l^2). Writes codes in [-N, N-1] as floats (-N throughout for a
/// negligible unit) and returns the scale, which may be negative, or 0.
template <int N, std::size_t Length, class Arch, std::size_t G>
floats<Arch, G> search_symmetric(const float* x, const float* w, float* codes) noexcept {
    using F = floats<Arch, G>;
    constexpr std::size_t width = F::width, stride = Length * width;
    alignas(64) float wx[G * stride];
    for (std::size_t e = 0; e < Length; ++e)
        (F::load(w + e * width, stride) * F::load(x + e * width, stride))
            .store(wx + e * width, stride);
    F extreme, magnitude;
    find_extreme<Length>(x, extreme, magnitude);
    const auto zero = magnitude < F(negligible);
    extreme = select(zero, F(1.0f), extreme);

    F best_inverse(0.0f), scale(0.0f), best(0.0f);
    for (int t = 0; t < 19; ++t) {
        const int k = t == 0 ? 0 : t < 10 ? t - 10 : t - 9;  // 0, -9 .. -1, 1 .. 9
        const float numerator =
            -(static_cast<float>(N) + simd::unfused(0.1f * static_cast<float>(k)));
        const F inverse = F(numerator) / extreme;
        // Up to k = 4 no product lies below -N - 1/2, so rounding alone keeps the lower bound.
        const auto [xl, l2] = k <= 4 ? correlate<N, Length, false>(x, w, wx, inverse)
                                     : correlate<N, Length, true>(x, w, wx, inverse);
        if (t == 0) {
            best_inverse = inverse;
            scale = select(l2 == F(0.0f), F(0.0f), xl / l2);
            best = scale * xl;
        } else {
            const auto better = (l2 > F(0.0f)) & (xl * xl > best * l2);
            best_inverse = select(better, inverse, best_inverse);
            scale = select(better, xl / l2, scale);
            best = select(better, scale * xl, best);
        }
    }
    for (std::size_t e = 0; e < Length; ++e) {
        const F l =
            clamped_codes_in_range<-N, N - 1>(best_inverse * F::load(x + e * width, stride));
        select(zero, F(-static_cast<float>(N)), l).store(codes + e * width, stride);
    }
    return select(zero, F(0.0f), scale);
}

/// Starts from -N / extreme with weights x^2 and improves one code after the other, at most five
/// sweeps. A lane whose sweep changed nothing changes nothing in later ones, so the loop ends
/// when all lanes are still. Codes and result as in search_symmetric.
template <int N, std::size_t Length, class Arch, std::size_t G>
class sweep_search {
    using F = floats<Arch, G>;
    using M = simd::mask<Arch, G>;
    static constexpr std::size_t width = F::width, stride = Length * width;

public:
    QDIAL_INLINE sweep_search(const float* x, float* codes) noexcept : x_(x), codes_(codes) {}

    QDIAL_INLINE F run() noexcept {
        F extreme, magnitude;
        find_extreme<Length>(x_, extreme, magnitude);
        const M zero = magnitude < F(negligible);
        const F inverse = F(-static_cast<float>(N)) / select(zero, F(1.0f), extreme);
        xl_ = l2_ = F(0.0f);
        for (std::size_t e = 0; e < Length; ++e) {
            const F v = at(x_, e), w = v * v, wv = w * v;
            const F l = clamped_codes_in_range<-N, N - 1>(inverse * v);
            const F xl = wv * l, l2 = (w * l) * l;
            put(w_, e, w), put(wv_, e, wv), put(codes_, e, l), put(xl_of_, e, xl);
            put(l2_of_, e, l2);
            xl_ = xl_ + xl;
            l2_ = l2_ + l2;
        }
        for (int sweep = 0; sweep < 5; ++sweep)
            if (!any(improve() & !zero)) break;
        for (std::size_t e = 0; e < Length; ++e)
            put(codes_, e, select(zero, F(-static_cast<float>(N)), at(codes_, e)));
        return select(zero | !(l2_ > F(0.0f)), F(0.0f), xl_ / l2_);
    }

private:
    QDIAL_INLINE static F at(const float* p, std::size_t e) noexcept {
        return F::load(p + e * width, stride);
    }
    QDIAL_INLINE static void put(float* p, std::size_t e, F v) noexcept {
        v.store(p + e * width, stride);
    }

    /// One sweep; the lanes in which it changed something.
    QDIAL_INLINE M improve() noexcept {
        M changed = F(0.0f) > F(0.0f);
        for (std::size_t e = 0; e < Length; ++e) {
            const F l = at(codes_, e);
            const F xl_without = xl_ - at(xl_of_, e), l2_without = l2_ - at(l2_of_, e);
            const F next = clamped_codes<-N, N - 1>((at(x_, e) * l2_without) / xl_without);
            const M moves = (xl_without > F(0.0f)) & !(next == l);
            if (!any(moves)) continue;
            const F xl_next_of = at(wv_, e) * next, l2_next_of = (at(w_, e) * next) * next;
            const F xl_next = xl_without + xl_next_of, l2_next = l2_without + l2_next_of;
            const M better =
                moves & (l2_next > F(0.0f)) & ((xl_next * xl_next) * l2_ > (xl_ * xl_) * l2_next);
            put(codes_, e, select(better, next, l));
            put(xl_of_, e, select(better, xl_next_of, at(xl_of_, e)));
            put(l2_of_, e, select(better, l2_next_of, at(l2_of_, e)));
            xl_ = select(better, xl_next, xl_);
            l2_ = select(better, l2_next, l2_);
            changed = changed | better;
        }
        return changed;
    }

    const float* x_;
    float* codes_;
    F xl_, l2_;
    alignas(64) float w_[G * stride], wv_[G * stride];         ///< x^2, x^3
    alignas(64) float xl_of_[G * stride], l2_of_[G * stride];  ///< each code's share of the sums
};

template <int N, std::size_t Length, class Arch, std::size_t G>
floats<Arch, G> search_by_sweeps(const float* x, float* codes) noexcept {
    return sweep_search<N, Length, Arch, G>(x, codes).run();
}

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
