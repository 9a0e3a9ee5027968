// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
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

void add_cache(CLI::App& command, std::string& cache, const char* description) {
    command.add_option("--cache", cache, description)->type_name("DIR");
}

void add_chunks(CLI::App& command, std::size_t& chunks) {
    command.add_option("--chunks", chunks, "Windows of the text to read at most, by default all")
        ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 40))
        ->type_name("N");
}

/// Tokens of a window of text.
void add_window(CLI::App& command, const char* name, std::size_t& window) {
    command
        .add_option(name, window,
                    "Tokens of a window of the text, by default 512; the second half is scored")
        ->check(CLI::Range(std::size_t{4}, std::size_t{1} << 24))
        ->type_name("N");
}

void add_limit(CLI::App& command, const char* name, std::optional<double>& limit,
               const char* description, const char* unit, double least, double most) {
    command.add_option(name, limit, description)->check(CLI::Range(least, most))->type_name(unit);
}

void add_work(CLI::App& command, std::string& text, std::string& tasks) {
    command.add_option("--text", text, "A text of the kind that the model is for")
        ->type_name("FILE");
    command.add_option("--tasks", tasks, "Cases that can be marked, in JSON lines")
        ->type_name("FILE");
}

void add_quality(CLI::App& command, tool::dial_options& o) {
    add_work(command, o.text, o.tasks);
    add_limit(command, "--max-kl", o.max_kl,
              "With --text: the largest mean KL divergence that is acceptable, in nats per token; "
              "0.06 if no limit is given",
              "X", 0, 1000);
    add_limit(command, "--max-ppl-increase", o.max_ppl_increase,
              "With --text: the largest acceptable increase of perplexity, in percent", "P", 0,
              1e6);
    add_limit(command, "--min-pass-rate", o.min_pass_rate,
              "With --tasks: the least acceptable share of cases passed, in percent", "R", 0, 100);
    add_limit(command, "--max-pass-loss", o.max_pass_loss,
              "With --tasks: the largest acceptable share of cases lost, in percent; 10 if no "
              "limit is given",
              "P", 0, 100);
    add_window(command, "--window", o.window);
    add_chunks(command, o.chunks);
    add_cache(command, o.cache,
              "With --text or --tasks: folder for the settings' files and for results, which are "
              "taken up again");
    command.add_option("--imatrix", o.imatrix, "With --text or --tasks: importance matrix")
        ->type_name("FILE");
    command.add_flag("--all", o.all, "Measure also below a setting that fails or does not fit");
}

void add_eval(CLI::App& app, tool::eval_options& o) {
    CLI::App& command = *app.add_subcommand(
        "eval", "Measure a model's quality against a reference, on a text or at tasks");
    add_argument(command, "MODEL", o.model, "The model to measure");
    command.add_option("--against", o.reference, "The reference, best in F16")
        ->required()
        ->type_name("REF");
    add_work(command, o.text, o.tasks);
    add_window(command, "--context", o.context);
    add_chunks(command, o.chunks);
    add_cache(command, o.cache, "Folder for results, which are taken up again");
    command
        .add_option("--memory", o.memory,
                    "Memory that it may take, such as 8GB; by default what is free")
        ->type_name("SIZE");
    add_threads(command, o.threads);
    add_json(command, o.as_json);
    command.callback([&o] { tool::eval(o); });
}

void add_imatrix(CLI::App& app, tool::imatrix_options& o) {
    CLI::App& command = *app.add_subcommand(
        "imatrix", "Collect the importance of a model's weights while it reads a text");
    add_argument(command, "MODEL", o.model, "A GGUF file, best in F16, BF16 or F32");
    add_argument(command, "TEXT", o.text, "A text of the kind that the model is for");
    add_argument(command, "OUT", o.out, "The file to write, for quantize --imatrix");
    command.add_option("--context", o.context, "Tokens of a window of the text, by default 512")
        ->check(CLI::Range(std::size_t{4}, std::size_t{1} << 24))
        ->type_name("N");
    add_chunks(command, o.chunks);
    command
        .add_option("--memory", o.memory,
                    "Memory that it may take, such as 8GB; by default what is free")
        ->type_name("SIZE");
    add_threads(command, o.threads);
    command.add_flag("--force", o.force, "Replace OUT if it exists");
    add_json(command, o.as_json);
    command.callback([&o] { tool::imatrix(o); });
}

void add_dial(CLI::App& app, tool::dial_options& o) {
    CLI::App& command = *app.add_subcommand(
        "dial",
        "Show every setting for a model, and pick one: by its quality on your own text or tasks");
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
    command
        .add_option("--plot", o.plot,
                    "Draw quality against size into this SVG file; without --text and --tasks "
                    "weight error and speed")
        ->type_name("OUT.svg");
    add_quality(command, o);
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
    tool::eval_options eval;
    tool::imatrix_options imatrix;
    tool::quantize_options quantize;
    tool::estimate_options estimate;
    tool::compare_options compare;
    tool::inspect_options inspect;
    add_dial(app, dial);
    add_eval(app, eval);
    add_quantize(app, quantize);
    add_imatrix(app, imatrix);
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
            "expected a command: dial, eval, quantize, imatrix, estimate, compare or inspect (see "
            "--help)");
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
