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
readonly DEB_VERSION=${version//-/+}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT

nfpm() { GOFLAGS=-mod=readonly go tool -modfile=tools/nfpm/go.mod nfpm "$@"; }

# scripts NAME STATE: what dpkg runs for a package.
scripts() {
    local part
    for part in postinst prerm postrm; do
        sed -e "s|@UNIT@|ktrdr-$1.service|g" -e "s|@STATE@|$2|g" "packaging/deb/$part" >"$STAGE/$1.$part"
    done
}
scripts agent /var/lib/ktrdr
scripts controller /var/lib/ktrdr-controller
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
        sed -e "s|\${STAGE}|$STAGE|g" -e "s|\${DEB_ARCH}|$DEB_ARCH|g" -e "s|\${DEB_VERSION}|$DEB_VERSION|g" "packaging/deb/$package.yaml" >"$STAGE/nfpm.yaml"
        nfpm package --config "$STAGE/nfpm.yaml" --packager deb --target "$folder/"
    done
done
