# For tools/up and tools/test: packages, configuring and building, told in one line a step. Everything else that the steps
# print goes to a log file, whose end is shown when a step fails. Knows nothing of what is built.
# shellcheck shell=bash
set -euo pipefail
shopt -s lastpipe

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
log=$build/${0##*/}.log
mkdir -p "$build"
: >"$log"

# The commands and libraries that the tools need, as Debian 12 names them.
command_packages=(g++ meson ninja-build pkg-config capnproto)
build_packages=("${command_packages[@]}" libcapnp-dev libfmt-dev libexpected-dev libxxhash-dev librocksdb-dev libasio-dev
  libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libjemalloc-dev tzdata)
test_packages=(catch2 clang-format python3 iproute2 iptables)
fuzz_packages=(clang libclang-rt-14-dev)

human() { # SECONDS
  if (($1 < 100)); then printf '%d s' "$1"; else printf '%d min %d s' $(($1 / 60)) $(($1 % 60)); fi
}

# A step's line: rewritten in place on a terminal, written once elsewhere.
show() { # TEXT STATE
  [ ! -t 1 ] || printf '\r\033[K%-68s %s' "$1" "$2"
}
done_line() { # TEXT START
  [ ! -t 1 ] || printf '\r\033[K'
  printf '%-68s done %10s\n' "$1" "$(human $((SECONDS - $2)))"
}

broken() { # TEXT: what failed, the end of the log, and where the rest is
  [ ! -t 1 ] || printf '\r\033[K'
  printf '%-68s failed\n\n' "$1"
  tail -n 30 "$log"
  printf '\n%s: %s failed: everything it printed is in %s\n' "${0##*/}" "${1%% (*}" "${log#"$root"/}"
  return 1
}

step() { # TEXT COMMAND...
  local text=$1 start=$SECONDS
  shift
  show "$text" ""
  printf '\n== %s\n' "$text" >>"$log"
  if "$@" >>"$log" 2>&1; then done_line "$text" "$start"; else broken "$text"; fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() { # PACKAGES...
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

missing_packages() { # PACKAGES...: those that are not installed, one a line
  local package
  for package; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
  done
}

# Installs what is missing. Where there is no apt-get it asks only for the commands: meson names each missing library.
need_packages() { # PACKAGES...
  local missing=() tool
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    for tool in g++ meson ninja pkg-config capnp; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    [ ${#missing[@]} = 0 ] && return
    printf '%s: please install %s, and the libraries that Debian calls %s\n' "${0##*/}" "${missing[*]}" \
      "$(printf '%s\n' "${build_packages[@]}" | grep -- '-dev' | paste -sd ' ')"
    return 1
  fi
  missing_packages "$@" | mapfile -t missing
  [ ${#missing[@]} = 0 ] && return
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    printf '%s: not root and no sudo: please run as root: apt-get install %s\n' "${0##*/}" "${missing[*]}"
    return 1
  fi
  local names="${missing[*]:0:2}"
  names=${names// /, }
  [ ${#missing[@]} -le 2 ] || names+=", ..."
  step "installing ${#missing[@]} packages ($names)" apt_install "${missing[@]}"
}

setup_build() { # DIRECTORY OPTIONS...: new, or again with these options, or from nothing when the old one is of no use
  local dir=$1
  shift
  if [ ! -f "$dir/build.ninja" ]; then
    meson setup "$dir" "$root" "$@"
  else
    meson setup --reconfigure "$dir" "$root" "$@" || meson setup --wipe "$dir" "$root" "$@"
  fi
}

configure() { # DIRECTORY OPTIONS...
  local dir=$1
  shift
  step "configuring ${dir##*/}" setup_build "$dir" --wrap-mode=nodownload "$@"
}

compile() { # DIRECTORY WHAT TARGETS...
  local dir=$1 what=$2 start=$SECONDS last=$SECONDS at=0 total=0 line percent bar left
  shift 2
  show "building ($what)" ""
  printf '\n== building %s in %s\n' "$what" "$dir" >>"$log"
  if NINJA_STATUS='%f/%t ' ninja -C "$dir" -j "$(nproc)" "$@" 2>&1 | while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    [[ $line =~ ^([0-9]+)/([0-9]+)\  ]] || continue
    at=${BASH_REMATCH[1]} total=${BASH_REMATCH[2]}
    percent=$((100 * at / total))
    left="$(human $(((SECONDS - start) * (total - at) / (at > 0 ? at : 1)))) left"
    if [ -t 1 ]; then
      printf -v bar '%*s' $((percent / 5)) ''
      printf -v bar '%-20s' "${bar// /#}"
      show "building ($what, $total files)  [${bar// /-}] $(printf '%3d' $percent) %" "$left"
    elif ((SECONDS - last >= 30)); then
      last=$SECONDS
      printf 'building (%s, %d files)  %d %%  %s\n' "$what" "$total" "$percent" "$left"
    fi
  done; then
    if ((total > 0)); then what+=", $total files"; else what+=", nothing new"; fi
    done_line "building ($what)" "$start"
  else
    broken "building ($what)"
  fi
}
