// SPDX-License-Identifier: Apache-2.0
//
// Intervals and tests against closed forms, published tables and brute force.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "qdial/model/statistics.hpp"

namespace {

namespace model = qdial::model;
using model::paired_counts;

/// The score of a loss with the constrained likelihood maximized by trying everything.
double brute_force_score(const paired_counts& counts, double loss) {
    const double n = counts.total(), lost = counts.only_reference, won = counts.only_candidate;
    const auto times_log = [](double count, double p) {
        return count == 0 ? 0.0 : count * std::log(p);
    };
    double best = -std::numeric_limits<double>::infinity(), best_share = 0;
    const double least = std::max(0.0, -loss), most = (1 - loss) / 2;
    constexpr int steps = 400000;
    for (int i = 0; i <= steps; ++i) {
        const double share = least + (most - least) * i / steps;
        const double likelihood = times_log(lost, share + loss) + times_log(won, share) +
                                  times_log(n - lost - won, 1 - 2 * share - loss);
        if (likelihood > best) {
            best = likelihood;
            best_share = share;
        }
    }
    return (lost - won - n * loss) / std::sqrt(n * (2 * best_share + loss * (1 - loss)));
}

}  // namespace

TEST_CASE("quantiles against tables") {
    CHECK(model::normal_quantile(0.975) == Approx(1.959963985).epsilon(1e-9));
    CHECK(model::normal_quantile(0.5) == Approx(0).margin(1e-12));
    CHECK(model::normal_quantile(0.001) == Approx(-3.090232306).epsilon(1e-9));
    CHECK(model::student_t_quantile(0.975, 7) == Approx(2.364624252).epsilon(1e-9));
    CHECK(model::student_t_quantile(0.975, 30) == Approx(2.042272456).epsilon(1e-9));
    CHECK(model::student_t_quantile(0.995, 10) == Approx(3.169272673).epsilon(1e-9));
    CHECK(model::student_t_quantile(0.975, 1e7) == Approx(1.959964).epsilon(1e-6));
    // One degree is Cauchy, two have a closed form as well.
    CHECK(model::student_t_quantile(0.9, 1) ==
          Approx(std::tan(std::acos(-1.0) * 0.4)).epsilon(1e-9));
    CHECK(model::student_t_quantile(0.9, 2) ==
          Approx(0.8 * std::sqrt(2 / (1 - 0.8 * 0.8))).epsilon(1e-9));
    CHECK(model::student_t_quantile(0.2, 5) == Approx(-model::student_t_quantile(0.8, 5)));
    CHECK(model::student_t_below(0, 3) == Approx(0.5));
}

TEST_CASE("the jackknife of a mean is its textbook interval") {
    const std::vector<double> blocks{3, 5, 4, 8, 10};
    std::vector<double> without;
    for (const double skipped : blocks) without.push_back((30 - skipped) / 4);
    const model::measurement m = model::jackknife(6, without);
    // Standard deviation sqrt(8.5), over sqrt(5), times t of 4 degrees.
    CHECK(m.range.high - 6 == Approx(2.776445105 * std::sqrt(8.5 / 5)).epsilon(1e-9));
    CHECK(6 - m.range.low == Approx(m.range.high - 6));
    // One block says nothing.
    const model::measurement alone = model::jackknife(6, {});
    CHECK(std::isinf(alone.range.low));
    CHECK(std::isinf(alone.range.high));
    CHECK(std::isinf(model::jackknife_error(std::vector<double>{1})));
}

TEST_CASE("Wilson's interval") {
    const model::measurement m = model::wilson(8, 10);
    CHECK(m.value == 0.8);
    CHECK(m.range.low == Approx(0.490162).epsilon(1e-5));
    CHECK(m.range.high == Approx(0.943318).epsilon(1e-5));
    const double z2 = 3.841458821;
    CHECK(model::wilson(0, 20).range.high == Approx(z2 / (20 + z2)).epsilon(1e-8));
    CHECK(model::wilson(0, 20).range.low == 0);
    CHECK(model::wilson(20, 20).range.low == Approx(20 / (20 + z2)).epsilon(1e-8));
    CHECK(model::wilson(20, 20).range.high == 1);
}

TEST_CASE("paired differences") {
    // No case differs: a closed form.
    const double z2 = 3.841458821;
    const model::measurement same = model::paired_loss({30, 0, 0, 10});
    CHECK(same.value == 0);
    CHECK(same.range.high == Approx(z2 / (40 + z2)).epsilon(1e-8));
    CHECK(same.range.low == Approx(-z2 / (40 + z2)).epsilon(1e-8));

    constexpr std::array cases{paired_counts{30, 5, 2, 3}, paired_counts{100, 20, 1, 79},
                               paired_counts{0, 0, 7, 3}, paired_counts{1, 8, 8, 1}};
    for (const paired_counts& counts : cases) {
        const model::measurement m = model::paired_loss(counts);
        CAPTURE(counts.only_reference, counts.only_candidate, m.range.low, m.range.high);
        CHECK(m.value == (counts.only_reference - counts.only_candidate) / counts.total());
        CHECK(brute_force_score(counts, m.range.low) == Approx(1.959964).epsilon(1e-3));
        CHECK(brute_force_score(counts, m.range.high) == Approx(-1.959964).epsilon(1e-3));
    }
    // Swapping the two turns the interval round.
    const model::measurement there = model::paired_loss({30, 5, 2, 3});
    const model::measurement back = model::paired_loss({30, 2, 5, 3});
    CHECK(there.range.low == Approx(-back.range.high));
    CHECK(there.range.high == Approx(-back.range.low));
    // All lost.
    const model::measurement lost = model::paired_loss({0, 10, 0, 0});
    CHECK(lost.value == 1);
    CHECK(lost.range.high == Approx(1));
    CHECK(brute_force_score({0, 10, 0, 0}, lost.range.low) == Approx(1.959964).epsilon(1e-3));
}

TEST_CASE("intervals of paired differences hold what they promise") {
    // The chance, over all tables of 30 cases, that the interval contains the true loss.
    constexpr int n = 30;
    const double lost_share = 0.12, won_share = 0.04;
    double covered = 0, all = 0;
    for (int lost = 0; lost <= n; ++lost) {
        for (int won = 0; lost + won <= n; ++won) {
            const int rest = n - lost - won;
            const double chance =
                std::exp(std::lgamma(n + 1) - std::lgamma(lost + 1) - std::lgamma(won + 1) -
                         std::lgamma(rest + 1) + lost * std::log(lost_share) +
                         won * std::log(won_share) + rest * std::log(1 - lost_share - won_share));
            all += chance;
            if (chance < 1e-9) continue;
            const auto range = model::paired_loss({0, double(lost), double(won), double(rest)}).range;
            if (range.low <= lost_share - won_share && lost_share - won_share <= range.high)
                covered += chance;
        }
    }
    CHECK(all == Approx(1).epsilon(1e-9));
    CHECK(covered > 0.935);
    CHECK(covered < 0.98);
}

TEST_CASE("McNemar's exact test") {
    CHECK(model::mcnemar_exact(0, 0) == 1);
    CHECK(model::mcnemar_exact(3, 3) == 1);
    CHECK(model::mcnemar_exact(9, 1) == Approx(2 * 11 / 1024.0));
    CHECK(model::mcnemar_exact(1, 9) == Approx(2 * 11 / 1024.0));
    CHECK(model::mcnemar_exact(6, 0) == Approx(2 / 64.0));
}

TEST_CASE("verdicts and what they would need") {
    using model::verdict;
    CHECK(model::judge_at_most({0.1, 0.2}, 0.2) == verdict::pass);
    CHECK(model::judge_at_most({0.1, 0.2}, 0.15) == verdict::undecided);
    CHECK(model::judge_at_most({0.1, 0.2}, 0.09) == verdict::fail);
    CHECK(model::judge_at_least({0.8, 0.9}, 0.8) == verdict::pass);
    CHECK(model::judge_at_least({0.8, 0.9}, 0.85) == verdict::undecided);
    CHECK(model::judge_at_least({0.8, 0.9}, 0.95) == verdict::fail);

    // Half the width needs four times the blocks.
    CHECK(model::blocks_needed({1.0, {0.8, 1.2}}, 8, 1.1).value() == Approx(32));
    CHECK(model::blocks_needed({1.0, {0.8, 1.2}}, 8, 2).value() == 8);
    CHECK_FALSE(model::blocks_needed({1.0, {0.8, 1.2}}, 8, 1.0).has_value());
    CHECK_FALSE(model::blocks_needed({1.0, {0.8, 1.2}}, 1, 1.1).has_value());

    // No case of 40 differs, at most 5% may be lost: z^2 / (n + z^2) <= 0.05.
    const paired_counts counts{20, 0, 0, 20};
    const auto factor = model::factor_needed([&](double f) {
        return model::judge_at_most(model::paired_loss(counts.scaled(f)).range, 0.05) !=
               verdict::undecided;
    });
    CHECK(factor.value() * 40 == Approx(3.841458821 * 19).epsilon(1e-6));
    const paired_counts even{20, 2, 0, 18};  // exactly 5% lost
    CHECK_FALSE(model::factor_needed([&](double f) {
                    return model::judge_at_most(model::paired_loss(even.scaled(f)).range, 0.05) !=
                           verdict::undecided;
                }).has_value());
}
