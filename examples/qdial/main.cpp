// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "commands.hpp"
#include "qdial/version.hpp"

namespace {

constexpr int other_error = 1;
constexpr int wrong_usage = 2;

int fail(int code, const std::string& message) {
    fmt::print(stderr, "qdial: {}\n", tool::printable(message));
    return code;
}

void add_argument(CLI::App& command, const char* name, std::string& value,
                  const std::string& description) {
    command.add_option(name, value, description)->required()->type_name("");
}

void add_json(CLI::App& command, bool& as_json) {
    command.add_flag("--json", as_json, "Print JSON");
}

void add_threads(CLI::App& command, int& threads) {
    command.add_option("--threads", threads, "Threads to work with, by default all processors")
        ->check(CLI::Range(1, 1024))
        ->type_name("N");
}

void add_context(CLI::App& command, std::uint64_t& context) {
    command
        .add_option("--context", context,
                    "Tokens of context, by default 4096 or what the model was trained for")
        ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 32))
        ->type_name("N");
}

void add_dial(CLI::App& app, tool::dial_options& o) {
    CLI::App& command = *app.add_subcommand(
        "dial", "Show size, error and speed of every setting for a model, and pick one");
    add_argument(command, "MODEL", o.file, "A GGUF file, best in F16, BF16 or F32");
    command
        .add_option("--memory", o.memory,
                    "Memory that the model may take, such as 8GB; by default this machine's, less "
                    "an eighth, at least 1 GB, for the system")
        ->type_name("SIZE");
    add_context(command, o.context);
    command
        .add_option("--settings", o.settings,
                    "Settings to show, separated by commas, such as FP16,Q8_0,Q4_K_M")
        ->type_name("LIST");
    command.add_option("--plot", o.plot, "Draw error and speed against size into this SVG file")
        ->type_name("OUT.svg");
    add_threads(command, o.threads);
    add_json(command, o.as_json);
    command.callback([&o] { tool::dial(o); });
}

void add_quantize(CLI::App& app, tool::quantize_options& o) {
    CLI::App& command = *app.add_subcommand("quantize", "Convert a model to other formats");
    add_argument(command, "IN", o.in, "The model; of a split one the first shard");
    add_argument(command, "OUT", o.out, "The file to write");
    add_argument(command, "RECIPE", o.recipe,
                 "One of " + tool::recipe_names() + "; with --pure any of their formats");
    command.add_flag("--pure", o.pure,
                     "The same format for all matrices instead of the recipe's mixture");
    command.add_option("--imatrix", o.imatrix, "Importance matrix (GGUF or .dat)")
        ->type_name("FILE");
    command
        .add_option("--tensor-type", o.tensor_types,
                    "Format of the tensors whose names match; may be repeated, the first match "
                    "wins")
        ->type_name("REGEX=TYPE")
        ->allow_extra_args(false);
    command.add_option("--output-tensor-type", o.output_type, "Format of output.weight")
        ->type_name("TYPE");
    command
        .add_option("--token-embedding-type", o.embedding_type, "Format of the token embeddings")
        ->type_name("TYPE");
    command.add_flag("--allow-requantize", o.allow_requantize,
                     "Quantize what is already quantized, adding a second error to the first");
    command.add_flag("--no-fallback", o.no_fallback,
                     "Refuse tensors whose rows do not divide into the format's blocks");
    add_threads(command, o.threads);
    command.add_flag("--dry-run", o.dry_run,
                     "Print every tensor's type and the totals; read no weights, write nothing");
    command.add_flag("--force", o.force, "Replace OUT if it exists");
    add_json(command, o.as_json);
    command.callback([&o] { tool::quantize(o); });
}

void add_estimate(CLI::App& app, tool::estimate_options& o) {
    CLI::App& command = *app.add_subcommand(
        "estimate", "Show size and memory of every recipe, without touching weights");
    add_argument(command, "MODEL", o.what,
                 "A GGUF file, or a built-in shape: " + tool::shape_names());
    add_context(command, o.context);
    add_json(command, o.as_json);
    command.callback([&o] { tool::estimate(o); });
}

void add_compare(CLI::App& app, tool::compare_options& o) {
    CLI::App& command = *app.add_subcommand(
        "compare", "Show how far a model's weights are from another's, tensor by tensor");
    add_argument(command, "REF", o.reference, "The reference");
    add_argument(command, "OTHER", o.other, "The model to compare with it");
    add_threads(command, o.threads);
    add_json(command, o.as_json);
    command.callback([&o] { tool::compare(o); });
}

void add_inspect(CLI::App& app, tool::inspect_options& o) {
    CLI::App& command = *app.add_subcommand("inspect", "Show a file's metadata and tensors");
    add_argument(command, "FILE", o.file, "A GGUF file");
    add_json(command, o.as_json);
    command.callback([&o] { tool::inspect(o); });
}

/// Commands run while their arguments are parsed; what they throw passes through.
int run(int argc, char** argv) {
    CLI::App app(
        "Quantization as a dial between quality and what fits in memory, for GGUF models.\n"
        "Exit codes: 0 success, 2 wrong usage, 1 any other error.",
        "qdial");
    app.set_version_flag("--version", fmt::format("qdial {}.{}.{}", QDIAL_VERSION_MAJOR,
                                                  QDIAL_VERSION_MINOR, QDIAL_VERSION_PATCH));
    app.require_subcommand(0, 1);
    tool::dial_options dial;
    tool::quantize_options quantize;
    tool::estimate_options estimate;
    tool::compare_options compare;
    tool::inspect_options inspect;
    add_dial(app, dial);
    add_quantize(app, quantize);
    add_estimate(app, estimate);
    add_compare(app, compare);
    add_inspect(app, inspect);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        if (problem.get_exit_code() == 0) return app.exit(problem);  // --help, --version
        return fail(wrong_usage, std::string(problem.what()) + " (see --help)");
    }
    if (app.get_subcommands().empty())
        return fail(
            wrong_usage,
            "expected a command: dial, quantize, estimate, compare or inspect (see --help)");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const int code = run(argc, argv);
        if (std::fflush(stdout) != 0) return fail(other_error, "cannot write to standard output");
        return code;
    } catch (const tool::usage_error& problem) {
        return fail(wrong_usage, problem.what());
    } catch (const std::bad_alloc&) {
        return fail(other_error, "not enough memory");
    } catch (const std::exception& problem) {
        return fail(other_error, problem.what());
    }
}
