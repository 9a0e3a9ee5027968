// SPDX-License-Identifier: Apache-2.0
//
// What the K-quant encoders share: a batch of super-blocks in lanes, its weights, and the two
// families of super-blocks, affine (Q2_K, Q4_K, Q5_K) and symmetric (Q3_K, Q6_K).
#pragma once

#include "qdial/kernels/lane_blocks.hpp"
#include "qdial/kernels/search_affine.hpp"
#include "qdial/kernels/search_positive.hpp"
#include "qdial/kernels/search_symmetric.hpp"

#include "qdial/macros_begin.hpp"

namespace qdial::kernels {

inline constexpr std::size_t super_block_length = 256;

/// One super-block per lane: element e of all lanes stands at [e * width].
template <class Arch>
struct super_block_lanes {
    using F = floats<Arch>;
    using I = ints<Arch>;
    static constexpr std::size_t width = F::width;
    static constexpr std::size_t groups = simd::ops<Arch>::groups;

    alignas(64) float x[super_block_length * width];
    alignas(64) float w[super_block_length * width];  ///< importance, then weights
    alignas(64) float search_codes[super_block_length * width];
    alignas(64) std::int32_t codes[super_block_length * width];  ///< final, unsigned

    QDIAL_INLINE F element(std::size_t e) const noexcept { return F::load(x + e * width); }
    QDIAL_INLINE I code(std::size_t e) const noexcept { return I::load(codes + e * width); }

    /// Sum of squares of elements first .. first + count - 1, in order.
    F square_sum(std::size_t first, std::size_t count) const noexcept {
        F sum(0.0f);
        for (std::size_t e = first; e < first + count; ++e) sum = sum + element(e) * element(e);
        return sum;
    }

    /// Sums the weights of every `length` elements, in order: sub-block s to out[s * width].
    void sum_weights(std::size_t length, float* out) const noexcept {
        for (std::size_t first = 0; first < super_block_length; first += length) {
            F sum(0.0f);
            for (std::size_t e = first; e < first + length; ++e) sum = sum + F::load(w + e * width);
            sum.store(out + first / length * width);
        }
    }

    /// Turns importance into the reference's weights: importance * sqrt(sigma2 + x^2), with
    /// sigma2 = factor * mean square of the super-block.
    void weight_by_importance(float factor) noexcept {
        const F sigma2 = F(factor) * square_sum(0, super_block_length) /
                         F(static_cast<float>(super_block_length));
        for (std::size_t e = 0; e < super_block_length; ++e) {
            const F v = element(e);
            (F::load(w + e * width) * sqrt(sigma2 + v * v)).store(w + e * width);
        }
    }

    /// Writes weight(e, x_e) for every element.
    template <class Weight>
    void set_weights(Weight weight) noexcept {
        for (std::size_t e = 0; e < super_block_length; ++e)
            weight(e, element(e)).store(w + e * width);
    }
};

/// Encodes `count` consecutive super-blocks. Super-block b of the span uses the importance of
/// column block (b % blocks_per_row). `encode(lanes, weighted, bytes)` fills the bytes.
template <class Format, class Arch, class Encode>
void encode_super_blocks(const float* x, std::size_t count, std::size_t blocks_per_row,
                         const float* importance, typename Format::block* out,
                         Encode encode) noexcept {
    super_block_lanes<Arch> lanes;
    lane_bytes<sizeof(typename Format::block), Arch> bytes;
    for (std::size_t first = 0; first < count; first += lanes.width) {
        const std::size_t batch = std::min(lanes.width, count - first);
        load_transposed<super_block_length, Arch>(
            [&](std::size_t b) { return x + (first + b) * super_block_length; }, batch, lanes.x);
        zero_non_finite<Arch>(lanes.x, super_block_length * lanes.width);
        if (importance)
            load_transposed<super_block_length, Arch>(
                [&](std::size_t b) {
                    return importance + (first + b) % blocks_per_row * super_block_length;
                },
                batch, lanes.w);
        encode(lanes, importance != nullptr, bytes);
        bytes.copy_to(out + first, batch);
    }
}

/// The parameters of an affine K-quant: codes 0 .. Levels in sub-blocks of Length elements,
/// scales and minima 0 .. ScaleLevels.
template <int Levels, std::size_t Length, int ScaleLevels, bool Absolute>
struct affine_k {
    static constexpr std::size_t sub_blocks = super_block_length / Length;

    /// Integer scales and minima per sub-block and lane, and the super-block's binary16 pair.
    template <class Arch>
    struct result {
        ints<Arch> scale[sub_blocks], minimum[sub_blocks];
        ints<Arch> d, dmin;
    };

    /// Searches every sub-block with the weights in `lanes.w`, quantizes the scales and minima
    /// (by importance, or relative to the largest) and leaves the final codes in `lanes.codes`.
    template <class Arch>
    static result<Arch> encode(super_block_lanes<Arch>& lanes, affine_grid grid,
                               bool weighted) noexcept {
        constexpr std::size_t width = super_block_lanes<Arch>::width;
        alignas(64) float fits[2][sub_blocks * width];  // scales, minima
        search(lanes, grid, fits[0], fits[1]);
        result<Arch> r;
        if (weighted)
            by_importance(lanes, fits[0], r);
        else
            by_largest(fits[0], fits[1], r);
        requantize(lanes, r);
        return r;
    }

private:
    template <class Arch>
    static void search(super_block_lanes<Arch>& lanes, affine_grid grid, float* scales,
                       float* minima) noexcept {
        using L = super_block_lanes<Arch>;
        constexpr std::size_t width = L::width, G = L::groups;
        for (std::size_t s = 0; s < sub_blocks; s += G) {
            const std::size_t at = s * Length * width;
            search_affine<Levels, Length, Absolute, Arch, G>(
                lanes.x + at, lanes.w + at, grid, lanes.search_codes + at, scales + s * width,
                minima + s * width);
        }
    }

    template <class Arch>
    static void by_largest(const float* scales, const float* minima, result<Arch>& r) noexcept {
        quantize_by_largest<Arch>(scales, r.scale, r.d);
        quantize_by_largest<Arch>(minima, r.minimum, r.dmin);
    }

    template <class Arch>
    static void quantize_by_largest(const float* values, ints<Arch>* codes,
                                    ints<Arch>& d) noexcept {
        using F = floats<Arch>;
        const F levels(static_cast<float>(ScaleLevels));
        F largest(0.0f);
        for (std::size_t s = 0; s < sub_blocks; ++s)
            largest = max(F::load(values + s * F::width), largest);
        const F inverse = select(largest > F(0.0f), levels / largest, F(0.0f));
        for (std::size_t s = 0; s < sub_blocks; ++s)
            codes[s] =
                min(ints<Arch>(ScaleLevels),
                    nearest_int(inverse * F::load(values + s * F::width)) & ints<Arch>(0xFF));
        d = scale_to_half(largest / levels);
    }

    template <class Arch>
    static void by_importance(const super_block_lanes<Arch>& lanes, const float* fits,
                              result<Arch>& r) noexcept {
        using F = floats<Arch>;
        constexpr std::size_t width = F::width;
        alignas(64) float sums[sub_blocks * width];
        alignas(64) std::int32_t codes[2 * sub_blocks * width];
        lanes.sum_weights(Length, sums);
        positive_search<ScaleLevels, sub_blocks, Arch, 2> search(fits, sums, codes);
        const auto halves = scale_to_half(search.run());
        r.d.r[0] = halves.r[0];
        r.dmin.r[0] = halves.r[1];
        for (std::size_t s = 0; s < sub_blocks; ++s) {
            r.scale[s] = ints<Arch>::load(codes + s * width);
            r.minimum[s] = ints<Arch>::load(codes + (sub_blocks + s) * width);
        }
        limit_codes(r);
    }

    /// The search may leave bytes above ScaleLevels: a step outside int's range comes out negative.
    /// The reference caps them in Q5_K. In the others it packs them as they are and goes on with
    /// what it unpacks (Q2_K: scale | minimum << 4; Q4_K: the upper bits of a byte join those of
    /// the byte four further on).
    template <class Arch>
    static void limit_codes(result<Arch>& r) noexcept {
        using I = ints<Arch>;
        if constexpr (ScaleLevels == 15) {
            for (std::size_t s = 0; s < sub_blocks; ++s) {
                const I byte = r.scale[s] | simd::shl<4>(r.minimum[s]);
                r.scale[s] = byte & I(15);
                r.minimum[s] = simd::sar<4>(byte) & I(15);
            }
        } else if constexpr (Levels == 15) {
            const auto join = [](I* code) {
                for (std::size_t s = 4; s < 8; ++s) {
                    const I high = (simd::sar<6>(code[s - 4]) | simd::sar<4>(code[s])) & I(3);
                    code[s] = (code[s] & I(15)) | simd::shl<4>(high);
                    code[s - 4] = code[s - 4] & I(63);
                }
            };
            join(r.scale);
            join(r.minimum);
        } else {
            for (std::size_t s = 0; s < sub_blocks; ++s) {
                r.scale[s] = min(I(ScaleLevels), r.scale[s]);
                r.minimum[s] = min(I(ScaleLevels), r.minimum[s]);
            }
        }
    }

    /// Codes under the stored scales; where a scale is zero the search's codes stay.
    template <class Arch>
    static void requantize(super_block_lanes<Arch>& lanes, const result<Arch>& r) noexcept {
        using F = floats<Arch>;
        constexpr std::size_t width = F::width;
        const F d = from_half(r.d), dmin = from_half(r.dmin);
        for (std::size_t s = 0; s < sub_blocks; ++s) {
            const F scale = d * to_float(r.scale[s]), minimum = dmin * to_float(r.minimum[s]);
            const auto zero = scale == F(0.0f);
            for (std::size_t e = s * Length; e < (s + 1) * Length; ++e) {
                const auto code =
                    min(max(nearest_int((lanes.element(e) + minimum) / scale), ints<Arch>(0)),
                        ints<Arch>(Levels));
                const F searched = F::load(lanes.search_codes + e * width);
                select(zero, truncate(searched), code).store(lanes.codes + e * width);
            }
        }
    }
};

/// What the symmetric K-quants share: sub-blocks of 16 with codes -N .. N-1.
template <int N>
struct symmetric_k {
    static constexpr std::size_t length = 16;
    static constexpr std::size_t sub_blocks = super_block_length / length;

    /// Calls search(x, w, codes) for every G sub-blocks; it returns their scales.
    template <std::size_t G, class Arch, class Search>
    static void each_sub_block(super_block_lanes<Arch>& lanes, float* scales,
                               Search search) noexcept {
        constexpr std::size_t width = super_block_lanes<Arch>::width;
        for (std::size_t s = 0; s < sub_blocks; s += G) {
            const std::size_t at = s * length * width;
            search(lanes.x + at, lanes.w + at, lanes.search_codes + at).store(scales + s * width);
        }
    }

    /// Codes (offset by N) under d * scale; where that is zero the search's codes stay.
    template <class Arch>
    static void requantize(super_block_lanes<Arch>& lanes, floats<Arch> d,
                           const ints<Arch>* scale) noexcept {
        using F = floats<Arch>;
        using I = ints<Arch>;
        constexpr std::size_t width = F::width;
        for (std::size_t s = 0; s < sub_blocks; ++s) {
            const F step = d * to_float(scale[s]);
            const auto zero = step == F(0.0f);
            for (std::size_t e = s * length; e < (s + 1) * length; ++e) {
                const I code = min(max(nearest_int(lanes.element(e) / step), I(-N)), I(N - 1));
                const I searched = truncate(F::load(lanes.search_codes + e * width));
                (select(zero, searched, code) + I(N)).store(lanes.codes + e * width);
            }
        }
    }
};

}  // namespace qdial::kernels

#include "qdial/macros_end.hpp"
