// SPDX-License-Identifier: Apache-2.0
//
// Recipes against llama-quantize's own choices (tests/golden/recipes) and the rules that those
// four models do not reach.
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "catch.hpp"
#include "golden_recipes.hpp"
#include "qdial/model/recipes.hpp"

namespace {

namespace model = qdial::model;
using model::architecture;
using model::get_recipe;
using model::plan_options;
using model::tensor_shape;

constexpr auto F16 = qdial::f16::gguf_id;
constexpr auto F32 = qdial::f32::gguf_id;

tensor_shape matrix(std::string name, std::uint64_t row_length = 4096, std::uint64_t rows = 64,
                    std::uint32_t format = F16) {
    return {std::move(name), {row_length, rows, 1, 1}, format};
}

tensor_shape block_matrix(int layer, const std::string& rest) {
    return matrix("blk." + std::to_string(layer) + "." + rest);
}

/// Names of the formats that a recipe gives, by tensor.
std::map<std::string, std::string> formats_of(const std::string& recipe, const architecture& arch,
                                              const std::vector<tensor_shape>& tensors,
                                              const plan_options& options = {}) {
    const auto plan = model::make_plan(get_recipe(recipe), arch, tensors, options);
    std::map<std::string, std::string> formats;
    for (const auto& planned : plan.tensors)
        formats[tensors[planned.source].name] = model::format_name(planned.format);
    return formats;
}

/// The format of one tensor of one kind in each layer, in one line ("Q4_K Q6_K ...").
std::string by_layer(const std::string& recipe, const architecture& arch, const std::string& rest,
                     const plan_options& options = {}) {
    std::vector<tensor_shape> tensors{matrix("output.weight")};
    for (int layer = 0; layer < static_cast<int>(arch.block_count); ++layer)
        tensors.push_back(block_matrix(layer, rest));
    auto formats = formats_of(recipe, arch, tensors, options);
    std::string text;
    for (int layer = 0; layer < static_cast<int>(arch.block_count); ++layer)
        text += (layer == 0 ? "" : " ") + formats["blk." + std::to_string(layer) + "." + rest];
    return text;
}

/// The format of a single tensor in a model of 16 layers.
std::string format_of(const std::string& recipe, const architecture& arch, const std::string& name,
                      const plan_options& options = {}) {
    return formats_of(recipe, arch, {matrix("output.weight"), matrix(name)}, options)[name];
}

architecture small_model(std::string name, std::uint32_t heads = 8, std::uint32_t kv_heads = 8) {
    architecture arch;
    arch.name = std::move(name);
    arch.block_count = 16;
    arch.head_count = heads;
    arch.head_count_kv = kv_heads;
    return arch;
}

architecture with_experts(std::uint32_t count) {
    architecture arch = small_model("llama", 32, 8);
    arch.expert_count = count;
    return arch;
}

std::string repeated(const std::string& word, int count) {
    std::string text = word;
    for (int i = 1; i < count; ++i) text += " " + word;
    return text;
}

template <class Function>
std::string message_of(Function&& function) {
    try {
        function();
    } catch (const qdial::error& problem) {
        return problem.what();
    }
    return "no error";
}

using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("recipes give llama-quantize's types, sizes and fallbacks") {
    const std::string name = GENERATE("llama-3.1-8b", "mixtral-8x7b", "qwen2.5-0.5b", "qwen3-0.6b");
    CAPTURE(name);
    const golden::recipe_table table = golden::read_recipe_table(name);
    // Importance weights change no type here; the tables' Q2_K_S needs them to be given.
    std::size_t checked = 0;
    for (std::size_t column = 0; column < table.recipes.size(); ++column) {
        const std::string& recipe = table.recipes[column];
        if (golden::needs_missing_formats(recipe)) continue;
        CAPTURE(recipe);
        const auto plan = model::choose_types(get_recipe(recipe), table.arch, table.tensors);
        REQUIRE(plan.tensors.size() == table.tensors.size());
        for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
            CAPTURE(table.tensors[i].name);
            CHECK(plan.tensors[i].source == i);  // the tables are in file order
            const auto expected = qdial::find_format(table.formats[i][column]);
            REQUIRE(expected);
            CHECK(model::format_name(plan.tensors[i].format) == expected->name);
        }
        CHECK(golden::two_decimals(static_cast<double>(plan.bytes) / (1 << 20)) ==
              table.mebibytes[column]);
        CHECK(golden::two_decimals(plan.bits_per_weight()) == table.bits_per_weight[column]);
        CHECK(std::to_string(plan.fallbacks) == table.fallbacks[column]);
        ++checked;
    }
    CHECK(checked == 17);  // all but F32, which the tables do not have
}

TEST_CASE("every recipe has its own file type and is found by name and alias") {
    std::map<std::uint32_t, std::string_view> seen;
    for (const auto& recipe : model::recipes) {
        CAPTURE(recipe.name);
        CHECK(seen.emplace(recipe.file_type, recipe.name).second);
        CHECK(model::find_recipe(recipe.name) == &recipe);
    }
    CHECK(get_recipe("Q4_K").name == "Q4_K_M");
    CHECK(get_recipe("q3_k").name == "Q3_K_M");
    CHECK(get_recipe("Q5_K").file_type == 17);
    CHECK(get_recipe("q4_k_m").file_type == 15);
    CHECK_THAT(message_of([] { (void)get_recipe("Q9"); }),
               Contains("\"Q9\"") && Contains("Q4_K_M") && !Contains("encoded"));
    CHECK_THAT(message_of([] { (void)get_recipe("Q8_K"); }), Contains("Q8_K cannot be encoded"));
}

TEST_CASE("layers that get more bits") {
    const architecture arch = small_model("llama");
    // 16 layers: 0 and 1, 14 and 15, and 4, 7, 10, 13 between them.
    const std::string m =
        "Q6_K Q6_K Q4_K Q4_K Q6_K Q4_K Q4_K Q6_K Q4_K Q4_K Q6_K Q4_K Q4_K Q6_K Q6_K Q6_K";
    CHECK(by_layer("Q4_K_M", arch, "ffn_down.weight") == m);
    CHECK(by_layer("Q4_K_M", arch, "attn_v.weight") == m);
    CHECK(by_layer("Q4_K_S", arch, "ffn_down.weight") ==
          repeated("Q5_K", 2) + " " + repeated("Q4_K", 14));
    CHECK(by_layer("Q4_K_S", arch, "attn_v.weight") ==
          repeated("Q5_K", 4) + " " + repeated("Q4_K", 12));
    CHECK(by_layer("Q3_K_M", arch, "attn_v.weight") ==
          repeated("Q5_K", 2) + " " + repeated("Q4_K", 14));
    CHECK(by_layer("Q3_K_M", arch, "ffn_down.weight") == "Q5_K " + repeated("Q4_K", 15));
}

TEST_CASE("fused and compressed values count as attention values") {
    const architecture arch = small_model("phi3");
    for (const std::string rest : {"attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"}) {
        CAPTURE(rest);
        CHECK(by_layer("Q3_K_M", arch, rest) == repeated("Q5_K", 2) + " " + repeated("Q4_K", 14));
    }
    // One running number for all of them, in file order.
    auto formats = formats_of("Q4_K_S", arch,
                              {block_matrix(0, "attn_v.weight"), block_matrix(1, "attn_qkv.weight"),
                               block_matrix(2, "attn_kv_b.weight"),
                               block_matrix(3, "attn_v.weight"), block_matrix(4, "attn_v.weight")});
    CHECK(formats["blk.3.attn_v.weight"] == "Q5_K");
    CHECK(formats["blk.4.attn_v.weight"] == "Q4_K");
    CHECK(format_of("Q3_K_M", arch, "blk.0.attn_v_b.weight") == "Q3_K");
}

TEST_CASE("falcon has rules of its own") {
    const architecture arch = small_model("falcon", 71, 1);
    CHECK(format_of("Q2_K", arch, "blk.0.attn_output.weight") == "Q2_K");
    CHECK(format_of("Q3_K_M", arch, "blk.0.attn_output.weight") == "Q3_K");
    CHECK(format_of("Q3_K_L", arch, "blk.0.attn_output.weight") == "Q4_K");
    CHECK(by_layer("Q3_K_L", arch, "ffn_down.weight") == repeated("Q4_K", 16));
    CHECK(by_layer("Q4_K_S", arch, "ffn_down.weight") == repeated("Q4_K", 16));
    CHECK(by_layer("Q3_K_M", arch, "ffn_down.weight") ==
          "Q5_K Q4_K Q3_K Q3_K Q4_K Q3_K Q3_K Q4_K Q3_K Q3_K Q4_K Q3_K Q3_K Q4_K Q4_K Q4_K");
    CHECK(by_layer("Q4_K_M", arch, "ffn_down.weight") ==
          "Q6_K Q5_K Q4_K Q4_K Q5_K Q4_K Q4_K Q5_K Q4_K Q4_K Q5_K Q4_K Q4_K Q5_K Q5_K Q5_K");
    CHECK(format_of("Q4_K_M", arch, "output.weight") == "Q8_0");
    CHECK(format_of("Q4_K_M", small_model("llama"), "output.weight") == "Q6_K");
}

TEST_CASE("grouped queries") {
    for (const auto& [heads, kv_heads, expected] :
         {std::tuple{32u, 8u, "Q4_K"}, std::tuple{31u, 8u, "Q3_K"}, std::tuple{8u, 0u, "Q3_K"}}) {
        CAPTURE(heads, kv_heads);
        CHECK(format_of("Q2_K", small_model("llama", heads, kv_heads), "blk.0.attn_v.weight") ==
              expected);
    }
    architecture arch = small_model("openelm");
    arch.head_count = model::per_layer(std::vector<std::uint32_t>{16, 4});
    arch.head_count_kv = model::per_layer(std::vector<std::uint32_t>{4, 4});
    CHECK(format_of("Q2_K", arch, "blk.1.attn_v.weight") == "Q4_K");  // the first layer decides
}

TEST_CASE("attention values of 70B-class models") {
    struct expectation {
        std::string name;
        std::uint32_t layers, kv_heads;
        std::string q3_k_s, q4_k_s_late;
    };
    for (const expectation& e : {expectation{"llama", 80, 8, "Q5_K", "Q5_K"},
                                 {"llama", 80, 64, "Q3_K", "Q4_K"},
                                 {"llama", 79, 8, "Q3_K", "Q4_K"},
                                 {"qwen2", 80, 64, "Q5_K", "Q5_K"},
                                 {"deci", 80, 8, "Q5_K", "Q5_K"},
                                 {"olmo", 80, 8, "Q5_K", "Q5_K"},
                                 {"jais2", 68, 8, "Q5_K", "Q5_K"},
                                 {"gemma", 80, 8, "Q3_K", "Q4_K"}}) {
        CAPTURE(e.name, e.layers, e.kv_heads);
        architecture arch = small_model(e.name, 64, e.kv_heads);
        arch.block_count = e.layers;
        CHECK(format_of("Q3_K_S", arch, "blk.0.attn_v.weight") == e.q3_k_s);
        CHECK_THAT(by_layer("Q4_K_S", arch, "attn_v.weight"), Catch::EndsWith(e.q4_k_s_late));
        CHECK(format_of("Q6_K", arch, "blk.0.attn_v.weight") == "Q6_K");
        CHECK(format_of("Q3_K_S", arch, "blk.0.attn_k.weight") == "Q3_K");
    }
}

TEST_CASE("experts: the layer comes from the name") {
    const architecture arch = with_experts(8);
    CHECK(format_of("Q4_K_M", arch, "blk.15.ffn_down_exps.weight") == "Q6_K");
    CHECK(format_of("Q4_K_M", arch, "blk.15.ffn_down.3.weight") == "Q6_K");
    CHECK(format_of("Q4_K_M", arch, "blk.2.ffn_down_shexp.weight") == "Q4_K");
    CHECK(format_of("Q4_0", arch, "blk.0.attn_v.weight") == "Q8_0");
    CHECK(format_of("Q4_0", arch, "blk.0.attn_k.weight") == "Q8_0");
    CHECK(format_of("Q4_K_M", arch, "blk.0.attn_output.weight") == "Q5_K");
    CHECK(format_of("Q3_K_L", arch, "blk.0.attn_output.weight") == "Q3_K");
    CHECK(format_of("Q4_K_M", with_experts(64), "blk.0.attn_output.weight") == "Q4_K");
    CHECK(format_of("Q4_K_M", with_experts(1), "ffn_down.weight") == "Q6_K");
    for (const std::string name :
         {"ffn_down.weight", "blk.16.ffn_down.weight", "blk.x.ffn_up.weight",
          "blk.-1.ffn_gate.weight", "blk.99999999999.ffn_down.weight"}) {
        CAPTURE(name);
        CHECK_THAT(message_of([&] { format_of("Q4_K_M", arch, name); }),
                   Contains("tensor \"" + name + "\"") && Contains("below 16"));
    }
}

TEST_CASE("importance weights change first down projections of Q4_0 and Q5_0") {
    const architecture arch = small_model("llama");
    plan_options options;
    CHECK(by_layer("Q4_0", arch, "ffn_down.weight", options) == repeated("Q4_0", 16));
    options.has_importance = [](const tensor_shape&) { return false; };
    CHECK(by_layer("Q4_0", arch, "ffn_down.weight", options) ==
          repeated("Q4_1", 2) + " " + repeated("Q4_0", 14));
    CHECK(by_layer("Q5_0", arch, "ffn_down.weight", options) ==
          repeated("Q5_1", 2) + " " + repeated("Q5_0", 14));
    CHECK(by_layer("Q4_1", arch, "ffn_down.weight", options) == repeated("Q4_1", 16));
}

TEST_CASE("Q2_K_S needs importance weights for its Q2_K tensors") {
    const architecture arch = small_model("llama");
    const std::vector<tensor_shape> tensors{matrix("output.weight"), matrix("token_embd.weight"),
                                            block_matrix(0, "attn_q.weight")};
    plan_options options;
    CHECK_THAT(message_of([&] { formats_of("Q2_K_S", arch, tensors, options); }),
               Contains("tensor \"blk.0.attn_q.weight\"") && Contains("importance"));
    options.has_importance = [](const tensor_shape& t) { return t.name == "output.weight"; };
    CHECK_THAT(message_of([&] { formats_of("Q2_K_S", arch, tensors, options); }),
               Contains("tensor \"blk.0.attn_q.weight\"") && Contains("importance"));
    options.has_importance = [](const tensor_shape& t) { return t.name.starts_with("blk."); };
    CHECK(formats_of("Q2_K_S", arch, tensors, options)["token_embd.weight"] == "Q2_K");
    CHECK(formats_of("Q2_K", arch, tensors)["blk.0.attn_q.weight"] == "Q2_K");
}

TEST_CASE("tensors that keep their type") {
    const architecture arch = small_model("llama");
    CHECK(formats_of("Q4_0", arch, {{"blk.0.attn_norm.weight", {64, 1, 1, 1}, F32}})
              .at("blk.0.attn_norm.weight") == "F32");
    CHECK(formats_of("Q4_0", arch, {{"blk.0.thing.weight", {64, 1, 1, 1}, F16}})
              .at("blk.0.thing.weight") == "F16");
    CHECK(formats_of("Q4_0", arch, {{"blk.0.thing.weight", {64, 1, 2, 1}, F16}})
              .at("blk.0.thing.weight") == "Q4_0");
    for (const std::string name :
         {"blk.0.attn_k_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.ffn_down.bias",
          "position_embd.weight", "token_types.weight", "blk.0.ssm_conv1d.weight",
          "blk.3.time_mix_w1.weight", "v.position_embd.weight", "blk.0.attn_rel_b.weight",
          "blk.0.ssm_a", "weight.x", "w"}) {
        CAPTURE(name);
        CHECK(format_of("Q4_0", arch, name) == "F16");
        CHECK(format_of("F32", arch, name) == "F16");
    }
    CHECK(format_of("Q4_0", arch, "blk.0.time_mix_key.weight") == "Q4_0");
    CHECK(format_of("F32", arch, "blk.0.time_mix_key.weight") == "F32");
    CHECK(format_of("Q4_0", arch, "weight") == "Q4_0");
}

TEST_CASE("file order: outside blocks first, then by block, then by name") {
    const std::vector<std::string> names{
        "blk.10.a.weight", "token_embd.weight", "blk.2.b.weight",
        "blk.2.B.weight",  "output.weight",     "blk.x.a.weight",
        "blk.2.a.weight",  "blk.0.z.weight",    "blk.007.a.weight"};
    std::vector<tensor_shape> tensors;
    for (const auto& name : names) tensors.push_back(matrix(name));
    std::vector<std::string> order;
    for (const auto& planned :
         model::make_plan(get_recipe("Q4_0"), small_model("llama"), tensors).tensors)
        order.push_back(names[planned.source]);
    CHECK(order == std::vector<std::string>{"blk.x.a.weight", "output.weight", "token_embd.weight",
                                            "blk.0.z.weight", "blk.2.B.weight", "blk.2.a.weight",
                                            "blk.2.b.weight", "blk.007.a.weight",
                                            "blk.10.a.weight"});
}

TEST_CASE("rows that do not divide into blocks") {
    const architecture arch = small_model("llama");
    const auto format_for = [&](const std::string& recipe, std::uint64_t row_length) {
        return formats_of(recipe, arch,
                          {matrix("output.weight"), matrix("blk.0.x.weight", row_length)})
            .at("blk.0.x.weight");
    };
    CHECK(format_for("Q2_K", 96) == "Q4_0");
    CHECK(format_for("Q3_K_S", 96) == "Q4_0");
    CHECK(format_for("Q4_K_S", 96) == "Q5_0");
    CHECK(format_for("Q5_K_S", 96) == "Q5_1");
    CHECK(format_for("Q6_K", 96) == "Q8_0");
    CHECK(format_for("Q6_K", 100) == "F16");
    CHECK(format_for("Q8_0", 100) == "F16");
    CHECK(format_for("Q4_0", 0) == "Q4_0");

    const std::vector<tensor_shape> tensors{matrix("blk.0.x.weight", 96)};
    const auto plan = model::make_plan(get_recipe("Q4_K_S"), arch, tensors);
    CHECK(plan.fallbacks == 1);
    CHECK(plan.tensors[0].fallback);
    CHECK(model::format_name(plan.tensors[0].chosen) == "Q4_K");
    CHECK(plan.bytes == 3u * 22 * 64);

    plan_options options;
    options.no_fallback = true;
    CHECK_THAT(
        message_of([&] { formats_of("Q4_K_S", arch, tensors, options); }),
        Contains("blk.0.x.weight") && Contains("96") && Contains("Q4_K") && Contains("Q5_0"));
    // The embeddings as output head take Q8_0 by rule: no fallback.
    CHECK(formats_of("Q4_K_S", arch, {matrix("token_embd.weight", 96)}, options)
              .at("token_embd.weight") == "Q8_0");
}

TEST_CASE("pure") {
    const architecture arch = small_model("llama", 32, 8);
    plan_options options;
    options.pure = true;
    CHECK(by_layer("Q4_K", arch, "ffn_down.weight", options) == repeated("Q4_K", 16));
    CHECK(format_of("Q2_K", arch, "output.weight", options) == "Q2_K");
    CHECK(format_of("Q2_K", arch, "blk.0.attn_v.weight", options) == "Q2_K");
    CHECK(formats_of("Q2_K", arch, {matrix("blk.0.x.weight", 96)}, options).at("blk.0.x.weight") ==
          "Q4_0");
}

TEST_CASE("overrides") {
    const architecture arch = small_model("llama");
    plan_options options;
    options.overrides = {model::parse_type_override(R"(blk\.[0-3]\.ATTN_V=q8_0)"),
                         model::parse_type_override("attn_v=Q4_0"),
                         model::parse_type_override("output=Q5_1")};
    CHECK(by_layer("Q4_K_S", arch, "attn_v.weight", options) ==
          repeated("Q8_0", 4) + " " + repeated("Q4_0", 12));
    CHECK(format_of("Q4_K_S", arch, "output.weight", options) == "Q5_1");
    CHECK(format_of("F16", arch, "blk.0.attn_v.weight", options) == "F16");
    CHECK(format_of("Q4_K_S", arch, "attn_v_norm.weight", options) == "F16");  // never touched
    options.pure = true;
    CHECK(by_layer("Q4_K_S", arch, "attn_v.weight", options) ==
          repeated("Q8_0", 4) + " " + repeated("Q4_0", 12));

    // Overridden tensors do not count: layers 4..7 are the first four of the others.
    options = {};
    options.overrides = {model::parse_type_override(R"(blk\.[0-3]\.=Q8_0)")};
    CHECK(by_layer("Q4_K_S", arch, "attn_v.weight", options) ==
          repeated("Q8_0", 4) + " " + repeated("Q5_K", 4) + " " + repeated("Q4_K", 8));

    // Their rows may still not fit.
    options.overrides = {model::parse_type_override("x=Q6_K")};
    CHECK(formats_of("Q4_0", arch, {matrix("blk.0.x.weight", 96)}, options).at("blk.0.x.weight") ==
          "Q8_0");
}

TEST_CASE("override texts that are refused") {
    for (const auto& [text, part] :
         std::map<std::string, std::string>{{"attn_v", "REGEX=TYPE"},
                                            {"=Q4_0", "REGEX=TYPE"},
                                            {"attn_v=", "unknown format"},
                                            {"attn_v=Q9", "unknown format \"Q9\""},
                                            {"attn_v=IQ4_XS", "IQ4_XS cannot be encoded"},
                                            {"attn_v=Q8_K", "Q8_K cannot be encoded"},
                                            {"attn_v=I32", "I32 cannot be encoded"},
                                            {"attn_(v=Q4_0", "not a regular expression"}}) {
        CAPTURE(text);
        const std::string given = text;
        CHECK_THAT(message_of([&] { (void)model::parse_type_override(given); }),
                   Contains(part) && Contains("\"" + given + "\""));
    }
    CHECK(model::parse_target_format("q5_k", "--output-tensor-type") == qdial::q5_k::gguf_id);
    CHECK_THAT(message_of([] { (void)model::parse_target_format("Q8_1", "--output-tensor-type"); }),
               Contains("--output-tensor-type: Q8_1 cannot be encoded"));
}

TEST_CASE("formats for the output head and the embeddings") {
    const architecture arch = small_model("llama");
    const std::vector<tensor_shape> untied{matrix("output.weight"), matrix("token_embd.weight")};
    const std::vector<tensor_shape> tied{matrix("token_embd.weight")};
    plan_options options;
    options.output_format = qdial::q5_0::gguf_id;
    CHECK(formats_of("Q4_K_M", arch, untied, options) ==
          std::map<std::string, std::string>{{"output.weight", "Q5_0"},
                                             {"token_embd.weight", "Q4_K"}});
    CHECK(formats_of("Q4_K_M", arch, tied, options).at("token_embd.weight") == "Q5_0");
    CHECK(formats_of("F16", arch, untied, options).at("output.weight") == "Q5_0");
    CHECK(formats_of("F32", arch, tied, options).at("token_embd.weight") == "F32");
    options.embedding_format = qdial::q2_k::gguf_id;
    CHECK(formats_of("F16", arch, {matrix("token_embd.weight", 96)}, options)
              .at("token_embd.weight") == "Q4_0");  // rows that do not fit fall back here too
    CHECK(formats_of("Q4_K_M", arch, tied, options).at("token_embd.weight") == "Q2_K");
    CHECK(formats_of("F16", arch, untied, options).at("token_embd.weight") == "Q2_K");
    options.pure = true;
    options.overrides = {model::parse_type_override(".*=Q4_1")};
    CHECK(formats_of("Q4_K_M", arch, untied, options) ==
          std::map<std::string, std::string>{{"output.weight", "Q5_0"},
                                             {"token_embd.weight", "Q2_K"}});
}

TEST_CASE("conversions that are refused or need no permission") {
    const architecture arch = small_model("llama");
    const auto from = [&](std::uint32_t source, const std::string& recipe, bool allow = false) {
        plan_options options;
        options.allow_requantize = allow;
        return message_of([&] {
            formats_of(recipe, arch, {matrix("blk.0.x.weight", 4096, 64, source)}, options);
        });
    };
    CHECK_THAT(from(qdial::q8_0::gguf_id, "Q4_0"),
               Contains("tensor \"blk.0.x.weight\"") && Contains("already quantized (Q8_0)"));
    CHECK(from(qdial::q8_0::gguf_id, "Q4_0", true) == "no error");
    CHECK(from(qdial::q8_0::gguf_id, "Q8_0") == "no error");
    CHECK(from(qdial::q8_0::gguf_id, "F16") == "no error");
    CHECK(from(qdial::q8_0::gguf_id, "BF16") == "no error");
    CHECK(from(qdial::bf16::gguf_id, "Q4_0") == "no error");
    CHECK_THAT(from(qdial::iq4_xs::gguf_id, "F16"), Contains("IQ4_XS cannot be decoded"));
    CHECK_THAT(from(qdial::i32::gguf_id, "Q4_0"), Contains("I32 cannot be decoded"));
    CHECK_THAT(from(5, "Q4_0"), Contains("type 5 cannot be decoded"));
}

TEST_CASE("unknown architectures get the general rules") {
    CHECK(format_of("Q4_K_M", small_model("not-invented-yet"), "blk.0.attn_v.weight") == "Q6_K");
    CHECK(format_of("Q4_K_M", architecture{}, "blk.0.attn_q.weight") == "Q4_K");
    CHECK(format_of("Q3_K_M", architecture{}, "blk.0.ffn_down.weight") == "Q4_K");
}
