#!/usr/bin/env bash
# Sampan on a fresh Debian machine: `./sampan.sh up` runs it, `./sampan.sh test` runs every test.
# Run again they are quick: what is there is not done twice.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

SOCKET=${SAMPAN_SOCKET:-/run/sampan/sampan.sock}
REGISTRY=${SAMPAN_REGISTRY_PORT:-5000}
PORT=${SAMPAN_WEB_PORT:-8080}
DATA=${SAMPAN_DATA_ROOT:-/var/lib/sampan}
RUN=${SAMPAN_RUN_ROOT:-/run/sampan}
PID=$RUN.pid
LOG=${SAMPAN_LOG:-/var/log/sampan.log}
WORK=$PWD/.work
SAMPAN=$PWD/.venv/bin/sampan

usage() {
  cat <<'EOF'
usage: ./sampan.sh COMMAND

  up       install what is missing, start the daemon, take an image through the private registry, serve its page
  down     stop containers and daemon and remove mounts, networks and firewall table; data stays (--purge: goes too)
  test     install what the tests need, then lint, types, architecture and all tests (arguments go to pytest)
  status   is it running, and what does it hold

Settings by environment: SAMPAN_SOCKET, SAMPAN_DATA_ROOT, SAMPAN_RUN_ROOT, SAMPAN_REGISTRY_PORT (5000),
SAMPAN_WEB_PORT (8080), SAMPAN_LOG, SAMPAN_TEST_WORKERS (4).
EOF
}

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'sampan.sh: %s\n' "$*" >&2; exit 1; }

need_root() {
  [ "$(id -u)" = 0 ] || fail "'$1' needs root: it makes mounts, namespaces and networks. Run: sudo ./sampan.sh $1"
}

# install NAME... : those Debian packages that are not installed yet
install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "these packages are missing and there is no apt-get: ${missing[*]}"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# environment [EXTRA] : the virtual environment with this checkout in it
make_environment() {
  local extra=${1:-} stamp=.venv/.installed${1:+-$1}
  if [ ! -x .venv/bin/python ]; then
    say "making the virtual environment"
    python3 -m venv .venv
  fi
  if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    say "installing Sampan and its libraries"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}"
    touch "$stamp"
  fi
}

answers() { "$SAMPAN" -H "unix://$SOCKET" version >/dev/null 2>&1; }

start_daemon() {
  if answers; then
    say "the daemon is running already"
    return
  fi
  say "starting the daemon (log: $LOG)"
  setsid "$SAMPAN" daemon -H "unix://$SOCKET" --data-root "$DATA" --run-root "$RUN" --pidfile "$PID" \
    --registry "tcp://0.0.0.0:$REGISTRY" </dev/null >>"$LOG" 2>&1 &
  local child=$!
  for _ in $(seq 150); do
    if answers; then return; fi
    kill -0 "$child" 2>/dev/null || { tail -n 5 "$LOG" >&2; fail "the daemon ended at once"; }
    sleep 0.1
  done
  tail -n 20 "$LOG" >&2
  fail "the daemon does not answer on $SOCKET"
}

# A Debian root directory with a web server in it, from the packages this host's own sources offer.
make_root() {
  local root=$WORK/web-root mirror
  if [ -e "$root.done" ]; then return; fi
  say "making an image from Debian packages (once, about a minute)"
  rm -rf "$root"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Suite: bookworm' 2>/dev/null | head -n 1)
  mkdir -p "$WORK"
  debootstrap --variant=minbase --include=nginx-light bookworm "$root" ${mirror:+"$mirror"} >"$WORK/debootstrap.log" 2>&1 ||
    { tail -n 5 "$WORK/debootstrap.log" >&2; fail "debootstrap failed; the whole log is $WORK/debootstrap.log"; }
  rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  cat >"$root/var/www/html/index.html" <<'EOF'
<!doctype html><title>Sampan</title><h1>The harbour stands.</h1>
<p>This page comes from a container whose image went through your private registry.</p>
EOF
  touch "$root.done"
}

# The main job on real input: import, push, remove, pull, run, fetch.
sail() {
  local image=localhost:$REGISTRY/harbour/web:1 s=("$SAMPAN" -H "unix://$SOCKET") page
  if ! "${s[@]}" inspect --format '{{.State.Running}}' harbour-web 2>/dev/null | grep -qx true; then
    make_root
    say "importing it, pushing it to the private registry, removing it, pulling it back"
    "${s[@]}" rm -f harbour-web >/dev/null 2>&1 || true
    "${s[@]}" import --change 'CMD ["nginx", "-g", "daemon off;"]' --change 'EXPOSE 80' "$WORK/web-root" "$image" >/dev/null
    "${s[@]}" push "$image"
    "${s[@]}" rmi "$image" >/dev/null
    "${s[@]}" pull "$image"
    say "running it with port 80 published as $PORT"
    "${s[@]}" run -d --name harbour-web --restart unless-stopped -p "$PORT:80" "$image" >/dev/null
  fi
  say "fetching its page from http://127.0.0.1:$PORT/"
  for _ in $(seq 50); do
    page=$(python3 -c 'import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=5).read().decode())' \
      "http://127.0.0.1:$PORT/" 2>/dev/null) && break
    sleep 0.1
  done
  [ -n "${page:-}" ] || fail "no answer from the container; see: $SAMPAN -H unix://$SOCKET logs harbour-web"
  printf '%s\n' "$page"
}

up() {
  need_root up
  install_packages runc catatonit nftables libnftables1 debootstrap procps python3-venv ca-certificates
  make_environment
  start_daemon
  sail
  cat <<EOF

Sampan is running: engine on $SOCKET, private registry on port $REGISTRY, a page on http://127.0.0.1:$PORT/

Three things to try:
  $SAMPAN ps
  $SAMPAN run --rm -it localhost:$REGISTRY/harbour/web:1 bash
  DOCKER_HOST=unix://$SOCKET docker images      # any stock Docker client works

Stop it with: ./sampan.sh down
EOF
}

down() {
  need_root down
  [ -x "$SAMPAN" ] || fail "nothing to stop: there is no virtual environment here"
  if [ -e "$PID" ] && kill -0 "$(cat "$PID")" 2>/dev/null; then
    say "stopping the daemon"
    kill "$(cat "$PID")"
    for _ in $(seq 300); do [ -e "$PID" ] || break; sleep 0.1; done
    [ ! -e "$PID" ] || fail "the daemon does not stop; see $LOG"
  fi
  say "stopping containers, removing mounts and networks"
  "$SAMPAN" daemon --tear-down --data-root "$DATA" --run-root "$RUN" --pidfile "$PID" --log-level warn
  if [ "${1:-}" = --purge ]; then
    say "removing $DATA"
    rm -rf "$DATA"
  fi
}

run_tests() {
  need_root test
  install_packages runc catatonit nftables libnftables1 iproute2 busybox-static procps python3-venv ca-certificates \
    skopeo podman strace attr acl curl mandoc zsh fish openssl
  make_environment test
  bash tests/peers.sh
  # docker-registry's package would start a service on our port; a docker command line may be here already.
  PATH=$PATH:$WORK/peers/tools/usr/bin:$WORK/peers/docker-26.1/usr/bin:$WORK/peers/docker-20.10/usr/bin
  say "lint, format, types, architecture"
  .venv/bin/ruff check src tests bench
  .venv/bin/ruff format --check src tests bench
  .venv/bin/mypy
  .venv/bin/lint-imports
  say "tests"
  # Test files run beside each other: tests bring hosts of their own, and many wait for dockerd.
  .venv/bin/python -m pytest -n "${SAMPAN_TEST_WORKERS:-4}" --dist loadfile "$@"
}

case "${1:-}" in
  up) up ;;
  down) down "${2:-}" ;;
  test) shift; run_tests "$@" ;;
  status) "$SAMPAN" -H "unix://$SOCKET" info ;;
  *) usage; [ "${1:-help}" = help ] || exit 2 ;;
esac
