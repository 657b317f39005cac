#!/bin/sh
# Fails when committed generated code differs from a fresh generation.
set -e
if ! command -v protoc >/dev/null; then
  echo "generated: not checked, protoc is missing (Debian: protobuf-compiler)"
  exit 0
fi
before=$(git status --porcelain -- api xds demo)
bash tools/generate.sh
after=$(git status --porcelain -- api xds demo)
if [ "$before" != "$after" ]; then
  echo "generated code is stale; run make generate and commit:"
  git --no-pager diff --stat -- api xds demo
  exit 1
fi
