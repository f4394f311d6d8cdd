# shellcheck shell=bash
# What every shell that Ray's launcher opens on a node reads (setup_node.sh puts one line into ~/.bashrc for that).
# Ray inherits it from `ray start`, and workers from Ray.

# `ray submit` calls plain `python`, and the launcher plain `ray`: let them be the project's.
export PATH="$HOME/binsfo-study/.venv/bin:$PATH"

# Ray's ports listen on every address: who shows no token gets no answer. The token is ~/.ray/auth_token on every node.
export RAY_AUTH_MODE=token
# Ray's servers of metrics for Prometheus would listen on every address too, and ask nobody for the token: none is started.
# (Two know no switch, and get a port that there is not.)
export RAY_enable_metrics_collection=0
export AUTOSCALER_METRIC_PORT=-1
export DASHBOARD_METRIC_PORT=-1

export RAY_USAGE_STATS_ENABLED=0
# A cluster whose reports are disabled would still report that; now it asks this machine, where nobody listens.
export RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9
export MLFLOW_DISABLE_TELEMETRY=true
