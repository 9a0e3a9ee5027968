// SPDX-License-Identifier: Apache-2.0
//
// Sizes and memory, built-in shapes, and the dial.
#include <limits>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "catch.hpp"
#include "golden_recipes.hpp"
#include "qdial/model/builtin_shapes.hpp"
#include "qdial/model/dial.hpp"
#include "qdial/model/estimate.hpp"

namespace {

namespace model = qdial::model;
using model::architecture;

constexpr std::uint64_t MiB = std::uint64_t{1} << 20;
constexpr std::uint64_t GiB = std::uint64_t{1} << 30;

const model::transformer_shape& builtin(const std::string& name) {
    const model::transformer_shape* shape = model::find_builtin_shape(name);
    REQUIRE(shape != nullptr);
    return *shape;
}

model::model_estimate estimate_of(const std::string& name, std::uint64_t context = 0) {
    const auto& shape = builtin(name);
    return model::estimate(model::architecture_from(shape), model::tensors_of(shape), context);
}

const model::recipe_estimate& of_recipe(const model::model_estimate& all, std::string_view name) {
    for (const auto& one : all.recipes)
        if (one.made_from->name == name) return one;
    throw std::runtime_error("no estimate for this recipe");
}

}  // namespace

TEST_CASE("built-in shapes are the models they name") {
    const std::string name = GENERATE("llama-3.1-8b", "qwen3-0.6b", "mixtral-8x7b");
    CAPTURE(name);
    const golden::recipe_table table = golden::read_recipe_table(name);
    using facts = std::tuple<std::array<std::uint64_t, 4>, std::uint32_t>;
    std::map<std::string, facts> expected;
    for (const auto& tensor : table.tensors) expected[tensor.name] = {tensor.dims, tensor.format};
    std::map<std::string, facts> found;
    for (const auto& tensor : model::tensors_of(builtin(name)))
        found[tensor.name] = {tensor.dims, tensor.format};
    CHECK(found == expected);

    const architecture arch = model::architecture_from(builtin(name));
    CHECK(arch.name == table.arch.name);
    CHECK(arch.block_count == table.arch.block_count);
    CHECK(arch.head_count[0] == table.arch.head_count[0]);
    CHECK(arch.head_count_kv[0] == table.arch.head_count_kv[0]);
    CHECK(arch.expert_count == table.arch.expert_count);
    CHECK(model::find_builtin_shape("LLAMA-3.1-8B") == &builtin("llama-3.1-8b"));
    CHECK(model::find_builtin_shape("llama") == nullptr);
}

TEST_CASE("estimates equal the sizes of llama-quantize") {
    const std::string name = GENERATE("llama-3.1-8b", "qwen3-0.6b", "mixtral-8x7b");
    CAPTURE(name);
    const golden::recipe_table table = golden::read_recipe_table(name);
    const model::model_estimate all = estimate_of(name);
    std::size_t checked = 0;
    for (std::size_t column = 0; column < table.recipes.size(); ++column) {
        if (golden::needs_missing_formats(table.recipes[column])) continue;
        CAPTURE(table.recipes[column]);
        const auto& one = of_recipe(all, table.recipes[column]);
        CHECK(golden::two_decimals(static_cast<double>(one.tensor_bytes) / MiB) ==
              table.mebibytes[column]);
        CHECK(golden::two_decimals(one.bits_per_weight) == table.bits_per_weight[column]);
        CHECK(std::to_string(one.fallbacks) == table.fallbacks[column]);
        CHECK(one.file_bytes == one.tensor_bytes);  // no padding needed, no metadata given
        ++checked;
    }
    CHECK(checked == 17);
    CHECK(all.recipes.size() == std::size(model::recipes));
}

TEST_CASE("the table of the 8B model") {
    const model::model_estimate all = estimate_of("llama-3.1-8b");
    for (const auto& [name, mebibytes] : {std::pair{"F16", 15317.02},
                                          {"Q8_0", 8137.64},
                                          {"Q6_K", 6282.97},
                                          {"Q5_K_M", 5459.93},
                                          {"Q4_K_M", 4685.30},
                                          {"Q3_K_M", 3825.27},
                                          {"Q2_K", 3024.38}}) {
        CAPTURE(name);
        CHECK(golden::two_decimals(static_cast<double>(of_recipe(all, name).file_bytes) / MiB) ==
              golden::two_decimals(mebibytes));
    }
}

TEST_CASE("memory to run a model") {
    const model::model_estimate all = estimate_of("llama-3.1-8b");
    CHECK(all.context == 4096);
    // 32 layers x 8 heads x (128 + 128) elements x 2 bytes = 128 KiB a token.
    CHECK(all.kv_cache_bytes == 512 * MiB);
    CHECK(all.working_bytes == 4u * 512 * (128256 + 4096) + 128 * MiB);
    const auto& q4_k_m = of_recipe(all, "Q4_K_M");
    CHECK(q4_k_m.memory_bytes == q4_k_m.tensor_bytes + all.kv_cache_bytes + all.working_bytes);
    CHECK(q4_k_m.fits == std::array{false, true, true, true, true});
    CHECK(of_recipe(all, "Q8_0").fits == std::array{false, false, true, true, true});
    CHECK(of_recipe(all, "F16").fits == std::array{false, false, false, true, true});
    CHECK(of_recipe(all, "F32").fits == std::array{false, false, false, false, false});

    const model::model_estimate longer = estimate_of("llama-3.1-8b", 65536);
    CHECK(longer.kv_cache_bytes == 8 * GiB);
    CHECK(of_recipe(longer, "Q4_K_M").fits == std::array{false, false, true, true, true});
}

TEST_CASE("the key/value cache of unlike layers, and of none") {
    architecture arch;
    arch.block_count = 4;
    arch.key_length = 64;
    arch.value_length = 32;
    CHECK(model::kv_cache_bytes(arch, 1000) == 0);  // no attention
    arch.head_count_kv = model::per_layer(std::vector<std::uint32_t>{4, 0, 2, 0});
    CHECK(model::kv_cache_bytes(arch, 1000) == 6u * 96 * 1000 * 2);
    arch.head_count_kv = 3;
    CHECK(model::kv_cache_bytes(arch, 1000) == 12u * 96 * 1000 * 2);

    constexpr auto most = std::numeric_limits<std::uint32_t>::max();
    arch.block_count = arch.key_length = arch.value_length = most;
    arch.head_count_kv = most;
    CHECK(model::kv_cache_bytes(arch, most) == std::numeric_limits<std::uint64_t>::max());
    CHECK(model::estimate(arch, {}, most).recipes[0].memory_bytes ==
          std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("what a machine leaves to a model") {
    CHECK(model::usable_memory(4 * GiB) == 3 * GiB);
    CHECK(model::usable_memory(8 * GiB) == 7 * GiB);
    CHECK(model::usable_memory(32 * GiB) == 28 * GiB);
    CHECK(model::usable_memory(GiB / 2) == 0);
}

TEST_CASE("the context that is assumed") {
    architecture arch;
    CHECK(model::default_context(arch) == 4096);
    arch.context_length = 2048;
    CHECK(model::default_context(arch) == 2048);
    CHECK(model::estimate(arch, {}).context == 2048);
    arch.context_length = 131072;
    CHECK(model::default_context(arch) == 4096);
}

TEST_CASE("files hold metadata and padding too") {
    // 3 rows of 32 in Q8_0 are 102 bytes.
    const std::vector<model::tensor_shape> tensors{
        {"output.weight", {32, 3, 1, 1}, qdial::f16::gguf_id}};
    const auto one =
        model::estimate_recipe(model::get_recipe("Q8_0"), architecture{}, tensors, 0, 4096);
    CHECK(one.tensor_bytes == 102);
    CHECK(one.file_bytes == 128 + 4096);
}

TEST_CASE("rungs name recipes, from the top down") {
    std::vector<std::string_view> standard;
    for (const model::rung* rung : model::standard_rungs()) standard.push_back(rung->setting);
    CHECK(standard == std::vector<std::string_view>{"FP16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M",
                                                    "Q3_K_M", "Q2_K"});
    const model::model_estimate all = estimate_of("llama-3.1-8b");
    std::uint64_t before = std::numeric_limits<std::uint64_t>::max();
    std::set<std::string_view> seen;
    for (const model::rung& rung : model::rungs) {
        CAPTURE(rung.setting);
        CHECK_FALSE(rung.advice.empty());
        CHECK(seen.insert(rung.recipe).second);
        const std::uint64_t bytes = of_recipe(all, rung.recipe).file_bytes;
        CHECK(bytes <= before);
        before = bytes;
    }
    CHECK(seen.size() + 1 == std::size(model::recipes));  // F32 is no setting
}

TEST_CASE("lists of settings") {
    const auto settings = [](std::string_view list) {
        std::string text;
        for (const model::rung* rung : model::parse_rungs(list))
            text += std::string(rung->setting) + " ";
        return text;
    };
    CHECK(settings("FP16") == "FP16 ");
    CHECK(settings("q4_k_m,f16,Q8_0,Q4_K") == "FP16 Q8_0 Q4_K_M ");
    for (const std::string_view list :
         {"", "Q4_K_M,", ",Q8_0", "Q8_0,,Q2_K", "F32", "Q9", " Q8_0"}) {
        CAPTURE(list);
        CHECK_THROWS_AS(model::parse_rungs(list), qdial::error);
    }
    CHECK_THROWS_WITH(model::parse_rungs("Q8_0,Q9"), Catch::Contains("\"Q9\"; expected FP16"));
}

TEST_CASE("the pick: the highest rung that fits") {
    const std::vector<std::uint64_t> memory{160, 85, 90, 40};
    CHECK(model::highest_rung_that_fits(memory, 200) == 0u);
    CHECK(model::highest_rung_that_fits(memory, 160) == 0u);
    CHECK(model::highest_rung_that_fits(memory, 159) == 1u);
    CHECK(model::highest_rung_that_fits(memory, 84) == 3u);
    CHECK(model::highest_rung_that_fits(memory, 39) == std::nullopt);
    CHECK(model::highest_rung_that_fits({}, 39) == std::nullopt);
}
