// SPDX-License-Identifier: Apache-2.0
//
// Which rung is picked, and what divergences are called.
#include <array>
#include <optional>
#include <vector>

#include "catch.hpp"
#include "qdial/model/dial.hpp"

namespace {

namespace model = qdial::model;
using model::judged_rung;
using model::verdict;

}  // namespace

TEST_CASE("the lowest rung that passes and fits") {
    const auto pick = [](std::vector<judged_rung> rungs) {
        return model::lowest_rung_that_passes(rungs);
    };
    const judged_rung good{verdict::pass, true}, bad{verdict::fail, true},
        doubtful{verdict::undecided, true}, large{verdict::pass, false}, unknown{{}, true};
    CHECK(pick({good, good, bad}) == 1);
    CHECK(pick({good, doubtful, bad, unknown}) == 0);
    CHECK(pick({good, doubtful, good}) == 2);
    CHECK(pick({good, bad, good}) == 0);  // below one that fails nothing counts
    CHECK(pick({large, large, good, bad}) == 2);
    CHECK_FALSE(pick({large, bad}).has_value());
    CHECK_FALSE(pick({unknown}).has_value());
    CHECK_FALSE(pick({}).has_value());
}

TEST_CASE("weights that were quantized once") {
    const auto past = [](std::vector<double> errors) { return model::setting_of_the_past(errors); };
    CHECK_FALSE(past({0, 0.002, 0.006, 0.03, 0.09, 0.2}).has_value());
    CHECK(past({0, 0.002, 0.006, 0.03, 0.004, 0.2}) == 4);
    CHECK(past({0.005, 0.036, 0.0001}) == 2);
    CHECK_FALSE(past({}).has_value());
}

TEST_CASE("words for divergences") {
    // What llama.cpp's table has for Llama 3 8B gets the words of the dial.
    CHECK(model::words_for_kl(0.0014) == "near-identical");
    CHECK(model::words_for_kl(0.0055) == "near-identical");
    CHECK(model::words_for_kl(0.011) == "slightly degraded");
    CHECK(model::words_for_kl(0.031) == "noticeable");
    CHECK(model::words_for_kl(0.10) == "visible");
    CHECK(model::words_for_kl(0.45) == "significant");
    CHECK(model::words_for_kl(1e9) == "significant");
}
