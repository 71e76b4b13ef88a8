#!/usr/bin/env bash
# copy-tree.sh FOLDER: copies the files that git tracks or would track, as they
# are in the working tree, to a new FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p "$1"
# Files that are deleted but not yet committed are still listed.
git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
        if [[ -e $file || -L $file ]]; then
            printf '%s\0' "$file"
        fi
    done |
    tar --create --null --files-from=- | tar --extract --directory="$1"
