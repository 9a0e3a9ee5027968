#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the macros that qdial's headers define.

    macros.py COMPILER INCLUDE_FOLDER HEADER... -- FLAG...

One preprocessor run includes all headers and prints every #define and #undef with the file that it
stands in. Each header must define only names with the prefix QDIAL_, and when it ends must have left
only public ones: those that config.hpp lists.
"""
import pathlib
import re
import subprocess
import sys

PUBLIC = re.compile(r"QDIAL_(VERSION_(MAJOR|MINOR|PATCH)|ASSERT|WITH_[A-Z0-9_]+)")
# What macros_begin.hpp is for.
KERNEL_MACROS = "qdial/macros_begin.hpp"


def preprocess(compiler, folder, headers, flags):
    source = "".join(f'#include "{header}"\n' for header in headers)
    command = [compiler, "-std=c++20", "-E", "-dD", "-x", "c++", "-I", folder, *flags, "-"]
    run = subprocess.run(command, input=source, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"macros.py: {' '.join(command)} failed:\n{run.stderr}")
    return run.stdout.splitlines()


def check(lines, folder):
    """(headers seen, macros that they defined, errors)."""
    own = str(pathlib.Path(folder)) + "/"
    stack, defined, errors, headers = [], {}, [], set()
    ever = set()

    def header(path):
        return path[len(own):] if path.startswith(own) else None

    def leave(path):
        name = header(path)
        if name is None or name == KERNEL_MACROS:
            return
        for macro, where in list(defined.items()):
            if not PUBLIC.fullmatch(macro):
                errors.append(f"{name} ends with {macro} (of {where}) still defined")
                del defined[macro]

    for line in lines:
        marker = re.match(r'# \d+ "([^"]*)"((?: \d)*)$', line)
        if marker:
            path, action = marker.group(1), marker.group(2).split()
            if "1" in action:
                stack.append(path)
                if header(path):
                    headers.add(header(path))
            elif "2" in action and stack:
                leave(stack.pop())
            continue
        define = re.match(r"#define (\w+)", line)
        undef = re.match(r"#undef (\w+)", line)
        if define and stack and header(stack[-1]):
            macro = define.group(1)
            ever.add(macro)
            defined[macro] = header(stack[-1])
            if not macro.startswith("QDIAL_"):
                errors.append(f"{header(stack[-1])} defines {macro}, without qdial's prefix")
        elif undef:
            defined.pop(undef.group(1), None)
    return headers, ever, errors


def main():
    compiler, folder, *rest = sys.argv[1:]
    split = rest.index("--")
    wanted, flags = rest[:split], rest[split + 1:]
    headers, macros, errors = check(preprocess(compiler, folder, wanted, flags), folder)
    missing = sorted(set(wanted) - headers)
    if missing:
        errors.append(f"never entered: {missing}")
    if "QDIAL_ASSERT" not in macros or "QDIAL_VERSION_MAJOR" not in macros:
        errors.append("the public macros are not among the definitions: nothing was checked")
    print(f"{len(headers)} headers, {len(macros)} macros of qdial's")
    if errors:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
