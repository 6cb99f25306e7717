# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the project needs from the machine, in one place: Debian packages, hiredis 1.2 built from
# Debian 13's source package, and Valkey from backports. Sourced by tools/quickstart, tools/test and
# tools/bench; `tools/setup` runs it alone. Every step is a no-op when its result is there already.

CACHEE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
CACHEE_PREFIX="${CACHEE_PREFIX:-/opt/cachee}"

CACHEE_PACKAGES=(
    g++ meson ninja-build pkg-config git ca-certificates binutils
    dpdk-dev libdpdk-dev libxdp-dev libbpf-dev libnuma-dev libpcap-dev
    libyaml-cpp-dev libcli11-dev libspdlog-dev libfmt-dev libuv1-dev libzstd-dev
    libgtest-dev libgmock-dev libbenchmark-dev libssl-dev
    iproute2 ethtool iputils-ping procps libcap2-bin dpkg-dev make
    redis-server redis-tools python3 python3-redis python3-pytest
)
# Only what tests and benchmarks need beyond the above: sanitizer and fuzzer run times, valgrind, cmake, a peer of p5.
CACHEE_TEST_PACKAGES=(clang libclang-rt-14-dev clang-format valgrind cmake memcached)

# In-process peers of ./tools/bench store, and nothing else.
CACHEE_PEER_PACKAGES=(libtbb-dev libcuckoo-dev librocksdb-dev)

# What boots the guests of tests/guest; the kernel they boot is unpacked, never installed.
CACHEE_GUEST_PACKAGES=(qemu-system-x86 busybox-static kmod cpio)

say() { printf '%s\n' "==> $*" >&2; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }

# The missing ones among the packages named as arguments, one per line.
missing_packages() {
    local installed
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' 2>/dev/null | awk '$2 ~ /^ii/ {print $1}')
    local package
    for package in "$@"; do
        grep -qxF "$package" <<<"$installed" || printf '%s\n' "$package"
    done
}

apt_quiet() {
    local log
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

install_packages() {
    local -a wanted
    mapfile -t wanted < <(missing_packages "$@")
    [ "${#wanted[@]}" -eq 0 ] && return 0
    [ "$(id -u)" -eq 0 ] || die "these Debian packages are missing: ${wanted[*]}
       install them with: sudo apt-get install ${wanted[*]}"
    say "installing ${#wanted[@]} Debian packages: ${wanted[*]}"
    apt_quiet update || die "apt-get update failed"
    apt_quiet install --no-install-recommends "${wanted[@]}" ||
        die "apt-get could not install: ${wanted[*]}"
    # dpkg starts the packaged servers; cachee starts its own on ports of their own.
    local server
    for server in redis-server memcached; do
        if [[ " ${wanted[*]} " == *" $server "* ]] && [ -d /run/systemd/system ]; then
            systemctl disable --now "$server" >/dev/null 2>&1 || true
        fi
    done
}

# The first "URI keyring" among the machine's own sources that serves bookworm.
machine_debian_source() {
    local file uri keyring
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        if awk 'tolower($1)=="suites:"' "$file" | grep -qE 'bookworm( |$)'; then
            uri=$(awk 'tolower($1)=="uris:" {print $2; exit}' "$file")
            keyring=$(awk 'tolower($1)=="signed-by:" {print $2; exit}' "$file")
            printf '%s %s\n' "$uri" "${keyring:-/usr/share/keyrings/debian-archive-keyring.gpg}"
            return 0
        fi
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        uri=$(sed -E 's/\[[^]]*\]//' "$file" | awk '$1=="deb" && $3=="bookworm" {print $2; exit}')
        if [ -n "$uri" ]; then
            printf '%s %s\n' "$uri" /usr/share/keyrings/debian-archive-keyring.gpg
            return 0
        fi
    done
    return 1
}

# hiredis >= 1.1 (RESP3, TLS); Debian 12 has 0.14. Built once into $CACHEE_PREFIX.
build_hiredis() {
    [ -f "$CACHEE_PREFIX/lib/pkgconfig/hiredis_ssl.pc" ] && return 0
    [ "$(id -u)" -eq 0 ] || die "hiredis 1.2 is missing in $CACHEE_PREFIX: run sudo ./tools/setup once"
    local source uri keyring work
    source=$(machine_debian_source) || die "no Debian bookworm entry in the machine's apt sources"
    read -r uri keyring <<<"$source"
    work=$(mktemp -d)
    chmod 755 "$work"
    say "building hiredis 1.2 from Debian 13's source package into $CACHEE_PREFIX"
    (
        set -e
        cd "$work"
        mkdir -p lists/partial src
        printf 'deb-src [signed-by=%s] %s trixie main\n' "$keyring" "$uri" >sources.list
        local_apt=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o "Dir::State::lists=$work/lists" -o "Dir::Cache::srcpkgcache=" -o "Dir::Cache::pkgcache="
            -o APT::Sandbox::User=root)
        apt-get -qq "${local_apt[@]}" update
        cd src
        apt-get -qq "${local_apt[@]}" source --download-only hiredis
        dpkg-source --no-check -x hiredis_*.dsc hiredis >/dev/null
        env -u LIBRARY_PATH -u INCLUDE_PATH make -C hiredis -j2 USE_SSL=1 PREFIX="$CACHEE_PREFIX" \
            OPTIMIZATION=-O2 install >make.log 2>&1 ||
            { tail -n 20 make.log; exit 1; }
    ) >&2 || die "hiredis could not be built (work files: $work)"
    rm -rf "$work"
}

# Valkey from bookworm-backports; Redis (installed above) is the fall-back L2.
install_valkey() {
    command -v valkey-server >/dev/null && return 0
    [ "$(id -u)" -eq 0 ] || return 0
    local source uri keyring list=/etc/apt/sources.list.d/cachee-backports.list
    source=$(machine_debian_source) || return 0
    read -r uri keyring <<<"$source"
    if [ ! -f "$list" ] && ! grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d; then
        printf 'deb [signed-by=%s] %s bookworm-backports main\n' "$keyring" "$uri" >"$list"
    fi
    say "installing Valkey from bookworm-backports"
    if ! { apt_quiet update && apt_quiet install --no-install-recommends -t bookworm-backports valkey-server valkey-tools; }; then
        say "Valkey is not to be had from this machine's sources: Redis 7.0 serves as L2"
    fi
    if [ -d /run/systemd/system ]; then
        systemctl disable --now valkey-server >/dev/null 2>&1 || true
    fi
}

setup_build() {
    install_packages "${CACHEE_PACKAGES[@]}"
    build_hiredis
    install_valkey
}

# Debian's current kernel for the guests, in $CACHEE_PREFIX/guest/kernel. Without it their tests are skipped.
unpack_guest_kernel() {
    local target="$CACHEE_PREFIX/guest/kernel" work package
    [ ! -d "$target" ] || return 0
    [ "$(id -u)" -eq 0 ] || return 0
    work=$(mktemp -d)
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
    say "unpacking ${package:-a kernel} for guests into $target"
    # Moved into place when it is whole.
    if [ -n "$package" ] &&
        (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package" >/dev/null 2>&1 &&
            dpkg -x "$package"_*.deb tree && depmod -b tree "$(ls tree/lib/modules)"); then
        mkdir -p "$CACHEE_PREFIX/guest" && mv "$work/tree" "$target"
    else
        say "no guest kernel is to be had from this machine's sources: tests/guest is skipped"
    fi
    rm -rf "$work"
}

setup_guest() {
    install_packages "${CACHEE_GUEST_PACKAGES[@]}"
    unpack_guest_kernel
}

setup_tests() {
    setup_build
    install_packages "${CACHEE_TEST_PACKAGES[@]}"
    setup_guest
}

# configure_build DIR [meson options...]: once; quiet unless it fails.
configure_build() {
    local dir="$1"
    shift
    local log="$dir.log"
    mkdir -p "$(dirname "$dir")"
    export PKG_CONFIG_PATH="$CACHEE_PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
    [ ! -f "$dir/build.ninja" ] || return 0
    # A set-up that failed half way keeps its findings, the wrong ones too: start from nothing.
    rm -rf "$dir/meson-private"
    /usr/bin/meson setup "$dir" "$CACHEE_ROOT" "$@" >"$log" 2>&1 ||
        { tail -n 40 "$log" >&2; die "meson setup failed (full log: $log)"; }
}

# build_targets DIR [targets...]: incremental; all targets when none is named; quiet unless it fails.
build_targets() {
    local dir="$1" log="$1.log"
    shift
    ninja -C "$dir" "$@" >"$log" 2>&1 || {
        (grep -E 'error|FAILED|warning' -A3 "$log" | head -n 60 >&2) || true
        die "the build failed (full log: $log)"
    }
}

# configure_and_build DIR [meson options...]
configure_and_build() {
    configure_build "$@" || return 1
    build_targets "$1"
}
