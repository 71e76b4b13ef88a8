#!/usr/bin/env bash
# deb-version.sh VERSION: the Debian version of what `git describe` calls VERSION, so that dpkg
# takes for newer what is newer:
#
#   v1.2.3                1.2.3
#   v1.2.3-rc.1           1.2.3~rc.1             before the release
#   v1.2.3-4-g12ab34f     1.2.3+4+g12ab34f       after it
#   12ab34f               0~20261128093000.12ab34f, by the time of the commit (SOURCE_DATE_EPOCH)
set -euo pipefail

version=${1#v} after= dirty=
# A Debian version begins with a digit.
if [[ $version != [0-9]*.* ]]; then
    printf '0~%s.%s\n' "$(date --utc --date="@${SOURCE_DATE_EPOCH:-0}" +%Y%m%d%H%M%S)" "${version//-/+}"
    exit
fi
if [[ $version == *-dirty ]]; then
    version=${version%-dirty} dirty=+dirty
fi
if [[ $version =~ -[0-9]+-g[0-9a-f]+$ ]]; then
    version=${version%"${BASH_REMATCH[0]}"} after=${BASH_REMATCH[0]//-/+}
elif [[ -n $dirty ]]; then
    after=+0
fi
printf '%s%s\n' "${version//-/\~}" "$after$dirty"
