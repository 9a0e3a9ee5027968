// SPDX-License-Identifier: Apache-2.0
//
// What the machine can do at most with the instructions that this program was compiled for: small
// loops that read memory, multiply integers and multiply floats, and do nothing else. Together with
// the backends of the library the only code with intrinsics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace qdial::bench {

/// Sums of 64-byte lines, so that a loop has to load them.
struct line_reader {
#if defined(__AVX512F__)
    static constexpr const char* name = "512-bit loads";
    __m512i sums[4] = {};
    void add(std::size_t i, const std::byte* line) {
        sums[i] = _mm512_add_epi64(sums[i], _mm512_loadu_si512(line));
    }
#elif defined(__AVX2__)
    static constexpr const char* name = "256-bit loads";
    __m256i sums[4] = {};
    void add(std::size_t i, const std::byte* line) {
        const auto* halves = reinterpret_cast<const __m256i*>(line);
        sums[i] = _mm256_add_epi64(sums[i], _mm256_loadu_si256(halves));
        sums[i] = _mm256_add_epi64(sums[i], _mm256_loadu_si256(halves + 1));
    }
#else
    static constexpr const char* name = "64-bit loads";
    std::uint64_t sums[4] = {};
    void add(std::size_t i, const std::byte* line) {
        std::uint64_t words[8];
        std::memcpy(words, line, sizeof words);
        for (const std::uint64_t word : words) sums[i] += word;
    }
#endif
};

/// Reads `bytes` from `data` on, as `Streams` sequences side by side (1, 2 or 4), each asked for
/// `Ahead` bytes before it is needed (0: never). A rest of less than Streams * 256 bytes is left.
template <std::size_t Streams, std::size_t Ahead>
void read_bytes(const std::byte* data, std::size_t bytes) {
    constexpr std::size_t step = 256;
    const std::size_t part = bytes / Streams / step * step;
    line_reader reader;
    for (std::size_t at = 0; at < part; at += step)
        for (std::size_t s = 0; s < Streams; ++s)
            for (std::size_t line = 0; line < step; line += 64) {
                const std::byte* p = data + s * part + at + line;
                if constexpr (Ahead != 0) __builtin_prefetch(p + Ahead);
                reader.add(line / 64, p);
            }
    asm volatile("" : : "m"(reader) : "memory");
}

/// The ways to read that are tried: which is the fastest depends on the machine.
using read_function = void (*)(const std::byte* data, std::size_t bytes);
struct reading {
    const char* name;
    read_function read;
};
inline constexpr reading readings[] = {
    {"one stream", read_bytes<1, 0>},
    {"one stream, prefetched", read_bytes<1, 4096>},
    {"two streams", read_bytes<2, 0>},
    {"two streams, prefetched", read_bytes<2, 4096>},
    {"four streams", read_bytes<4, 0>},
    {"four streams, prefetched", read_bytes<4, 4096>},
};

/// Multiply-adds of 8-bit integers as the library's kernels make them: unsigned times signed,
/// summed in 32 bits (VNNI) or in 16 bits.
#if defined(__AVX512VNNI__)
struct byte_peak {
    static constexpr const char* name = "vpdpbusd, 512 bits";
    static constexpr double operations = 128;
    using reg = __m512i;
    static reg first() { return _mm512_set1_epi32(1); }
    static reg step(reg sum, reg a) { return _mm512_dpbusd_epi32(sum, a, a); }
};
#elif defined(__AVX512BW__)
struct byte_peak {
    static constexpr const char* name = "vpmaddubsw and vpaddw, 512 bits";
    static constexpr double operations = 128;
    using reg = __m512i;
    static reg first() { return _mm512_set1_epi32(1); }
    static reg step(reg sum, reg a) {
        return _mm512_add_epi16(sum, _mm512_maddubs_epi16(a, a));
    }
};
#elif defined(__AVXVNNI__)
struct byte_peak {
    static constexpr const char* name = "vpdpbusd, 256 bits";
    static constexpr double operations = 64;
    using reg = __m256i;
    static reg first() { return _mm256_set1_epi32(1); }
    static reg step(reg sum, reg a) { return _mm256_dpbusd_avx_epi32(sum, a, a); }
};
#elif defined(__AVX2__)
struct byte_peak {
    static constexpr const char* name = "vpmaddubsw and vpaddw, 256 bits";
    static constexpr double operations = 64;
    using reg = __m256i;
    static reg first() { return _mm256_set1_epi32(1); }
    static reg step(reg sum, reg a) {
        return _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, a));
    }
};
#else
struct byte_peak {
    static constexpr const char* name = "none";
};
#endif

/// Fused multiply-adds of float32.
#if defined(__AVX512F__)
struct fma_peak {
    static constexpr const char* name = "vfmadd, 512 bits";
    static constexpr double operations = 32;
    using reg = __m512;
    static reg first() { return _mm512_set1_ps(1.0f); }
    static reg step(reg sum, reg a) { return _mm512_fmadd_ps(a, a, sum); }
};
#elif defined(__FMA__)
struct fma_peak {
    static constexpr const char* name = "vfmadd, 256 bits";
    static constexpr double operations = 16;
    using reg = __m256;
    static reg first() { return _mm256_set1_ps(1.0f); }
    static reg step(reg sum, reg a) { return _mm256_fmadd_ps(a, a, sum); }
};
#else
struct fma_peak {
    static constexpr const char* name = "none";
};
#endif

/// Whether there is such a loop for the instructions that this program was compiled for.
template <class Peak>
concept measured_peak = requires { Peak::operations; };

/// Runs the multiplier for `steps` steps and returns the operations, a multiply-add counted as two.
template <measured_peak Peak>
[[gnu::noinline]] double run_peak(std::size_t steps) {
    // Independent sums: more than latency times instructions per cycle.
    constexpr std::size_t sums = 12;
    typename Peak::reg sum[sums], a = Peak::first();
#pragma GCC unroll 12
    for (std::size_t i = 0; i < sums; ++i) sum[i] = a;
    for (std::size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
        for (std::size_t i = 0; i < sums; ++i) {
            asm volatile("" : "+v"(a));  // else equal products would be made once
            sum[i] = Peak::step(sum[i], a);
        }
    }
#pragma GCC unroll 12
    for (std::size_t i = 0; i < sums; ++i) asm volatile("" : : "v"(sum[i]));
    return Peak::operations * static_cast<double>(sums * steps);
}

}  // namespace qdial::bench
