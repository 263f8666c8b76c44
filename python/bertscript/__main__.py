"""`python -m bertscript`: prints where the library is, one line per option, in the order of the options."""

import argparse

import bertscript

PATHS = {
    "--prefix": bertscript.prefix,
    "--includedir": bertscript.include_dir,
    "--libdir": bertscript.lib_dir,
    "--cmakedir": bertscript.cmake_dir,
    "--pkgconfigdir": bertscript.pkgconfig_dir,
    "--library": bertscript.library,
}


def main() -> None:
    description = "Print where bertscript is installed."
    parser = argparse.ArgumentParser("python -m bertscript", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=bertscript.__version__)
    for option, path in PATHS.items():
        parser.add_argument(option, dest="paths", action="append_const", const=path, help=path.__doc__)
    paths = parser.parse_args().paths
    if not paths:
        parser.error("expected an option, such as --cmakedir")
    for path in paths:
        print(path())


if __name__ == "__main__":
    main()
