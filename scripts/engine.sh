#!/usr/bin/env bash
# engine.sh start [PACKAGE...]: makes sure that a Docker engine answers.
# engine.sh stop              : stops the engine if, and only if, start started it.
# engine.sh status            : says which engine answers; exit 1 if none does.
#
# An engine that answers is left alone. Without one, start installs Debian's
# docker.io (and PACKAGE...) and starts it: by systemd where systemd runs, else
# detached by hand. KTRDR_ENGINE_WAIT is the time limit for its first answer in
# seconds (default 90).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly host=${DOCKER_HOST:-unix:///var/run/docker.sock}
readonly wait_seconds=${KTRDR_ENGINE_WAIT:-90}
# What start started: "systemd", or a pid and its start time (pids are reused).
readonly started=/run/ktrdr-dockerd.started
readonly engine_pid=/var/run/docker.pid
readonly lock=/run/ktrdr-engine.lock
log=/var/log/ktrdr-dockerd.log

say() { printf 'engine: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ping asks the engine for a sign of life. A hung engine accepts the connection
# and never answers, hence the limit of 5 s.
ping() {
    if command -v curl >/dev/null; then
        case $host in
        unix://*)
            [[ "$(curl -fsS --max-time 5 --unix-socket "${host#unix://}" http://engine/_ping 2>/dev/null)" == OK ]]
            return
            ;;
        tcp://*)
            if [[ -z ${DOCKER_TLS_VERIFY:-} ]]; then
                [[ "$(curl -fsS --max-time 5 "http://${host#tcp://}/_ping" 2>/dev/null)" == OK ]]
                return
            fi
            ;;
        esac
    fi
    command -v docker >/dev/null &&
        timeout 10 docker --host "$host" version --format '{{.Server.Version}}' >/dev/null 2>&1
}

local_socket() { [[ $host == unix:///var/run/docker.sock || $host == unix:///run/docker.sock ]]; }

# start_time prints the kernel's start time of a process: field 22 of stat, the
# 20th after the command name, which may hold spaces.
start_time() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    printf '%s' "${fields[19]}"
}

is_dockerd() { [[ "$(cat "/proc/$1/comm" 2>/dev/null)" == dockerd ]]; }

# running_pid prints the pid of the dockerd that owns the default socket.
running_pid() {
    local pid
    pid=$(cat "$engine_pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] && is_dockerd "$pid" && printf '%s' "$pid"
}

show_log() {
    if [[ -s $log ]]; then
        say "last lines of $log (without gRPC's):"
        grep -v module=grpc "$log" | tail -n 30 >&2
    elif [[ -d /run/systemd/system ]]; then
        journalctl --no-pager -n 30 -u docker.service >&2 || true
    fi
}

# wait_for_ping PID: waits for an answer; gives up early when PID is gone. PID 0 means unknown.
wait_for_ping() {
    local deadline=$((SECONDS + wait_seconds))
    while ((SECONDS < deadline)); do
        ping && return
        if [[ $1 != 0 ]] && ! is_dockerd "$1"; then
            # Just after the fork the process still carries the shell's name.
            sleep 1
            is_dockerd "$1" || { say "dockerd (pid $1) has exited"; return 1; }
        fi
        sleep 0.2
    done
    say "no answer on $host within $wait_seconds s"
    return 1
}

start_by_systemd() {
    say "starting docker.service"
    systemctl start docker.service || { show_log; die "systemctl could not start docker.service"; }
    printf 'systemd\n' >"$started"
    wait_for_ping 0
}

# start_by_hand detaches dockerd from this terminal and from make's job, so that
# it outlives both.
start_by_hand() {
    local pid
    touch "$log" 2>/dev/null || log=${TMPDIR:-/tmp}/ktrdr-dockerd.log
    # A pid file left by a killed engine, whose number now belongs to someone else, would stop it.
    if [[ -e $engine_pid ]] && ! running_pid >/dev/null; then
        rm -f "$engine_pid"
    fi
    say "starting dockerd, log in $log"
    # Without 9, the lock of start, which dockerd would hold for as long as it lives.
    setsid nohup dockerd >>"$log" 2>&1 </dev/null 9>&- &
    pid=$!
    if ! wait_for_ping "$pid"; then
        kill "$pid" 2>/dev/null || true
        return 1
    fi
    printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$started"
}

# no_service_start keeps the package's init script from starting dockerd where
# no init supervises it: it raises limits that containers may not raise, and its
# failure would fail the installation. An existing policy is kept.
no_service_start() {
    local policy=/usr/sbin/policy-rc.d
    [[ ! -e $policy && ! -d /run/systemd/system ]] || return 0
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

install_engine() {
    no_service_start
    "$here/packages.sh" docker.io iptables ca-certificates curl
}

# explain_silence refuses what starting an engine can't mend.
explain_silence() {
    local pid
    local_socket || die "nothing answers on DOCKER_HOST=$host; start that engine, or unset DOCKER_HOST to use one here"
    if pid=$(running_pid); then
        say "dockerd (pid $pid) runs but does not answer; waiting for it"
        wait_for_ping "$pid" && exit 0
        show_log
        die "dockerd (pid $pid) hangs; it is not restarted, because it may hold your containers"
    fi
}

start() {
    # Tests need the packages even where an engine is there.
    "$here/packages.sh" "$@"
    if ping; then
        say "an engine answers on $host"
        return
    fi
    if [[ $EUID -ne 0 ]]; then
        if local_socket && [[ -S ${host#unix://} && ! -w ${host#unix://} ]]; then
            die "no access to ${host#unix://}: run 'sudo usermod -aG docker $(id -un)' and log in again"
        fi
        command -v sudo >/dev/null || die "no engine answers and starting one needs root or sudo"
        say "no engine answers; starting one with sudo"
        sudo --preserve-env=DOCKER_HOST,KTRDR_ENGINE_WAIT -- "$here/engine.sh" start
        ping || die "an engine runs, but you may not use it: run 'sudo usermod -aG docker $(id -un)' and log in again"
        return
    fi
    # One of two parallel starts does the work, the other finds an engine.
    exec 9>"$lock"
    flock --wait 1200 9 || die "another start has held $lock for 20 minutes"
    ping && return
    explain_silence
    install_engine
    # Under systemd the installation has started it already.
    if [[ -d /run/systemd/system ]]; then
        start_by_systemd || { show_log; die "the engine did not come up"; }
    else
        start_by_hand || { show_log; die "the engine did not come up"; }
    fi
    say "an engine answers on $host"
}

stop() {
    local pid since deadline
    [[ -r $started ]] || { say "start has started no engine here; nothing to stop"; return; }
    read -r pid since <"$started" || true
    if [[ $pid == systemd ]]; then
        systemctl stop docker.service docker.socket
    elif is_dockerd "$pid" && [[ "$(start_time "$pid")" == "$since" ]]; then
        kill "$pid"
        deadline=$((SECONDS + 60))
        while is_dockerd "$pid"; do
            ((SECONDS < deadline)) || die "dockerd (pid $pid) is still stopping its containers after 60 s"
            sleep 0.2
        done
    else
        say "the engine that start started is gone already"
    fi
    rm -f "$started"
    say "stopped"
}

case ${1-} in
start) shift; start "$@" ;;
stop) stop ;;
status)
    ping || die "no engine answers on $host"
    say "an engine answers on $host"
    ;;
*) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
