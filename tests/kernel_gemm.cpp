// SPDX-License-Identifier: Apache-2.0
//
// Packed GEMV and GEMM on every backend against a plain scalar implementation of their definition
// (kernels/gemm.hpp), bit for bit; packing and its inverse; activations.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "catch.hpp"
#include "kernel_support.hpp"
#include "qdial/kernels/dequantize.hpp"
#include "qdial/kernels/gemm.hpp"
#include "qdial/kernels/quantize.hpp"

using namespace qdial;
using qdial_test::same;

namespace {

/// Calls fn(Arch{}) for this program's backends of packed kernels: matrix tiles where the processor
/// has them, and their algorithm on arrays among the emulated ones.
template <class Fn>
void for_each_arch(Fn fn) {
    fn(default_arch{});
    if constexpr (qdial_test::with_emulated_widths) fn(arch::emulated_amx{});
#if QDIAL_WITH_AMX
    static const bool allowed = request_amx();
    if (allowed)
        fn(arch::avx512_amx{});
    else
        WARN("SKIPPED: AMX, which this machine has not; kernel_gemm.emulated runs its algorithm");
#endif
}

using packable_formats =
    format_list<f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k>;

/// Memory that starts `offset` bytes behind a cache line.
class aligned_bytes {
public:
    explicit aligned_bytes(std::size_t size, std::size_t offset = 0)
        : memory_(size + offset + 64), size_(size) {
        const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
        start_ = (64 - at % 64) % 64 + offset;
    }
    std::span<std::byte> span() { return std::span(memory_).subspan(start_, size_); }
    std::byte* data() { return span().data(); }

private:
    std::vector<std::byte> memory_;
    std::size_t size_, start_;
};

std::vector<float> random_activations(std::size_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> x(n);
    for (float& v : x) v = normal(random);
    // Blocks of zeros, of one outlier and of tiny values.
    for (std::size_t b = 0; b + 32 <= n; b += 32) {
        const unsigned kind = random() % 8;
        for (std::size_t k = 0; k < 32; ++k) {
            if (kind == 0) x[b + k] = 0.0f;
            if (kind == 1 && k != 5) x[b + k] *= 0x1p-20f;
            if (kind == 2) x[b + k] *= 0x1p-100f;
        }
    }
    return x;
}

/// The code of element e of a block: q of the definition.
template <class F>
int code_of(const typename F::block& b, std::size_t e) {
    using D = kernels::decoder<F, arch::generic>;
    using V = simd::byte_ops<arch::generic>;
    int code = 0;
    kernels::unrolled<F::block_length / 32>([&](auto part) {
        if (part != e / 32) return;
        const auto codes = D::template codes<V, 32 * part>(b);
        std::uint8_t bytes[32];
        static_assert(sizeof codes == sizeof bytes);
        std::memcpy(bytes, &codes, sizeof bytes);
        code = D::signed_codes ? static_cast<std::int8_t>(bytes[e % 32]) : bytes[e % 32];
    });
    return code - D::offset;
}

/// One result by the definition. The activations are those of quantize_activations, with the scale
/// in binary32.
template <packable_block_format F>
float defined_product(const typename F::block* w, const float* x, std::size_t length, float y) {
    using D = kernels::decoder<F, arch::generic>;
    constexpr std::size_t n = F::block_length;
    for (std::size_t b = 0; b < length / n; ++b, x += n) {
        const float d_w = to_float(float16{D::scale(w[b])});
        float d_x = 0.0f;
        std::int8_t q[n];
        if constexpr (n == 32) {
            d_x = kernels::encode_q8<arch::generic>(x, q);
        } else {
            q8_k::block block;
            quantize_activations<q8_k, arch::generic>(std::span(x, n), std::span(&block, 1));
            std::copy_n(block.qs, n, q);
            d_x = little_endian(block.d);
        }
        if (!std::all_of(x, x + n, [](float v) { return std::isfinite(v); })) {
            d_x = std::numeric_limits<float>::quiet_NaN();
            std::fill_n(q, n, std::int8_t{0});
        }
        std::int32_t sum = 0, minima = 0, plain = std::accumulate(q, q + n, 0);
        for (std::size_t e = 0; e < n; ++e) {
            int scale = 1;
            if constexpr (D::sub_block != 0) {
                scale = D::sub_scales(w[b])[e / D::sub_block];
                if constexpr (D::has_minimum)
                    minima += D::sub_minima(w[b])[e / D::sub_block] * q[e];
            }
            sum += scale * code_of<F>(w[b], e) * q[e];
        }
        y = std::fma(static_cast<float>(sum), d_w * d_x, y);
        if constexpr (D::has_minimum && D::sub_block != 0)
            y = std::fma(-static_cast<float>(minima), to_float(float16{D::minimum(w[b])}) * d_x, y);
        else if constexpr (D::has_minimum)
            y = std::fma(to_float(float16{D::minimum(w[b])}),
                         simd::unfused(static_cast<float>(plain) * d_x), y);
    }
    return y;
}
template <packable_float_format F>
float defined_product(const typename F::block* w, const float* x, std::size_t length, float y) {
    for (std::size_t k = 0; k < length; ++k) {
        float weight = 0.0f;
        dequantize<F, float, arch::generic>(std::span(w + k, 1), std::span(&weight, 1));
        y = std::fma(weight, x[k], y);
    }
    return y;
}

template <class F>
std::vector<float> defined_gemm(const std::vector<typename F::block>& w,
                                const std::vector<float>& x, std::size_t rows, std::size_t length,
                                std::vector<float> y) {
    for (std::size_t j = 0; j < x.size() / length; ++j)
        for (std::size_t i = 0; i < rows; ++i)
            y[j * rows + i] = defined_product<F>(w.data() + i * (length / F::block_length),
                                                 x.data() + j * length, length, y[j * rows + i]);
    return y;
}

/// A packed matrix with its activations, and what the kernels make of them.
template <class F, class Arch>
struct packed_case {
    using A = packed_activation<F>;
    std::size_t rows, length, n;
    aligned_bytes weights, activations;

    packed_case(const std::vector<typename F::block>& w, const std::vector<float>& x,
                std::size_t rows_, std::size_t length_, std::size_t misalignment = 0)
        : rows(rows_),
          length(length_),
          n(x.size() / length_),
          weights(pack_size<F>(rows_, length_), misalignment),
          activations(packed_activations_size<A>(x.size() / length_, length_), misalignment) {
        pack<F>(std::span(w), length, weights.span());
        pack_activations<A, Arch>(x.data(), n, length, length, activations.span());
    }
    packed_matrix<F> matrix() { return {weights.data(), rows, length}; }
    packed_activations<A> columns(std::size_t first, std::size_t count) {
        return {activations.data() + packed_activations_size<A>(first, length), count, length};
    }
};

template <class Arch, class F>
void check_against_definition(const std::vector<typename F::block>& w, std::size_t rows,
                              std::size_t length, std::size_t n, std::size_t misalignment) {
    const auto x = random_activations(n * length, static_cast<std::uint32_t>(rows + n));
    packed_case<F, Arch> c(w, x, rows, length, misalignment);
    INFO(F::name << ' ' << Arch::name << " rows " << rows << " length " << length << " n " << n);

    const auto expected = defined_gemm<F>(w, x, rows, length, std::vector<float>(rows * n));
    std::vector<float> y(rows * n, 7.0f);
    gemm<F, Arch>(c.matrix(), c.columns(0, n), y.data(), rows);
    CHECK(qdial_test::count_different(y, expected) == 0);

    // Each column alone, added to what is there, with a gap between the results' rows.
    const std::size_t ldy = rows + 3;
    std::vector<float> start(rows * n), padded(ldy * n, 5.0f);
    for (std::size_t k = 0; k < start.size(); ++k) start[k] = 0.25f * static_cast<float>(k % 13);
    const auto accumulated = defined_gemm<F>(w, x, rows, length, start);
    for (std::size_t j = 0; j < n; ++j) {
        std::copy_n(start.data() + j * rows, rows, padded.data() + j * ldy);
        gemv<F, Arch>(c.matrix(), c.columns(j, 1), std::span(padded).subspan(j * ldy, rows),
                      output::accumulate);
    }
    std::vector<float> compact;
    for (std::size_t j = 0; j < n; ++j) {
        compact.insert(compact.end(), padded.begin() + static_cast<std::ptrdiff_t>(j * ldy),
                       padded.begin() + static_cast<std::ptrdiff_t>(j * ldy + rows));
        for (std::size_t gap = rows; gap < ldy; ++gap) CHECK(padded[j * ldy + gap] == 5.0f);
    }
    CHECK(qdial_test::count_different(compact, accumulated) == 0);
}

/// Every byte of the blocks but the binary16 factors has this value.
template <class F>
std::vector<typename F::block> saturated_blocks(std::size_t n, std::uint8_t byte) {
    auto blocks = qdial_test::moderate_blocks<F>(n, 3);
    if constexpr (!F::is_float)
        for (auto& block : blocks) {
            const auto d = block.d;
            const auto minimum = [&] {
                if constexpr (requires { block.m; }) return block.m;
                if constexpr (requires { block.dmin; }) return block.dmin;
                return d;
            }();
            std::memset(static_cast<void*>(&block), byte, sizeof block);
            block.d = d;
            if constexpr (requires { block.m; }) block.m = minimum;
            if constexpr (requires { block.dmin; }) block.dmin = minimum;
        }
    return blocks;
}

}  // namespace

TEST_CASE("packing and unpacking give the blocks back") {
    for_each_format(packable_formats{}, [](auto f) {
        using F = decltype(f);
        for (const std::size_t rows : {1u, 15u, 16u, 17u, 50u}) {
            const std::size_t length = 3 * std::max<std::size_t>(F::block_length, 8);
            const auto w = qdial_test::random_blocks<F>(rows * length / F::block_length, 1);
            aligned_bytes packed(pack_size<F>(rows, length));
            pack<F>(std::span(w), length, packed.span());
            CHECK(packed.span().size() ==
                  (rows + 15) / 16 * 16 * length / F::block_length * sizeof(w[0]));
            auto back = qdial_test::random_blocks<F>(w.size(), 2);
            unpack<F>(packed.span(), length, std::span(back));
            INFO(F::name << " rows " << rows);
            CHECK(std::memcmp(w.data(), back.data(), w.size() * sizeof(w[0])) == 0);
        }
    });
}

TEST_CASE("products are the defined bits: random codes and moderate scales") {
    for_each_arch([](auto a) {
        using Arch = decltype(a);
        for_each_format(packable_formats{}, [](auto f) {
            using F = decltype(f);
            const std::size_t block = std::max<std::size_t>(F::block_length, 16);
            for (const std::size_t rows : {1u, 16u, 37u}) {
                for (const std::size_t blocks : {1u, 3u, 9u}) {
                    const std::size_t length = blocks * block;
                    const auto w = qdial_test::moderate_blocks<F>(rows * length / F::block_length,
                                                                  static_cast<std::uint32_t>(rows));
                    for (const std::size_t n : {1u, 2u, 5u, 13u})
                        check_against_definition<Arch, F>(w, rows, length, n, rows == 37 ? 4 : 0);
                }
            }
        });
    });
}

TEST_CASE("products are the defined bits: every number of columns up to 33") {
    for_each_arch([](auto a) {
        using Arch = decltype(a);
        for_each_format(packable_formats{}, [](auto f) {
            using F = decltype(f);
            const std::size_t length = std::max<std::size_t>(F::block_length, 32);
            const auto w = qdial_test::moderate_blocks<F>(20 * length / F::block_length, 9);
            for (std::size_t n = 1; n <= 33; ++n)
                check_against_definition<Arch, F>(w, 20, length, n, n % 2 * 20);
        });
    });
}

TEST_CASE("products are the defined bits: saturated codes, scales and activations") {
    for_each_arch([](auto a) {
        using Arch = decltype(a);
        for_each_format(packable_formats{}, [](auto f) {
            using F = decltype(f);
            const std::size_t length = 2 * std::max<std::size_t>(F::block_length, 16), rows = 33;
            for (const int byte : {0x00, 0x7F, 0x80, 0xFF, 0x0F, 0xF0, 0x55, 0xAA}) {
                const auto w = saturated_blocks<F>(rows * length / F::block_length,
                                                   static_cast<std::uint8_t>(byte));
                for (const int pattern : {0, 1, 2, 3}) {
                    // All codes 127 or -127 in magnitude, in every combination of signs by fours.
                    std::vector<float> x(7 * length);
                    for (std::size_t k = 0; k < x.size(); ++k) {
                        const bool negative = pattern == 0   ? false
                                              : pattern == 1 ? true
                                              : pattern == 2 ? k % 2 != 0
                                                             : k % 4 >= 2;
                        x[k] = negative ? -1.5f : 1.5f;
                    }
                    packed_case<F, Arch> c(w, x, rows, length);
                    std::vector<float> y(rows * 7);
                    gemm<F, Arch>(c.matrix(), c.columns(0, 7), y.data(), rows);
                    const auto expected =
                        defined_gemm<F>(w, x, rows, length, std::vector<float>(rows * 7));
                    INFO(F::name << ' ' << Arch::name << " byte " << byte << " signs " << pattern);
                    CHECK(qdial_test::count_different(y, expected) == 0);
                }
            }
        });
    });
}

TEST_CASE("products are the defined bits: any bytes, subnormal and non-finite scales") {
    for_each_arch([](auto a) {
        using Arch = decltype(a);
        for_each_format(packable_formats{}, [](auto f) {
            using F = decltype(f);
            const std::size_t length = 4 * std::max<std::size_t>(F::block_length, 16);
            const auto w = qdial_test::random_blocks<F>(48 * length / F::block_length, 77);
            check_against_definition<Arch, F>(w, 48, length, 3, 0);
            auto tiny = qdial_test::moderate_blocks<F>(48 * length / F::block_length, 78);
            if constexpr (!F::is_float)
                for (std::size_t k = 0; k < tiny.size(); ++k)
                    tiny[k].d = static_cast<std::uint16_t>(k % 3 == 0 ? 0 : k % 0x3FF);
            check_against_definition<Arch, F>(tiny, 48, length, 3, 0);
        });
    });
}

TEST_CASE("a non-finite activation makes its own results NaN and no others") {
    for_each_arch([](auto a) {
        using Arch = decltype(a);
        for_each_format(packable_formats{}, [](auto f) {
            using F = decltype(f);
            const std::size_t length = 2 * std::max<std::size_t>(F::block_length, 16), rows = 19;
            const auto w = qdial_test::moderate_blocks<F>(rows * length / F::block_length, 5);
            const auto clean = random_activations(4 * length, 6);
            for (const float bad :
                 {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                  -std::numeric_limits<float>::infinity()}) {
                auto x = clean;
                x[2 * length + 7] = bad;
                packed_case<F, Arch> c(w, x, rows, length), reference(w, clean, rows, length);
                std::vector<float> y(4 * rows), expected(4 * rows);
                gemm<F, Arch>(c.matrix(), c.columns(0, 4), y.data(), rows);
                gemm<F, Arch>(reference.matrix(), reference.columns(0, 4), expected.data(), rows);
                INFO(F::name << ' ' << Arch::name << ' ' << bad);
                for (std::size_t i = 0; i < y.size(); ++i) {
                    if (i / rows == 2)
                        CHECK(!std::isfinite(y[i]));
                    else
                        CHECK(same(y[i], expected[i]));
                }
            }
        });
    });
}

TEST_CASE("tasks in any order and many columns give the same bits") {
    using F = q4_k;
    const std::size_t rows = 700, length = 768, n = 400;
    const auto w = qdial_test::moderate_blocks<F>(rows * length / F::block_length, 11);
    const auto x = random_activations(n * length, 12);
    packed_case<F, default_arch> c(w, x, rows, length);
    std::vector<float> y(rows * n), backward(rows * n), alone(rows);
    gemm<F>(c.matrix(), c.columns(0, n), y.data(), rows);
    std::size_t tasks = 0;
    gemm<F>(c.matrix(), c.columns(0, n), backward.data(), rows, output::overwrite,
            [&](std::size_t count, auto&& task) {
                tasks = count;
                for (std::size_t i = count; i-- > 0;) task(i);
            });
    CHECK(tasks > 4);
    CHECK(qdial_test::count_different(y, backward) == 0);
    for (const std::size_t j : {std::size_t{0}, std::size_t{191}, std::size_t{192}, n - 1}) {
        gemv<F>(c.matrix(), c.columns(j, 1), std::span(alone));
        CHECK(std::equal(alone.begin(), alone.end(),
                         y.begin() + static_cast<std::ptrdiff_t>(j * rows),
                         [](float a, float b) { return same(a, b); }));
    }
}

TEST_CASE("experts multiply their own rows") {
    for_each_format(format_list<f16, q8_0, q4_k>{}, [](auto f) {
        using F = decltype(f);
        const std::size_t rows = 35, length = 512, n = 9;
        const auto x = random_activations(n * length, 21);
        std::vector<packed_case<F, default_arch>> experts;
        std::vector<packed_matrix<F>> matrices;
        for (std::uint32_t e = 0; e < 3; ++e)
            experts.emplace_back(
                qdial_test::moderate_blocks<F>(rows * length / F::block_length, 30 + e), x, rows,
                length);
        for (auto& expert : experts) matrices.push_back(expert.matrix());
        // Each activation row goes to two experts; its results go to rows of their own.
        std::vector<std::vector<routed_row>> routes(3);
        for (std::uint32_t j = 0; j < n; ++j) {
            routes[j % 2].push_back({j, 2 * j});
            routes[j % 2 + 1].push_back({j, 2 * j + 1});
        }
        const std::vector<std::span<const routed_row>> lists(routes.begin(), routes.end());
        std::vector<float> y(2 * n * rows), alone(rows);
        gemm_experts<F>(std::span<const packed_matrix<F>>(matrices), std::span(lists),
                        experts[0].columns(0, n), y.data(), rows);
        for (std::size_t e = 0; e < 3; ++e)
            for (const routed_row& r : routes[e]) {
                gemv<F>(matrices[e], experts[0].columns(r.x, 1), std::span(alone));
                INFO(F::name << " expert " << e << " row " << r.x);
                CHECK(std::equal(alone.begin(), alone.end(), y.data() + r.y * rows,
                                 [](float a, float b) { return same(a, b); }));
            }
    });
}

TEST_CASE("activations in float16 and bfloat16, and with a stride") {
    for_each_arch([](auto arch_tag) {
        using Arch = decltype(arch_tag);
        const std::size_t length = 512, n = 3, stride = 520;
        std::vector<float> x(n * length);
        std::vector<float16> halves(n * stride);
        std::vector<bfloat16> bfloats(n * stride);
        std::mt19937 random(4);
        std::normal_distribution<float> normal;
        const auto check = [&]<class A, class T>(A, const std::vector<T>& narrow) {
            const std::size_t size = packed_activations_size<A>(n, length);
            aligned_bytes from_float(size), from_narrow(size);
            pack_activations<A, Arch>(x.data(), n, length, length, from_float.span());
            pack_activations<A, Arch>(narrow.data(), n, length, stride, from_narrow.span());
            CHECK(std::ranges::equal(from_float.span(), from_narrow.span()));
        };
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t k = 0; k < length; ++k) {
                halves[j * stride + k] = to_float16(normal(random));
                x[j * length + k] = to_float(halves[j * stride + k]);
            }
        for_each_format(format_list<f32, q8_0, q8_1, q8_k>{}, [&](auto f) { check(f, halves); });
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t k = 0; k < length; ++k) {
                bfloats[j * stride + k] = to_bfloat16(normal(random));
                x[j * length + k] = to_float(bfloats[j * stride + k]);
            }
        for_each_format(format_list<f32, q8_0, q8_1, q8_k>{}, [&](auto f) { check(f, bfloats); });
    });
}

TEST_CASE("a fused multiply-add out of doubles rounds once") {
    std::mt19937 random(8);
    for (int i = 0; i < 200000; ++i) {
        float v[3];
        for (float& f : v) f = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
        if (i % 2 == 0) v[2] = -(v[0] * v[1]) * (1.0f + static_cast<float>(i % 5) * 0x1p-23f);
        const float expected = std::fma(v[0], v[1], v[2]);
        if (!same(simd::fused_multiply_add(v[0], v[1], v[2]), expected))
            FAIL("fma of " << v[0] << ' ' << v[1] << ' ' << v[2]);
    }
}
