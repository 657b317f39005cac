#!/bin/sh
# Fails when committed generated code differs from a fresh generation.
set -e
if ! command -v protoc >/dev/null; then
  echo "generated: not checked, protoc is missing (Debian: protobuf-compiler)"
  exit 0
fi
before=$(git status --porcelain -- api xds)
bash tools/generate.sh
after=$(git status --porcelain -- api xds)
if [ "$before" != "$after" ]; then
  echo "generated code is stale; run make generate and commit:"
  git --no-pager diff --stat -- api xds
  exit 1
fi
