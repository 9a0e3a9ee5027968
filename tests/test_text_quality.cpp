// SPDX-License-Identifier: Apache-2.0
//
// Scoring of rows of logits and what is made of the scores.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "model_files.hpp"
#include "qdial/model/text_quality.hpp"

namespace {

namespace model = qdial::model;
using model::text_quality;
using model::token_comparison;

/// By definition, in double.
token_comparison plain(const std::vector<float>& x, const std::vector<float>& y, std::size_t next) {
    const auto log_sum = [](const std::vector<float>& row) {
        const double most = *std::max_element(row.begin(), row.end());
        double sum = 0;
        for (const float v : row) sum += std::exp(v - most);
        return most + std::log(sum);
    };
    const double log_x = log_sum(x), log_y = log_sum(y);
    double kl = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double log_p = x[i] - log_x;
        kl += std::exp(log_p) * (log_p - (y[i] - log_y));
    }
    const auto top = [](const std::vector<float>& row) {
        return std::max_element(row.begin(), row.end()) - row.begin();
    };
    return {kl, log_x - x[next], log_y - y[next], top(x) == top(y)};
}

std::vector<float> logits(std::size_t n, std::uint32_t seed, float scale) {
    std::vector<float> row = model_test::weights(n, seed);
    for (float& v : row) v *= scale;
    return row;
}

bool same_bits(const token_comparison& a, const token_comparison& b) {
    const auto bits = [](double v) { return std::bit_cast<std::uint64_t>(v); };
    return bits(a.kl) == bits(b.kl) && bits(a.nll) == bits(b.nll) &&
           bits(a.nll_reference) == bits(b.nll_reference) && a.same_top == b.same_top;
}

}  // namespace

TEST_CASE("windows as llama-perplexity cuts them") {
    constexpr model::text_windows w{1300, 512};
    CHECK(w.count() == 2);
    CHECK(w.first() == 256);
    CHECK(w.scored() == 255);
    constexpr model::text_windows odd{9, 9};
    CHECK(odd.count() == 1);
    CHECK(odd.first() == 4);
    CHECK(odd.scored() == 4);  // positions 4 to 7, which predict 5 to 8
}

TEST_CASE("rows of logits against the definition") {
    for (const std::size_t n : {1, 2, 15, 16, 17, 1023, 1024, 1025, 5000}) {
        for (const float scale : {0.01f, 3.0f, 40.0f}) {
            const std::vector<float> x = logits(n, 1, scale), y = logits(n, 2, scale);
            CAPTURE(n, scale);
            const std::size_t next = n / 2;
            const token_comparison found = model::compare_logits(x, y, next);
            const token_comparison expected = plain(x, y, next);
            CHECK(found.kl == Approx(expected.kl).epsilon(1e-5).margin(1e-6));
            CHECK(found.nll == Approx(expected.nll).epsilon(1e-6).margin(1e-6));
            CHECK(found.nll_reference == Approx(expected.nll_reference).epsilon(1e-6).margin(1e-6));
            CHECK(found.same_top == expected.same_top);
        }
    }
    // Two tokens have a closed form; a constant added to all logits changes nothing.
    const std::vector<float> even{0, 0}, uneven{std::log(3.0f), 0}, shifted{100 + std::log(3.0f), 100};
    const double kl = 0.5 * std::log(0.5 / 0.75) + 0.5 * std::log(0.5 / 0.25);
    CHECK(model::compare_logits(even, uneven, 0).kl == Approx(kl).epsilon(1e-6));
    CHECK(model::compare_logits(even, shifted, 0).kl == Approx(kl).epsilon(1e-5));
    CHECK(model::compare_logits(even, uneven, 0).nll == Approx(-std::log(0.75)).epsilon(1e-6));
    CHECK(model::compare_logits(even, uneven, 0).nll_reference == Approx(std::log(2.0)));
    CHECK(model::compare_logits(even, uneven, 1).same_top);  // the first of equal ones
    CHECK_FALSE(model::compare_logits(even, {{0, 1}}, 1).same_top);
}

TEST_CASE("equal rows diverge by nothing, and the same bits come from every backend") {
    for (const std::size_t n : {1000, 4096, 32003}) {
        const std::vector<float> x = logits(n, 7, 12), y = logits(n, 8, 12);
        CHECK(model::compare_logits(x, x, 0).kl == 0);
        CHECK(model::compare_logits(x, x, 0).same_top);
        const token_comparison best = model::compare_logits(x, y, n / 3);
        CHECK(same_bits(best, model::compare_logits<qdial::arch::generic>(x, y, n / 3)));
        CHECK(same_bits(best, model::compare_logits<qdial::arch::emulated<256>>(x, y, n / 3)));
    }
}

TEST_CASE("logits that are not finite do not pass unseen") {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
        for (const std::size_t at : {0, 5, 99}) {
            std::vector<float> x = logits(100, 3, 1), y = x;
            y[at] = bad;
            CHECK(std::isnan(model::compare_logits(x, y, 1).kl));
            CHECK(std::isnan(model::compare_logits(y, x, 1).kl));
        }
    }
}

TEST_CASE("percentiles of a known distribution") {
    model::kl_histogram histogram;
    for (int i = 1; i <= 10000; ++i) histogram.add(i * 1e-4);
    CHECK(histogram.percentile(0.5) == Approx(0.5).epsilon(0.006));
    CHECK(histogram.percentile(0.9) == Approx(0.9).epsilon(0.006));
    CHECK(histogram.percentile(0.999) == Approx(0.999).epsilon(0.006));
    model::kl_histogram zeros;
    zeros.add(0);
    CHECK(zeros.percentile(0.9) == 0);
    CHECK(model::kl_histogram().percentile(0.9) == 0);
}

TEST_CASE("figures of a text") {
    // Every window has KL of its own: a mean over blocks with a textbook interval.
    text_quality quality;
    const std::vector<double> kls{0.1, 0.3, 0.2, 0.4};
    for (const double kl : kls)
        quality.add(std::vector<token_comparison>{{kl, 1.0, 1.0 + kl, true},
                                                  {kl, 3.0, 3.0 + kl, kl < 0.35}});
    CHECK(quality.windows() == 4);
    CHECK(quality.blocks() == 4);
    CHECK(quality.tokens() == 8);
    const model::measurement kl = quality.mean_kl();
    CHECK(kl.value == Approx(0.25));
    const double reach = 3.182446305 * std::sqrt(0.05 / 3 / 4);
    CHECK(kl.range.high == Approx(0.25 + reach));
    CHECK(kl.range.low == Approx(0.25 - reach));
    CHECK(quality.max_kl() == 0.4);
    CHECK(quality.reference_perplexity().value == Approx(std::exp(2)));
    CHECK(quality.reference_perplexity().range.high == Approx(std::exp(2)));
    CHECK(quality.perplexity().value == Approx(std::exp(2.25)));
    // Paired: of the reference's own spread nothing is left.
    CHECK(quality.perplexity_ratio().value == Approx(std::exp(0.25)));
    CHECK(quality.perplexity_ratio().range.high == Approx(std::exp(0.25 + reach)));
    CHECK(quality.same_top().value == 7 / 8.0);
    CHECK(quality.same_top().range.high <= 1);
    CHECK(quality.kl_percentile(0.999).value == Approx(0.4).epsilon(0.012));
    CHECK(quality.kl_percentile(0.9).range.high >= quality.kl_percentile(0.9).value);
}

TEST_CASE("agreement everywhere is no certainty, one block no interval") {
    text_quality quality;
    for (int i = 0; i < 10; ++i) quality.add(std::vector<token_comparison>(10, {0, 1, 1, true}));
    CHECK(quality.same_top().value == 1);
    CHECK(quality.same_top().range.low == Approx(model::wilson(100, 100).range.low));
    CHECK(quality.mean_kl().range.high == 0);
    CHECK(quality.kl_percentile(0.99).range.high == 0);
    text_quality one;
    one.add(std::vector<token_comparison>(10, {0.5, 1, 1, true}));
    CHECK(one.mean_kl().value == 0.5);
    CHECK(std::isinf(one.mean_kl().range.high));
    CHECK(one.mean_kl().range.low == 0);
}

TEST_CASE("long texts: blocks grow, figures stay") {
    text_quality quality;
    double sum = 0;
    for (int i = 0; i < 1000; ++i) {
        const double kl = 0.001 * (i % 17);
        sum += kl;
        quality.add(std::vector<token_comparison>(3, {kl, 2, 2, i % 2 == 0}));
    }
    CHECK(quality.windows() == 1000);
    CHECK(quality.tokens() == 3000);
    CHECK(quality.blocks() <= 64);
    CHECK(quality.blocks() >= 32);
    CHECK(quality.windows_per_block() == 16);
    CHECK(quality.mean_kl().value == Approx(sum / 1000));
    CHECK(quality.mean_kl().range.low < sum / 1000);
    CHECK(quality.same_top().value == Approx(0.5));
    CHECK(quality.max_kl() == Approx(0.016));
}
