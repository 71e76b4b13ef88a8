#!/usr/bin/env bash
# engines.sh [--refresh | --have] [SUITE...]: gets the Docker engines of newer Debian
# releases (default: trixie and sid), for tests on them beside the machine's.
#
# Each is unpacked once below ${XDG_CACHE_HOME:-~/.cache}/ktrdr-fleet/engines,
# nothing is installed, and the machine's apt keeps its lists, its cache and its
# settings. Prints one line for each engine that is there:
#   SUITE<tab>VERSION<tab>FOLDER
# FOLDER holds usr/sbin/dockerd, usr/bin/containerd and what they start, except
# runc: a newer one needs a newer C library than a stable machine has.
# --refresh looks for a newer package where one is unpacked already; --have gets nothing.
#
# Exit code: 0 all are there, 3 some are not, 4 none is, 2 wrong use.
# KTRDR_ENGINES_WAIT is the time limit of each call of apt in seconds (default 300).
set -euo pipefail

cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/ktrdr-fleet/engines
readonly cache
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly wait_seconds=${KTRDR_ENGINES_WAIT:-300}
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly packages=(docker.io containerd)
refresh=no
have=no
work=

say() { printf 'engines: %s\n' "$*" >&2; }

# configure SUITE URI writes an apt of its own below $work. Settings of the machine
# (proxies, retries) hold, but not its hooks, which clean the machine's cache.
configure() {
    local options=
    mkdir -p "$work"/{lists/partial,cache/archives/partial,preferences.d,sources.d}
    [[ ! -r $keyring ]] || options="[signed-by=$keyring] "
    printf 'deb %s%s %s main\n' "$options" "$2" "$1" >"$work/sources.list"
    : >"$work/status"
    cat >"$work/apt.conf" <<END
Dir::State "$work";
Dir::State::status "$work/status";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/sources.d";
Dir::Etc::preferences "$work/preferences";
Dir::Etc::preferencesparts "$work/preferences.d";
Dir::Log "$work";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
}

apt() { timeout "$wait_seconds" "$1" --config-file="$work/apt.conf" -q "${@:2}"; }

# fetch SUITE unpacks its packages and points $cache/SUITE at them.
fetch() (
    local suite=$1 uri version folder deb
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { say "no apt-get or dpkg-deb here"; return 1; }
    uri=$("$here/mirror.sh" | cut -f 2) || return 1
    mkdir -p "$cache"
    # What a killed run has left.
    find "$cache" -maxdepth 1 -name '.fetch-*' -mmin +120 -exec rm -rf {} +
    work=$(mktemp -d "$cache/.fetch-XXXXXX") || return 1
    trap 'rm -rf "$work"' EXIT
    configure "$suite" "$uri"
    say "asking $uri for the engine of $suite"
    apt apt-get update -o APT::Update::Error-Mode=any >&2 || { say "apt-get update of $suite has ended with an error"; return 1; }
    version=$(apt apt-cache show docker.io | sed -n 's/^Version: \(.*:\)\{0,1\}\([0-9.]*\).*/\2/p;/^Version/q')
    [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { say "$suite has no package docker.io (version '$version')"; return 1; }
    folder=$cache/$version
    if [[ ! -d $folder ]]; then
        (cd "$work" && apt apt-get download "${packages[@]}" >&2) || { say "the packages of $suite could not be downloaded"; return 1; }
        for deb in "$work"/*.deb; do
            dpkg-deb --extract "$deb" "$work/root" || { say "$deb can't be unpacked"; return 1; }
        done
        { "$work/root/usr/sbin/dockerd" --version && "$work/root/usr/bin/containerd" --version; } >&2 ||
            { say "the programs of $suite do not run on this machine"; return 1; }
        # The last step: a folder of this name is whole.
        mv -T "$work/root" "$folder" 2>/dev/null || [[ -d $folder ]] || { say "$folder can't be written"; return 1; }
    fi
    ln -sfn "$version" "$cache/$suite"
)

# report SUITE prints its line if it is there.
report() {
    local folder
    folder=$(readlink -e "$cache/$1") && [[ -x $folder/usr/sbin/dockerd ]] || return 1
    printf '%s\t%s\t%s\n' "$1" "${folder##*/}" "$folder"
}

# provide SUITE gets it and prints its line. What is unpacked already is better than nothing.
provide() {
    if [[ $refresh == no ]] && report "$1"; then
        return
    fi
    if [[ $have == yes ]]; then
        say "the engine of $1 is not unpacked: run scripts/engines.sh"
        return 1
    fi
    fetch "$1" || say "the engine of $1 can't be had; the reason stands above"
    report "$1"
}

suites=()
for argument in "$@"; do
    case $argument in
    --refresh) refresh=yes ;;
    --have) have=yes ;;
    -* | *[!a-z-]*) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    *) suites+=("$argument") ;;
    esac
done
[[ ${#suites[@]} -gt 0 ]] || suites=(trixie sid)

had=0
for suite in "${suites[@]}"; do
    if provide "$suite"; then
        had=$((had + 1))
    fi
done
((had > 0)) || exit 4
((had == ${#suites[@]})) || exit 3
