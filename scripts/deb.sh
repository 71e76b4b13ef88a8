#!/usr/bin/env bash
# deb.sh FOLDER [ARCH...]: Debian packages of the binaries that scripts/release.sh put into
# FOLDER (default: amd64 and arm64), beside them. The same input gives the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folder=$1
shift
archs=("$@")
[[ ${#archs[@]} -gt 0 ]] || archs=(amd64 arm64)

# A Debian version begins with a digit; a tag is v1.2.3, a build between tags v1.2.3-4-gabc,
# and one before the first tag only a commit.
version=${VERSION:-dev}
version=${version#v}
[[ $version == [0-9]*.* ]] || version=0~$version
export DEB_VERSION=${version//-/+} STAGE DEB_ARCH
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT

nfpm() { GOFLAGS=-mod=readonly go tool -modfile=tools/nfpm/go.mod nfpm "$@"; }
ctl() { CGO_ENABLED=0 go run ./cmd/ctl "$@"; }

# scripts NAME UNIT STATE
scripts() {
    local part
    for part in postinst prerm postrm; do
        sed -e "s|@UNIT@|$2|g" -e "s|@STATE@|$3|g" "packaging/deb/$part" >"$STAGE/$1.$part"
    done
}
scripts agent ktrdr-agent.service /var/lib/ktrdr
scripts controller ktrdr-controller.service /var/lib/ktrdr-controller
for shell in bash zsh fish; do
    ctl completion "$shell" >"$STAGE/completion.$shell"
done
mkdir "$STAGE/man"
ctl man "$STAGE/man"
gzip -9n "$STAGE"/man/*
cp packaging/agent.yaml packaging/policy.yaml packaging/controller.yaml packaging/systemd/*.service packaging/sysusers/*.conf "$STAGE/"

for DEB_ARCH in "${archs[@]}"; do
    for program in ktrdr-agent ktrdr-exec ktrdr-controller ktrdrctl; do
        install -m 755 "$folder/${program}_linux_$DEB_ARCH" "$STAGE/$program"
    done
    find "$STAGE" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" -- {} +
    for package in agent controller ctl; do
        nfpm package --config "packaging/deb/$package.yaml" --packager deb --target "$folder/"
    done
done
cd "$folder"
LC_ALL=C sha256sum -- ktrdr* >SHA256SUMS
