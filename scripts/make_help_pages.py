#!/usr/bin/env python3
"""Makes man pages and shell completions from what the tools print with --help.

usage: make_help_pages.py TOOLS_FOLDER [--check]

Writes data/man/TOOL.1, data/completions/bash/TOOL and data/completions/zsh/_TOOL of each tool in
TOOLS_FOLDER (build/tools). With --check nothing is written: exit code 1 and a diff where a file is
not what would be written. tools/help_formatter.h describes the text that is read. What an option's
value stands for decides how shells complete it: NAME is one of the names that its description ends
in, FILE and PATH are files and folders, DIR a folder; others are not completed.
"""

import argparse
import dataclasses
import difflib
import pathlib
import re
import subprocess
import sys

TOOLS = ("eplb-collect", "eplb-report", "eplb-gen")
DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
FILES = ("FILE", "PATH")
MADE_BY = "made by scripts/make_help_pages.py from --help; change tools/*_options.cpp"


# ---------------------------------------------------------------- what --help says


@dataclasses.dataclass
class Entry:
    """An option, an argument, or a variable of the environment."""

    names: list
    value: str = ""  # FILE; empty for a switch
    has_dots: bool = False  # FILE...: several after one flag
    description: str = ""

    def is_repeatable(self):
        return self.has_dots or "(repeatable)" in self.description

    def choices(self):
        """The names that a NAME stands for."""
        found = re.search(r": ([\w-]+(?:, [\w-]+)+)(?: \([^()]*\))*$", self.description)
        if not found:
            sys.exit(f"make_help_pages.py: error: {self.names[-1]}: a description of a NAME ends in "
                     "': ' and the names, separated by ', '")
        return found[1].split(", ")

    def spellings(self):
        """The names, and those that have hyphens for underscores."""
        return list(dict.fromkeys(self.names + [name.replace("_", "-") for name in self.names]))


@dataclasses.dataclass
class Help:
    name: str
    version: str
    description: str = ""
    usage: str = ""
    groups: dict = dataclasses.field(default_factory=dict)  # heading: [Entry]
    spellings: str = ""  # the sentence about underscores
    prose: list = dataclasses.field(default_factory=list)  # paragraphs of the footer
    environment: list = dataclasses.field(default_factory=list)  # [Entry]
    views: list = dataclasses.field(default_factory=list)  # [Entry], of --view
    examples: list = dataclasses.field(default_factory=list)  # lines
    exit_status: list = dataclasses.field(default_factory=list)  # (code, meaning)

    def arguments(self):
        return self.groups.get("Positionals", [])

    def options(self):
        return [entry for heading, entries in self.groups.items() if heading != "Positionals"
                for entry in entries]


def parse_entries(lines):
    """Entries: names after two spaces, the description after two more or on lines of its own."""
    entries = []
    for line in lines:
        if re.match(r"  \S", line):
            left, _, description = re.match(r"  (\S+(?: \S+)*)(  +(\S.*))?$", line).group(1, 2, 3)
            names = left.replace(",", "").split(" ")
            value = names.pop() if re.fullmatch(r"[A-Z-]+(\.\.\.)?", names[-1]) and len(
                names) > 1 and "_" not in names[-1] else ""
            entries.append(Entry(names, value.removesuffix("..."), value.endswith("..."),
                                 description or ""))
        else:
            entry = entries[-1]
            entry.description = f"{entry.description} {line.strip()}".strip()
    return entries


def parse_help(name, version, text):
    """Reads what tools/help_formatter.h describes."""
    page = Help(name, version)
    blocks = [block.split("\n") for block in text.strip("\n").split("\n\n")]
    head = blocks.pop(0)
    usage = next(i for i, line in enumerate(head) if line.startswith("Usage: "))
    page.description = " ".join(head[:usage])
    page.usage = head[usage].removeprefix("Usage: ")
    while re.fullmatch(r"[A-Z][^:]*:", blocks[0][0]):
        heading, *lines = blocks.pop(0)
        page.groups[heading[:-1]] = parse_entries(lines)
    page.spellings = blocks[0].pop(0)
    for lines in blocks:
        if not lines:
            continue
        if lines[0] == "environment:":
            page.environment = parse_entries(lines[1:])
        elif lines[0] == "views:":
            page.views = parse_entries(lines[1:])
        elif lines[0] == "examples:":
            page.examples = [line[2:] for line in lines[1:]]
        elif lines[0].startswith("exit status: "):
            parts = " ".join(lines).removeprefix("exit status: ").split(", ")
            page.exit_status = [part.split(" ", 1) for part in parts]
        else:
            page.prose.append(" ".join(line.strip() for line in lines))
    return page


def read_help(tool):
    def output(flag):
        return subprocess.run([tool, flag], check=True, stdout=subprocess.PIPE,
                              encoding="utf-8").stdout

    return parse_help(tool.name, output("--version").split()[1], output("--help"))


# ---------------------------------------------------------------- man pages


ROFF = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def roff(text):
    """Text in which troff finds nothing to interpret."""
    escaped = "".join(ROFF.get(c, c if ord(c) < 128 else f"\\[u{ord(c):04X}]") for c in text)
    return "\\&" + escaped if escaped.startswith(".") else escaped


def roff_entry(entry):
    value = f" \\fI{roff(entry.value)}\\fR" if entry.value else ""
    dots = "..." if entry.has_dots else ""
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in entry.names)
    return [".TP", names + value + dots, roff(entry.description)]


def roff_usage(page):
    line = page.usage.removeprefix(page.name).strip()
    line = roff(line).replace("OPTIONS", r"\fIOPTIONS\fR")
    for argument in page.arguments():
        line = line.replace(roff(argument.names[0]), f"\\fI{roff(argument.names[0])}\\fR")
    return f"\\fB{roff(page.name)}\\fR {line}"


def man_page(page):
    summary = page.description[0].lower() + page.description[1:].rstrip(".")
    lines = [
        f'.\\" {MADE_BY}',
        f'.TH {roff(page.name.upper())} 1 "" "eplb {page.version}" "User Commands"',
        # neither hyphenated nor justified: flags stay whole
        ".nh", ".ad l",
        ".SH NAME", f"{roff(page.name)} \\- {roff(summary)}",
        ".SH SYNOPSIS", roff_usage(page),
        ".SH DESCRIPTION", roff(page.description),
    ]
    for paragraph in page.prose:
        lines += [".PP", roff(paragraph)]
    lines += [".SH OPTIONS", roff(page.spellings)]
    for heading, entries in page.groups.items():
        heading = "Arguments" if heading == "Positionals" else heading
        lines.append(f".SS {roff(heading)}")
        for entry in entries:
            lines += roff_entry(entry)
    if page.views:
        lines.append(".SH VIEWS")
        for entry in page.views:
            lines += roff_entry(entry)
    lines.append(".SH EXIT STATUS")
    for code, meaning in page.exit_status:
        lines += [".TP", f"\\fB{code}\\fR", roff(meaning)]
    if page.environment:
        lines.append(".SH ENVIRONMENT")
        for entry in page.environment:
            lines += roff_entry(entry)
    lines += [".SH EXAMPLES", ".EX", *map(roff, page.examples), ".EE"]
    others = [f"\\fB{roff(tool)}\\fR(1)" for tool in TOOLS if tool != page.name]
    lines += [".SH SEE ALSO", ",\n".join(others)]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- completions


def bash_completion(page):
    function = "_" + page.name.replace("-", "_")
    cases = []
    plain = []  # values that are not completed
    files = []
    for entry in page.options():
        pattern = "|".join(entry.spellings())
        if entry.value == "NAME":
            cases += [f"        {pattern})",
                      f"            choices='{' '.join(entry.choices())}' ;;"]
        elif entry.value == "DIR":
            cases += [f"        {pattern})",
                      "            compopt +o default -o dirnames 2> /dev/null",
                      "            return ;;"]
        elif entry.value in FILES:
            files.append(pattern)
        elif entry.value:
            plain.append(pattern)
    separator = " | \\\n        "
    if files:
        cases += [f"        {separator.join(files)})",
                  "            return ;;  # files and folders, by the default of readline"]
    if plain:
        cases += [f"        {separator.join(plain)})",
                  "            compopt +o default 2> /dev/null",
                  "            return ;;"]
    names = [name for entry in page.options() for name in entry.names]
    flags = "\n".join(f"                 {name}" for name in names).lstrip()
    return f"""\
# bash completion of {page.name}
# {MADE_BY}

{function}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD - 1]}} choices=
    COMPREPLY=()
    # --flag=value comes as three words
    if [[ $word == "=" ]]; then
        word=
    elif [[ $flag == "=" ]]; then
        flag=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    case $flag in
{chr(10).join(cases)}
        *)
            [[ $word == -* ]] || return 0
            # what was typed with hyphens goes on with underscores
            [[ $word == --* ]] && word=${{word:2}} && word=--${{word//-/_}}
            choices='{flags}' ;;
    esac
    compopt +o default 2> /dev/null
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}}
complete -o default -F {function} {page.name}
"""


def zsh_spec(entry):
    """An option in the language of _arguments."""
    description = re.sub(r"([\[\]\\:])", r"\\\1", entry.description).replace("'", "'\\''")
    value = ""
    if entry.value == "NAME":
        value = f":{entry.value}:({' '.join(entry.choices())})"
    elif entry.value == "DIR":
        value = f":{entry.value}:_files -/"
    elif entry.value in FILES:
        value = f":{entry.value}:_files"
    elif entry.value:
        value = f":{entry.value}: "
    if entry.is_repeatable():
        exclusion = "*"
    else:
        exclusion = f"({' '.join(entry.names)})" if len(entry.names) > 1 else ""
    # after --flag the value comes as --flag=value or as a word of its own
    names = [name + ("=" if entry.value and name.startswith("--") else "") for name in entry.names]
    return [f"'{exclusion}{name}[{description}]{value}'" for name in names]


def zsh_completion(page):
    specs = [spec for entry in page.options() for spec in zsh_spec(entry)]
    for argument in page.arguments():
        place = "*" if argument.has_dots else "1"
        specs.append(f"'{place}:{argument.names[0]}:_files'")
    return f"""\
#compdef {page.name}
# {MADE_BY}

_arguments \\
    {(" " + chr(92) + chr(10) + "    ").join(specs)}
"""


# ---------------------------------------------------------------- files


def pages_of(tools_folder):
    """{path: content} of all that is made."""
    pages = {}
    for name in TOOLS:
        page = read_help(tools_folder.resolve() / name)
        pages[DATA / "man" / f"{name}.1"] = man_page(page)
        pages[DATA / "completions" / "bash" / name] = bash_completion(page)
        pages[DATA / "completions" / "zsh" / f"_{name}"] = zsh_completion(page)
    return pages


def check(pages):
    """The number of files that are stale, whose differences are printed."""
    num_stale = 0
    for path, content in pages.items():
        stored = path.read_text(encoding="utf-8") if path.exists() else ""
        if stored != content:
            num_stale += 1
            name = str(path.relative_to(DATA.parent))
            sys.stdout.writelines(difflib.unified_diff(
                stored.splitlines(True), content.splitlines(True), name, "from --help"))
    return num_stale


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("tools_folder", type=pathlib.Path, help="folder of the programs")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args()
    pages = pages_of(arguments.tools_folder)
    if arguments.check:
        if check(pages):
            print("The pages are not those of --help; run: scripts/make_help_pages.py "
                  "build/tools", file=sys.stderr)
            return 1
        return 0
    for path, content in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
