// SPDX-License-Identifier: Apache-2.0
//
// The reference's searches for a scale alone (codes -N .. N-1), one unit of work per lane.
#pragma once

#include "qdial/kernels/rounding.hpp"

namespace qdial::kernels {

/// Below this magnitude the reference treats a unit as zero.
inline constexpr float negligible = 1e-15f;

/// The signed value of the first element with the largest magnitude, and that magnitude.
template <std::size_t Length, class Arch, std::size_t G>
void find_extreme(const float* x, floats<Arch, G>& extreme,
                               floats<Arch, G>& magnitude) noexcept {
    using F = floats<Arch, G>;
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
floats<Arch, G> search_symmetric(const float* x, const float* w,
                                              float* codes) noexcept {
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
        const auto [xl, l2] =
            k <= 4 ? correlate<N, Length, false>(x, w, wx, inverse)
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
        const F l = clamped_codes_in_range<-N, N - 1>(best_inverse *
                                                      F::load(x + e * width, stride));
        select(zero, F(-static_cast<float>(N)), l).store(codes + e * width, stride);
    }
    return select(zero, F(0.0f), scale);
}

/// Starts from -N / extreme with weights x^2 and improves one code after the other, at most five
/// sweeps. A lane whose sweep changed nothing changes nothing in later ones, so the loop ends
/// when all lanes are still. Codes and result as in search_symmetric.
template <int N, std::size_t Length, class Arch, std::size_t G>
floats<Arch, G> search_by_sweeps(const float* x, float* codes) noexcept {
    using F = floats<Arch, G>;
    constexpr std::size_t width = F::width, stride = Length * width;
    F extreme, magnitude;
    find_extreme<Length>(x, extreme, magnitude);
    const auto zero = magnitude < F(negligible);
    const F inverse = F(-static_cast<float>(N)) / select(zero, F(1.0f), extreme);
    F xl(0.0f), l2(0.0f);
    for (std::size_t e = 0; e < Length; ++e) {
        const F v = F::load(x + e * width, stride), w = v * v;
        const F l = clamped_codes_in_range<-N, N - 1>(inverse * v);
        l.store(codes + e * width, stride);
        xl = xl + (w * v) * l;
        l2 = l2 + (w * l) * l;
    }
    for (int sweep = 0; sweep < 5; ++sweep) {
        auto changed = F(0.0f) > F(0.0f);
        for (std::size_t e = 0; e < Length; ++e) {
            const F v = F::load(x + e * width, stride), w = v * v;
            const F l = F::load(codes + e * width, stride);
            const F xl_without = xl - (w * v) * l;
            const F l2_without = l2 - (w * l) * l;
            const F next = clamped_codes<-N, N - 1>((v * l2_without) / xl_without);
            const F xl_next = xl_without + (w * v) * next;
            const F l2_next = l2_without + (w * next) * next;
            const auto better = (xl_without > F(0.0f)) & !(next == l) & (l2_next > F(0.0f)) &
                                ((xl_next * xl_next) * l2 > (xl * xl) * l2_next);
            select(better, next, l).store(codes + e * width, stride);
            xl = select(better, xl_next, xl);
            l2 = select(better, l2_next, l2);
            changed = changed | better;
        }
        if (!any(changed & !zero)) break;
    }
    for (std::size_t e = 0; e < Length; ++e) {
        const F l = F::load(codes + e * width, stride);
        select(zero, F(-static_cast<float>(N)), l).store(codes + e * width, stride);
    }
    return select(zero | !(l2 > F(0.0f)), F(0.0f), xl / l2);
}

}  // namespace qdial::kernels
