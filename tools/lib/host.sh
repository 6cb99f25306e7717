# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What quick start changes on the host, and how it is undone: hugepages, a network namespace with a
# veth pair, the tap device. Every change is noted in STATE before it is made, so that a stop after a
# crash undoes it too. Sourced; needs STATE, INSTANCE, NETNS, HOST_IF, PEER_IF, HOST_ADDRESS,
# HOST_ADDRESS6, setup.sh.

HUGEPAGES_SYS=/sys/kernel/mm/hugepages/hugepages-2048kB

note() { printf '%s\n' "$2" >"$STATE/$1"; }
noted() { cat "$STATE/$1" 2>/dev/null; }

hugepages_available() {
    echo $(($(cat $HUGEPAGES_SYS/free_hugepages) - $(cat $HUGEPAGES_SYS/resv_hugepages)))
}

# hugetlbfs mounts of 2 MiB pages, the first one.
hugetlbfs_directory() {
    local directory options
    while read -r directory options; do
        case ",$options," in
            *,pagesize=2M,*) printf '%s\n' "$directory"; return 0 ;;
            *,pagesize=*) ;;
            *) printf '%s\n' "$directory"; return 0 ;;
        esac
    done < <(awk '$3 == "hugetlbfs" {print $2, $4}' /proc/mounts)
    return 1
}

# prepare_hugepages COUNT: makes COUNT 2 MiB pages available. Sets HUGEPAGE_DIR; on failure sets REASON.
prepare_hugepages() {
    local wanted="$1" available missing before
    HUGEPAGE_DIR=""
    [ "$(id -u)" -eq 0 ] || { REASON="reserving hugepages needs root"; return 1; }
    [ -d "$HUGEPAGES_SYS" ] || { REASON="this kernel has no 2 MiB hugepages"; return 1; }
    available=$(hugepages_available)
    missing=$((wanted - available))
    if [ "$missing" -gt 0 ]; then
        before=$(cat $HUGEPAGES_SYS/nr_hugepages)
        [ -f "$STATE/hugepages.added" ] || note hugepages.added 0
        say "reserving $missing hugepages of 2 MiB more ($available of $wanted are free)"
        { echo $((before + missing)) >$HUGEPAGES_SYS/nr_hugepages; } 2>/dev/null || true
        note hugepages.added $(($(noted hugepages.added) + $(cat $HUGEPAGES_SYS/nr_hugepages) - before))
        available=$(hugepages_available)
        if [ "$available" -lt "$wanted" ]; then
            restore_hugepages
            REASON="only $available of $wanted hugepages could be reserved"
            return 1
        fi
    fi
    if ! HUGEPAGE_DIR=$(hugetlbfs_directory); then
        mkdir -p /dev/hugepages
        note hugepages.mounted /dev/hugepages
        if ! mount -t hugetlbfs -o pagesize=2M none /dev/hugepages 2>/dev/null; then
            rm -f "$STATE/hugepages.mounted"
            REASON="hugetlbfs cannot be mounted on /dev/hugepages"
            return 1
        fi
        HUGEPAGE_DIR=/dev/hugepages
    fi
    note hugepages.directory "$HUGEPAGE_DIR"
}

restore_hugepages() {
    local added directory now
    directory=$(noted hugepages.directory) || directory=""
    if [ -n "$directory" ]; then
        # A data plane that drops root keeps its file in a folder of its user.
        rm -f "$directory/cachee-$INSTANCE-l1"* "$directory/cachee-${PLANE_USER:-nobody}/cachee-$INSTANCE-l1"*
        rmdir "$directory/cachee-${PLANE_USER:-nobody}" 2>/dev/null || true
    fi
    if directory=$(noted hugepages.mounted); then
        umount "$directory" 2>/dev/null || true
        rm -f "$STATE/hugepages.mounted"
    fi
    added=$(noted hugepages.added) || added=0
    if [ "$added" -gt 0 ]; then
        # What was added is taken back, not a remembered total: somebody else may have changed it too.
        now=$(cat $HUGEPAGES_SYS/nr_hugepages)
        { echo $((now > added ? now - added : 0)) >$HUGEPAGES_SYS/nr_hugepages; } 2>/dev/null || true
    fi
    rm -f "$STATE/hugepages.added" "$STATE/hugepages.directory"
}

# Joined by && because `set -e` does not hold inside a condition.
veth_commands() {
    ip netns add "$NETNS" &&
        ip link add "$HOST_IF" type veth peer name "$PEER_IF" netns "$NETNS" &&
        # The peer's frames go to the data plane only: no address, no IPv6 chatter from the kernel.
        { ip netns exec "$NETNS" sysctl -qw "net.ipv6.conf.$PEER_IF.disable_ipv6=1" || true; } &&
        ip address add "$HOST_ADDRESS/30" dev "$HOST_IF" &&
        ip link set "$HOST_IF" up &&
        { ip address add "$HOST_ADDRESS6/64" dev "$HOST_IF" nodad || true; } &&
        ip -n "$NETNS" link set lo up &&
        ip -n "$NETNS" link set "$PEER_IF" up &&
        # A veth peer hands over unfinished checksums and aggregates otherwise.
        ethtool -K "$HOST_IF" tx off tso off gso off gro off >/dev/null &&
        ip netns exec "$NETNS" ethtool -K "$PEER_IF" tx off tso off gso off gro off >/dev/null
}

# A veth pair: HOST_IF here with HOST_ADDRESS, PEER_IF in the namespace NETNS, for net_af_xdp.
create_veth() {
    local output
    [ "$(id -u)" -eq 0 ] || { REASON="network namespaces need root"; return 1; }
    if [ -e "/sys/class/net/$HOST_IF" ]; then
        REASON="an interface $HOST_IF exists already and is not of this quick start"
        return 1
    fi
    if ip netns list 2>/dev/null | awk '{print $1}' | grep -qxF "$NETNS"; then
        REASON="a network namespace $NETNS exists already and is not of this quick start"
        return 1
    fi
    note network.netns "$NETNS"
    if ! output=$(veth_commands 2>&1); then
        REASON="the veth pair cannot be made: $(tail -n 1 <<<"$output")"
        remove_network
        return 1
    fi
}

# The tap device is made by the data plane; this waits for it and gives the host's end its address.
configure_tap() {
    local i output
    for ((i = 0; i < 200; i++)); do
        [ -e "/sys/class/net/$HOST_IF" ] && break
        process_pid dataplane >/dev/null || { REASON="$(log_reason dataplane)"; return 1; }
        sleep 0.05
    done
    [ -e "/sys/class/net/$HOST_IF" ] || { REASON="the data plane made no interface $HOST_IF"; return 1; }
    if ! output=$({ ip address add "$HOST_ADDRESS/30" dev "$HOST_IF" && ip link set "$HOST_IF" up; } 2>&1); then
        REASON="the tap device cannot be configured: $output"
        return 1
    fi
    # Where the kernel has no IPv6, quick start does without.
    ip address add "$HOST_ADDRESS6/64" dev "$HOST_IF" nodad 2>/dev/null || true
}

remove_network() {
    local netns
    if netns=$(noted network.netns); then
        # Deleting the namespace deletes its end of the pair, and with it ours.
        ip netns delete "$netns" 2>/dev/null || true
        ip link delete "$HOST_IF" 2>/dev/null || true
        rm -f "$STATE/network.netns"
    fi
    if [ -f "$STATE/network.tap" ]; then
        ip link delete "$HOST_IF" 2>/dev/null || true
        rm -f "$STATE/network.tap"
    fi
}
