// SPDX-License-Identifier: Apache-2.0
//
// Functions of rows and attention, against binary64, and backends against the scalar definition.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "attention.hpp"
#include "kv_cache.hpp"
#include "model_files.hpp"
#include "rope.hpp"
#include "vector_math.hpp"

namespace {

using namespace engine;
using arch = qdial::default_arch;
using scalar = qdial::arch::generic;

template <class Arch, class Fn>
std::vector<float> map(std::vector<float> x, Fn fn) {
    transform<Arch>(x.data(), x.size(), fn);
    return x;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> between(float low, float high, std::size_t n) {
    std::vector<float> x = model_test::weights(n, 77);
    for (float& v : x) v = low + (v + 1) / 2 * (high - low);
    return x;
}

}  // namespace

TEST_CASE("exp, SiLU, GELU and soft caps are accurate, with the scalar definition's bits") {
    const float infinity = std::numeric_limits<float>::infinity();
    std::vector<float> x = between(-86, 87, 5003);
    for (const float v : {0.0f, -0.0f, 1e-30f, -1e-30f, 88.0f, -87.0f}) x.push_back(v);
    const std::vector<float> e =
        map<arch>(x, [](auto v) { return engine::exp<arch>(v); });
    for (std::size_t i = 0; i < x.size(); ++i)
        REQUIRE(e[i] == Approx(std::exp(static_cast<double>(x[i]))).epsilon(3e-7).margin(0));
    CHECK(same_bits(e, map<scalar>(x, [](auto v) { return engine::exp<scalar>(v); })));
    const std::vector<float> edges = map<arch>({-infinity, -200.0f, infinity, std::nanf("")},
                                               [](auto v) { return engine::exp<arch>(v); });
    CHECK(edges[0] == 0.0f);
    CHECK(edges[1] == 0.0f);
    CHECK(edges[2] > 1e38f);
    CHECK(std::isnan(edges[3]));

    x = between(-30, 30, 3001);
    const std::vector<float> s = map<arch>(x, [](auto v) { return silu<arch>(v); });
    const std::vector<float> g = map<arch>(x, [](auto v) { return gelu<arch>(v); });
    const std::vector<float> c = map<arch>(x, [](auto v) { return soft_cap<arch>(v, 20.0f); });
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double v = x[i];
        const double u = std::sqrt(2 / std::acos(-1.0)) * (v + 0.044715 * v * v * v);
        REQUIRE(s[i] == Approx(v / (1 + std::exp(-v))).epsilon(1e-6).margin(1e-12));
        REQUIRE(g[i] == Approx(0.5 * v * (1 + std::tanh(u))).epsilon(1e-5).margin(1e-6));
        REQUIRE(c[i] == Approx(20 * std::tanh(v / 20)).epsilon(1e-5).margin(1e-5));
    }
    CHECK(same_bits(s, map<scalar>(x, [](auto v) { return silu<scalar>(v); })));
    CHECK(same_bits(g, map<scalar>(x, [](auto v) { return gelu<scalar>(v); })));
    CHECK(same_bits(c, map<scalar>(x, [](auto v) { return soft_cap<scalar>(v, 20.0f); })));
}

TEST_CASE("RMS norm") {
    for (const std::size_t n : {64u, 100u, 577u}) {
        const std::vector<float> x = model_test::weights(n, 3), w = model_test::weights(n, 4);
        std::vector<float> y(n), z(n);
        rms_norm<arch>(x.data(), w.data(), n, 1e-5f, y.data());
        rms_norm<scalar>(x.data(), w.data(), n, 1e-5f, z.data());
        CHECK(same_bits(y, z));
        double sum = 0;
        for (const float v : x) sum += static_cast<double>(v) * v;
        for (std::size_t i = 0; i < n; ++i)
            REQUIRE(y[i] == Approx(x[i] * w[i] / std::sqrt(sum / static_cast<double>(n) + 1e-5))
                                .epsilon(1e-5)
                                .margin(1e-7));
    }
}

TEST_CASE("Sines, cosines and rotations") {
    for (const double x : {0.0, 0.5, 0.7853981633974483, 1.5707963267948966, 3.0, 511.0, 8191.25,
                           131071.0, 1e6}) {
        double s = 0, c = 0;
        sine_cosine(x, s, c);
        CHECK(s == Approx(std::sin(x)).epsilon(0).margin(1e-15));
        CHECK(c == Approx(std::cos(x)).epsilon(0).margin(1e-15));
    }
    const std::size_t length = 40, head = 48;
    const std::vector<float> factors(length / 2, 2.0f), x = model_test::weights(head, 9);
    for (const rope_pairs pairs : {rope_pairs::neighbours, rope_pairs::halves}) {
        std::vector<float> y = x, scratch(length);
        rope_row row;
        row.set(17, length, {1000.0f, 0.5f}, factors);
        row.rotate(y.data(), pairs, scratch.data());
        for (std::size_t i = 0; i < length / 2; ++i) {
            const std::size_t a = pairs == rope_pairs::halves ? i : 2 * i;
            const std::size_t b = pairs == rope_pairs::halves ? i + length / 2 : 2 * i + 1;
            const double angle =
                17 * std::pow(1000.0, -2.0 * static_cast<double>(i) / length) * 0.5 / 2;
            CHECK(y[a] == Approx(x[a] * std::cos(angle) - x[b] * std::sin(angle)).margin(1e-5));
            CHECK(y[b] == Approx(x[a] * std::sin(angle) + x[b] * std::cos(angle)).margin(1e-5));
        }
        CHECK(std::equal(y.begin() + length, y.end(), x.begin() + length));
    }
}

namespace {

/// Queries at the last positions of a filled cache, `window` wide.
struct attention_case {
    std::size_t positions, key_length, value_length, queries, window;
    kv_format format;
};

template <class Arch>
std::vector<float> attention_of(const attention_case& c, const std::vector<float>& q,
                                std::size_t at_once, kv_cache& cache, thread_pool& threads) {
    const std::size_t width = (c.value_length + 15) / 16 * 16;
    std::vector<float> out(c.queries * width), scores(query_tile * (c.positions + 32));
    for (std::size_t first = 0; first < c.queries; first += at_once) {
        const std::size_t n = std::min(at_once, c.queries - first);
        query tile[query_tile];
        std::size_t begin = c.positions;
        for (std::size_t k = 0; k < n; ++k) {
            const std::size_t end = c.positions - c.queries + first + k + 1;
            tile[k] = {q.data() + (first + k) * c.key_length, out.data() + (first + k) * width,
                       end > c.window ? end - c.window : 0, end};
            begin = std::min(begin, tile[k].begin);
        }
        cache.open(0, begin, c.positions, threads);
        cache.visit(1, [&](const auto& head) {
            attend<Arch>(head, tile, n, 0.0f, scores.data(), (c.positions + 31) / 16 * 16);
        });
    }
    return out;
}

}  // namespace

TEST_CASE("Attention: right, and the same bits for every tiling and width") {
    thread_pool threads(2);
    for (const attention_case& c :
         {attention_case{70, 64, 64, 21, 1000, kv_format::f32},
          attention_case{70, 64, 64, 21, 9, kv_format::f16},
          attention_case{130, 40, 24, 19, 3, kv_format::f32},
          attention_case{1, 16, 16, 1, 1000, kv_format::f16},
          attention_case{90, 32, 96, 33, 40, kv_format::q8_0}}) {
        CAPTURE(c.positions, c.key_length, c.window);
        hyper_parameters p;
        p.layers = 1;
        p.kv_heads = 2;
        p.key_length = c.key_length;
        p.value_length = c.value_length;
        kv_cache cache(p, c.positions, c.format);
        const std::vector<float> k = model_test::weights(c.positions * 2 * c.key_length, 1);
        const std::vector<float> v = model_test::weights(c.positions * 2 * c.value_length, 2);
        const std::vector<float> q = model_test::weights(c.queries * c.key_length, 3);
        for (std::size_t t = 0; t < c.positions; ++t)
            cache.store(0, t, k.data() + t * 2 * c.key_length, v.data() + t * 2 * c.value_length);

        const std::vector<float> out = attention_of<arch>(c, q, query_tile, cache, threads);
        for (const std::size_t at_once : {1u, 3u, 7u})
            CHECK(same_bits(out, attention_of<arch>(c, q, at_once, cache, threads)));
        CHECK(same_bits(out, attention_of<scalar>(c, q, 5, cache, threads)));

        const double rounding = c.format == kv_format::f32 ? 1e-5
                                : c.format == kv_format::f16 ? 2e-3
                                                             : 2e-2;
        const std::size_t width = (c.value_length + 15) / 16 * 16;
        for (std::size_t j = 0; j < c.queries; ++j) {
            const std::size_t end = c.positions - c.queries + j + 1;
            const std::size_t begin = end > c.window ? end - c.window : 0;
            std::vector<double> sum(c.value_length);
            double total = 0;
            for (std::size_t t = begin; t < end; ++t) {
                double score = 0;
                for (std::size_t d = 0; d < c.key_length; ++d)
                    score += q[j * c.key_length + d] * k[(t * 2 + 1) * c.key_length + d];
                total += std::exp(score);
                for (std::size_t d = 0; d < c.value_length; ++d)
                    sum[d] += std::exp(score) * v[(t * 2 + 1) * c.value_length + d];
            }
            for (std::size_t d = 0; d < c.value_length; ++d)
                REQUIRE(out[j * width + d] == Approx(sum[d] / total).epsilon(0).margin(rounding));
        }
    }
    hyper_parameters odd;
    odd.layers = 1;
    odd.kv_heads = 1;
    odd.key_length = odd.value_length = 40;
    CHECK(gguf_test::error_of([&] { kv_cache(odd, 16, kv_format::q8_0); }).find("Q8_0") !=
          std::string::npos);
}

TEST_CASE("Threads run every task once") {
    for (const std::size_t n_threads : {1u, 2u, 5u}) {
        thread_pool threads(n_threads);
        CHECK(threads.size() == n_threads);
        for (std::size_t round = 0; round < 300; ++round) {
            const std::size_t n = round % 37;
            std::vector<int> runs(n);
            threads(n, [&](std::size_t i) { ++runs[i]; });
            REQUIRE(std::ranges::count(runs, 1) == static_cast<std::ptrdiff_t>(n));
        }
    }
}
