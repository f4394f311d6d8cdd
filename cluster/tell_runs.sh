#!/usr/bin/env bash
# Tells this user's runs on this machine that it is about to be taken away, and waits until they have saved:
#
#   bash cluster/tell_runs.sh [SECONDS]       # at most so long (default: 50)
#
# For whatever hears of it first: a pod's preStop hook (cluster/kuberay.yaml), or a service that watches the cloud's
# notice of a spot instance. Each run finishes its step, saves and ends; it goes on elsewhere from that very step.
set -euo pipefail
seconds=${1:-50}
# Workers of Ray, by the titles that they give themselves; its agents have such titles too, and must not end before them.
runs() { pgrep -u "$(id -u)" -fa '^ray::' | grep -v 'Agent' | cut -d ' ' -f 1 || true; }

told=$(runs)
[ -n "$told" ] || exit 0
# shellcheck disable=SC2086  # one word a process
kill -TERM $told 2>/dev/null || true
while living=$(comm -12 <(sort <<<"$told") <(runs | sort)) && [ -n "$living" ]; do
    if [ "$SECONDS" -ge "$seconds" ]; then
        echo "these have not ended within $seconds s: $living" >&2
        exit 1
    fi
    sleep 0.5
done
