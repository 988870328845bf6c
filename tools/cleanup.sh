#!/usr/bin/env bash
# Ends and removes what a crash of fantail has left on this machine; arguments as of `fantail clean`.
set -euo pipefail
exec node "$(dirname "$0")/../build/programs/main.js" clean "$@"
