#!/usr/bin/env bash
# deb.sh FOLDER [ARCH...]: Debian packages of the binaries that scripts/release.sh put into
# FOLDER (default: amd64 and arm64), beside them. The same input gives the same bytes.
# DEB_COMPRESSION is xz (default), gzip, zstd or none, the quickest; DEB_MAINTAINER is who
# stands for the packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=$1
shift
archs=("$@")
[[ ${#archs[@]} -gt 0 ]] || archs=(amd64 arm64)

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
DEB_VERSION=$(scripts/deb-version.sh "${VERSION:-dev}")
readonly DEB_VERSION DEB_COMPRESSION=${DEB_COMPRESSION:-xz} DEB_MAINTAINER=${DEB_MAINTAINER:-ktrdr fleet <noreply@ktrdr.io>}
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT

nfpm() { GOFLAGS=-mod=readonly go tool -modfile=tools/nfpm/go.mod nfpm "$@"; }

# scripts NAME STATE HINT: what dpkg runs for a package.
scripts() {
    local part
    for part in postinst prerm postrm; do
        sed -e "s|@UNIT@|ktrdr-$1.service|g" -e "s|@STATE@|$2|g" -e "s|@HINT@|$3|g" "packaging/deb/$part" >"$STAGE/$1.$part"
    done
}

# papers PACKAGE PROGRAM...: what Debian wants to be in every package.
papers() {
    local package=$1
    shift
    printf 'Copyright 2026, the authors of ktrdr fleet. The programs contain Go modules of others; LICENCES.gz beside this file has their names and licences.\n' >"$STAGE/$package.copyright"
    scripts/licences.sh "$@" | gzip -9n >"$STAGE/$package.licences.gz"
    printf '# Go programs are.\n%s: statically-linked-binary\n' "$package" >"$STAGE/$package.overrides"
    printf '%s (%s) stable; urgency=medium\n\n  * CHANGELOG.md.gz tells the changes.\n\n -- %s  %s\n' "$package" "$DEB_VERSION" "$DEB_MAINTAINER" \
        "$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" +'%a, %d %b %Y %T +0000')" | gzip -9n >"$STAGE/$package.changelog.gz"
}

scripts agent /var/lib/ktrdr 'ktrdr-agent join makes this machine a node of a fleet and starts the agent; with a configuration in /etc/ktrdr/agent.yaml: systemctl enable --now ktrdr-agent'
scripts controller /var/lib/ktrdr-controller 'systemctl enable --now ktrdr-controller starts it; the first start makes the authority of a new fleet'
papers ktrdr-agent agent exec
papers ktrdr-controller controller
papers ktrdrctl ctl
gzip -9nc CHANGELOG.md >"$STAGE/CHANGELOG.md.gz"
tar -xzf "$folder/ktrdrctl_share.tar.gz" -C "$STAGE"
gzip -9n "$STAGE"/man1/*
cp packaging/agent.yaml packaging/policy.yaml packaging/controller.yaml packaging/systemd/*.service packaging/sysusers/*.conf "$STAGE/"

for DEB_ARCH in "${archs[@]}"; do
    for program in ktrdr-agent ktrdr-exec ktrdr-controller ktrdrctl; do
        install -m 755 "$folder/${program}_linux_$DEB_ARCH" "$STAGE/$program"
    done
    find "$STAGE" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" -- {} +
    for package in agent controller ctl; do
        # nfpm takes variables in some of its fields only.
        sed -e "s|\${STAGE}|$STAGE|g" -e "s|\${DEB_ARCH}|$DEB_ARCH|g" -e "s|\${DEB_VERSION}|$DEB_VERSION|g" \
            -e "s|\${DEB_COMPRESSION}|$DEB_COMPRESSION|g" -e "s|\${DEB_MAINTAINER}|$DEB_MAINTAINER|g" "packaging/deb/$package.yaml" >"$STAGE/nfpm.yaml"
        nfpm package --config "$STAGE/nfpm.yaml" --packager deb --target "$folder/"
    done
done
