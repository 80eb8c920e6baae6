#!/bin/sh
# Brings up a registry and loads a bundle into it: needs a container engine and Python 3.10 or newer, no pip and no network.
set -eu
unset CDPATH

usage() {
    cat <<'USAGE'
sh install.sh [OPTIONS] [BUNDLE]

BUNDLE is the bundle's folder, its file or its first volume; by default the folder of this script.

  --demo            run the demo afterwards
  --to HOST:PORT    fill this registry, and start none
  --prefix DIR      where the tool goes (default: ~/.local/share/registry-tool-bundle)
  -h, --help        print this

Other options are those of regctl bundle apply: --map, --on-conflict, --keep-going, --key, --name, --port.
PYTHON=/path/to/python3 uses that Python.
USAGE
}

stop() {
    printf 'install.sh: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
bundle=$here
data=${XDG_DATA_HOME:-${HOME:+$HOME/.local/share}}
prefix=${data:+$data/registry-tool-bundle}
demo=no
to=no
count=$#
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
        -h | --help) usage; exit 0 ;;
        --demo) demo=yes ;;
        --prefix | --to | --map | --on-conflict | --key | --name | --port | --base)
            [ "$count" -gt 0 ] || stop "$word needs a value"
            value=$1
            shift
            count=$((count - 1))
            case $word in
                --prefix) prefix=$value ;;
                --to) to=yes; set -- "$@" "$word" "$value" ;;
                *) set -- "$@" "$word" "$value" ;;
            esac
            ;;
        -*) set -- "$@" "$word" ;;
        *) bundle=$word ;;
    esac
done
[ -n "$prefix" ] || stop 'HOME is not set' '--prefix DIR says where the tool goes.'
[ "$demo$to" != yesyes ] || stop '--demo and --to exclude each other' 'The demo runs in the registry of this machine.'

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || stop 'there is no Python 3.10 or newer here' 'PYTHON=/path/to/python3 names one.'

# -I: what lies in the folder where this is typed, as the stick, is no module of it.
# Unpacks the wheels that are for this Python, each verified, to a folder of this bundle's version. Prints the folder.
tool=$("$python" -I - "$here" "$prefix" <<'UNPACK'
import hashlib, io, json, os, pathlib, platform, shutil, sys, tempfile, zipfile

here, prefix = map(pathlib.Path, sys.argv[1:])


def stop(message, hint):
    print(f"install.sh: {message}\nhint: {hint}", file=sys.stderr)
    sys.exit(1)


try:
    raw = (here / "bundle.json").read_bytes()
    contents = json.loads(raw)
    if contents["format"] > 1:
        stop(f"the bundle has format {contents['format']}, and this install.sh knows 1", "Use the install.sh of the bundle.")
    sums = {file["path"]: file for file in contents["files"]}
    sets = contents["wheels"]
except (OSError, ValueError, KeyError, TypeError) as error:
    stop(f"bundle.json cannot be read: {error}", "Unpack it beside install.sh: tar -xf BUNDLE.tar install.sh bundle.json wheels")
python = "%d.%d" % sys.version_info[:2]
machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
system = f"{sys.platform}/{machine}"
fitting = [each["files"] for each in sets if (each["python"], each["platform"]) == (python, system)]
if not fitting:
    those = ", ".join(f"{each['python']} on {each['platform']}" for each in sets) or "none"
    stop(f"the bundle has no tool for Python {python} on {system}", f"It has it for: {those}. PYTHON=/path/to/python3 names another Python.")
target = prefix / hashlib.sha256("\n".join([python, *(sums[path]["sha256"] for path in fitting[0])]).encode()).hexdigest()[:16]
if not target.is_dir():
    try:
        prefix.mkdir(parents=True, exist_ok=True)
        part = pathlib.Path(tempfile.mkdtemp(prefix=".part-", dir=prefix))
        try:
            for path in fitting[0]:
                content = (here / path).read_bytes()
                if hashlib.sha256(content).hexdigest() != sums[path]["sha256"]:
                    stop(f"{path} is damaged", "Copy the bundle again.")
                with zipfile.ZipFile(io.BytesIO(content)) as wheel:
                    wheel.extractall(part)
            os.chmod(part, 0o755)
            try:
                part.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except FileNotFoundError as error:
        base = contents.get("base")
        stop(f"{error.filename} is missing", "It is a delta: install the bundle before it first." if base else "Copy the bundle again.")
    except OSError as error:
        stop(f"the tool cannot be unpacked: {error}", "--prefix DIR names another folder.")
print(target)
UNPACK
) || exit 1

PYTHONPATH=$tool${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH

run() {
    "$python" -I -c 'import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("registry_tool", run_name="__main__", alter_sys=True)' "$tool" "$@"
}

run bundle apply "$@" "$bundle"
if [ "$demo" = yes ]; then
    run demo
fi
printf '\nThe tool: PYTHONPATH=%s %s -m registry_tool --help\n' "$tool" "$python"
