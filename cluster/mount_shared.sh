#!/usr/bin/env bash
# Mounts the disk that all nodes share, and lets studies and data lie there: ~/studies and ~/data become links into it.
#
#   mount_shared.sh HOST:/PATH        an NFS share (AWS EFS, Google Filestore, a server of one's own)
#
# A study's trials run on any node and go on on another, so its folder, its data and its weights must be the same disk
# everywhere. A second run changes nothing.
set -euo pipefail
source=${1:?give the share as HOST:/PATH}
case $source in
*00000000000000000* | 192.0.2.*)
    echo "error: $source is the example's: put your own share into the cluster file (the line with mount_shared.sh)" >&2
    exit 1
    ;;
esac
shared=$HOME/shared

mkdir -p "$shared"
if ! mountpoint -q "$shared"; then
    command -v mount.nfs4 >/dev/null || sudo apt-get -o DPkg::Lock::Timeout=300 -qq install -y nfs-common >/dev/null
    # The options that AWS names for EFS: large transfers, and waiting out a server that is away rather than an error.
    sudo mount -t nfs4 -o nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport "$source" "$shared"
    sudo chown "$(id -u):$(id -g)" "$shared"
fi

for name in studies data; do
    mkdir -p "$shared/$name"
    if [ ! -L "$HOME/$name" ]; then
        # An empty folder of that name makes way; one that holds something is not ours to move.
        if [ -e "$HOME/$name" ] && ! rmdir "$HOME/$name" 2>/dev/null; then
            echo "error: $HOME/$name holds files that the other nodes do not see; move them to $shared/$name" >&2
            exit 1
        fi
        ln -s "$shared/$name" "$HOME/$name"
    fi
done
