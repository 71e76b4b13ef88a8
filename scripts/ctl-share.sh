#!/usr/bin/env bash
# ctl-share.sh CTL FILE: man pages and completions, as the ktrdrctl CTL (one for this machine)
# writes them, into the archive FILE. The same input gives the same bytes.
set -euo pipefail

readonly ctl=$1 file=$2
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
mkdir "$share/completions"
"$ctl" man "$share/man1" >/dev/null
"$ctl" completion bash >"$share/completions/ktrdrctl.bash"
"$ctl" completion zsh >"$share/completions/_ktrdrctl"
"$ctl" completion fish >"$share/completions/ktrdrctl.fish"
tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@${SOURCE_DATE_EPOCH:-0}" -C "$share" -cf - . |
    gzip -n -9 >"$file"
