// SPDX-License-Identifier: Apache-2.0
//
// The tiles of AMX: asking the kernel for them, and the primitives of packed GEMM on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qdial/simd/rows.hpp"

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "qdial/macros_begin.hpp"

namespace qdial {

/// Asks the operating system to let this process use AMX tiles. Call it once, before any kernel on
/// arch::avx512_amx runs; threads that start later have the permission too. Returns whether the
/// tiles may be used: false where the processor or the system has none, and kernels on
/// arch::avx512_amx must not run then.
inline bool request_amx() noexcept {
#if defined(__linux__) && defined(__x86_64__)
    constexpr long arch_request_permission = 0x1023, tile_data = 18;
    return ::syscall(SYS_arch_prctl, arch_request_permission, tile_data) == 0;
#else
    return false;
#endif
}

}  // namespace qdial

namespace qdial::simd {

/// Sums of 32 columns of activations (two tiles of 16) by 32 rows of weights (two of 16), as the
/// eight tiles of AMX hold them:
///
///     start()                      makes the tiles ready for steps of `Bytes` elements
///     zero()                       all sums 0
///     step<Bytes>(a, stride, w)    adds the products of Bytes (64 or 32) elements: column c has
///                                  them at a + c * stride; rows 16 r … 16 r + 15 at w[r], 4
///                                  elements of each row in turn. Both are signed.
///     store(out)                   the sums, [column tile][row tile][column][row]
///     stop()                       gives the tiles back
///
/// Column tiles: 2, or 1 for 16 columns.
template <class Arch>
struct array_tile_ops {
    struct sums_type {
        std::int32_t v[2][2][16][16];
    };
    template <int Bytes>
    static void start() noexcept {}
    static void stop() noexcept {}
    static void zero(sums_type& sums) noexcept { std::memset(&sums, 0, sizeof sums); }
    template <int Bytes, int ColumnTiles>
    static void step(sums_type& sums, const std::byte* a, std::size_t stride,
                     const std::byte* const (&w)[2]) noexcept {
        const auto element = [](const std::byte* p) { return static_cast<std::int8_t>(*p); };
        for (int t = 0; t < ColumnTiles; ++t)
            for (int r = 0; r < 2; ++r)
                for (std::size_t column = 0; column < 16; ++column)
                    for (std::size_t row = 0; row < 16; ++row) {
                        std::int32_t sum = 0;
                        for (std::size_t k = 0; k < Bytes; ++k)
                            sum +=
                                element(a + (static_cast<std::size_t>(t) * 16 + column) * stride +
                                        k) *
                                element(w[r] + k / 4 * 64 + row * 4 + k % 4);
                        sums.v[t][r][column][row] += sum;
                    }
    }
    template <int ColumnTiles>
    static void store(const sums_type& sums, std::int32_t* out) noexcept {
        std::memcpy(out, sums.v, sizeof sums.v / 2 * ColumnTiles);
    }
};

/// Backends with tiles specialise this.
template <class Arch>
struct tile_ops {
    static constexpr bool exists = false;
};
template <>
struct tile_ops<arch::emulated_amx> : array_tile_ops<arch::emulated_amx> {
    static constexpr bool exists = true;
};

#if QDIAL_WITH_AMX
template <>
struct tile_ops<arch::avx512_amx> {
    static constexpr bool exists = true;
    struct sums_type {};  ///< they are in tiles 0 to 3

    template <int Bytes>
    QDIAL_INLINE static void start() noexcept {
        struct alignas(64) {
            std::uint8_t palette, start_row, reserved[14];
            std::uint16_t row_bytes[16];
            std::uint8_t rows[16];
        } config{};
        config.palette = 1;
        for (int t = 0; t < 8; ++t) {
            const bool activations = t == 4 || t == 5, weights = t >= 6;
            config.row_bytes[t] = activations ? Bytes : 64;
            config.rows[t] = weights ? Bytes / 4 : 16;
        }
        _tile_loadconfig(&config);
    }
    QDIAL_INLINE static void stop() noexcept { _tile_release(); }
    QDIAL_INLINE static void zero(sums_type&) noexcept {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    template <int Bytes, int ColumnTiles>
    QDIAL_INLINE static void step(sums_type&, const std::byte* a, std::size_t stride,
                                  const std::byte* const (&w)[2]) noexcept {
        _tile_loadd(4, a, static_cast<long>(stride));
        _tile_loadd(6, w[0], 64);
        _tile_loadd(7, w[1], 64);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        if constexpr (ColumnTiles == 2) {
            _tile_loadd(5, a + 16 * stride, static_cast<long>(stride));
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    }
    template <int ColumnTiles>
    QDIAL_INLINE static void store(const sums_type&, std::int32_t* out) noexcept {
        _tile_stored(0, out, 64);
        _tile_stored(1, out + 256, 64);
        if constexpr (ColumnTiles == 2) {
            _tile_stored(2, out + 512, 64);
            _tile_stored(3, out + 768, 64);
        }
    }
};
#endif

}  // namespace qdial::simd

#include "qdial/macros_end.hpp"
