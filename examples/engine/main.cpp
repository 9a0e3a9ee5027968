// SPDX-License-Identifier: Apache-2.0
//
// A program around the engine: what the tests ask it, and its speed beside the peer's.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

#include "commands.hpp"

namespace {

using engine::run_options;

int fail(int code, const std::string& message) {
    fmt::print(stderr, "qdial-engine: {}\n", message);
    return code;
}

void add_input(CLI::App& command, run_options& o) {
    command.add_option("MODEL", o.model, "A GGUF file")->required()->type_name("");
    auto* input = command.add_option_group("input");
    input->add_option("--text", o.text, "The text");
    input->add_option("--file", o.text_file, "A file with the text");
    input->add_option("--tokens", o.token_file, "A file with token ids, separated by white space");
    input->require_option(1);
    command.add_flag("--special", o.special, "Recognise control tokens in the text");
}

void add_session(CLI::App& command, run_options& o) {
    command.add_option("--threads", o.threads, "Threads, by default all processors")
        ->check(CLI::Range(1, 1024));
    command.add_option("--context", o.context, "Positions of the cache")
        ->check(CLI::Range(1, 1 << 24));
    command.add_option("--batch", o.batch, "Tokens that go through the layers together")
        ->check(CLI::Range(1, 1 << 16));
    command.add_option("--cache", o.cache, "Format of keys and values")
        ->check(CLI::IsMember({"f32", "f16", "q8_0"}));
}

void add_peer(CLI::App& command, run_options& o) {
    if (const char* folder = std::getenv("QDIAL_PEER_GGML")) o.peer = folder;
    command.add_option("--peer", o.peer,
                       "The folder with libllama.so to measure beside, by default QDIAL_PEER_GGML");
    command.add_option("--repeat", o.repeat, "Rounds; the medians are shown")
        ->check(CLI::Range(1, 1000));
}

int run(int argc, char** argv) {
    CLI::App app("Runs language models in GGUF files on qdial's packed kernels.", "qdial-engine");
    app.require_subcommand(1);
    run_options o;
    o.threads = std::max(1u, std::thread::hardware_concurrency());

    CLI::App& tokenize = *app.add_subcommand("tokenize", "Print the token ids of a text");
    add_input(tokenize, o);
    tokenize.callback([&] { engine::tokenize(o); });

    CLI::App& generate = *app.add_subcommand("generate", "Continue a text, greedily");
    add_input(generate, o);
    add_session(generate, o);
    generate.add_option("--count", o.count, "Tokens to generate, at most");
    generate.add_flag("--ignore-end", o.ignore_end, "Go on after an end token");
    generate.add_flag("--json", o.as_json, "Print tokens and text as JSON");
    generate.add_flag("--timings", o.timings, "Print where the time went, on standard error");
    generate.callback([&] { engine::generate(o); });

    std::string out;
    CLI::App& logits = *app.add_subcommand("logits", "Write the logits after each token");
    add_input(logits, o);
    logits.add_option("OUT", out, "The file: float32, a row per token")->required();
    add_session(logits, o);
    logits.callback([&] { engine::write_logits(o, out); });

    CLI::App& speed = *app.add_subcommand("speed", "Measure prompt and generation");
    add_input(speed, o);
    add_session(speed, o);
    speed.add_option("--count", o.count, "Tokens to generate");
    add_peer(speed, o);
    speed.callback([&] { engine::measure_speed(o); });

    std::vector<std::string> models;
    CLI::App& layers = *app.add_subcommand(
        "layers", "Measure the tokens per second that the linear layers alone allow");
    layers.add_option("MODELS", models, "GGUF files, one for each setting")->required();
    layers.add_option("--threads", o.threads, "Threads, by default all processors");
    layers.add_option("--batch", o.batch, "Tokens of a prompt");
    add_peer(layers, o);
    layers.callback([&] { engine::measure_layers(o, models); });

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        if (problem.get_exit_code() == 0) return app.exit(problem);
        return fail(2, std::string(problem.what()) + " (see --help)");
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const int code = run(argc, argv);
        if (std::fflush(stdout) != 0) return fail(1, "cannot write to standard output");
        return code;
    } catch (const std::exception& problem) {
        return fail(1, problem.what());
    }
}
