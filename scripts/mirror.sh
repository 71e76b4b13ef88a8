#!/usr/bin/env bash
# mirror.sh: prints the release of this machine's Debian, a tab, and the mirror that the
# machine's own apt gets it from. Exit code 1 with a reason where there is none.
set -euo pipefail

die() { printf 'mirror: %s\n' "$*" >&2; exit 1; }

command -v apt-get >/dev/null || die "no apt-get here"
codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME-}")
[[ -n $codename ]] || die "/etc/os-release names no release"
# shellcheck disable=SC2016 # apt's own placeholders
while IFS='|' read -r uri suite component; do
    if [[ $suite == "$codename" && $component == main ]]; then
        printf '%s\t%s\n' "$codename" "$uri"
        exit
    fi
done < <(apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages')
die "apt of this machine knows no source of $codename"
