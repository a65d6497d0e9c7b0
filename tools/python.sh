# Finds or brings interpreters and uv for the launchers, which source it: ./lab, ./pants, tools/test-pythons.
# Also lists the projects: pants.toml's source roots that hold an import package.
# Any Python from 3.9 on, or a uv on the PATH, is enough to bring the rest. Needs: $root, and $name for messages.

say() { echo "$name: $*" >&2; }

# Prints the folder of each project, a line each.
projects() {
  for pattern in $(sed -n 's/^root_patterns = \[\(.*\)\]/\1/p' "$root/pants.toml" | tr -d '",'); do
    for package in "$root"$pattern/llm_*/; do
      [ -d "$package" ] || continue
      folder=${package#"$root/"}
      echo "${folder%/llm_*/}"
    done
  done
}

# Prints "3.12 /path/of/the/interpreter"; fails if the command is no Python that runs.
describe_python() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null
}

# Prints an interpreter of this version that is on the machine: on the PATH, pyenv's, or one that uv has brought.
python_at_hand() {
  for candidate in "python$1" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/"python$1" python3 python; do
    found=$(describe_python "$candidate") || continue
    [ "${found%% *}" = "$1" ] || continue
    echo "${found#* }"
    return
  done
  for uv in "$root/.lab/uv/bin/uv" uv; do
    "$uv" python find --no-project --no-python-downloads "$1" 2>/dev/null && return
  done
  return 1
}

# Prints an interpreter of the first of these versions that is at hand; without any, brings the first of them.
find_python() {
  for version in "$@"; do
    python_at_hand "$version" && return
  done
  uv=$(find_uv) || return 1
  say "fetching Python $1 (uv python install, about 30 MB, once) …"
  "$uv" python install --quiet "$1" >&2 && "$uv" python find --no-project "$1" && return
  say "Python $1 could not be fetched: install it (pyenv install $1, apt install python$1-venv, brew install python@$1)."
  return 1
}

# Prints a uv: the one of .lab, the one on the PATH, or .lab's, made with any Python from 3.9 on.
find_uv() {
  if [ -x "$root/.lab/uv/bin/uv" ]; then
    echo "$root/.lab/uv/bin/uv"
  elif command -v uv; then
    :
  else
    for minor in 9 10 11 12 13 14; do
      any=$(python_at_hand "3.$minor") || continue
      make_uv "$any" && echo "$root/.lab/uv/bin/uv"
      return
    done
    say "Python from 3.9 on, or uv, is needed and neither was found: install one (apt install python3-venv, brew install uv)."
    return 1
  fi
}

# Makes .lab/uv, an environment with pip and the uv of 3rdparty/uv.txt, with this interpreter.
make_uv() {
  [ ! -x "$root/.lab/uv/bin/uv" ] || return 0
  say "fetching uv (about 25 MB, once) …"
  rm -rf "$root/.lab/uv"
  mkdir -p "$root/.lab"
  "$1" -m venv "$root/.lab/uv" 2>/dev/null || uv venv --quiet --seed --no-project --python "$1" "$root/.lab/uv" 2>/dev/null || {
    rm -rf "$root/.lab/uv"
    say "'$1 -m venv' failed: install Python's venv module (apt install python3-venv), or uv."
    return 1
  }
  "$root/.lab/uv/bin/python" -m pip --disable-pip-version-check install -qq --require-hashes -r "$root/3rdparty/uv.txt"
}
