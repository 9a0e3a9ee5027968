// SPDX-License-Identifier: Apache-2.0
//
// The forward pass on small models: the same bits however the work is divided, and on every
// backend (this file is compiled for several). That they are the right numbers is what
// tests/engine/oracle.py shows against llama.cpp.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "models.hpp"
#include "session.hpp"
#include "sha256.hpp"

namespace {

using namespace engine;
using engine_test::make_model;

std::vector<token> some_tokens(std::size_t n) {
    std::vector<token> out;
    for (std::size_t i = 0; i < n; ++i)
        out.push_back(static_cast<token>((i * i * 7 + i * 13 + 1) % engine_test::vocabulary));
    return out;
}

/// Logits after each of the tokens, given to the session in parts.
std::vector<float> all_logits(session& s, std::span<const token> tokens, std::size_t part) {
    const std::size_t vocabulary = engine_test::vocabulary;
    std::vector<float> out(tokens.size() * vocabulary);
    for (std::size_t at = 0; at < tokens.size(); at += part) {
        const std::size_t n = std::min(part, tokens.size() - at);
        std::vector<std::size_t> wanted(n);
        for (std::size_t i = 0; i < n; ++i) wanted[i] = i;
        s.run(tokens.subspan(at, n), wanted);
        s.logits(0, n, std::span(out).subspan(at * vocabulary, n * vocabulary));
    }
    return out;
}

std::string hash_of(const std::vector<float>& values) {
    return qdial_test::sha256(values.data(), values.size() * sizeof(float));
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("Logits have the same bits for every division of the work, and on every backend") {
    const std::pair<const char*, const char*> expected[] = {
        {"llama", "986999e1d59ff5451ab6c00631bc86409700f317a59da6ce78bf78014130d373"},
        {"qwen2", "c542296d99baf986ede4ca99029d36eadc087f80168559dc0aa00d0c4061b2f8"},
        {"qwen3", "77802bb49a2e2a65204c9fb25e019dff1e95be77366d4b2d6b34ed7c6b544f3c"},
        {"gemma3", "9546a0359839bfe86f6ff16f9439d51cf4fe91d0c15dfdae0f612688a8b7b849"}};
    const std::vector<token> tokens = some_tokens(41);
    for (const auto& [arch, hash] : expected) {
        CAPTURE(arch);
        const gguf_test::scratch_folder folder;
        const auto path = engine_test::write(folder, make_model(arch));
        thread_pool one(1), three(3);
        const model m(path, one);
        session whole(m, one, {64});
        const std::vector<float> logits = all_logits(whole, tokens, tokens.size());
        CHECK(hash_of(logits) == hash);
        CHECK(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }));

        for (const std::size_t part : {std::size_t{1}, std::size_t{5}, std::size_t{16}}) {
            CAPTURE(part);
            session s(m, three, {64});
            CHECK(same_bits(all_logits(s, tokens, part), logits));
        }
        session small_batches(m, three, {41, kv_format::f16, 9});
        CHECK(same_bits(all_logits(small_batches, tokens, tokens.size()), logits));
        // Packing with threads is the same packing.
        const model again(path, three);
        session other(again, one, {64});
        CHECK(same_bits(all_logits(other, tokens, 7), logits));
    }
}

TEST_CASE("Caches differ by their rounding only, each with its own fixed bits") {
    const gguf_test::scratch_folder folder;
    thread_pool one(1), two(2);
    const model m(engine_test::write(folder, make_model("gemma3")), one);
    const std::vector<token> tokens = some_tokens(30);
    std::vector<std::vector<float>> results;
    for (const kv_format cache : {kv_format::f32, kv_format::f16, kv_format::q8_0}) {
        session whole(m, one, {32, cache}), parts(m, two, {32, cache});
        results.push_back(all_logits(whole, tokens, tokens.size()));
        CHECK(same_bits(all_logits(parts, tokens, 4), results.back()));
    }
    const auto distance = [&](std::size_t k) {
        double error = 0, size = 0;
        for (std::size_t i = 0; i < results[0].size(); ++i) {
            error += std::pow(results[k][i] - results[0][i], 2);
            size += std::pow(results[0][i], 2);
        }
        return std::sqrt(error / size);
    };
    // Random weights in few bits: what rounds differently once changes many codes later.
    CHECK(distance(1) > 0);
    CHECK(distance(1) < 0.05);
    CHECK(distance(2) > distance(1));
    CHECK(distance(2) < 0.2);
}

TEST_CASE("A session can be cleared, rewound and observed") {
    const gguf_test::scratch_folder folder;
    thread_pool one(1);
    const model m(engine_test::write(folder, make_model("qwen3")), one);
    const std::vector<token> tokens = some_tokens(12);
    session s(m, one, {16});
    const std::vector<float> first = all_logits(s, tokens, 12);
    CHECK(s.position() == 12);
    s.clear();
    CHECK(same_bits(all_logits(s, tokens, 12), first));
    s.rewind(5);
    CHECK(s.position() == 5);
    const std::vector<float> rest = all_logits(s, std::span(tokens).subspan(5), 7);
    CHECK(std::equal(rest.begin(), rest.end(), first.begin() + 5 * engine_test::vocabulary));

    std::vector<std::string> seen;
    std::size_t rows = 0;
    s.observe([&](std::string_view name, std::span<const float> x, std::size_t n,
                  std::size_t row_length) {
        seen.emplace_back(name);
        rows += n;
        CHECK(x.size() == n * row_length);
    });
    s.clear();
    CHECK(same_bits(all_logits(s, tokens, 12), first));
    CHECK(seen.size() == 7 * engine_test::layers + 1);
    CHECK(seen.front() == "blk.0.attn_q.weight");
    CHECK(seen.back() == "output.weight");
    CHECK(rows == 12 * seen.size());
    s.observe({});
    s.clear();
    seen.clear();
    const std::vector<token> generated = s.generate(tokens, 4);
    CHECK(generated.size() == 4);
    CHECK(seen.empty());
    CHECK(generated[0] == most_likely(std::span(first).last(engine_test::vocabulary)));
    s.clear();
    CHECK(s.generate(tokens, 100).size() == 5);  // the cache ends
    s.clear();
    CHECK(s.generate(tokens, 4, [&](token t) { return t == generated[1]; }).size() <= 2);
}

TEST_CASE("Sessions refuse what they cannot hold") {
    const gguf_test::scratch_folder folder;
    thread_pool one(1);
    const model m(engine_test::write(folder, make_model("qwen2")), one);
    using gguf_test::error_of;
    CHECK(error_of([&] { session(m, one, {0}); }).find("context") != std::string::npos);
    session s(m, one, {4});
    const std::vector<token> five = some_tokens(5);
    CHECK(error_of([&] { s.run(five); }).find("the context holds 4") != std::string::npos);
    const token bad[] = {engine_test::vocabulary};
    CHECK(error_of([&] { s.run(bad); }).find("found token 301") != std::string::npos);
    const std::size_t wanted[] = {2, 1};
    CHECK(error_of([&] { s.run(std::span(five).first(3), wanted); }).find("ascending") !=
          std::string::npos);
    std::vector<float> out(engine_test::vocabulary);
    CHECK(error_of([&] { s.logits(0, 1, out); }).find("kept 0") != std::string::npos);
    CHECK(error_of([&] { s.rewind(1); }).find("at most 0") != std::string::npos);
    CHECK(error_of([] { thread_pool(0); }).find("0 threads") != std::string::npos);
}

TEST_CASE("Models that the engine does not compute are refused by name") {
    const gguf_test::scratch_folder folder;
    thread_pool one(1);
    const auto error_with = [&](const std::string& arch, auto&& change) {
        engine_test::small_model m = make_model(arch);
        change(m);
        return gguf_test::error_of([&] { model(engine_test::write(folder, m), one); });
    };
    const auto has = [](const std::string& text, const char* part) {
        INFO(text);
        return text.find(part) != std::string::npos;
    };
    CHECK(has(error_with("llama", [](auto& m) { m.metadata.set("general.architecture", "mamba"); }),
              "architecture \"mamba\""));
    CHECK(has(error_with("llama", [](auto& m) { m.metadata.set("llama.expert_count", 8u); }),
              "mixture of experts"));
    CHECK(has(error_with("qwen2",
                         [](auto& m) { m.metadata.set("qwen2.rope.scaling.type", "yarn"); }),
              "\"yarn\""));
    CHECK(has(error_with("qwen3",
                         [](auto& m) { m.metadata.set("qwen3.attention.head_count_kv", 3u); }),
              "expected a multiple"));
    CHECK(has(error_with("gemma3", [](auto& m) { m.tensors.pop_back(); }),
              "blk.5.post_ffw_norm.weight"));
    CHECK(has(error_with("llama", [](auto& m) { m.add("blk.0.attn_sinks.weight", {4}); }),
              "blk.0.attn_sinks.weight"));
    CHECK(has(error_with("llama", [](auto& m) {
                  m.tensors[1] = model_test::make_tensor("output_norm.weight", {64}, 0,
                                                         model_test::weights(64, 1));
              }),
              "found the shape [64], expected [256]"));
}
