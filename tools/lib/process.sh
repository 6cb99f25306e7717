# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Background processes with a memory: each has STATE/NAME.pid ("pid start-time") and STATE/NAME.log.
# The start time (field 22 of /proc/PID/stat) tells a process of ours from a later one that was given
# the same number: nothing else is ever signalled. Sourced; needs STATE (a directory) and setup.sh.

process_start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The command name may hold spaces and parentheses: count from behind its last ')'.
    awk '{print $20}' <<<"${stat##*) }"
}

# start_process NAME COMMAND...: in a session of its own, output to the log.
start_process() {
    local name="$1"
    shift
    # Background jobs of a script lead no process group, so setsid does not fork: $! is COMMAND's pid.
    # Descriptor 9 is the lock of the calling script, not to be inherited.
    setsid "$@" >"$STATE/$name.log" 2>&1 </dev/null 9>&- &
    printf '%s %s\n' "$!" "$(process_start_time $!)" >"$STATE/$name.pid"
}

# The pid, when the process runs and is the one that was started.
process_pid() {
    local pid started
    [ -f "$STATE/$1.pid" ] || return 1
    read -r pid started <"$STATE/$1.pid" || return 1
    [ -n "$started" ] && [ "$(process_start_time "$pid")" = "$started" ] || return 1
    # A zombie is gone.
    ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null || return 1
    printf '%s\n' "$pid"
}

# stop_process NAME: SIGTERM, five seconds, then SIGKILL. Fine when it is gone already.
stop_process() {
    local pid i
    if pid=$(process_pid "$1"); then
        kill -TERM "$pid" 2>/dev/null || true
        for ((i = 0; i < 100; i++)); do
            process_pid "$1" >/dev/null || break
            sleep 0.05
        done
        if process_pid "$1" >/dev/null; then
            say "$1 (process $pid) does not stop within 5 s: killing it"
            kill -KILL "$pid" 2>/dev/null || true
            sleep 0.1
        fi
    fi
    rm -f "$STATE/$1.pid"
}

# The last line of a log that says what went wrong, for a message of one line.
log_reason() {
    local line
    line=$(grep -iE 'error|fatal|cannot|failed|invalid|panic' "$STATE/$1.log" 2>/dev/null | tail -n 1)
    [ -n "$line" ] || line=$(tail -n 1 "$STATE/$1.log" 2>/dev/null)
    printf '%s\n' "${line:-it said nothing}" | cut -c1-300
}

tcp_port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# free_tcp_port FROM: the first port from FROM on that nobody listens on at 127.0.0.1.
free_tcp_port() {
    local port
    for ((port = $1; port < $1 + 100; port++)); do
        if tcp_port_is_free "$port"; then
            printf '%s\n' "$port"
            return 0
        fi
    done
    return 1
}
